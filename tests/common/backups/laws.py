"""The laws of retention, said a second time and in other words than the policy says them."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from common.backups.journal import Attempt
from common.backups.names import next_stamp
from common.backups.retention import Copy, Rules, Standing, Verdict
from common.backups.standing import Standings
from common.text import iso
from tests.common.making import a_source

HOUR = timedelta(hours=1)
SLOTS = {"hourly": "%Y%m%d%H", "daily": "%Y%m%d", "weekly": "%G%V", "monthly": "%Y%m", "yearly": "%Y"}


@dataclass(frozen=True)
class History:
    """What the policy is asked about."""

    copies: tuple[Copy, ...]
    rules: Rules
    standing: Standing
    now: datetime
    frozen: str = ""
    even_if_stale: bool = False

    def ask(self, policy: Any) -> list[Verdict]:
        return policy.decide(
            self.copies, self.rules, self.standing, self.now, frozen=self.frozen, even_if_stale=self.even_if_stale
        )


def broken_laws(case: History, verdicts: Sequence[Verdict]) -> list[str]:
    """Every law that the verdicts break; empty when they keep them all."""
    now, rules, standing = case.now, case.rules, case.standing
    good = sorted((c for c in case.copies if not c.doubt), key=lambda c: c.stamp)
    gone = [v.copy for v in verdicts if v.delete]
    gone_stamps = {c.stamp for c in gone}
    broken = []

    def law(kept: bool, text: str) -> None:
        if not kept:
            broken.append(text)

    law(
        sorted(v.copy.stamp for v in verdicts) == sorted(c.stamp for c in case.copies),
        "each backup has exactly one verdict",
    )
    law(all(v.reason for v in verdicts), "each verdict has a reason")
    law(all(not c.doubt for c in gone), "a doubtful backup is not touched")
    on = (rules.ttl is not None, rules.within is not None, *rules.slots.values())
    law(not gone or any(on), "without a TTL and a keep rule nothing goes")
    if rules.orphan_after is not None and standing.vanished_at and now - standing.vanished_at > rules.orphan_after:
        law(not (gone and case.frozen), "a frozen source loses nothing, vanished or not")
        law(all(now - c.at > rules.orphan_after for c in gone), "an orphan younger than CVAT_BACKUP_ORPHAN_DAYS stays")
        return broken
    law(not good or good[-1].stamp not in gone_stamps, "the newest good backup stays")
    law(len(good) - len(gone) >= min(rules.minimum, len(good)), "at least the minimum of good backups stays")
    law(not (gone and case.frozen), "a frozen source loses nothing")
    law(
        not (gone and any(c.doubt and not c.is_marked for c in case.copies)),
        "a source whose record and files disagree loses nothing",
    )
    law(not (gone and standing.is_absent), "nothing goes of a source that is not on the server")
    if standing.confirmed_at is not None:
        law(
            not gone or standing.confirmed_at <= now + HOUR,
            "nothing goes when the newest attempt is dated in the future",
        )
    if not case.even_if_stale:
        law(not (gone and standing.newest_attempt_failed), "after a failed attempt nothing goes")
        law(not gone or standing.confirmed_at is not None, "nothing goes of a source that nothing ever confirmed")
        if rules.ttl is not None and standing.confirmed_at:
            law(
                not gone or now - standing.confirmed_at <= rules.ttl,
                "nothing goes that nothing confirmed within the TTL",
            )
        if rules.ttl is not None and standing.resumed_at:
            law(not gone or now - standing.resumed_at > rules.ttl, "after a gap nothing goes for the length of a TTL")
    for copy in gone:
        law(rules.ttl is None or now - copy.at > rules.ttl, "nothing younger than the TTL goes")
        law(rules.within is None or now - copy.at > rules.within, "nothing younger than CVAT_KEEP_WITHIN goes")
        law(copy.at <= now + HOUR, "nothing dated in the future goes")
    for name, form in SLOTS.items():
        law(_slots_are_full(good, gone_stamps, now, rules.slots[name], form), f"the {name} slots stay filled")
    return broken


def _slots_are_full(good: Sequence[Copy], gone: set[str], now: datetime, count: int, form: str) -> bool:
    """The newest backup of each of the `count` newest periods is still there."""
    newest: dict[str, str] = {}
    for copy in good:
        if copy.at <= now + HOUR:
            newest.pop(copy.at.strftime(form), None)
            newest[copy.at.strftime(form)] = copy.stamp
    wanted = [newest[period] for period in sorted(newest, key=lambda p: newest[p], reverse=True)[:count]]
    return not gone & set(wanted)


def random_history(chance: random.Random) -> History:
    """Nights that work, fail, are missed; clocks that jump; files that rot; any rules."""
    clock = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=chance.uniform(0, 9000))
    copies: list[Copy] = []
    attempts: list[Attempt] = []
    step = chance.choice([1, 6, 24, 24, 24, 24 * 7])
    source = a_source()
    for number in range(chance.randint(1, 40)):
        clock += timedelta(hours=step, minutes=chance.uniform(-2, 10))
        event = chance.choices(
            ["saved", "unchanged", "failed", "missed", "postponed", "absent", "forward", "back", "long gap"],
            [60, 10, 8, 8, 2, 2, 1, 1, 2],
        )[0]
        if event == "forward":
            clock += timedelta(days=chance.choice([1, 40, 4000]))
        elif event == "back":
            clock -= timedelta(days=chance.choice([1, 40, 4000]))
        elif event == "long gap":
            clock += timedelta(days=chance.randint(3, 60))
        elif event != "missed":
            mode = "" if event == "absent" else chance.choice(["p", "p", "p", "t"])
            attempts.append(Attempt(iso(clock), f"r{number}", mode, source, event))  # type: ignore[arg-type]
            if event == "saved":
                stamp = next_stamp(clock, copies[-1].stamp if copies else None)
                doubt, marked = chance.choices([("", False), ("short", False), ("rotten", True)], [90, 1, 6])[0]
                copies.append(
                    Copy(stamp, clock, chance.randint(1, 10**9), chance.randint(0, 99), "", doubt, is_marked=marked)
                )
    rules = Rules(
        ttl=chance.choice([None, timedelta(0), 24 * HOUR, 72 * HOUR, 168 * HOUR, 720 * HOUR]),
        minimum=chance.choice([1, 1, 2, 3, 10]),
        within=chance.choice([None, None, 48 * HOUR, 2000 * HOUR]),
        orphan_after=chance.choice([None, None, None, timedelta(days=30)]),
        **{name: chance.choice([0, 0, 0, 1, 2, 7, 30]) for name in SLOTS},
    )
    if chance.random() < 0.05:
        attempts = []  # somebody took the journal away
    standing = Standings(attempts, rules.gap).of(source.key, "backup")
    if chance.random() < 0.05:
        long_ago = clock - timedelta(days=chance.choice([1, 40]))
        standing = replace(standing, is_absent=True, vanished_at=long_ago)
    now = clock + timedelta(hours=chance.choice([0.5, 1, 1, 1, 1, 30, 96, 2000, -30]))
    frozen = "a sudden drop" if chance.random() < 0.08 else ""
    return History(tuple(copies), rules, standing, now, frozen, chance.random() < 0.15)


def random_histories(count: int, seed: int = 1) -> Iterator[History]:
    chance = random.Random(seed)
    for _ in range(count):
        yield random_history(chance)
