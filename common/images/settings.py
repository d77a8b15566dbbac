"""The settings of downloader.py --mode images."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from common.exits import Exit, RunEnds
from common.s3.settings import S3Settings
from common.settings import absolute


class ImageSettings(S3Settings):
    """Which names, from which folder of the bucket, to where, and how."""

    csv_file: Path | None = Field(
        None,
        alias="CVAT_IMAGES_CSV_FILE",
        description="file with the names: CSV with or without header, or a plain list; - = standard input",
    )
    output_dir: Path | None = Field(
        None, alias="CVAT_IMAGES_OUTPUT_DIR", description="folder that the images are brought to"
    )
    s3_prefix: str = Field(
        "", alias="CVAT_IMAGES_S3_PREFIX", description="folder in the bucket, e.g. datalake/images; empty = all of it"
    )
    csv_column: str = Field(
        "",
        alias="CVAT_IMAGES_CSV_COLUMN",
        description="column with the names: its number (1 = first) or title; empty = found out",
    )
    auto_confirm: bool = Field(
        False, alias="CVAT_IMAGES_AUTO_CONFIRM", description="true goes on after the analysis without asking"
    )
    resume: bool = Field(
        True, alias="CVAT_IMAGES_RESUME", description="true keeps what is there and unchanged; false fetches all again"
    )
    verify: bool = Field(
        False, alias="CVAT_IMAGES_VERIFY", description="true also compares MD5 with ETags that are one"
    )
    keep_folders: bool = Field(
        False,
        alias="CVAT_IMAGES_KEEP_FOLDERS",
        description="true keeps the folders beneath the prefix; false puts all into one",
    )
    ambiguous: Literal["skip", "first", "largest"] = Field(
        "skip",
        alias="CVAT_IMAGES_AMBIGUOUS",
        description="when several objects fit a name: skip it, or take the first by key, or the largest",
    )
    workers: int = Field(
        256,
        alias="CVAT_IMAGES_WORKERS",
        ge=1,
        le=512,
        description="most connections at once; begins with few. 1 to 512",
    )
    processes: int = Field(
        0,
        alias="CVAT_IMAGES_PROCESSES",
        ge=0,
        le=16,
        description="processes that fetch and share the connections; 0 = as many as help here, at most 4. 0 to 16",
    )
    retry_seconds: float = Field(
        120,
        alias="CVAT_IMAGES_RETRY_SECONDS",
        ge=0,
        le=86400,
        description="how long a file, or the list of the bucket, is tried again after transient errors (seconds)",
    )
    min_free_gb: float = Field(
        1, alias="CVAT_IMAGES_MIN_FREE_GB", ge=0, le=1e6, description="room that is left free on the disk (GB)"
    )

    @field_validator("s3_prefix")
    @classmethod
    def _folder(cls, value: str) -> str:
        """Ends with a slash: S3 knows beginnings of keys only, and `a/REAL` is that of `a/REAL_OLD/x.jpg`, too."""
        return value if not value or value.endswith("/") else value + "/"

    @field_validator("csv_file", "output_dir")
    @classmethod
    def _absolute(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if info.field_name == "csv_file" and str(value) == "-":
            return Path("/dev/stdin")
        return absolute(value) if value else None


def with_address(settings: ImageSettings) -> ImageSettings:
    """--s3-prefix s3://bucket/folder names the bucket too. A leading `/`, which people write and keys rarely have, goes."""
    prefix, bucket = settings.s3_prefix, settings.bucket
    if prefix.startswith("s3://"):
        named, _, prefix = prefix.removeprefix("s3://").partition("/")
        if bucket and bucket != named:
            what = (
                f"CVAT_IMAGES_S3_PREFIX={settings.s3_prefix!r} and CVAT_IMAGES_BUCKET={bucket!r} contradict each other."
            )
            raise RunEnds(what, "Keep one of the buckets.", Exit.BAD_CONFIGURATION)
        bucket = named
    return settings.model_copy(update={"bucket": bucket, "s3_prefix": prefix.lstrip("/")})


def add_image_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags that are no settings."""
    parser.add_argument("--dry-run", action="store_true", help="analyse and show what would be fetched; fetch nothing")


def what_is_missing(arguments: argparse.Namespace, raw: Mapping[str, str]) -> list[str]:
    """What cannot be left out."""
    words = {
        "CVAT_IMAGES_CSV_FILE": "--csv-file",
        "CVAT_IMAGES_OUTPUT_DIR": "--output-dir",
        "CVAT_IMAGES_BUCKET": "--bucket",
    }
    given = dict(raw)
    address = raw.get("CVAT_IMAGES_S3_PREFIX", "")
    if address.startswith("s3://"):
        given.setdefault("CVAT_IMAGES_BUCKET", address)
    return [f"{name} is not set ({flag})" for name, flag in words.items() if not given.get(name)]
