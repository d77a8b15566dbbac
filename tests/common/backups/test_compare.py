"""An archive against the server: equal means no difference, everything else is named."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.backups.compare import compare, misfits
from common.sources import Counts, JobRange, TaskContents, TaskState

TASK = TaskContents(
    "first", 0, 9, frozenset({3}), (JobRange("annotation", 0, 9, "annotation"),), Counts(1, 2, 3), frames=10
)
TASKS = st.builds(
    TaskContents,
    st.text(),
    st.integers(0, 9),
    st.integers(0, 9),
    st.frozensets(st.integers(0, 9)),
    st.lists(
        st.builds(JobRange, st.just("annotation"), st.integers(0, 9), st.integers(0, 9), st.text()), max_size=3
    ).map(tuple),
    st.builds(Counts, st.integers(0, 9), st.integers(0, 9), st.integers(0, 9)),
)


def change(**more):
    return dataclasses.replace(TASK, **more)


@given(
    st.dictionaries(st.integers(1, 10**6), TASKS, max_size=5), st.sets(st.integers(1, 10**6), max_size=3), st.randoms()
)
def test_an_archive_of_the_same_tasks_never_differs(server, without_data, random):
    ids = [*server, *(without_data - set(server))]
    random.shuffle(ids)
    position = {task_id: index for index, task_id in enumerate(sorted(ids))}
    archive = {position[task_id]: task for task_id, task in server.items()}
    assert compare(server, ids, archive) == []


@given(st.lists(TASKS, min_size=1, max_size=4), st.data())
def test_a_task_that_is_missing_or_too_many_is_always_named(tasks, data):
    server = dict(enumerate(tasks, start=100))
    gone = data.draw(st.sampled_from(sorted(server)))
    archive = {index: server[task_id] for index, task_id in enumerate(sorted(server)) if task_id != gone}
    [difference] = compare(server, list(server), archive)
    assert (difference.task_id, difference.what) == (gone, "is missing in the archive")
    [difference] = compare(server, list(server), dict(enumerate(tasks)) | {50: TASK})
    assert (difference.index, difference.task_id, difference.is_another) == (50, None, True)
    assert "is in the archive, but not on the server" in str(difference)


@pytest.mark.parametrize(
    ("archived", "what"),
    [
        (change(name="other"), "is called 'first' on the server, 'other' in the archive"),
        (change(stop_frame=8), "frames 0 to 9 on the server, 0 to 8 in the archive"),
        (change(deleted_frames=frozenset()), "deleted frames [3] on the server, [] in the archive"),
        (change(counts=Counts(1, 2, 2)), "3 tracks on the server, 2 in the archive"),
        (change(counts=Counts(0, 2, 3)), "1 tags on the server, 0 in the archive"),
        (change(jobs=()), "its jobs have other frames or another status in the archive"),
        (change(jobs=(JobRange("annotation", 0, 9, "completed"),)), "its jobs have other frames or another status"),
    ],
)
def test_what_differs_is_said_in_plain_words(archived, what):
    [difference] = compare({7: TASK}, [7], {0: archived})
    assert what in difference.what
    assert str(difference).startswith("task 7 (first): ")


def test_ground_truth_and_consensus_jobs_are_compared_by_their_annotations_only():
    jobs = (*TASK.jobs, JobRange("ground_truth", 0, 9, "x"), JobRange("consensus_replica", 0, 9, "y"))
    assert compare({7: change(jobs=jobs)}, [7], {0: TASK}) == []


def test_the_order_of_jobs_does_not_matter_but_their_number_does():
    one, two = JobRange("annotation", 0, 4, "a"), JobRange("annotation", 5, 9, "a")
    assert compare({7: change(jobs=(one, two))}, [7], {0: change(jobs=(two, one))}) == []
    assert compare({7: change(jobs=(one, one))}, [7], {0: change(jobs=(one,))})


def test_a_long_list_of_deleted_frames_is_shortened():
    [difference] = compare({7: change(deleted_frames=frozenset(range(100)))}, [7], {0: TASK})
    assert "and 90 more" in difference.what


def test_what_lies_in_the_place_of_a_task_without_data_is_an_upload_that_never_ended():
    [difference] = compare({7: TASK}, [7, 8], {0: TASK, 1: change(name="begun")})
    assert not difference.is_another and not difference.lacks


@pytest.mark.parametrize(
    ("archived", "lacks"),
    [
        (change(stop_frame=4, frames=5), True),
        (change(stop_frame=99, frames=10), False),  # numbered in another way: every tenth of a hundred
        (change(frames=3), False),
        (change(counts=Counts(1, 1, 3)), True),
        (change(counts=Counts(9, 9, 9)), False),
    ],
)
def test_fewer_frames_or_annotations_than_the_server_has_are_lacking(archived, lacks):
    assert any(each.lacks for each in compare({7: TASK}, [7], {0: archived})) == lacks


def look(**names: str) -> list[TaskState]:
    return [TaskState(int(key[1:]), name, name != "empty", False) for key, name in names.items()]


@pytest.mark.parametrize(
    ("before", "after", "archive", "said"),
    [
        (look(t1="a"), look(t1="a"), ["a"], []),
        (look(t1="a"), look(t1="b"), ["a"], []),
        (look(t1="a"), look(t1="b"), ["b"], []),
        (look(t1="a", t2="b"), look(t2="b"), ["a", "b"], []),
        (look(t1="a"), look(t1="a", t2="a"), ["a", "a"], []),
        (look(t1="a"), look(t1="a", t2="empty"), ["a"], []),
        (look(t1="a"), look(t1="a"), ["x"], ["'x' is in the archive", "'a' is missing"]),
        (look(t1="a", t2="a"), look(t1="a", t2="a"), ["a"], ["'a' is missing"]),
        (look(t1="a"), look(t1="a"), ["a", "a"], ["'a' is in the archive"]),
    ],
)
def test_what_changed_meanwhile_is_held_against_the_names_before_and_after(before, after, archive, said):
    found = misfits(before, after, {index: change(name=name) for index, name in enumerate(archive)})
    assert len(found) == len(said) and all(part in text for part, text in zip(said, found, strict=True))
