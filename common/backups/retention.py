"""Which backups of one source may go, and why each of the others stays: one pure function over plain data.

The laws, above every rule: only verified backups count; the newest of them never goes; nothing goes while the source's
newest attempt failed or nobody has confirmed it lately; what cannot be trusted is not touched but reported.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True)
class Copy:
    """One backup as retention sees it. `doubt` says why it counts for nothing (damaged, incomplete); empty when good."""

    stamp: str
    at: datetime
    size_bytes: int
    shapes: int = 0
    doubt: str = ""

    @property
    def is_good(self) -> bool:
        return not self.doubt


@dataclass(frozen=True)
class Rules:
    """What a person asked for. `ttl` and `within` None, counts 0: the rule is off. `minimum` is at least 1."""

    ttl: timedelta | None = None
    minimum: int = 1
    hourly: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    yearly: int = 0
    within: timedelta | None = None

    @property
    def deletes_anything(self) -> bool:
        return self.ttl is not None or self.within is not None or any(self.slots.values())

    @property
    def slots(self) -> dict[str, int]:
        return {
            "hourly": self.hourly,
            "daily": self.daily,
            "weekly": self.weekly,
            "monthly": self.monthly,
            "yearly": self.yearly,
        }


@dataclass(frozen=True)
class Standing:
    """What the journal says about a source. Times are None when there is nothing of the kind."""

    newest_attempt_failed: bool = False
    confirmed_at: datetime | None = None
    vanished_at: datetime | None = None


@dataclass(frozen=True)
class Verdict:
    """Keep or delete, and the reason in plain words."""

    copy: Copy
    delete: bool
    reason: str


_PERIODS: dict[str, Callable[[datetime], tuple[int, ...]]] = {
    "hourly": lambda at: (at.year, at.month, at.day, at.hour),
    "daily": lambda at: (at.year, at.month, at.day),
    "weekly": lambda at: tuple(at.isocalendar()[:2]),
    "monthly": lambda at: (at.year, at.month),
    "yearly": lambda at: (at.year,),
}


def why_nothing_goes(
    standing: Standing, rules: Rules, now: datetime, *, frozen: str = "", even_if_stale: bool = False
) -> str:
    """The law that protects the whole source at this moment; empty when none does."""
    if not rules.deletes_anything:
        return "no TTL and no keep rule is set"
    if frozen:
        return frozen
    if even_if_stale:
        return ""
    if standing.newest_attempt_failed:
        return "its newest attempt failed"
    if standing.confirmed_at is None:
        return "no attempt has ever succeeded in the journal"
    if rules.ttl is not None and now - standing.confirmed_at > rules.ttl:
        return "nothing has saved or confirmed it within the TTL"
    return ""


def decide(
    copies: Sequence[Copy],
    rules: Rules,
    standing: Standing,
    now: datetime,
    *,
    frozen: str = "",
    even_if_stale: bool = False,
    orphan_after: timedelta | None = None,
) -> list[Verdict]:
    """A verdict on every backup of one source and kind, newest first.

    Order is that of the stamps, which never go back, not that of the clock. `frozen` is the reason of a freeze (a
    sudden drop in size). `orphan_after`: how long the backups of a source that vanished from the server are kept.
    """
    ordered = sorted(copies, key=lambda copy: copy.stamp, reverse=True)
    vanished = standing.vanished_at
    if orphan_after is not None and vanished is not None and now - vanished > orphan_after and not frozen:
        return [Verdict(copy, True, "its source vanished from the server long ago") for copy in ordered]
    protection = why_nothing_goes(standing, rules, now, frozen=frozen, even_if_stale=even_if_stale)
    good = [copy for copy in ordered if copy.is_good]
    slots = _slots(good, rules)
    verdicts = []
    for copy in ordered:
        if not copy.is_good:
            verdicts.append(Verdict(copy, False, f"not counted and not touched: {copy.doubt}"))
            continue
        reason = _why_kept(copy, good.index(copy), rules, slots, now)
        reason = reason or protection
        verdicts.append(Verdict(copy, not reason, reason or _why_deleted(copy, rules, now)))
    return verdicts


def _why_kept(copy: Copy, rank: int, rules: Rules, slots: dict[str, str], now: datetime) -> str:
    if rank == 0:
        return "the newest good backup"
    if rank < rules.minimum:
        return f"one of the newest {rules.minimum}"
    if copy.stamp in slots:
        return slots[copy.stamp]
    if rules.within is not None and now - copy.at <= rules.within:
        return "younger than CVAT_KEEP_WITHIN"
    if rules.ttl is not None and now - copy.at <= rules.ttl:
        return "younger than the TTL"
    return ""


def _why_deleted(copy: Copy, rules: Rules, now: datetime) -> str:
    age = now - copy.at
    hours = int(age.total_seconds() // 3600)
    beyond = "older than the TTL, " if rules.ttl is not None else ""
    return f"{hours} h old: {beyond}more than {rules.minimum} newer ones, and no keep rule holds it"


def _slots(good: Sequence[Copy], rules: Rules) -> dict[str, str]:
    """Which stamps fill a slot: the newest backup of each of the last N hours, days, weeks, months and years that have one.

    While there are fewer periods than slots, the oldest backup fills the last one, so that history can grow.
    """
    held: dict[str, str] = {}
    for name, count in rules.slots.items():
        last, used = None, 0
        for copy in good:
            period = _PERIODS[name](copy.at)
            if used < count and period != last:
                last, used = period, used + 1
                held.setdefault(copy.stamp, f"{name} {used} of {count}")
        if count and used < count and good:
            held.setdefault(good[-1].stamp, f"{name}: the oldest, until there are {count}")
    return held


def sudden_drop(good: Sequence[Copy], threshold: float) -> str:
    """Why the newest of two good backups is suspicious: less than `threshold` of the shapes or size of the one before."""
    if len(good) < 2 or not threshold:
        return ""
    newest, before = good[0], good[1]
    for what, now_count, then_count in (
        ("annotations", newest.shapes, before.shapes),
        ("bytes", newest.size_bytes, before.size_bytes),
    ):
        if now_count < then_count * threshold:
            return f"its newest backup has {now_count:,} {what}, the one before had {then_count:,}"
    return ""


def over_size(redundant: Sequence[tuple[Copy, str]], total_bytes: int, limit_bytes: int) -> list[tuple[Copy, str]]:
    """What goes, oldest first, until the total fits; `redundant` are (copy, owner) that no law protects."""
    chosen: list[tuple[Copy, str]] = []
    for copy, owner in sorted(redundant, key=lambda pair: pair[0].at):
        if total_bytes <= limit_bytes:
            break
        chosen.append((copy, owner))
        total_bytes -= copy.size_bytes
    return chosen
