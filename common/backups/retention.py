"""Which backups of one source may go, and why each of the others stays: pure functions over plain data.

The laws stand above every rule. Only good backups count. The newest of them never goes. Nothing goes while the newest
attempt failed, while nothing has confirmed the source lately or steadily, while a record contradicts its files, or after a sudden
drop that nobody has looked at. The only way around them is CVAT_BACKUP_ORPHAN_DAYS, for sources that have vanished.
"""

from __future__ import annotations

import itertools
import math
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

# Clocks of two machines differ a little; what is dated later than this is dated in the future.
CLOCKS_DIFFER = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Copy:
    """One backup as retention sees it. `at` is when it was finished; `form` says which sizes may be compared.

    `doubt` says why it counts for nothing; empty when it is good. A doubt that somebody has looked into and marked
    (`is_marked`) concerns this copy alone; any other one concerns the whole history.
    """

    stamp: str
    at: datetime
    size_bytes: int
    annotations: int = 0
    form: str = ""
    doubt: str = ""
    is_marked: bool = False
    record: str = ""
    files: tuple[str, ...] = ()

    @property
    def is_good(self) -> bool:
        return not self.doubt


@dataclass(frozen=True)
class Rules:
    """What a person asked for. None and 0: the rule is off. The minimum is at least 1."""

    ttl: timedelta | None = None
    minimum: int = 1
    hourly: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    yearly: int = 0
    within: timedelta | None = None
    orphan_after: timedelta | None = None

    def __post_init__(self) -> None:
        if self.minimum < 1:
            raise ValueError("a minimum below 1 would let the last backup go")

    @property
    def let_anything_go(self) -> bool:
        return self.ttl is not None or self.within is not None or any(self.slots.values())

    @property
    def horizon(self) -> timedelta | None:
        """How old a confirmation may be. Slots need no such thing: they do not count empty days."""
        return self.ttl if self.ttl is not None else self.within

    @property
    def gap(self) -> timedelta | None:
        """So long without a success is a gap in a source's history; with a TTL of a day, tonight's half hour is none."""
        return None if self.horizon is None else max(self.horizon + timedelta(hours=12), timedelta(hours=36))

    @property
    def slots(self) -> dict[str, int]:
        return {name: getattr(self, name) for name in _PERIODS}


@dataclass(frozen=True)
class Standing:
    """What the journal says about a source. Times are None when there is nothing of the kind.

    `resumed_at`: when attempts succeeded again after none had for longer than a TTL, or after a clock went back.
    """

    newest_attempt_failed: bool = False
    confirmed_at: datetime | None = None
    resumed_at: datetime | None = None
    is_absent: bool = False
    vanished_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """Keep or delete, and the reason in plain words.

    What a law or the minimum keeps (`by_law`), CVAT_BACKUP_MAX_SIZE cannot take. `held_back`: every rule would have let
    it go; a law that protects the whole history at this moment does not.
    """

    copy: Copy
    delete: bool
    reason: str
    by_law: bool
    held_back: bool = False


# A number for the period that a moment lies in, in UTC, so that summer time neither doubles nor swallows an hour.
_PERIODS: dict[str, Callable[[datetime], tuple[int, ...]]] = {
    "hourly": lambda at: (at.year, at.month, at.day, at.hour),
    "daily": lambda at: (at.year, at.month, at.day),
    "weekly": lambda at: tuple(at.isocalendar()[:2]),
    "monthly": lambda at: (at.year, at.month),
    "yearly": lambda at: (at.year,),
}


def why_nothing_goes(
    copies: Sequence[Copy], rules: Rules, standing: Standing, now: datetime, *, frozen: str, even_if_stale: bool
) -> str:
    """The law that protects the whole history at this moment; empty when none does."""
    if not rules.let_anything_go:
        return "neither a TTL nor a keep rule is set"
    if frozen:
        return frozen
    if any(copy.doubt and not copy.is_marked for copy in copies):
        return "a record and its files disagree"
    if standing.is_absent:
        return "it is no longer on the server"
    if standing.confirmed_at is not None and standing.confirmed_at - now > CLOCKS_DIFFER:
        return "its newest attempt is dated in the future"
    if even_if_stale:
        return ""
    if standing.newest_attempt_failed:
        return "its newest attempt failed"
    if standing.confirmed_at is None:
        return "the journal knows of no attempt that succeeded"
    if rules.horizon is not None and now - standing.confirmed_at > rules.horizon:
        return "nothing has saved or confirmed it within the TTL"
    if rules.horizon is not None and standing.resumed_at is not None and now - standing.resumed_at <= rules.horizon:
        return "its backups went on less than a TTL ago, after a gap"
    return ""


def decide(
    copies: Sequence[Copy],
    rules: Rules,
    standing: Standing,
    now: datetime,
    *,
    frozen: str = "",
    even_if_stale: bool = False,
) -> list[Verdict]:
    """A verdict on every backup of one source and content, newest first.

    Order is that of the stamps, which never go back, and not that of the clock. `frozen` is the reason why a person
    has to look first; `even_if_stale` is that person's word that no fresh backup is needed.
    """
    ordered = sorted(copies, key=lambda copy: copy.stamp, reverse=True)
    if _is_orphan(copies, rules, standing, now) and not frozen:
        return [_orphaned(copy) for copy in ordered]
    protection = why_nothing_goes(copies, rules, standing, now, frozen=frozen, even_if_stale=even_if_stale)
    good = [copy for copy in ordered if copy.is_good]
    # A backup of the future stays, but takes nobody's place: while a clock is wrong, more is kept rather than less.
    counted = [copy for copy in good if copy.at - now <= CLOCKS_DIFFER]
    held = _held_by_slots(counted, rules)
    newest = good[0].stamp if good else ""
    smallest = {copy.stamp for copy in counted[: rules.minimum]}
    verdicts = []
    for copy in ordered:
        law = ""
        if not copy.is_good:
            law = f"counts for nothing and is not touched: {copy.doubt}"
        elif copy.stamp == newest:
            law = "the newest good backup"
        elif copy.stamp in smallest:
            law = f"one of the newest {rules.minimum}"
        elif copy.at - now > CLOCKS_DIFFER:
            law = "dated in the future"
        kept = law or _why_kept(copy, held, rules, now)
        reason = kept or protection
        held_back = bool(protection and not kept and rules.let_anything_go)
        said = reason or _why_deleted(copy, rules, now)
        verdicts.append(Verdict(copy, not reason, said, bool(law or protection), held_back))
    return verdicts


def _is_orphan(copies: Sequence[Copy], rules: Rules, standing: Standing, now: datetime) -> bool:
    """Whether CVAT_BACKUP_ORPHAN_DAYS lets all backups of a vanished source go."""
    if rules.orphan_after is None or not rules.let_anything_go:
        return False
    if standing.vanished_at is None or now - standing.vanished_at <= rules.orphan_after:
        return False
    # The newest backup, too, must be that old: somebody may have saved it again, or a clock may have been wrong.
    contradicted = any(copy.doubt and not copy.is_marked for copy in copies)
    return not contradicted and all(now - copy.at > rules.orphan_after for copy in copies)


def _orphaned(copy: Copy) -> Verdict:
    if copy.doubt:
        return Verdict(copy, False, f"counts for nothing and is not touched: {copy.doubt}", by_law=True)
    return Verdict(copy, True, "its source vanished from the server longer ago than CVAT_BACKUP_ORPHAN_DAYS", False)


def _why_kept(copy: Copy, held: dict[str, str], rules: Rules, now: datetime) -> str:
    if copy.stamp in held:
        return held[copy.stamp]
    if rules.within is not None and now - copy.at <= rules.within:
        return "younger than CVAT_KEEP_WITHIN"
    if rules.ttl is not None and now - copy.at <= rules.ttl:
        return "younger than the TTL"
    return ""


def _why_deleted(copy: Copy, rules: Rules, now: datetime) -> str:
    hours = int((now - copy.at).total_seconds() // 3600)
    age = f"{hours} h old" + (", older than the TTL" if rules.ttl is not None else "")
    newer = "a newer one remains" if rules.minimum == 1 else f"{rules.minimum} newer ones remain"
    return f"{age}; {newer}, and no keep rule holds it"


def _held_by_slots(good: Sequence[Copy], rules: Rules) -> dict[str, str]:
    """Which stamps fill a slot: the newest backup of each of the last N hours, days, weeks, months, years that have one.

    Periods without a backup take no slot, so a gap costs nothing. While there are fewer periods than slots, the oldest
    backup of all is held too, so that history can grow.
    """
    held: dict[str, str] = {}
    for name, count in rules.slots.items():
        if not count or not good:
            continue
        seen: set[tuple[int, ...]] = set()
        for copy in good:
            period = _PERIODS[name](copy.at.astimezone(UTC))
            if period not in seen:
                seen.add(period)
                held.setdefault(copy.stamp, f"{name} {len(seen)} of {count}")
                if len(seen) == count:
                    break
        else:
            held.setdefault(good[-1].stamp, f"{name}: the oldest, until there are {count}")
    return held


def sudden_drop(copies: Sequence[Copy], threshold: float, acknowledged: str = "") -> str:
    """Why a person has to look: a good backup has less than `threshold` of the annotations or bytes of the one before.

    Every neighbouring pair counts whose newer one is later than the acknowledged stamp: a drop of yesterday does not
    heal by another backup of the same little. Bytes compare only where both were asked for in the same form.
    """
    if not threshold:
        return ""
    good = sorted((copy for copy in copies if copy.is_good), key=lambda copy: copy.stamp, reverse=True)
    for newer, before in itertools.pairwise(good):
        if newer.stamp <= acknowledged:
            break
        for what, has, had in (
            ("annotations", newer.annotations, before.annotations),
            ("bytes", newer.size_bytes, before.size_bytes if newer.form == before.form else 0),
        ):
            if has < had * threshold:
                return f"the backup of {newer.stamp} has {has:,} {what}, the one before it had {had:,}"
    return ""


def size_cutoff(moments: array[float], sizes: array[int], excess_bytes: int) -> tuple[float, int] | None:
    """Up to which moment redundant backups must go, oldest first, to free `excess_bytes`; None when none must.

    With the moment comes how many bytes must go among those of exactly that moment. Arrays, because these are the
    redundant backups of all sources at once.
    """
    if excess_bytes <= 0 or not moments:
        return None
    freed_before = freed = 0
    last = -math.inf
    for index in sorted(range(len(moments)), key=moments.__getitem__):
        if moments[index] > last:
            last, freed_before = moments[index], freed
        freed += sizes[index]
        if freed >= excess_bytes:
            break
    return last, excess_bytes - freed_before
