"""The split depends on nothing but the image: the same in every run, and about as large as was asked for."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.datasets.joining import NotMerged, _blaming_datumaro, part_of
from common.waiting import Stopped, StopSignal

FROZEN = ["train", "train", "train", "test", "train", "train", "train", "train"]
PARTS = (("train", 70.0), ("val", 20.0), ("test", 10.0))


def test_the_parts_are_as_large_as_their_weights_say():
    counts = Counter(part_of(task, f"frame_{n:06d}", PARTS) for task in range(20) for n in range(500))
    assert {name: round(count / 1000) for name, count in counts.items()} == {"train": 7, "val": 2, "test": 1}


def test_an_image_has_its_part_for_ever():
    # Written down once: another number here would move images between training and test sets of users.
    found = [part_of(7, f"frame_{n:06d}", PARTS) for n in range(8)]
    assert found == [part_of(7, f"frame_{n:06d}", (("train", 7), ("val", 2), ("test", 1))) for n in range(8)]
    assert found == FROZEN


@given(st.integers(1), st.text(), st.lists(st.floats(0.001, 1e6), min_size=1, max_size=5))
def test_every_image_gets_one_of_the_parts(task, name, weights):
    parts = tuple((f"p{n}", weight) for n, weight in enumerate(weights))
    assert part_of(task, name, parts) in dict(parts)


def test_a_stop_within_datumaro_is_one_however_datumaro_wraps_it():
    stop = StopSignal()
    with (
        pytest.raises(NotMerged, match=r"^datumaro cannot read it: KeyError: 'b'$"),
        _blaming_datumaro("read it", stop),
    ):
        raise RuntimeError("failed to import") from KeyError("b")
    stop.set(2)
    for wrapped in (Stopped(), RuntimeError("failed to import")):
        with pytest.raises(Stopped), _blaming_datumaro("read it", stop):
            raise wrapped
