"""What identifies a source, and sums of annotations."""

from __future__ import annotations

from common.sources import Counts
from tests.common.making import a_source, a_state


def test_a_source_is_known_by_server_kind_id_and_creation_and_not_by_its_name():
    source = a_source()
    assert source.key == a_source(name="renamed", organization_id=4).key
    for other in (
        a_source(server="b"),
        a_source(kind="task"),
        a_source(id=13),
        a_source(created_at="2027-01-01T00:00:00Z"),
    ):
        assert other.key != source.key


def test_a_source_is_called_by_kind_and_id():
    assert str(a_source()) == "project 12"


def test_counts_add_up():
    assert sum([Counts(1, 2, 3), Counts(4, 5, 6)], Counts()) == Counts(5, 7, 9)
    assert Counts(1, 2, 3).total == 6


def test_a_source_with_video_or_images_has_data():
    assert a_state(has_images=True).has_data and a_state(has_images=False, has_video=True).has_data
    assert not a_state(has_images=False).has_data
