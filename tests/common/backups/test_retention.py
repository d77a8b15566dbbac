"""The policy: its laws over random histories, its rules, the accidents of other tools, and that each law can be broken."""

from __future__ import annotations

import functools
import itertools
import random
import sys
import time
import types
from array import array
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.backups import retention
from common.backups.journal import Attempt
from common.backups.names import stamp
from common.backups.retention import Copy, Rules, Standing, decide, size_cutoff, sudden_drop
from common.backups.standing import Standings
from common.text import iso
from tests.common.backups.laws import HOUR, History, broken_laws, random_histories, random_history
from tests.common.making import a_source

NOW = datetime(2026, 11, 21, 1, tzinfo=UTC)
FRESH = Standing(confirmed_at=NOW - HOUR)
DAY = 24 * HOUR


def a_copy(hours_ago: float, **more) -> Copy:
    at = NOW - timedelta(hours=hours_ago)
    return Copy(**{"stamp": stamp(at), "at": at, "size_bytes": 100, "annotations": 10, "record": f"{hours_ago}"} | more)


def kept(copies, rules=Rules(ttl=DAY), standing=FRESH, now=NOW, **more) -> list[float]:  # noqa: B008
    """The ages, in hours, of what stays."""
    verdicts = decide(copies, rules, standing, now, **more)
    return sorted(float(verdict.copy.record) for verdict in verdicts if not verdict.delete)


def ages(count: int, step: float = 24) -> list[Copy]:
    return [a_copy(1 + step * number) for number in range(count)]


@functools.cache
def many_histories() -> list[History]:
    return list(random_histories(3000))


# --- the laws ---------------------------------------------------------------------------------------------------


@given(st.integers(min_value=0, max_value=2**40))
def test_no_law_is_broken_over_random_histories_with_failed_nights_gaps_and_clocks_that_jump(seed: int):
    case = random_history(random.Random(seed))
    assert broken_laws(case, case.ask(retention)) == []


def test_no_law_is_broken_in_three_thousand_more_and_many_backups_do_go():
    deleted = 0
    for case in many_histories():
        verdicts = case.ask(retention)
        assert broken_laws(case, verdicts) == []
        deleted += sum(verdict.delete for verdict in verdicts)
    assert deleted > 1000


@given(st.integers(min_value=0, max_value=2**40), st.sampled_from([-11, -3.5, 5.75, 14]))
def test_the_zone_in_which_times_are_written_changes_nothing(seed: int, offset: float):
    case = random_history(random.Random(seed))
    zone = timezone(timedelta(hours=offset))
    moved = replace(
        case,
        copies=tuple(replace(each, at=each.at.astimezone(zone)) for each in case.copies),
        now=case.now.astimezone(zone),
    )
    in_utc = [replace(each, copy=replace(each.copy, at=each.copy.at.astimezone(UTC))) for each in moved.ask(retention)]
    assert [(v.copy.stamp, v.delete) for v in in_utc] == [(v.copy.stamp, v.delete) for v in case.ask(retention)]


@pytest.mark.parametrize("zone", ["America/St_Johns", "Asia/Kathmandu", "Pacific/Kiritimati", "Europe/Berlin"])
def test_the_zone_of_the_machine_changes_nothing(zone: str, monkeypatch: pytest.MonkeyPatch):
    def verdicts():
        return [[(v.copy.stamp, v.delete, v.reason) for v in case.ask(retention)] for case in many_histories()[:300]]

    before = verdicts()
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        assert verdicts() == before
    finally:
        monkeypatch.undo()
        time.tzset()


@given(st.integers(min_value=0, max_value=2**40))
def test_a_doubtful_backup_takes_nobodys_place(seed: int):
    case = random_history(random.Random(seed))
    marked = tuple(replace(each, is_marked=bool(each.doubt)) for each in case.copies)
    without = tuple(each for each in marked if each.is_good)
    with_them = {v.copy.stamp: v.delete for v in replace(case, copies=marked).ask(retention) if v.copy.is_good}
    alone = {v.copy.stamp: v.delete for v in replace(case, copies=without).ask(retention)}
    assert with_them == alone


@given(st.integers(min_value=0, max_value=2**40))
def test_a_second_sweep_at_the_same_moment_finds_nothing_more(seed: int):
    case = random_history(random.Random(seed))
    left = tuple(v.copy for v in case.ask(retention) if not v.delete)
    assert not any(verdict.delete for verdict in replace(case, copies=left).ask(retention))


# --- that the laws can be broken: a policy with one fault is found out --------------------------------------------

MUTANTS = {
    "the newest is not held": (
        "smallest = {copy.stamp for copy in counted[: rules.minimum]}",
        "newest, smallest = '', {copy.stamp for copy in counted[1 : rules.minimum]}",
        "the newest good backup stays",
    ),
    "one less than the minimum": ("counted[: rules.minimum]", "counted[: rules.minimum - 1]", "at least the minimum"),
    "damaged ones count": (
        "good = [copy for copy in ordered if copy.is_good]",
        "good = list(ordered)",
        "the newest good backup stays",
    ),
    "damaged ones are touched": (
        "if not copy.is_good:\n            law =",
        "if False:\n            law =",
        "a doubtful",
    ),
    "a failed attempt is nothing": ("if standing.newest_attempt_failed:", "if False:", "after a failed attempt"),
    "an absent source is nothing": ("if standing.is_absent:", "if False:", "not on the server"),
    "a silent journal is nothing": (
        'return "the journal knows of no attempt that succeeded"',
        'return ""',
        "nothing ever confirmed",
    ),
    "stale is nothing": (
        "now - standing.confirmed_at > rules.horizon:",
        "False:",
        "nothing goes that nothing confirmed within the TTL",
    ),
    "a gap is nothing": ("standing.resumed_at is not None and now", "False and now", "after a gap"),
    "a freeze is nothing": ("if frozen:\n        return frozen", "", "a frozen source loses nothing"),
    "a record that lies is nothing": (
        'return "a record and its files disagree"',
        'return ""',
        "whose record and files disagree",
    ),
    "no rule is a rule": ("if not rules.let_anything_go:", "if False:", "without a TTL and a keep rule"),
    "no TTL": ("if rules.ttl is not None and now - copy.at <= rules.ttl:", "if False:", "younger than the TTL"),
    "TTL turned round": ("now - copy.at <= rules.ttl", "now - copy.at >= rules.ttl", "younger than the TTL"),
    "local hours": ("now - copy.at <= rules.ttl", "now - copy.at <= rules.ttl - timedelta(hours=2)", "than the TTL"),
    "no within": ("rules.within is not None and now - copy", "False and now - copy", "younger than CVAT_KEEP_WITHIN"),
    "the future goes": ('law = "dated in the future"', 'law = ""', "dated in the future"),
    "no slots": ("if copy.stamp in held:", "if False:", "slots stay filled"),
    "one slot less": ("if len(seen) == count:", "if len(seen) >= count - 1:", "slots stay filled"),
    "months without years": (
        '"monthly": lambda at: (at.year, at.month)',
        '"monthly": lambda at: (at.month,)',
        "monthly",
    ),
    "the oldest of a day": (
        "held.setdefault(copy.stamp, f",
        "held.setdefault(good[-1].stamp, f",
        "slots stay filled",
    ),
    "orphans at once": ("now - standing.vanished_at <= rules.orphan_after", "False", "the newest good backup stays"),
    "orphans although nobody said so": (
        "def _is_orphan(",
        "def _is_orphan(copies, rules, standing, now):\n    return standing.vanished_at is not None\n\n\ndef _unused(",
        "the newest good backup stays",
    ),
    "orphans although frozen": ("and not frozen:", ":", "a frozen source loses nothing, vanished or not"),
    "young orphans": ("all(now - copy.at > rules.orphan_after for copy in copies)", "True", "an orphan younger"),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_policy_with_a_fault_breaks_the_law_that_forbids_it(name: str):
    old, new, law = MUTANTS[name]
    text = Path(retention.__file__).read_text(encoding="utf-8")
    assert old in text, "the policy has changed: change the mutant too"
    faulty = types.ModuleType("faulty")
    sys.modules["faulty"] = faulty
    try:
        exec(compile(text.replace(old, new), "faulty", "exec"), faulty.__dict__)
        cases = vanished_histories() if "orphan" in name else many_histories()
        assert any(law in broken for case in cases for broken in broken_laws(case, case.ask(faulty)))
    finally:
        del sys.modules["faulty"]


def vanished_histories() -> list[History]:
    found = []
    for days, orphan_after, youngest, frozen in itertools.product((1, 40), (None, 30), (1, 2000), ("", "a drop")):
        standing = replace(FRESH, is_absent=True, vanished_at=NOW - timedelta(days=days))
        rules = Rules(ttl=DAY, orphan_after=orphan_after and timedelta(days=orphan_after))
        copies = tuple(a_copy(youngest + 1000 * number) for number in range(3))
        found.append(History(copies, rules, standing, NOW, frozen))
    return found


def test_no_law_is_broken_for_sources_that_vanished():
    assert not any(broken_laws(case, case.ask(retention)) for case in vanished_histories())


# --- the rules --------------------------------------------------------------------------------------------------


def test_ttl_and_minimum_mean_what_they_meant_to_the_predecessor():
    assert kept(ages(6), Rules(ttl=48 * HOUR, minimum=1)) == [1, 25]
    assert kept(ages(6), Rules(ttl=48 * HOUR, minimum=4)) == [1, 25, 49, 73]
    assert kept(ages(3, 1), Rules(ttl=48 * HOUR, minimum=1)) == [1, 2, 3]


def test_a_backup_goes_only_when_every_rule_lets_it_go():
    copies = ages(400)
    daily = Rules(ttl=DAY, minimum=1, daily=7)
    assert kept(copies, daily) == [1 + 24 * n for n in range(7)]
    assert kept(copies, replace(daily, within=timedelta(hours=24 * 10))) == [1 + 24 * n for n in range(10)]
    monthly = kept(copies, replace(daily, monthly=12))
    assert len(monthly) == 7 + 11
    assert len(kept(copies, replace(daily, monthly=12, yearly=5))) == 7 + 11 + 1


def test_slots_pass_over_days_without_a_backup():
    copies = [a_copy(hours) for hours in (1, 25, 24 * 90, 24 * 91, 24 * 300)]
    assert kept(copies, Rules(ttl=DAY, minimum=1, daily=4)) == [1, 25, 24 * 90, 24 * 91]


def test_while_there_are_fewer_periods_than_slots_the_oldest_stays_so_that_history_can_grow():
    copies = [a_copy(hours) for hours in (1, 3, 5, 7)]
    assert kept(copies, Rules(minimum=1, monthly=3)) == [1, 7]


def test_a_minimum_below_one_is_refused():
    with pytest.raises(ValueError, match="minimum"):
        Rules(minimum=0)


def test_without_any_ttl_or_keep_rule_nothing_goes():
    assert len(kept(ages(50), Rules(minimum=1))) == 50


def test_a_backup_dated_in_the_future_stays_and_takes_nobodys_place():
    copies = [a_copy(-24 * 4000), *ages(5)]
    assert kept(copies, Rules(ttl=DAY, minimum=2)) == [-24 * 4000, 1, 25]


# --- what happened to users of other tools -------------------------------------------------------------------------


def a_life(events: str, rules: Rules, step_hours: float = 24) -> tuple[list[Copy], Standing]:
    """Night after night, the newest last: s saved, u unchanged, f failed, - not run; it is now an hour after the last."""
    copies, attempts = [], []
    names = {"s": "saved", "u": "unchanged", "f": "failed"}
    for number, event in enumerate(events):
        hours = 1 + step_hours * (len(events) - 1 - number)
        if event in names:
            attempts.append(Attempt(iso(NOW - timedelta(hours=hours)), f"r{number}", "p", a_source(), names[event]))
        if event == "s":
            copies.append(a_copy(hours))
    return copies, Standings(attempts, rules.gap).of(a_source().key, "backup")


@pytest.mark.parametrize("nights", ["sss----", "sss----s", "sss----su", "ssssffff", "ssssffffs", "sssf", "sss-------"])
@pytest.mark.parametrize("minimum", [1, 3])
def test_four_missed_days_or_failed_nights_lose_nothing(nights: str, minimum: int):
    rules = Rules(ttl=72 * HOUR, minimum=minimum)
    copies, standing = a_life(nights, rules)
    assert len(kept(copies, rules, standing)) == nights.count("s")


def test_once_the_gap_is_filled_again_what_is_old_may_go():
    rules = Rules(ttl=72 * HOUR, minimum=1)
    copies, standing = a_life("sss----sssss", rules)
    assert kept(copies, rules, standing) == [1, 25, 49]


def test_nightly_backups_with_a_ttl_of_a_day_are_no_gap():
    rules = Rules(ttl=DAY, minimum=2)
    copies, standing = a_life("ssssssss", rules, step_hours=24.1)
    assert len(kept(copies, rules, standing)) == 2


def test_a_failed_dump_followed_by_pruning_loses_nothing_unless_somebody_insists():
    rules = Rules(ttl=DAY, minimum=1)
    copies, standing = a_life("sssssf", rules)
    assert len(kept(copies, rules, standing)) == 5
    assert len(kept(copies, rules, standing, even_if_stale=True)) == 1


def test_a_failed_dump_that_was_postponed_afterwards_is_still_a_failed_one():
    attempts = [
        Attempt(iso(NOW - timedelta(hours=3 - n)), f"r{n}", "p", a_source(), outcome)
        for n, outcome in enumerate(("saved", "failed", "postponed"))
    ]
    assert Standings(attempts).of(a_source().key, "backup").newest_attempt_failed


def test_the_failure_of_annotations_says_nothing_about_backups():
    attempts = [
        Attempt(iso(NOW - 2 * HOUR), "r1", "p", a_source(), "saved"),
        Attempt(iso(NOW - HOUR), "r2", "a", a_source(), "failed"),
    ]
    standings = Standings(attempts)
    assert not standings.of(a_source().key, "backup").newest_attempt_failed
    assert standings.of(a_source().key, "annotations").newest_attempt_failed


def test_a_source_of_another_created_date_or_server_has_a_journal_of_its_own():
    attempts = [Attempt(iso(NOW - HOUR), "r1", "p", a_source(), "saved")]
    for other in (a_source(created_at="2020-01-01T00:00:00Z"), a_source(server="other"), a_source(kind="task")):
        assert Standings(attempts).of(other.key, "backup").confirmed_at is None


# --- vanished -----------------------------------------------------------------------------------------------------


def absences(*hours_ago: float, outcome="absent", runs: str = "abcdefgh") -> list[Attempt]:
    return [
        Attempt(iso(NOW - timedelta(hours=hours)), runs[n], "", a_source(), outcome)
        for n, hours in enumerate(hours_ago)
    ]


@pytest.mark.parametrize(
    ("attempts", "vanished"),
    [
        (absences(30, 1), True),
        (absences(25, 1), True),
        (absences(24, 1), False),
        (absences(500), False),
        (absences(30, 1, runs="aa"), False),
        (absences(1, 30), False),
        ([*absences(100), *absences(50, outcome="unchanged"), *absences(1, runs="z")], False),
        ([*absences(100), *absences(50, outcome="failed"), *absences(1, runs="z")], False),
        ([*absences(100, 50), *absences(1, outcome="unchanged", runs="z")], False),
    ],
)
def test_a_source_has_vanished_when_two_runs_a_day_apart_were_told_so_and_none_in_between_saw_it(attempts, vanished):
    standing = Standings(attempts).of(a_source().key, "backup")
    assert (standing.vanished_at is not None) == vanished
    assert standing.is_absent == (attempts[-1].outcome == "absent")


def test_the_backups_of_a_vanished_source_stay_for_ever_unless_orphan_days_are_set():
    gone = replace(FRESH, is_absent=True, vanished_at=NOW - timedelta(days=31))
    copies = [a_copy(24 * days) for days in (40, 50, 60)]
    assert len(kept(copies, Rules(ttl=DAY, minimum=1), gone)) == 3
    rules = Rules(ttl=DAY, minimum=1, orphan_after=timedelta(days=30))
    assert kept(copies, rules, gone) == []
    assert len(kept(copies, rules, replace(gone, vanished_at=NOW - timedelta(days=29)))) == 3
    assert len(kept(copies, rules, gone, frozen="a sudden drop")) == 3
    assert len(kept([*copies, a_copy(1)], rules, gone)) == 4
    assert len(kept(copies, Rules(minimum=1, orphan_after=timedelta(days=30)), gone)) == 3  # neither TTL nor keep rule


def test_that_no_fresh_backup_is_needed_says_nothing_of_sources_that_vanished_or_of_wrong_clocks():
    rules, copies = Rules(ttl=DAY, minimum=1), [a_copy(24 * days) for days in (40, 50, 60)]
    for standing in (replace(FRESH, is_absent=True), replace(FRESH, confirmed_at=NOW + timedelta(days=2))):
        assert len(kept(copies, rules, standing, even_if_stale=True)) == 3
    assert len(kept(copies, rules, replace(FRESH, confirmed_at=None), even_if_stale=True)) == 1


# --- sudden drops -------------------------------------------------------------------------------------------------


def test_a_sudden_drop_in_annotations_or_bytes_is_noticed_and_does_not_heal_by_itself():
    before, after, later = a_copy(50), a_copy(25, annotations=4), a_copy(1, annotations=4)
    assert "4 annotations" in sudden_drop([before, after], 0.5)
    assert sudden_drop([before, after], 0.4) == ""
    assert "4 annotations" in sudden_drop([before, after, later], 0.5)
    assert "bytes" in sudden_drop([before, a_copy(1, size_bytes=49)], 0.5)
    assert sudden_drop([before, after, later], 0) == ""


def test_an_acknowledged_drop_is_none_and_the_next_one_is():
    before, after, later = a_copy(50), a_copy(25, annotations=4), a_copy(1, annotations=1)
    assert sudden_drop([before, after], 0.5, acknowledged=after.stamp) == ""
    assert "1 annotations" in sudden_drop([before, after, later], 0.5, acknowledged=after.stamp)


def test_bytes_of_another_form_and_damaged_backups_are_not_compared():
    assert sudden_drop([a_copy(50), a_copy(1, size_bytes=1, form="no images")], 0.5) == ""
    assert sudden_drop([a_copy(50), a_copy(25, annotations=0, doubt="short"), a_copy(1)], 0.5) == ""


# --- size -----------------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 9)), max_size=30), st.integers(-5, 200))
def test_the_oldest_go_until_it_fits_and_no_more(pairs: list[tuple[int, int]], excess: int):
    moments, sizes = array("d", [at for at, _ in pairs]), array("q", [size for _, size in pairs])
    found = size_cutoff(moments, sizes, excess)
    if excess <= 0 or not pairs:
        assert found is None
        return
    assert found is not None
    until, at_until = found
    before = sum(size for at, size in pairs if at < until)
    assert before < excess
    assert at_until == excess - before
    assert sum(size for at, size in pairs if at <= until) >= min(excess, sum(sizes))
