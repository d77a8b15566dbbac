"""Annotations are counted the same whether they are small or streamed."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common import annotations
from common.annotations import FramesMeta, NotAnnotations, PiecesFile, count, frames_meta
from common.sources import Counts

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(blacklist_categories=("Cs",))),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["tags", "shapes", "tracks", "elements", "a"]), inner, max_size=3)
    ),
    max_leaves=8,
)
LISTS = st.lists(VALUES, max_size=4)
OBJECTS = st.fixed_dictionaries(
    {"tags": LISTS, "shapes": LISTS, "tracks": LISTS}, optional={"version": VALUES, "more": VALUES}
)
LACKING = st.dictionaries(st.sampled_from(["tags", "shapes", "tracks", "x"]), LISTS | VALUES, max_size=4)


def pieces(data: bytes, length: int):
    return [data[start : start + length] for start in range(0, len(data), length)]


def both_ways(data: bytes, length: int, monkeypatch) -> list:
    """What the small and the streamed path say; None for "these are no annotations"."""
    said = []
    for small in (4 << 20, 0):
        monkeypatch.setattr(annotations, "SMALL_BYTES", small)
        try:
            said.append(count(pieces(data, length)))
        except NotAnnotations:
            said.append(None)
    return said


@given(content=OBJECTS | st.lists(OBJECTS, min_size=1, max_size=3), length=st.integers(1, 40))
def test_streamed_and_small_counts_are_the_same_and_right(monkeypatch, content, length):
    small, streamed = both_ways(json.dumps(content).encode(), length, monkeypatch)
    entries = content if isinstance(content, list) else [content]
    wanted = Counts(*(sum(len(entry[kind]) for entry in entries) for kind in ("tags", "shapes", "tracks")))
    assert small == streamed == wanted


@given(content=LACKING | st.lists(LACKING | OBJECTS, min_size=1, max_size=3), length=st.integers(1, 40))
def test_objects_that_lack_a_list_are_refused_both_ways(monkeypatch, content, length):
    small, streamed = both_ways(json.dumps(content).encode(), length, monkeypatch)
    assert small == streamed


@given(content=OBJECTS, cut=st.floats(0, 0.999))
def test_annotations_that_break_off_are_refused_both_ways(monkeypatch, content, cut):
    data = json.dumps(content).encode()
    assert both_ways(data[: int(len(data) * cut)], 16, monkeypatch) == [None, None]


@pytest.mark.parametrize(
    "text", ["", "5", "null", "{}", '"x"', "<html>", "[", '{"tags": [], "shapes": {}, "tracks": []}']
)
def test_what_is_no_annotations_is_refused_both_ways(monkeypatch, text):
    assert both_ways(text.encode(), 3, monkeypatch) == [None, None]


def test_elements_of_skeletons_and_shapes_in_tracks_are_not_counted(monkeypatch):
    content = {
        "version": 3,
        "tags": [{"label_id": 1}],
        "shapes": [{"type": "skeleton", "elements": [{"shapes": [1, 2]}]}, {"points": [1.5, 2]}],
        "tracks": [{"shapes": [{}, {}, {}], "elements": [{"tracks": []}], "tags": [1]}],
    }
    assert both_ways(json.dumps(content).encode(), 7, monkeypatch) == [Counts(1, 2, 1)] * 2


def test_a_list_of_jobs_is_summed(monkeypatch):
    job = {"tags": [1], "shapes": [1, 2], "tracks": []}
    assert both_ways(json.dumps([job, job, job]).encode(), 5, monkeypatch) == [Counts(3, 6, 0)] * 2


def test_a_large_text_is_never_held_whole(monkeypatch):
    monkeypatch.setattr(annotations, "SMALL_BYTES", 1000)
    counter = annotations.AnnotationCounter()
    counter.feed(b'{"tags": [], "tracks": [], "shapes": [1')
    for _ in range(2000):
        counter.feed(b", 1")
        assert len(counter._held) <= 1000
    counter.feed(b"]}")
    assert counter.result() == Counts(0, 2001, 0)


def test_frames_meta_is_read_as_a_stream():
    content = {
        "size": 5,
        "frames": [{"width": 1, "size": 99, "name": "deleted_frames"}] * 50,
        "deleted_frames": [1, 4],
        "start_frame": 2,
        "stop_frame": 6,
        "chunk_size": None,
    }
    wanted = FramesMeta(2, 6, 5, frozenset({1, 4}))
    assert frames_meta(pieces(json.dumps(content).encode(), 7)) == wanted


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"size": 1, "start_frame": 0', '{"size": "1"}', "<html>"])
def test_a_frames_meta_that_is_none_is_refused(text):
    with pytest.raises(NotAnnotations, match="the frames of the task cannot be read"):
        frames_meta([text.encode()])


@pytest.mark.parametrize("text", [b'{"size": \x1b[2J\nx}', b"\x1b]0;title\x07", b'{"a": \x9b31m}'])
def test_what_a_parser_quotes_reaches_no_terminal(monkeypatch, text):
    for small in (1 << 20, 0):
        monkeypatch.setattr(annotations, "SMALL_BYTES", small)
        for read in (count, frames_meta):
            with pytest.raises(NotAnnotations) as caught:
                read([text])
            assert str(caught.value).isprintable()


@given(st.lists(st.binary(min_size=1, max_size=20)), st.lists(st.integers(1, 30)))
def test_pieces_read_as_a_file_are_the_same_bytes(given_pieces, lengths):
    file = PiecesFile(given_pieces)
    parts = [file.read(length) for length in lengths]
    assert all(len(part) <= length for part, length in zip(parts, lengths, strict=True))
    assert b"".join(parts) + file.read() == b"".join(given_pieces)
