"""Disk use over time: one sample an hour in `disk.jsonl`, thinned out as it ages."""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from common.files import append_lines, publish
from common.text import iso, parse_time

EVERY = timedelta(hours=1)
# Every sample of a fortnight, one a day for two years, one a week before that: some 1,000 lines in ten years.
HOURLY_FOR = timedelta(days=14)
DAILY_FOR = timedelta(days=730)
# The file is rewritten when it holds so many lines more than are kept.
SPARE_LINES = 200


@dataclass(frozen=True, slots=True)
class Sample:
    """The disk of the backups at one moment. `used_bytes` is what all backups take."""

    at: datetime
    used_bytes: int
    free_bytes: int
    backups: int


def thinned(samples: list[Sample], now: datetime) -> list[Sample]:
    """What is kept: the last sample of each hour, day or week, depending on age; oldest first."""
    kept: dict[tuple[int, ...], Sample] = {}
    for sample in sorted(samples, key=lambda each: each.at):
        age, at = now - sample.at, sample.at.astimezone(UTC)
        if age <= HOURLY_FOR:
            period: tuple[int, ...] = (0, at.toordinal(), at.hour)
        elif age <= DAILY_FOR:
            period = (1, at.toordinal())
        else:
            period = (2, *at.isocalendar()[:2])
        kept[period] = sample
    return list(kept.values())


class DiskLog:
    """`disk.jsonl` of the state folder."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / "disk.jsonl"
        self._lines = 0
        self.samples: list[Sample] = []

    def load(self, now: datetime) -> None:
        """Reads what earlier daemons have sampled; damaged lines are passed over. Raises OSError."""
        found = []
        self._lines = 0
        with contextlib.suppress(FileNotFoundError), open(self._path, encoding="utf-8", errors="replace") as file:
            for text in file:
                self._lines += 1
                with contextlib.suppress(ValueError, KeyError, TypeError):
                    value = json.loads(text)
                    found.append(
                        Sample(
                            parse_time(value["at"]),
                            int(value["used_bytes"]),
                            int(value["free_bytes"]),
                            int(value["backups"]),
                        )
                    )
        self.samples = thinned(found, now)

    def is_due(self, now: datetime) -> bool:
        # A clock that went back must not silence the samples until it has caught up.
        return not self.samples or abs(now - self.samples[-1].at) >= EVERY

    def add(self, sample: Sample) -> None:
        """Raises DiskFull, OSError."""
        self.samples = thinned([*self.samples, sample], sample.at)
        append_lines(self._path, [_text(sample)])
        self._lines += 1
        if self._lines > len(self.samples) + SPARE_LINES:
            temporary = self._path.with_name(".disk.jsonl.tmp")
            temporary.write_text("".join(_text(each) + "\n" for each in self.samples), encoding="utf-8")
            publish(temporary, self._path)
            self._lines = len(self.samples)


def _text(sample: Sample) -> str:
    return json.dumps({**asdict(sample), "at": iso(sample.at)})
