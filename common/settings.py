"""Settings: environment variables, then `.env.local`, then `.env`; flags win over all of them.

One class per script, made of fields whose alias is the variable's name. Every secret is a `SecretStr`: it
has no flag, is readable from the file named in `NAME_FILE`, and is masked wherever settings are shown.
pydantic does the converting and checking; the reading is ours because no library reads env files without
interpolating or unquoting something.
"""

from __future__ import annotations

import argparse
import difflib
import os
import re
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic.fields import FieldInfo

from common.envfile import EnvFileError, read_env_file, without_quotes
from common.files import is_folder

ROOT = Path(__file__).resolve().parent.parent
PREFIXES = ("CVAT_", "SC_", "LOG_", "FIFTYONE_SYNC_")
# The settings of all scripts, and what CVAT's own tools read: never a typing error, also where this script ignores them.
ELSEWHERE = frozenset(
    """
    CVAT_VERSION CVAT_HOST CVAT_BASE_URL
    CVAT_URL CVAT_ACCESS_TOKEN CVAT_ACCESS_TOKEN_FILE CVAT_USERNAME CVAT_PASSWORD CVAT_PASSWORD_FILE CVAT_ORGANIZATION
    CVAT_VERIFY_TLS CVAT_CA_BUNDLE CVAT_HTTP_TIMEOUT_SECONDS CVAT_SERVER_WAIT_SECONDS
    CVAT_BACKUP_DIR CVAT_BACKUP_SAVE_IMAGES CVAT_BACKUP_FORMAT CVAT_BACKUP_REQUEST_TIMEOUT_HOURS
    CVAT_BACKUP_STANDALONE_TASKS CVAT_BACKUP_INCLUDE CVAT_BACKUP_EXCLUDE CVAT_BACKUP_CONCURRENCY
    CVAT_BACKUP_FULL_EVERY_DAYS CVAT_BACKUP_HEALTH_GATE CVAT_BACKUP_MAX_GB_PER_DAY CVAT_BACKUP_MIN_FREE_GB CVAT_BACKUP_SHARD
    CVAT_BACKUP_TTL CVAT_BACKUP_TTL_HOURS CVAT_MIN_NUM_BACKUPS CVAT_KEEP_HOURLY CVAT_KEEP_DAILY CVAT_KEEP_WEEKLY
    CVAT_KEEP_MONTHLY CVAT_KEEP_YEARLY CVAT_KEEP_WITHIN CVAT_BACKUP_MAX_SIZE CVAT_BACKUP_ORPHAN_DAYS CVAT_SWEEP_LEGACY
    CVAT_SWEEP_DROP_PERCENT
    CVAT_RESTORE_TIMEOUT_HOURS CVAT_RESTORE_UPLOAD_LIMIT_GB CVAT_RESTORE_CHUNK_MB
    CVAT_DRILL_URL CVAT_DRILL_ACCESS_TOKEN CVAT_DRILL_ACCESS_TOKEN_FILE CVAT_DRILL_USERNAME CVAT_DRILL_PASSWORD
    CVAT_DRILL_PASSWORD_FILE
    CVAT_DOWNLOAD_ORGANIZATION_SLUG CVAT_DOWNLOAD_PROJECT_ID CVAT_DOWNLOAD_TASK_IDS CVAT_DOWNLOAD_REQUIRED_STATUS
    CVAT_DOWNLOAD_JOBS_COMPLETED CVAT_DOWNLOAD_SUBSET CVAT_DOWNLOAD_UPDATED_SINCE CVAT_DOWNLOAD_INCLUDE
    CVAT_DOWNLOAD_EXCLUDE CVAT_DOWNLOAD_CHECK_IMAGE_EXISTS CVAT_DOWNLOAD_DATASET_FORMAT CVAT_DOWNLOAD_INCLUDE_IMAGES
    CVAT_DOWNLOAD_OVERWRITE_EXISTING CVAT_DOWNLOAD_OUTPUT_DIR CVAT_DOWNLOAD_RUN_ID CVAT_DOWNLOAD_MERGE
    CVAT_DOWNLOAD_SPLIT CVAT_DOWNLOAD_CONCURRENCY CVAT_DOWNLOAD_REQUEST_TIMEOUT_HOURS CVAT_DOWNLOAD_MIN_FREE_GB
    CVAT_IMAGES_BUCKET CVAT_IMAGES_ENDPOINT_URL CVAT_IMAGES_PROFILE CVAT_IMAGES_REGION CVAT_IMAGES_NO_SIGN_REQUEST
    CVAT_IMAGES_REQUEST_PAYER CVAT_IMAGES_TRANSPORT CVAT_IMAGES_TIMEOUT_SECONDS CVAT_IMAGES_CSV_FILE
    CVAT_IMAGES_OUTPUT_DIR CVAT_IMAGES_S3_PREFIX CVAT_IMAGES_CSV_COLUMN CVAT_IMAGES_AUTO_CONFIRM CVAT_IMAGES_RESUME
    CVAT_IMAGES_VERIFY CVAT_IMAGES_KEEP_FOLDERS CVAT_IMAGES_AMBIGUOUS CVAT_IMAGES_WORKERS CVAT_IMAGES_RETRY_SECONDS
    CVAT_IMAGES_MIN_FREE_GB CVAT_IMAGES_PROCESSES
    CVAT_LOCK_WAIT_MINUTES CVAT_CRONTAB CVAT_STATE_DIR CVAT_SCHEDULE_CATCH_UP CVAT_SCHEDULE_JOBS_AT_ONCE
    CVAT_STOP_GRACE_SECONDS
    CVAT_PING_URL CVAT_PING_URL_FILE CVAT_PING_URL_BACKUP_P CVAT_PING_URL_BACKUP_P_FILE CVAT_PING_URL_BACKUP_A
    CVAT_PING_URL_BACKUP_A_FILE CVAT_PING_URL_BACKUP_T CVAT_PING_URL_BACKUP_T_FILE CVAT_PING_URL_SWEEPER
    CVAT_PING_URL_SWEEPER_FILE CVAT_PING_URL_RESTORE CVAT_PING_URL_RESTORE_FILE CVAT_PING_URL_DRILL
    CVAT_PING_URL_DRILL_FILE CVAT_PING_URL_DOWNLOADER CVAT_PING_URL_DOWNLOADER_FILE CVAT_PING_URL_SC_MIGRATE
    CVAT_PING_URL_SC_MIGRATE_FILE CVAT_PING_URL_FIFTYONE_SYNC CVAT_PING_URL_FIFTYONE_SYNC_FILE
    CVAT_ALERT_WEBHOOK_URL CVAT_ALERT_WEBHOOK_URL_FILE CVAT_ALERT_APPRISE_URLS CVAT_ALERT_APPRISE_URLS_FILE
    CVAT_HEALTH_PORT CVAT_HEALTH_HOST CVAT_HEALTH_TOKEN CVAT_HEALTH_TOKEN_FILE CVAT_HEALTH_MAX_AGE_HOURS
    SC_HOST SC_TOKEN SC_TOKEN_FILE SC_USERNAME SC_PASSWORD SC_PASSWORD_FILE SC_WORKSPACE SC_CA_BUNDLE SC_VERIFY_TLS
    SC_TARGET_HOST SC_TARGET_TOKEN SC_TARGET_TOKEN_FILE SC_TARGET_USERNAME SC_TARGET_PASSWORD SC_TARGET_PASSWORD_FILE
    SC_TARGET_WORKSPACE SC_TARGET_CA_BUNDLE SC_TARGET_VERIFY_TLS
    SC_ALLOW_HTTP SC_DIR SC_CONNECTIONS SC_HTTP_TIMEOUT_SECONDS SC_SERVER_WAIT_SECONDS SC_JOB_TIMEOUT_HOURS
    SC_MIN_FREE_GB
    CVAT_SYNC CVAT_EMAIL FIFTYONE_SYNC_ORGANIZATION FIFTYONE_SYNC_PYTHON FIFTYONE_SYNC_DATASET FIFTYONE_SYNC_MEDIA_DIR
    FIFTYONE_SYNC_ANNO_KEY FIFTYONE_SYNC_VIEW FIFTYONE_SYNC_LABEL_FIELD FIFTYONE_SYNC_LABEL_TYPE FIFTYONE_SYNC_CLASSES
    FIFTYONE_SYNC_ATTRIBUTES FIFTYONE_SYNC_MASK_TARGETS FIFTYONE_SYNC_LABEL_SCHEMA FIFTYONE_SYNC_OCCLUDED_ATTR
    FIFTYONE_SYNC_GROUP_ID_ATTR FIFTYONE_SYNC_ALLOW_ADDITIONS FIFTYONE_SYNC_ALLOW_DELETIONS
    FIFTYONE_SYNC_ALLOW_LABEL_EDITS FIFTYONE_SYNC_ALLOW_INDEX_EDITS FIFTYONE_SYNC_ALLOW_SPATIAL_EDITS
    FIFTYONE_SYNC_PROJECT_NAME FIFTYONE_SYNC_EXISTING_PROJECT FIFTYONE_SYNC_REMOVE_LABEL_ID FIFTYONE_SYNC_TASK_SIZE
    FIFTYONE_SYNC_SEGMENT_SIZE FIFTYONE_SYNC_TASK_ASSIGNEE FIFTYONE_SYNC_JOB_ASSIGNEES FIFTYONE_SYNC_IMAGE_QUALITY
    FIFTYONE_SYNC_FRAME_START FIFTYONE_SYNC_FRAME_STOP FIFTYONE_SYNC_FRAME_STEP FIFTYONE_SYNC_DEST_FIELD
    FIFTYONE_SYNC_UNEXPECTED FIFTYONE_SYNC_DEADLINE FIFTYONE_SYNC_JOBS_DEADLINE FIFTYONE_SYNC_LAUNCH_EDITOR
    """.split()
)
MASK = "********"
# The folder of .env and .env.local, for several servers on one machine; read from the environment only.
ENV_DIR = "CVAT_ENV_DIR"
# The id of a run that scheduler.py has started, so that its books and the run's own name the same thing.
RUN_ID = "CVAT_RUN_ID"


class SettingsError(Exception):
    """What is wrong with the configuration; `problems` holds one line each, all of them at once."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class Settings(BaseModel):
    """What every script has. A field's alias is its environment variable, its description the `.env` comment."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=False)
    # How variables begin that boto3 takes from the environment, and nobody from our files.
    from_environment_only: ClassVar[str] = ""

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", alias="LOG_LEVEL", description="how much is logged: DEBUG, INFO, WARN or ERROR"
    )
    log_format: Literal["auto", "text", "json"] = Field(
        "auto", alias="LOG_FORMAT", description="auto = text on a terminal, JSON lines elsewhere; text; json"
    )
    lock_wait_minutes: float = Field(
        0,
        alias="CVAT_LOCK_WAIT_MINUTES",
        ge=0,
        le=100_000,
        description="how long another run in the same folder is waited for (minutes); 0 = end at once with 11",
    )

    @field_validator("log_level", mode="before")
    @classmethod
    def _level_name(cls, value: Any) -> Any:
        name = str(value).upper()
        return {"WARN": "WARNING", "CRITICAL": "ERROR", "FATAL": "ERROR"}.get(name, name)

    @field_validator("log_format", mode="before")
    @classmethod
    def _lower(cls, value: Any) -> Any:
        return str(value).lower()


def absolute(path: Path) -> Path:
    """A path that means the same from everywhere. Raises ValueError."""
    try:
        return path.expanduser().absolute()
    except RuntimeError:
        raise ValueError("begins with a ~ that stands for nobody's home") from None


class FolderSettings(Settings):
    """What every script has that reads or writes the folder of the backups."""

    dir: Path = Field(
        ROOT / "backups",
        alias="CVAT_BACKUP_DIR",
        description="folder of the backups; default: backups beside the scripts",
    )

    @field_validator("dir")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return absolute(value)


class RoomSettings(FolderSettings):
    """What every script has that writes large files into that folder."""

    min_free_gb: float = Field(
        1,
        alias="CVAT_BACKUP_MIN_FREE_GB",
        ge=0,
        le=1e6,
        description="room that is left free on the disk of CVAT_BACKUP_DIR (GB)",
    )


SettingsType = TypeVar("SettingsType", bound=Settings)


@dataclass(frozen=True)
class Loaded(Generic[SettingsType]):
    """Checked settings, where each value came from, and what looks like a typing error."""

    settings: SettingsType
    origins: Mapping[str, str]
    warnings: Sequence[str]


def variables(cls: type[Settings]) -> dict[str, FieldInfo]:
    """The settings of a script by the name of their environment variable."""
    return {str(field.alias): field for field in cls.model_fields.values()}


def is_secret(field: FieldInfo) -> bool:
    return SecretStr in (field.annotation, *typing.get_args(field.annotation))


def has_no_flag(field: FieldInfo) -> bool:
    """Whether another setting of the same script has the flag that this one's name would give."""
    return isinstance(field.json_schema_extra, dict) and bool(field.json_schema_extra.get("has_no_flag"))


def older_name(field: FieldInfo) -> str | None:
    """What a variable was called before; still understood."""
    extra = field.json_schema_extra
    return str(extra["older_name"]) if isinstance(extra, dict) and "older_name" in extra else None


def joined_from(field: FieldInfo, environ: Mapping[str, str]) -> str | None:
    """A value that the surroundings give in parts, such as Kubernetes a pod's number; "2/" when only the first is there."""
    extra = field.json_schema_extra
    names = extra.get("joined_from", ()) if isinstance(extra, dict) else ()
    parts = [environ.get(str(name), "") for name in names] if isinstance(names, list) else []
    return "/".join(parts) if parts and parts[0] else None


def does_without(field: FieldInfo) -> tuple[str, ...]:
    """The settings in whose place this one stands: where all are set equally high, it is the one that counts."""
    extra = field.json_schema_extra
    names = extra.get("does_without", ()) if isinstance(extra, dict) else ()
    return tuple(str(name) for name in names) if isinstance(names, list) else ()


def flag_name(variable: str) -> str:
    """The command-line flag of a variable: CVAT_BACKUP_DIR and SC_DIR are --dir, CVAT_URL is --url."""
    for prefix in ("CVAT_BACKUP_", "CVAT_DOWNLOAD_", "CVAT_IMAGES_", "CVAT_", "SC_", "FIFTYONE_SYNC_"):
        variable = variable.removeprefix(prefix)
    return "--" + variable.lower().replace("_", "-")


def add_flags(parser: argparse.ArgumentParser, cls: type[Settings]) -> None:
    """One flag for every setting that is not a secret; `settings_of` finds the values under the variable's name."""
    group = parser.add_argument_group(
        "settings", "Each is also an environment variable (in brackets) and stands in .env; a flag wins."
    )
    for variable, field in variables(cls).items():
        if is_secret(field) or has_no_flag(field):
            continue
        boolean = field.annotation is bool
        group.add_argument(
            flag_name(variable),
            dest=variable,
            metavar="true|false" if boolean else "VALUE",
            nargs="?" if boolean else None,
            const="true" if boolean else None,
            help=f"{(field.description or '').replace('%', '%%')} [{variable}]",
        )


def load(
    cls: type[SettingsType],
    *,
    flags: Mapping[str, str | None] | None = None,
    environ: Mapping[str, str] | None = None,
    folder: Path = ROOT,
    also_check: Sequence[Callable[[Mapping[str, str]], list[str]]] = (),
) -> Loaded[SettingsType]:
    """Reads and checks all settings of `cls`. Raises SettingsError with every problem found."""
    problems: list[str] = []
    layers: list[tuple[str, Mapping[str, str]]] = []
    environ = os.environ if environ is None else environ
    if named_folder := environ.get(ENV_DIR):
        folder = Path(named_folder)
        if not is_folder(folder):
            # Without this, a slip in a crontab means another server, or the settings that are shipped.
            problems.append(f"{ENV_DIR}={named_folder!r} is no folder: .env and .env.local are looked for there")
    for file_name in (".env", ".env.local"):
        try:
            layers.append((file_name, read_env_file(folder / file_name)))
        except EnvFileError as error:
            problems.append(str(error))
    layers.append(("environment", environ))
    layers.append(("flag", {name: value for name, value in (flags or {}).items() if value is not None}))

    known = variables(cls)
    raw: dict[str, str] = {}
    origins: dict[str, str] = {}
    for origin, layer in layers:
        for variable, field in known.items():
            # A relative path in a file means the same wherever a program is started from, by cron for instance.
            base = folder if origin.startswith(".env") else Path()
            found = _value(variable, field, layer, problems, base)
            if found is not None:
                raw[variable], origins[variable] = found, origin
    for variable, field in known.items():
        if variable not in raw and (joined := joined_from(field, environ)) is not None:
            raw[variable], origins[variable] = joined, "environment"
    _let_the_higher_win(known, raw, origins, [origin for origin, _ in layers])
    for check in also_check:
        problems.extend(check(raw))
    settings = None
    try:
        settings = cls.model_validate(raw)
    except ValidationError as error:
        problems.extend(_plain_problems(error, raw, known, origins))
    if problems or settings is None:
        raise SettingsError(problems)
    warnings = unknown_variables(layers, known)
    if cls.from_environment_only:
        warnings += _in_vain(cls.from_environment_only, layers, environ)
    return Loaded(settings, origins, warnings)


def _let_the_higher_win(
    known: Mapping[str, FieldInfo], raw: dict[str, str], origins: dict[str, str], order: Sequence[str]
) -> None:
    """A token of .env.local does not stand in the place of a user who was named above it, by a flag for instance."""
    for variable, field in known.items():
        if variable not in raw:
            continue
        others = [each for each in does_without(field) if each in raw]
        highest = max(others, key=lambda each: order.index(origins[each]), default=variable)
        if order.index(origins[highest]) > order.index(origins[variable]):
            del raw[variable]
            origins[variable] = f"that of {origins[variable]} gives way to {highest} ({origins[highest]})"


def _value(variable: str, field: FieldInfo, layer: Mapping[str, str], problems: list[str], base: Path) -> str | None:
    """One layer's value of one variable, or of its older name; set but empty means unset."""
    value = layer.get(variable) or None
    if older := older_name(field):
        before = layer.get(older) or None
        if value and before and value.strip() != before.strip():
            problems.append(f"{variable}={value!r} and {older}={before!r} contradict each other: keep {variable}")
        value = value or before
    if not is_secret(field):
        # `docker run --env-file` hands over the quotes that the predecessor's documents show around values.
        value = (without_quotes(value.strip()) or None) if value else None
        is_path = Path in (field.annotation, *typing.get_args(field.annotation))
        return str(base / value) if value and is_path and not value.startswith("~") else value
    named_file = layer.get(f"{variable}_FILE") or None
    if named_file is None:
        return value
    if value is not None:
        problems.append(f"{variable} and {variable}_FILE are both set: keep one of them")
        return None
    try:
        text = (base / named_file).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        problems.append(f"{variable}_FILE={named_file!r} cannot be read: {reason}")
        return None
    secret = text.rstrip("\r\n")
    if not secret:
        problems.append(f"{variable}_FILE={named_file!r} is empty")
    return secret or None


_WORDS = {
    "bool_parsing": "is neither true nor false",
    "int_parsing": "is not a whole number",
    "int_from_float": "is not a whole number",
    "float_parsing": "is not a number",
    "finite_number": "is not a number",
}


def _plain_problems(
    error: ValidationError, raw: Mapping[str, str], known: Mapping[str, FieldInfo], origins: Mapping[str, str]
) -> list[str]:
    lines = []
    for problem in error.errors(include_url=False, include_context=True):
        variable = str(problem["loc"][0]) if problem["loc"] else ""
        context = problem.get("ctx", {})
        match problem["type"]:
            case "missing":
                lines.append(f"{variable} is not set")
                continue
            case "greater_than_equal":
                reason = f"must be {context['ge']} or more"
            case "greater_than":
                reason = f"must be more than {context['gt']}"
            case "less_than_equal":
                reason = f"must be {context['le']} or less"
            case "literal_error":
                reason = f"must be one of {context['expected']}"
            case "value_error":
                reason = str(context["error"])
            case other:
                reason = _WORDS.get(other, problem["msg"])
        if not variable:
            lines.append(reason)
            continue
        # A password that was put into an address is a secret all the same.
        shown = MASK if is_secret(known[variable]) else repr(re.sub(r"(?s):.*@", f":{MASK}@", raw.get(variable, "")))
        source = origins.get(variable, "")
        lines.append(f"{variable}={shown} {reason}" + (f" (set in {source})" if source.startswith(".env") else ""))
    return lines


def unknown_variables(layers: Sequence[tuple[str, Mapping[str, str]]], known: Mapping[str, FieldInfo]) -> list[str]:
    """Variables with our prefixes that nothing reads, each with the nearest name that something does."""
    names = set(known) | ELSEWHERE | {ENV_DIR, RUN_ID}
    accepted = names | {f"{name}_FILE" for name, field in known.items() if is_secret(field)}
    lines = []
    for origin, layer in layers:
        for name in sorted(layer):
            if origin == "flag" or name in accepted or not name.startswith(PREFIXES):
                continue
            nearest = difflib.get_close_matches(name, accepted, n=1, cutoff=0.7)
            if nearest or origin != "environment" or name.startswith("CVAT_BACKUP_"):
                hint = f"; did you mean {nearest[0]}?" if nearest else ""
                lines.append(f"{name} (set in {origin}) is not a setting of this program{hint}")
    return lines


def _in_vain(prefix: str, layers: Sequence[tuple[str, Mapping[str, str]]], environ: Mapping[str, str]) -> list[str]:
    """Variables that stand in a file where nobody reads them."""
    lines = []
    for origin, layer in layers:
        names = [name for name in sorted(layer) if name.startswith(prefix) and layer[name] and name not in environ]
        if names and origin.startswith(".env"):
            named = f"{', '.join(names)} (set in {origin})"
            lines.append(f"{named}: taken from the environment only. Export it there, or run  aws configure")
    return lines


def shown(loaded: Loaded[Any]) -> list[str]:
    """`--print-config`: every setting in force, where it came from, secrets masked."""
    settings = loaded.settings
    lines = []
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        if isinstance(value, SecretStr):
            text = MASK
        elif value is None or value == ():
            text = ""
        elif isinstance(value, bool):
            text = str(value).lower()
        elif isinstance(value, tuple):
            text = ",".join(str(part) for part in value)
        else:
            text = str(value)
        lines.append(f"{field.alias}={text}".ljust(60) + f"  # {loaded.origins.get(str(field.alias), 'default')}")
    return lines
