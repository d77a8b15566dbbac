"""Instances whose masks are files: FiftyOne by itself takes them for plain boxes."""

from __future__ import annotations

from pathlib import Path

from making import Annotator, pictures
from rounds import Rounds

MAKE = """
import cv2
d = dataset_of(paths, name)
array = np.zeros((24, 32), np.uint8)
array[3:10, 4:20] = 255
for number, s in enumerate(d):
    cv2.imwrite(f"{folder}/{number}.png", array)
    in_file = fo.Detection(label="blob", bounding_box=[0.5, 0.5, 0.1, 0.1], mask_path=f"{folder}/{number}.png")
    inside = fo.Detection(label="blob", bounding_box=[0.1, 0.1, 0.1, 0.1], mask=array > 0)
    s["blobs"] = fo.Detections(detections=[in_file, inside, fo.Detection(label="blob", bounding_box=[0, 0, 0.2, 0.2])])
    s.save()
result = None
"""


def send(rounds: Rounds, tmp_path: Path, kind: str) -> None:
    (tmp_path / "masks").mkdir()
    rounds.run(MAKE, paths=pictures(tmp_path / "pictures", 2), folder=str(tmp_path / "masks"))
    rounds.sync(
        "create", FIFTYONE_SYNC_LABEL_FIELD="blobs", FIFTYONE_SYNC_LABEL_TYPE=kind, FIFTYONE_SYNC_LABEL_SCHEMA="",
        FIFTYONE_SYNC_CLASSES="blob",
    )  # fmt: skip


def test_they_are_sent_and_come_back_as_they_were_but_for_what_was_changed(
    rounds: Rounds, annotator: Annotator, tmp_path: Path
) -> None:
    send(rounds, tmp_path, "instances")
    files = {path: path.read_bytes() for path in (tmp_path / "masks").iterdir()}
    shapes = annotator.held()["shapes"]
    assert [(row["type"], row["frame"]) for row in shapes] == [("mask", 0), ("mask", 0), ("mask", 1), ("mask", 1)]
    assert shapes[0]["points"][-4:] == [160.0, 120.0, 191.0, 143.0]
    before = rounds.snapshot()
    rounds.sync("load")
    assert rounds.snapshot() == before
    annotator.remove("shapes", lambda row: row["id"] == shapes[0]["id"])
    rounds.sync("load")
    was, now = (
        [row["blobs"]["detections"] for row in each["samples"].values()] for each in (before, rounds.snapshot())
    )
    assert now == [was[0][1:], was[1]]
    assert {path: path.read_bytes() for path in (tmp_path / "masks").iterdir()} == files


def test_as_boxes_only_those_without_a_mask_are_sent(rounds: Rounds, annotator: Annotator, tmp_path: Path) -> None:
    send(rounds, tmp_path, "detections")
    assert [(row["type"], row["frame"]) for row in annotator.held()["shapes"]] == [("rectangle", 0), ("rectangle", 1)]
