"""What a load tells about each field, and about what it met."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

from common.fiftyone.permissions import KINDS

ADDED, CHANGED, REMOVED, PUT_BACK, SAME = "added", "changed", "removed", "put_back", "same"
MISSING_TOLD = 1000


class Counts:
    """Counters of a load by field; of what is missing the first thousand are named."""

    def __init__(self, fields: Iterable[str]) -> None:
        self._plain: dict[str, Counter[str]] = {name: Counter() for name in fields}
        self._ignored: dict[str, Counter[str]] = defaultdict(Counter)
        self._unexpected: dict[str, Counter[str]] = defaultdict(Counter)
        self._not_supported: dict[str, Counter[str]] = defaultdict(Counter)
        self.deleted_frames: list[dict[str, Any]] = []
        self.missing: list[dict[str, Any]] = []
        self.missing_count = 0
        self.task = 0  # the one that is being loaded
        self._not_placed: Counter[int] = Counter()
        self._not_held: Counter[int] = Counter()

    def add(self, field: str, what: str, number: int = 1) -> None:
        if number:
            self._plain.setdefault(field, Counter())[what] += number

    def ignored(self, field: str, kinds: Iterable[str | None]) -> None:
        """One label on which edits were left out because they are not allowed: once for each kind of edit."""
        self._ignored[field].update({kind for kind in kinds if kind})

    def unexpected(self, field: str, kind: str) -> None:
        self._unexpected[field][kind] += 1

    def not_supported(self, field: str, why: str) -> None:
        self._not_supported[field][why] += 1
        self._not_held[self.task] += 1

    def miss(self, **what: Any) -> None:
        """Something of a task that has no place in FiftyOne any more: a sample, a label, or all of it."""
        self.missing_count += 1
        self._not_placed[int(what["task"])] += 1
        if len(self.missing) < MISSING_TOLD:
            self.missing.append(what)

    def take_missing(self, other: Counts) -> None:
        """Adds what another one has missed."""
        self.missing_count += other.missing_count
        self._not_placed.update(other._not_placed)
        self.missing += other.missing[: max(0, MISSING_TOLD - len(self.missing))]

    def left_behind(self) -> dict[str, dict[str, int]]:
        """What is in CVAT only: by task what was not placed, and what FiftyOne cannot hold."""
        return {
            name: {str(task): count for task, count in sorted(counted.items())}
            for name, counted in (("not_placed", self._not_placed), ("not_held", self._not_held))
        }

    def told(self) -> dict[str, Any]:
        return {
            field: {
                **{name: plain[name] for name in (ADDED, CHANGED, REMOVED, PUT_BACK, SAME)},
                "ignored": {kind: self._ignored[field][kind] for kind in KINDS},
                "unexpected": dict(self._unexpected[field]),
                "not_supported": dict(self._not_supported[field]),
            }
            for field, plain in self._plain.items()
        }
