"""Names of files: readable, safe everywhere, unique in the whole project."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from common.migrating.names import dataset_folders, safe_name, stems_of
from common.sc.media import Media


def media(*names: str) -> list[Media]:
    return [Media(f"{at:024x}", "d", name, "image") for at, name in enumerate(names)]


@given(st.lists(st.text(max_size=150), max_size=12))
def test_no_two_files_share_a_name_whatever_the_case_and_none_leaves_its_folder(names):
    stems = stems_of(media(*names))
    assert len({stem.casefold() for stem in stems.values()}) == len(names)
    for stem in stems.values():
        assert stem and "/" not in stem and "\\" not in stem and stem not in (".", "..")
        assert not set(stem) & set(':*?"<>|[]') and len(stem.encode()) < 200


def test_a_name_that_is_alone_is_kept_and_equal_ones_get_their_ids_in_all_datasets():
    stems = list(stems_of(media("cat", "dog", "DOG")).values())
    assert stems == ["cat", f"dog_{1:024x}", f"DOG_{2:024x}"]


def test_an_image_called_like_a_frame_cannot_take_the_annotations_of_one():
    assert list(stems_of(media("film_frame_3")).values()) == [f"film_frame_3_{0:024x}"]


def test_awkward_names_become_harmless():
    assert safe_name("a/b:c*[d]") == "a_b_c__d_"
    assert safe_name("CON") == "_CON"
    assert safe_name("..") == ""
    assert dataset_folders([("1", "x"), ("2", "X"), ("3", "..")]) == {"1": "x_1", "2": "X_2", "3": "dataset_3"}
