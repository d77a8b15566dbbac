"""The crontab file: read, checked, and looked at again for changes."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from zoneinfo import ZoneInfo

from common.scheduling.crontab import Crontab, Problem, parse

LOOK_EVERY_SECONDS = 2.0
LARGEST_BYTES = 1_000_000
# The daemon itself, a service of its own, and a library.
_NO_JOBS = frozenset(("scheduler.py", "fiftyone_app.py", "sc_client.py"))


@dataclass(frozen=True)
class Reading:
    """The crontab as it was at one look; the same content has the same `sha256` ("" when it cannot be read)."""

    crontab: Crontab
    sha256: str


def read_crontab(path: Path, scripts: Collection[str], zone: ZoneInfo) -> Reading:
    """Reads and checks; a file that cannot be read is a problem like any other."""
    try:
        with open(path, "rb") as file:
            content = file.read(LARGEST_BYTES + 1)
    except OSError as error:
        return Reading(Crontab((), (Problem(0, f"it cannot be read: {error.strerror}"),)), "")
    sha256 = hashlib.sha256(content).hexdigest()
    if len(content) > LARGEST_BYTES:
        return Reading(Crontab((), (Problem(0, f"it is larger than {LARGEST_BYTES:,} bytes"),)), sha256)
    try:
        return Reading(parse(content.decode("utf-8"), scripts, zone), sha256)
    except UnicodeDecodeError:
        return Reading(Crontab((), (Problem(0, "it is not UTF-8 text"),)), sha256)


def scripts_in(folder: Path) -> frozenset[str]:
    """What a line may start: the scripts beside scheduler.py that do something and end."""
    return frozenset(path.name for path in folder.glob("*.py")) - _NO_JOBS


class Watch:
    """Notices a changed crontab. An editor writes in several steps: a change counts when two looks saw the same."""

    def __init__(self, path: Path, scripts_folder: Path, zone: ZoneInfo) -> None:
        self.path = path
        self._scripts_folder = scripts_folder
        self._zone = zone
        self._seen = ""
        self._accepted = ""
        self._looked = time.monotonic()

    def read(self) -> Reading:
        """The file as it is now, taken as seen."""
        reading = read_crontab(self.path, scripts_in(self._scripts_folder), self._zone)
        self._seen = self._accepted = reading.sha256
        return reading

    def changed(self) -> Reading | None:
        """A reading when the file has become another one and holds still; looks every few seconds only."""
        if time.monotonic() - self._looked < LOOK_EVERY_SECONDS:
            return None
        self._looked = time.monotonic()
        reading = read_crontab(self.path, scripts_in(self._scripts_folder), self._zone)
        settled = reading.sha256 == self._seen
        self._seen = reading.sha256
        if not settled or reading.sha256 == self._accepted:
            return None
        self._accepted = reading.sha256
        return reading
