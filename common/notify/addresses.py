"""Which address is pinged for which job, and how: the protocol of healthchecks.io, which others speak too."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

BY_SCRIPT = {
    "sweeper.py": "SWEEPER",
    "restore.py": "RESTORE",
    "downloader.py": "DOWNLOADER",
    "sc_migrate.py": "SC_MIGRATE",
    "fiftyone_sync.py": "FIFTYONE_SYNC",
}


def keys_of(command: Sequence[str]) -> list[str]:
    """The endings of CVAT_PING_URL_… that concern a command; `backup.py --mode p a` concerns two."""
    script, arguments = command[0], command[1:]
    if script == "backup.py":
        return [f"BACKUP_{mode.upper()}" for mode in _modes(arguments)] or ["BACKUP_P"]
    if script == "restore.py" and any(word.split("=")[0] == "--drill" for word in arguments):
        return ["DRILL"]
    return [BY_SCRIPT[script]] if script in BY_SCRIPT else []


def _modes(arguments: Sequence[str]) -> list[str]:
    found: list[str] = []
    reading = False
    for word in arguments:
        if word.startswith("-"):
            name, _, value = word.partition("=")
            reading = name == "--mode"
            found += [mode for mode in value.split(",") if mode] if reading else []
        elif reading:
            found += [mode for mode in word.split(",") if mode]
    return found


def addresses_of(job: str, command: Sequence[str], urls: Mapping[str, str]) -> list[str]:
    """What is pinged for a job. `urls` are the settings: "" for every job, "BACKUP_P" and so on, which win over it."""
    own = [urls[key] for key in keys_of(command) if key in urls]
    if own or "" not in urls:
        return list(dict.fromkeys(own))
    if "{job}" in urls[""]:
        return [urls[""].replace("{job}", quote(slug_of(job)))]
    return [with_path(urls[""], slug_of(job))]


def slug_of(job: str) -> str:
    """ "restore verify all share 1/4" -> "restore-verify-all-share-1-4": lower case, as healthchecks.io wants slugs."""
    return re.sub(r"[^a-z0-9_]+", "-", job.lower()).strip("-")[:80] or "job"


def with_path(url: str, part: str) -> str:
    """The address with one more part in its path, its query kept."""
    pieces = urlsplit(url)
    return urlunsplit(pieces._replace(path=f"{pieces.path.rstrip('/')}/{part}"))


def with_run(url: str, run_uuid: str) -> str:
    """The address with `rid`, which pairs the start of a run with its end."""
    pieces = urlsplit(url)
    query = "&".join(part for part in (pieces.query, urlencode({"rid": run_uuid})) if part)
    return urlunsplit(pieces._replace(query=query))


def at_the_end(url: str, outcome: str, exit_code: int | None) -> str:
    """Where the end of a run is told: the plain address for success, the exit code or /fail for failure, else /log."""
    if outcome == "good":
        return url
    if outcome == "stopped":
        return with_path(url, "log")
    return with_path(url, str(exit_code)) if exit_code is not None and 0 < exit_code <= 255 else with_path(url, "fail")
