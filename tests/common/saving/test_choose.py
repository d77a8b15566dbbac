"""What is saved, and why: decisions on plain data."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.backups.record import Export
from common.saving.choose import (
    Pattern,
    belongs_to,
    content_of,
    decide,
    fits_today,
    in_order,
    is_chosen,
    parse_modes,
    parse_patterns,
)
from tests.common.making import a_candidate, a_fingerprint, a_record, a_source, a_state

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
WEEK = timedelta(days=7)
TASK = a_source(kind="task", id=7)


def decided(state=None, newest=None, wanted=None, **more):
    return decide(state or a_state(), newest, wanted or Export(), more.pop("now", NOW), **{"full_every": WEEK, **more})


@pytest.mark.parametrize(
    ("given_modes", "modes"),
    [(None, ["p"]), ([["p", "a"]], ["p", "a"]), ([["a"], ["p"]], ["p", "a"]), ([["a,t", "p"]], ["t", "p", "a"]),
     ([["p"], ["p"]], ["p"])],
)  # fmt: skip
def test_modes_can_be_given_in_every_way(given_modes, modes):
    assert parse_modes(given_modes) == (modes, [])


def test_an_unknown_mode_is_named():
    assert "'x' is unknown" in parse_modes([["p", "x"]])[1][0]


def test_what_has_no_backup_is_saved():
    assert decided().save and decided().reason == "it has no backup yet"


def test_what_is_unchanged_is_not_saved_and_says_since_when():
    decision = decided(newest=a_record())
    assert not decision.save
    assert decision.reason == "unchanged since 2026-11-20 10:00 UTC"


def test_force_saves_what_is_unchanged():
    decision = decided(newest=a_record(), force=True)
    assert decision.save and decision.anew


def test_a_copy_is_added_to_an_incomplete_backup_only_when_one_is_due():
    newest = a_record(verified=dataclasses.replace(a_record().verified, result="incomplete"))
    assert decided(newest=newest).save and not decided(newest=newest).anew
    assert decided(newest=newest, now=NOW + WEEK).anew
    assert decided(newest=newest, force=True).anew


@pytest.mark.parametrize(
    ("fingerprint", "said"),
    [
        ({"digest": "b"}, "changed: edited 2026-11-20 10:00 UTC"),
        ({"digest": "b", "tasks": 3}, "changed: 3 tasks instead of 2"),
        ({"digest": "b", "jobs": 4}, "changed: 4 jobs instead of 3"),
    ],
)
def test_what_has_changed_is_saved_and_says_what(fingerprint, said):
    decision = decided(a_state(fingerprint=a_fingerprint(**fingerprint)), a_record())
    assert decision.save and decision.reason == said


def test_what_was_edited_while_it_was_saved_says_so():
    record = a_record(changed_while_exporting=True)
    assert "edited while it was last saved" in decided(a_state(fingerprint=a_fingerprint(digest="b")), record).reason


@pytest.mark.parametrize(("days", "saved"), [(6.9, False), (7, True), (30, True)])
def test_what_is_unchanged_is_saved_anew_after_a_week(days, saved):
    finished = datetime(2026, 11, 20, 10, tzinfo=UTC)
    assert decided(newest=a_record(), now=finished + timedelta(days=days)).save == saved


def test_a_period_of_nothing_saves_at_every_run():
    assert decided(newest=a_record(), full_every=timedelta(0)).save


def test_a_backup_from_the_future_does_not_count_as_recent():
    """The clock went back: how old it is cannot be told."""
    assert decided(newest=a_record(), now=NOW - timedelta(days=400)).save
    assert not decided(newest=a_record(), now=NOW - timedelta(hours=2, minutes=30)).save


def test_a_task_without_data_is_never_asked_for():
    state = a_state(TASK, has_images=False)
    assert not decided(state).save and not decided(state, force=True).save
    assert decided(a_state(has_images=False)).save  # an empty project is saved


def test_other_formats_than_last_time_are_saved_again_in_mode_a_only():
    old = a_record(content="annotations", export=Export(("COCO 1.0",), False))
    for wanted in (Export(("YOLO 1.1",), False), Export(("COCO 1.0",), True)):
        assert (
            decided(newest=old, wanted=wanted).reason
            == "its newest backup lacks a dataset, or other formats are asked for"
        )
    assert not decided(newest=old, wanted=Export(("COCO 1.0",), False)).save
    assert not decided(newest=a_record(), wanted=Export(("COCO 1.0",), False)).save


@given(
    st.builds(a_fingerprint, digest=st.sampled_from("ab")),
    st.booleans(),
    st.booleans(),
    st.timedeltas(-WEEK * 9, WEEK * 9),
)
def test_a_source_is_left_alone_only_when_nothing_changed_and_its_backup_is_recent(fingerprint, has_backup, force, age):
    newest = a_record(fingerprint=a_fingerprint(digest="a")) if has_backup else None
    now = datetime(2026, 11, 20, 10, tzinfo=UTC) + age
    decision = decided(a_state(fingerprint=fingerprint), newest, now=now, force=force)
    alone = has_backup and not force and fingerprint.digest == "a" and -timedelta(hours=1) <= age < WEEK
    assert decision.save != alone
    assert decision.reason


@pytest.mark.parametrize(
    ("text", "matching", "others"),
    [
        ("road*", ["Road signs", "ROAD"], ["a road"]),
        ("project:12", ["anything"], []),
        ("12", ["anything"], []),
        ("task:12", [], ["anything"]),
        ("name:12", ["12"], ["anything"]),
        ("test [v2]", ["Test [v2]"], ["test v"]),
        ("[a-z]", ["[A-Z]"], ["b"]),
        ("*[!x]?", ["y[!x]!"], ["ab"]),
        ("straße", ["STRASSE"], []),
    ],
)
def test_patterns_mean_what_people_write(text, matching, others):
    [pattern] = parse_patterns(text)
    assert str(pattern) == text
    assert all(pattern.matches(a_source(name=name)) for name in matching)
    assert not any(pattern.matches(a_source(name=name)) for name in others)


@given(
    st.text(st.characters(blacklist_characters="*?,:", blacklist_categories=("Cs",))).filter(lambda name: name.strip())
)
def test_a_name_without_wildcards_matches_itself(name):
    for pattern in parse_patterns(f"name:{name.strip()}"):
        assert pattern.matches(a_source(name=name.strip()))


def test_patterns_are_separated_by_commas_and_a_kind_needs_an_id():
    assert parse_patterns("a*, ,project:1,") == (Pattern("a*", name="a*"), Pattern("project:1", kind="project", id=1))
    with pytest.raises(ValueError, match="expected an id behind the colon"):
        parse_patterns("task:x")


def test_exclude_wins_over_include():
    include, exclude = parse_patterns("road*"), parse_patterns("project:12")
    assert not is_chosen(a_source(), include, exclude)
    assert is_chosen(a_source(id=13), include, exclude)
    assert not is_chosen(a_source(id=13, name="x"), include, ())
    assert is_chosen(a_source(), (), ())


def test_which_mode_deals_with_what():
    project = a_source()
    assert [belongs_to(project, mode, True) for mode in "pat"] == [True, True, False]
    assert [belongs_to(TASK, mode, True) for mode in "pat"] == [True, True, True]
    assert [belongs_to(TASK, mode, False) for mode in "pat"] == [False, True, True]
    assert [content_of(mode) for mode in "pat"] == ["backup", "annotations", "backup"]


def test_postponed_ones_come_first_then_new_ones_then_the_oldest():
    def candidate(number, stamp=None, postponed=False):
        newest = a_record(stamp=stamp) if stamp else None
        return a_candidate(a_source(id=number), newest=newest, postponed_last_time=postponed)

    right = [
        candidate(9, "20261119T000000Z", postponed=True),
        candidate(3),
        candidate(5),
        candidate(8, "20250101T000000Z"),
        candidate(1, "20260101T000000Z"),
        candidate(2, "20260101T000000Z"),
    ]
    assert in_order(reversed(right)) == right
    assert in_order(right[3:] + right[:3]) == right


def test_the_expected_size_is_that_of_the_newest_backup():
    assert a_candidate().expected_bytes == 0
    assert a_candidate(newest=a_record()).expected_bytes == 5


@pytest.mark.parametrize(
    ("expected", "spent", "limit", "fits"),
    [(10**12, 10**12, 0, True), (500, 0, 100, True), (50, 50, 100, True), (51, 50, 100, False), (0, 100, 100, False),
     (0, 99, 100, True)],
)  # fmt: skip
def test_what_fits_into_the_day(expected, spent, limit, fits):
    assert fits_today(expected, spent, limit) == fits


@given(st.lists(st.integers(1, 50)), st.integers(50, 100))
def test_the_days_limit_is_never_passed_by_items_that_fit(sizes, limit):
    spent = 0
    for size in sizes:
        if fits_today(size, spent, limit):
            spent += size
    assert spent <= limit
