#!/usr/bin/env python3
"""Downloads the COCO 2017 validation images (about 0.8 GB) and annotations into ./coco, resuming and checking.

python download_coco.py [FOLDER] [SERVER]
"""

from __future__ import annotations

import shutil
import sys
import zipfile
from pathlib import Path

import requests
import urllib3

SERVER = "http://images.cocodataset.org"
FILES = {
    "val2017.zip": "zips/val2017.zip",
    "annotations_trainval2017.zip": "annotations/annotations_trainval2017.zip",
}
WANTED = "annotations/instances_val2017.json"


def fetch(url: str, to: Path) -> None:
    """Goes on where an earlier call stopped; a file of the wrong length or with a bad checksum inside is an error."""
    part = to.with_suffix(".part")
    have = part.stat().st_size if part.exists() else 0
    headers = {"Range": f"bytes={have}-"} if have else {}
    with requests.get(url, headers=headers, stream=True, timeout=60) as answer:
        if answer.status_code == 416:  # nothing is left to fetch, unless it is another file
            total = int(answer.headers.get("Content-Range", "*/0").rpartition("/")[2])
        else:
            answer.raise_for_status()
            if answer.status_code != 206:
                have = 0
            total = have + int(answer.headers["Content-Length"])
            with open(part, "ab" if have else "wb") as file:
                try:
                    while piece := answer.raw.read1(1 << 20):
                        have += file.write(piece)
                        print(f"\r{to.name}: {have / 1e6:.0f} of {total / 1e6:.0f} MB", end="", flush=True)
                except (urllib3.exceptions.HTTPError, OSError):
                    pass  # it is told below
    print()
    if have < total:
        raise SystemExit(f"{to.name}: {have:,} of {total:,} bytes arrived; run this again, it goes on from there")
    try:
        with zipfile.ZipFile(part) as archive:
            bad = archive.testzip()
    except zipfile.BadZipFile as error:
        bad = str(error)
    if bad:
        part.unlink()
        raise SystemExit(f"{to.name} is damaged ({bad}); run this again")
    part.rename(to)


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "coco")
    (folder / "images").mkdir(parents=True, exist_ok=True)
    (folder / "annotations").mkdir(exist_ok=True)
    server = sys.argv[2] if len(sys.argv) > 2 else SERVER
    for name, path in FILES.items():
        if not (folder / name).exists():
            fetch(f"{server}/{path}", folder / name)
    with zipfile.ZipFile(folder / "val2017.zip") as archive:
        images = [member for member in archive.infolist() if member.filename.endswith(".jpg")]
        for member in images:
            to = folder / "images" / Path(member.filename).name
            if not to.exists() or to.stat().st_size != member.file_size:
                with archive.open(member) as source, open(to, "wb") as file:
                    shutil.copyfileobj(source, file)
    with (
        zipfile.ZipFile(folder / "annotations_trainval2017.zip") as archive,
        archive.open(WANTED) as source,
        open(folder / WANTED, "wb") as file,
    ):
        shutil.copyfileobj(source, file)
    found = len(list((folder / "images").glob("*.jpg")))
    if found != len(images):
        raise SystemExit(f"{found:,} images are there, {len(images):,} should be; remove {folder} and run this again")
    print(f"All good: {found:,} images in {folder / 'images'}, annotations in {folder / WANTED}")


if __name__ == "__main__":
    main()
