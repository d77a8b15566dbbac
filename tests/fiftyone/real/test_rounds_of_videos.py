"""Rounds of fiftyone_sync.py with videos: tracks go to CVAT and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from environment import needs_ffmpeg
from making import Annotator, clip
from rounds import FILM, FILM_SETTINGS, Rounds, in_frames, nothing_is_left, of

from sandbox.cvat import CvatSandbox

Json = dict[str, Any]


def test_tracks_that_nobody_touched_come_back_bit_for_bit(rounds: Rounds, annotator: Annotator, tmp_path: Path) -> None:
    needs_ffmpeg()
    rounds.run(FILM, path=clip(tmp_path / "films"))
    rounds.sync("create", **FILM_SETTINGS)
    assert sorted(len(track["shapes"]) for track in annotator.held()["tracks"]) == [16, 24]
    before = rounds.snapshot()
    rounds.sync("load")
    assert rounds.snapshot() == before
    rounds.sync("cleanup")
    nothing_is_left(rounds)


def test_tracks_change_only_in_what_was_changed(rounds: Rounds, annotator: Annotator, tmp_path: Path) -> None:
    needs_ffmpeg()
    rounds.run(FILM, path=clip(tmp_path / "films"))
    rounds.sync("create", **FILM_SETTINGS)
    before = rounds.snapshot()
    annotator.change("tracks", of(annotator, "car"), lambda row: row["shapes"][2].update(points=[0.0, 0.0, 32.0, 24.0]))

    def shorter(row: Json) -> None:
        row["shapes"] = [shape for shape in row["shapes"] if shape["frame"] < 10]
        row["shapes"].append(row["shapes"][-1] | {"frame": 10, "outside": True, "id": None})
        row["shapes"][-1].pop("id")

    annotator.change("tracks", of(annotator, "person", 4), shorter)
    corners = ((5, 32.0, False), (7, 64.0, False), (9, 64.0, True))
    shapes = [{"type": "rectangle", "frame": frame, "points": [x, 0.0, x + 32, 24.0], "outside": outside}
              for frame, x, outside in corners]  # fmt: skip
    annotator.add("tracks", {"label": "car", "frame": 5, "attributes": {"kind": "van"}, "shapes": shapes})
    rounds.sync("load")
    after = rounds.snapshot()
    assert after["samples"] == before["samples"]
    was, now = in_frames(before), in_frames(after)
    for number in (1, 2, 4, 5, 10, 20, 24):
        assert now[number] == was[number], number
    assert now[3] == [was[3][0] | {"bounding_box": [0.0, 0.0, 0.1, 0.1]}]
    for number in range(11, 20):
        assert now[number] == was[number][:1], number
    added = {number: [one for one in now[number] if one not in was[number]] for number in (6, 7, 8)}
    assert [[one["bounding_box"][0] for one in added[number]] for number in (6, 7, 8)] == [[0.1], [0.15], [0.2]]
    assert {(one["label"], one["kind"], one["index"]) for rows in added.values() for one in rows} == {("car", "van", 3)}
    rounds.sync("load")
    assert rounds.snapshot() == after


def test_a_track_deleted_in_cvat_is_deleted_and_with_no_permission_it_stays(
    rounds: Rounds, annotator: Annotator, tmp_path: Path
) -> None:
    needs_ffmpeg()
    rounds.run(FILM, path=clip(tmp_path / "films"))
    rounds.sync("create", **FILM_SETTINGS)
    before = rounds.snapshot()
    annotator.remove("tracks", of(annotator, "person", 4))
    rounds.sync("load", ALLOW_DELETIONS="false")
    assert rounds.snapshot() == before
    rounds.sync("load")
    now = in_frames(rounds.snapshot())
    assert [len(now[number]) for number in (4, 5, 8, 19, 20)] == [1, 1, 2, 1, 1]


def test_tracks_over_several_jobs_or_frames_left_out_are_refused_beforehand(
    rounds: Rounds, server: CvatSandbox, tmp_path: Path
) -> None:
    needs_ffmpeg()
    rounds.run(FILM, path=clip(tmp_path / "films"))
    for changes in ({"SEGMENT_SIZE": "12"}, {"FRAME_STEP": "2"}):
        done = rounds.sync("create", code=2, **FILM_SETTINGS, **changes)
        assert f"FIFTYONE_SYNC_{next(iter(changes))}" in done.said
    nothing_is_left(rounds)
    assert server.log_count("POST /api/tasks") == 0


def test_tracks_of_polylines_with_several_parts_are_refused_beforehand(
    rounds: Rounds, server: CvatSandbox, tmp_path: Path
) -> None:
    needs_ffmpeg()
    parts = """
for s in d:
    parts = [[(.1, .1), (.2, .2)], [(.3, .3), (.4, .4)]]
    s.frames[2]["lines"] = fo.Polylines(polylines=[fo.Polyline(label="road", index=1, points=parts)])
    s.frames[3]["lines"] = fo.Polylines(polylines=[fo.Polyline(label="road", index=1, points=parts[:1])])
    s.frames[4]["lines"] = fo.Polylines(polylines=[fo.Polyline(label="road", points=parts)])
    s.save()
"""
    rounds.run(FILM + parts, path=clip(tmp_path / "films"))
    done = rounds.sync("create", code=2, LABEL_FIELD="frames.lines", LABEL_TYPE="polylines", CLASSES="road")
    assert "1 label in tracks with several parts" in done.said
    nothing_is_left(rounds)
    assert server.log_count("POST /api/tasks") == 0


def test_without_permission_a_track_keeps_its_index(rounds: Rounds, annotator: Annotator, tmp_path: Path) -> None:
    needs_ffmpeg()
    rounds.run(FILM, path=clip(tmp_path / "films"))
    rounds.sync("create", **FILM_SETTINGS)
    before = rounds.snapshot()
    # The annotator cuts a track in two: its later half is a new track with the labels of the old one.
    track = annotator.change("tracks", of(annotator, "car"), lambda row: None)
    later = [{key: item for key, item in shape.items() if key != "id"} for shape in track["shapes"][12:]]
    end = {**later[0], "outside": True}
    annotator.change("tracks", of(annotator, "car"), lambda row: row.update(shapes=[*row["shapes"][:12], end]))
    new = {key: track[key] for key in ("label_id", "group", "source", "attributes")}
    annotator.add("tracks", {**new, "frame": 12, "shapes": later})
    rounds.sync("load", ALLOW_INDEX_EDITS="false")
    assert rounds.snapshot() == before
    rounds.sync("load")
    now, was = in_frames(rounds.snapshot()), in_frames(before)
    assert [now[number] == was[number] for number in (1, 12)] == [True, True]
    assert {now[number][0]["index"] for number in range(13, 25)} == {3}
    assert [now[number][0] | {"index": 1} for number in (13, 24)] == [was[number][0] for number in (13, 24)]
