"""Folders are harmless, unlike one another, and the same in every run."""

from __future__ import annotations

import re
import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from common.datasets.names import folder_key, folder_names, sanitised

ANY_NAME = st.one_of(
    st.text(max_size=300),
    st.sampled_from(
        ["", ".", "..", "CON", "nul.txt", 'a/b\\c: "q" <x>|*', "  Straße  ", "x" * 300, "İ" * 260, "ẞ" * 90]
    ),
)


def test_names_become_what_the_document_says():
    assert sanitised("Barley Segmentation") == "barley_segmentation"
    assert sanitised("Wheat  annotation (batch #1)") == "wheat_annotation_batch_1"
    assert sanitised("v1.2-final") == "v1.2-final"
    assert sanitised("Ähren/Körner") == "ähren_körner"
    assert sanitised("..") == sanitised("") == sanitised("???") == "unnamed_task"
    assert sanitised("con") != "con" and sanitised("NUL.txt") == "nul_txt"


@given(ANY_NAME)
def test_a_folder_name_is_safe_on_every_file_system(name):
    folder = sanitised(name)
    assert 0 < len(folder) <= 200 and len(f"aside_{folder}__123456789012".encode()) <= 255
    assert folder not in (".", "..") and folder[0] not in ". _" and folder[-1] not in ". "
    assert not re.search(r'[\x00-\x1f/\\:"<>|*?\s]', folder)
    assert folder == unicodedata.normalize("NFC", folder)
    assert not re.fullmatch(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", folder)
    assert sanitised(folder) == folder


@given(st.dictionaries(st.integers(1, 40), st.one_of(ANY_NAME, st.sampled_from(["a", "A", "a__1", "a__1__1", "b"]))))
def test_every_task_has_a_folder_of_its_own_also_where_case_does_not_count(names):
    found = folder_names(names)
    assert set(found) == set(names)
    assert len({folder_key(folder) for folder in found.values()}) == len(names)


@given(st.dictionaries(st.integers(1, 20), st.sampled_from(["a", "A", "a ", "a__1", "a__2", "b", "B"])), st.randoms())
def test_the_order_of_the_tasks_changes_nothing_and_a_second_run_finds_its_folders_again(names, random):
    shuffled = list(names.items())
    random.shuffle(shuffled)
    found = folder_names(names)
    assert folder_names(dict(shuffled)) == found
    assert folder_names(names, {folder: task_id for task_id, folder in found.items()}) == found


@given(
    st.dictionaries(st.integers(1, 20), st.sampled_from(["a", "A", "b", "a__3"]), min_size=1),
    st.dictionaries(st.integers(21, 40), st.sampled_from(["a", "A", "b", "a__3"])),
)
def test_newcomers_never_get_the_folder_of_another_task(first, later):
    before = folder_names(first)
    after = folder_names(first | later, {folder: task_id for task_id, folder in before.items()})
    assert {task_id: after[task_id] for task_id in first} == before
    assert len({folder_key(folder) for folder in after.values()}) == len(after)


def test_tasks_whose_names_collide_all_get_their_id():
    assert folder_names({7: "Scan", 9: "scan", 3: "other"}) == {7: "scan__7", 9: "scan__9", 3: "other"}
    assert folder_names({9: "scan"}, {"scan": 0}) == {9: "scan__9"}  # another server's
