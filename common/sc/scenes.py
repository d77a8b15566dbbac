"""Annotations: one scene per image or annotated video frame, fetched whole and put back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from common.sc.client import Client
from common.sc.labels import LabelMap
from common.sc.media import Media, media_path
from common.sc.shapes import converted, same
from common.web import errors

Scene = Mapping[str, Any]
# What Geti gives of a video in one answer at most; the answer does not say that it was cut off.
MOST_SCENES = 500
# What a server says of a project or a video that has no labels of stretches at all.
NO_RANGES = (400, 405, 422, 501)


def image_scene(client: Client, project_id: str, media: Media) -> Scene | None:
    """The latest annotations of an image; None when it has none. Raises WebError."""
    return _scene(client, f"{media_path(client, project_id, media)}/annotations/latest")


def frame_scene(client: Client, project_id: str, media: Media, frame: int) -> Scene | None:
    """The latest annotations of one frame; None when it has none. Raises WebError."""
    return _scene(client, f"{media_path(client, project_id, media)}/frames/{frame}/annotations/latest")


def _scene(client: Client, path: str) -> Scene | None:
    answer = _latest(client, path, {})
    if answer is None:
        return None
    if not isinstance(answer, dict) or not isinstance(answer.get("annotations"), list):
        raise errors.NotJson(f"GET {path}: the server's answer is no annotations")
    return answer


def _latest(client: Client, path: str, params: Mapping[str, Any]) -> Any:
    """The answer; None where the server says that there are no annotations: 204, or 404 with the code for it. Any other
    404 is that of a proxy, or of something else that is gone. Raises WebError.
    """
    try:
        return client.get(path, params)
    except errors.NotFound as error:
        if _code(error) == "annotation_not_found":
            return None
        raise


def _code(error: errors.WebError) -> str:
    return str(error.payload.get("error_code", "")) if isinstance(error.payload, dict) else ""


def video_scenes(client: Client, project_id: str, media: Media) -> Iterator[tuple[int, Scene]]:
    """Every annotated frame with its scene, in order: asked for again behind the last frame until nothing comes.

    frameskip=1 is said: the default is the frame rate on some servers. Raises WebError.
    """
    path = f"{media_path(client, project_id, media)}/annotations/latest"
    start = 0
    while True:
        params: dict[str, Any] = {"frameskip": 1}
        if start or media.frame_count:
            params |= {"start_frame": start, "end_frame": max(media.frame_count - 1, start)}
        answer = _latest(client, path, params)
        if answer is None:
            return
        scenes = answer.get("video_annotations") if isinstance(answer, dict) else answer
        if not isinstance(scenes, list) or any(not isinstance(each, dict) for each in scenes):
            raise errors.NotJson(f"GET {path}: the server's answer is no annotations")
        found = {frame_of(scene): scene for scene in scenes}
        fresh = sorted(frame for frame in found if frame >= start)
        for frame in fresh:
            yield frame, found[frame]
        told = {} if not isinstance(answer, dict) else answer.get("video_annotation_properties") or {}
        if not fresh or _is_all(told, len(scenes)):
            return
        start = fresh[-1] + 1
        if media.frame_count and start >= media.frame_count:
            return


def _is_all(told: Mapping[str, Any], came: int) -> bool:
    """Whether nothing follows: as many came as were asked for, or fewer than one answer can hold."""
    total, requested = told.get("total_count"), told.get("total_requested_count")
    if isinstance(total, int) and isinstance(requested, int) and came < requested:
        return False
    return came < MOST_SCENES


def frame_of(scene: Scene) -> int:
    """The index of the frame that a scene belongs to."""
    return int((scene.get("media_identifier") or {}).get("frame_index", 0))


def predictions(client: Client, project_id: str, media: Media, frame: int | None = None) -> Mapping[str, Any] | None:
    """The predictions of the active model for an image or a frame; None when there are none. Raises WebError."""
    if client.generation.era == "Geti 2":
        asked: dict[str, Any] = {"dataset_id": media.dataset_id}
        asked |= {"image_id": media.id} if frame is None else {"video_id": media.id, "frame_index": frame}
        path = f"{client.home}/projects/{project_id}/pipelines/active:predict"
        answer = _or_none(client, "POST", path, asked, {"use_cache": "auto"})
    else:
        path = media_path(client, project_id, media)
        path += "/predictions/latest" if frame is None else f"/frames/{frame}/predictions/latest"
        answer = _or_none(client, "GET", path, None, {})
    return answer if isinstance(answer, dict) else None


def _or_none(client: Client, method: str, path: str, body: Any, params: Mapping[str, Any]) -> Any:
    try:
        return client.json(method, path, body, params=params, repeat=True)
    except errors.NotFound:
        return None


# --- putting back -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Translated:
    """A scene in the words of the target, and what of it has no counterpart there, one sentence each."""

    body: dict[str, Any]
    lost: tuple[str, ...]

    @property
    def annotations(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.body["annotations"]
        return found


def translate(
    scene: Scene, labels: LabelMap, size: tuple[int, int], *, from_normalised: bool, to_normalised: bool
) -> Translated:
    """A scene for another server: the target's label ids, its coordinates. `size` is that of the picture (pixels)."""
    lost: list[str] = []
    annotations = []
    for annotation in scene.get("annotations") or []:
        ids: list[str] = []
        for label in annotation.get("labels") or []:
            found = labels.target_of(label, [labels.task_of(each) for each in ids])
            if found is None:
                lost.append(f"label {label.get('name')!r} is not in the target")
            elif found not in ids:
                ids.append(found)
        if not ids:
            lost.append(f"a {annotation['shape'].get('type', 'shape')} without any label of the target")
            continue
        shape = converted(annotation["shape"], *size, from_normalised=from_normalised, to_normalised=to_normalised)
        entry: dict[str, Any] = {"shape": _accepted(shape, size, to_normalised)}
        entry["labels"] = [{"id": each, "probability": 1.0} if to_normalised else {"id": each} for each in ids]
        if revisit := _known(annotation.get("labels_to_revisit"), labels):
            entry["labels_to_revisit"] = revisit
        annotations.append(entry)
    body: dict[str, Any] = {"annotations": annotations}
    if revisit := _known(scene.get("labels_to_revisit_full_scene"), labels):
        body["labels_to_revisit_full_scene"] = revisit
    return Translated(body, tuple(lost))


def _known(revisit: Any, labels: LabelMap) -> list[str]:
    return [labels.by_id[each] for each in revisit or [] if each in labels.by_id]


def _accepted(shape: dict[str, Any], size: tuple[int, int], normalised: bool) -> dict[str, Any]:
    """A shape that the target takes: Geti refuses boxes thinner than a pixel or reaching over the edge by a rounding."""
    if normalised or shape.get("type") not in ("RECTANGLE", "ELLIPSE"):
        return shape
    result = dict(shape)
    for length in ("width", "height"):
        result[length] = max(1, result[length])
    if shape["type"] == "RECTANGLE" and all(size):
        for at, length, limit in (("x", "width", size[0]), ("y", "height", size[1])):
            result[at] = min(max(0, result[at]), max(0, limit - 1))
            result[length] = min(result[length], limit - result[at])
    return result


def put_scene(client: Client, project_id: str, media: Media, frame: int | None, translated: Translated) -> Scene:
    """Stores a scene in place of the latest one: repeating changes nothing. The stored scene. Raises WebError."""
    path = media_path(client, project_id, media)
    if frame is None:
        identifier = {"type": "image", "image_id": media.id}
    else:
        path += f"/frames/{frame}"
        identifier = {"type": "video_frame", "video_id": media.id, "frame_index": frame}  # type: ignore[dict-item]
    answer = client.json(
        "POST", f"{path}/annotations", {**translated.body, "media_identifier": identifier}, repeat=True
    )
    return answer if isinstance(answer, dict) else {}


def differences(sent: Sequence[Mapping[str, Any]], stored: Scene, *, normalised: bool) -> list[str]:
    """What a stored scene lacks of what was sent, one sentence each. Servers add parent labels and round to pixels."""
    tolerance = 1e-6 if normalised else 0.500001
    there = list(stored.get("annotations") or [])
    missing = []
    for annotation in sent:
        wanted = {each["id"] for each in annotation["labels"]}
        found = next(
            (
                each
                for each in there
                if wanted <= {label.get("id") for label in each.get("labels") or []}
                and same(annotation["shape"], each.get("shape") or {}, tolerance)
            ),
            None,
        )
        if found is None:
            missing.append(f"a {annotation['shape'].get('type', 'shape')} did not come back as it was sent")
        else:
            there.remove(found)
    if there and len(stored.get("annotations") or []) > len(sent):
        missing.append(f"{len(there)} shapes are there that were not sent")
    return missing


def video_ranges(client: Client, project_id: str, media: Media) -> list[Mapping[str, Any]] | None:
    """The labels of whole stretches of a video (classification); None where the server seems to know of no such thing,
    which a proxy's page looks like, too. Raises WebError.
    """
    if client.generation.era == "SC":
        return []
    try:
        answer = client.get(f"{media_path(client, project_id, media)}/range_annotation")
    except (errors.NotFound, errors.NotJson):
        return None
    except errors.Refused as error:
        if error.status not in NO_RANGES:  # a lock, say: then there may be some
            raise
        return None
    if answer is None:
        return []
    found = answer.get("range_labels") if isinstance(answer, dict) else None
    return found if isinstance(found, list) else None


def translate_ranges(ranges: Iterable[Mapping[str, Any]], labels: LabelMap) -> tuple[list[dict[str, Any]], list[str]]:
    """Labels of stretches for another server, and the ids of labels that have no counterpart there."""
    wanted, lost = [], set()
    for each in ranges:
        ids = [labels.by_id[str(label)] for label in each["label_ids"] if str(label) in labels.by_id]
        lost |= {str(label) for label in each["label_ids"]} - labels.by_id.keys()
        if ids:
            wanted.append({"start_frame": each["start_frame"], "end_frame": each["end_frame"], "label_ids": ids})
    return wanted, sorted(lost)


def same_ranges(one: Iterable[Mapping[str, Any]], other: Iterable[Mapping[str, Any]]) -> bool:
    """Whether the same stretches have the same labels, in whatever order."""

    def plain(ranges: Iterable[Mapping[str, Any]]) -> set[tuple[int, int, frozenset[str]]]:
        return {(int(each["start_frame"]), int(each["end_frame"]), frozenset(each["label_ids"])) for each in ranges}

    return plain(one) == plain(other)


def put_ranges(client: Client, project_id: str, media: Media, ranges: Sequence[Mapping[str, Any]]) -> None:
    """Stores the labels of stretches; repeating changes nothing. Raises WebError.

    The server gives every `skip_frame`th frame of a stretch annotations of its own, in place of what the frame has:
    with a step longer than the video as few as it can. Whoever stores scenes too stores them afterwards.
    """
    path = f"{media_path(client, project_id, media)}/range_annotation"
    params = {"skip_frame": max(1, media.frame_count)}
    client.json("POST", path, {"range_labels": list(ranges)}, params=params, repeat=True)
