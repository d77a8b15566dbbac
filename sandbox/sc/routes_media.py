"""Media and what is known of them: lists, files, annotations, predictions."""

from __future__ import annotations

import json
import time
from pathlib import PurePosixPath
from typing import Any

from sandbox.downloads import file_response
from sandbox.http import FileBody, Response
from sandbox.sc import scenes
from sandbox.sc.answering import answer, bad_request, body_object, not_found, nothing, number, refusal, success
from sandbox.sc.media import content_type, frame, new_path, take_image, take_video, thumbnail
from sandbox.sc.receiving import receive
from sandbox.sc.routes import Call, Router
from sandbox.sc.world import Json, Media, Scene

routes = Router()
OLD = ("1.1", "1.x")
NEW = ("2.x",)
GETI = ("1.x", "2.x")
MEDIA = "projects/{pid}/datasets/{did}/media"
MAX_TOP = 100_000  # recorded: top=100000 is accepted
JPEG = [("Content-Type", "image/jpeg"), ("cache-control", "no-cache")]


# --- lists -------------------------------------------------------------------------------------------------------------


def _list_of(kind: str) -> Any:
    def handler(call: Call) -> Response:
        """`next_page` is there whenever the page is not empty, also when it was the last (recorded)."""
        project, dataset = call.project(), call.dataset()
        top = number(call.query, "top", 100, 1, MAX_TOP)
        found = dataset.of(kind)
        after = call.query.get("skiptoken")
        start = 0
        if after is not None:
            start = next((n + 1 for n, media in enumerate(found) if media.id == after), len(found))
        page = found[start : start + top]
        written: Json = {
            "media": [call.write.media(project, dataset, media) for media in page],
            "media_count": {f"{kind}s": len(found)},
        }
        if page:
            home = f"{call.write.home(project.workspace_id)}/projects/{project.id}/datasets/{dataset.id}/media/{kind}s"
            written["next_page"] = f"{home}?top={top}&skiptoken={page[-1].id}"
        return answer(written)

    return handler


for _kind in ("image", "video"):
    routes.add("GET", f"{MEDIA}/{_kind}s", OLD)(_list_of(_kind))


SORTS: dict[str, Any] = {
    "media_name": lambda media: media.name,
    "media_upload_date": lambda media: media.uploaded,
    "media_size": lambda media: media.path.stat().st_size,
    "media_width": lambda media: media.width,
    "media_height": lambda media: media.height,
}


@routes.add("POST", "projects/{pid}/datasets/{did}/media:query", NEW)
def query(call: Call) -> Response:
    """Pages of media. The default order is by name, which is not unique: there, equal names change places."""
    project, dataset = call.project(), call.dataset()
    limit = number(call.query, "limit", 50, 1, 1000)
    skip = number(call.query, "skip", 0, 0, 1 << 31)
    sort_by = call.query.get("sort_by", "media_name")
    if sort_by not in SORTS:
        raise bad_request(f"'{sort_by}' is not a field to sort by.")
    wanted = body_object(call.request)
    found = [media for media in dataset.media.values() if _matches(media, wanted)]
    if sort_by == "media_name":
        # As a database without a tie-breaker may: every page of the same list is in another order of equals.
        found.sort(key=lambda media: media.id if (skip // limit) % 2 == 0 else "".join(reversed(media.id)))
    found.sort(key=SORTS[sort_by], reverse=call.query.get("sort_direction", "asc").lower() == "dsc")
    page = found[skip : skip + limit]
    written: Json = {
        "media": [call.write.media(project, dataset, media) for media in page],
        "total_matched_images": sum(media.kind == "image" for media in found),
        "total_matched_videos": sum(media.kind == "video" for media in found),
        "total_matched_video_frames": 0,
        "total_images": len(dataset.of("image")),
        "total_videos": len(dataset.of("video")),
    }
    if len(page) == limit:  # also when the last page is exactly full
        home = f"{call.write.home(project.workspace_id)}/projects/{project.id}/datasets/{dataset.id}/media:query"
        written["next_page"] = f"{home}?limit={limit}&skip={skip + limit}"
    return answer(written)


def _matches(media: Media, raw: Json) -> bool:
    results = [_rule(media, rule) for rule in raw.get("rules", [])]
    if not results:
        return True
    return any(results) if str(raw.get("condition", "and")).lower() == "or" else all(results)


def _rule(media: Media, rule: Json) -> bool:
    facts = {"media_id": media.id, "media_type": media.kind, "media_name": media.name, "media_width": media.width,
             "media_height": media.height, "media_upload_date": media.uploaded}  # fmt: skip
    name, operator, value = str(rule.get("field")).lower(), str(rule.get("operator")).lower(), rule.get("value")
    if name not in facts:
        raise bad_request(f"'{name}' is not a field to filter by.")
    fact = facts[name]
    if isinstance(value, str) and name == "media_type":
        value = value.lower()
    match operator:
        case "equal":
            return bool(fact == value)
        case "not_equal":
            return bool(fact != value)
        case "contains":
            return str(value) in str(fact)
        case "in":
            return fact in (value or [])
    raise bad_request(f"The operator '{operator}' is not known.")


# --- single media ------------------------------------------------------------------------------------------------------


def _upload(call: Call, kind: str) -> Response:
    """Outside of the world's lock: files may be large and slow to come."""
    world, server = call.world, call.server
    with world.lock:
        project, dataset = call.project(), call.dataset()
    form = receive(call.request, new_path(world), server.max_file_bytes)
    if form.path is None:
        raise bad_request("'file' is a required property of the form.")
    if kind == "image":
        media = take_image(world, form.path, form.filename, reencodes=call.generation.reencodes)
    else:
        media = take_video(world, form.path, form.filename)
    if server.preprocessing_seconds is not None:
        media.ready_at = time.monotonic() + server.preprocessing_seconds
    media.name = PurePosixPath(media.name).name or media.name
    with world.lock:
        dataset.media[media.id] = media
        if "upload_info" in form.fields:
            _label_at_upload(call, media, form.fields["upload_info"])
        written = call.write.media(project, dataset, media)
    return answer(written, 200 if media.ready_at is None else 202)


def _label_at_upload(call: Call, media: Media, text: str) -> None:
    try:
        labels = json.loads(text).get("label_ids", [])
    except (ValueError, AttributeError):
        raise bad_request("'upload_info' is not a JSON object.") from None
    if labels:
        extent = (1, 1) if call.generation.normalised else (media.width, media.height)
        one = {"shape": scenes.full_box(extent), "labels": [{"id": label} for label in labels]}
        scenes.take(call.world, call.generation, call.project(), media, 0, {"annotations": [one]})


@routes.add("POST", f"{MEDIA}/images", locked=False)
def upload_image(call: Call) -> Response:
    return _upload(call, "image")


@routes.add("POST", f"{MEDIA}/videos", locked=False)
def upload_video(call: Call) -> Response:
    return _upload(call, "video")


def _detail_of(kind: str) -> Any:
    def handler(call: Call) -> Response:
        return answer(call.write.media(call.project(), call.dataset(), call.media(kind)))

    return handler


def _delete_of(kind: str) -> Any:
    def handler(call: Call) -> Response:
        media = call.media(kind)
        call.server.jobs.refuse_while_running(call.project())
        del call.dataset().media[media.id]
        return success()

    return handler


def _thumb_of(kind: str) -> Any:
    def handler(call: Call) -> Response:
        media = call.media(kind)
        _refuse_unprocessed(media)
        return Response(200, list(JPEG), thumbnail(media))

    return handler


for _kind in ("image", "video"):
    routes.add("GET", f"{MEDIA}/{_kind}s/{{mid}}")(_detail_of(_kind))
    routes.add("DELETE", f"{MEDIA}/{_kind}s/{{mid}}")(_delete_of(_kind))
    routes.add("GET", f"{MEDIA}/{_kind}s/{{mid}}/display/thumb", locked=False)(_thumb_of(_kind))


def _refuse_unprocessed(media: Media) -> None:
    if media.ready_at is not None and time.monotonic() < media.ready_at:
        raise refusal(412, "media_is_not_preprocessed", f"Media `{media.id}` is not preprocessed yet.")


@routes.add("GET", f"{MEDIA}/images/{{mid}}/display/full", locked=False)
def image_file(call: Call) -> Response:
    media = call.media("image")
    _refuse_unprocessed(media)
    headers = [("Content-Type", content_type(media)), ("cache-control", "no-cache")]
    return Response(200, headers, FileBody(media.path, 0, media.path.stat().st_size))


@routes.add("GET", f"{MEDIA}/videos/{{mid}}/display/stream", locked=False)
def video_file(call: Call) -> Response:
    """The file, or where it lies: Geti 2 sends on to an address that is good for a while without a key."""
    media = call.media("video")
    _refuse_unprocessed(media)
    if call.generation.organizations and call.server.redirects_videos:
        return call.server.presigned(call.request, call.faults, media.path, content_type(media))
    return file_response(call.request, media.path, content_type(media), ranges=call.faults.get("drop_range") is None)


@routes.add("GET", f"{MEDIA}/videos/{{mid}}/frames/{{frame}}/display/full", locked=False)
def frame_file(call: Call) -> Response:
    media = call.media("video")
    return Response(200, list(JPEG), frame(media, call.frame(media)))


@routes.add("GET", f"{MEDIA}/videos/{{mid}}/frames/{{frame}}/display/thumb", locked=False)
def frame_thumb(call: Call) -> Response:
    media = call.media("video")
    return Response(200, list(JPEG), frame(media, call.frame(media)))


# --- annotations -------------------------------------------------------------------------------------------------------


def _scene(call: Call, media: Media, number_: int) -> Response:
    scene = media.scenes.get(number_)
    if scene is None:
        return nothing()
    return answer(scenes.written_scene(call.generation, call.project(), media, number_, scene))


def _keep(call: Call, media: Media, number_: int, kind: str) -> Response:
    _refuse_unprocessed(media)
    project = call.project()
    scene = scenes.take(call.world, call.generation, project, media, number_, body_object(call.request), kind=kind)
    written = scenes.written_scene(call.generation, project, media, number_, scene)
    call.server.jobs.after_annotation(project)
    return answer(written)


@routes.add("GET", f"{MEDIA}/images/{{mid}}/annotations/latest")
def image_annotations(call: Call) -> Response:
    return _scene(call, call.media("image"), 0)


@routes.add("POST", f"{MEDIA}/images/{{mid}}/annotations")
def keep_image_annotations(call: Call) -> Response:
    return _keep(call, call.media("image"), 0, "image")


@routes.add("GET", f"{MEDIA}/videos/{{mid}}/frames/{{frame}}/annotations/latest")
def frame_annotations(call: Call) -> Response:
    media = call.media("video")
    return _scene(call, media, call.frame(media))


@routes.add("POST", f"{MEDIA}/videos/{{mid}}/frames/{{frame}}/annotations")
def keep_frame_annotations(call: Call) -> Response:
    media = call.media("video")
    return _keep(call, media, call.frame(media), "video_frame")


@routes.add("GET", f"{MEDIA}/videos/{{mid}}/annotations/latest")
def video_annotations(call: Call) -> Response:
    """Plain list in SC; an object since Geti, of at most 500 scenes in 2.x."""
    media, project, generation = call.media("video"), call.project(), call.generation
    if not media.scenes:
        return nothing()
    everything = sorted(media.scenes.items())

    def written(chosen: list[tuple[int, Scene]]) -> list[Json]:
        only = call.query.get("label_only", "").lower() == "true"
        return [
            scenes.written_scene(generation, project, media, number_, scene, label_only=only)
            for number_, scene in chosen
        ]

    if generation.name == "1.1":
        return answer(written(everything))
    if generation.max_scenes is None:
        return answer({"video_annotations": written(everything)})
    last = max(0, media.frame_count - 1)
    first = number(call.query, "start_frame", 0, 0, 1 << 31)
    end = number(call.query, "end_frame", last, 0, 1 << 31)
    skip = number(call.query, "frameskip", 1, 1, 1 << 31)
    wanted = [(n, scene) for n, scene in everything if first <= n <= end and (n - first) % skip == 0]
    page = wanted[: generation.max_scenes]
    if not page:
        return nothing()
    return answer(
        {
            "video_annotations": written(page),
            "video_annotation_properties": {
                "total_count": len(page),
                "start_frame": page[0][0],
                "end_frame": page[-1][0],
                "total_requested_count": len(wanted),
                "requested_start_frame": first,
                "requested_end_frame": end,
            },
        }
    )


@routes.add("GET", f"{MEDIA}/videos/{{mid}}/range_annotation", GETI)
def ranges(call: Call) -> Response:
    return answer({"range_labels": call.media("video").ranges})


@routes.add("POST", f"{MEDIA}/videos/{{mid}}/range_annotation", GETI)
def keep_ranges(call: Call) -> Response:
    """Labels for spans of frames; every `skip_frame`th frame of a span gets a scene of its own."""
    media, project = call.media("video"), call.project()
    given = body_object(call.request).get("range_labels")
    if not isinstance(given, list):
        raise bad_request("'range_labels' is a required property")
    skip = number(call.query, "skip_frame", 1, 1, 1 << 31)
    box = scenes.full_box((media.width, media.height))
    for one in given:
        for number_ in range(int(one["start_frame"]), min(int(one["end_frame"]) + 1, media.frame_count), skip):
            scene = {"annotations": [{"shape": box, "labels": [{"id": label} for label in one["label_ids"]]}]}
            scenes.take(call.world, call.generation, project, media, number_, scene)
    media.ranges = given
    return answer({"range_labels": given})


# --- predictions -------------------------------------------------------------------------------------------------------


def _predicted(call: Call, media: Media, number_: int) -> Json | None:
    found = media.predictions.get(number_)
    if found is None:
        return None
    generation, project = call.generation, call.project()
    return {
        "predictions": [
            {
                "id": one["id"],
                "labels": [scenes.written_label(generation, project, label) for label in one["labels"]],
                "shape": scenes.written_shape(generation, one["shape"]),
            }
            for one in found
        ],
        "maps": [],
        "created": media.uploaded,
    }


def _old_prediction(call: Call, media: Media, number_: int) -> Response:
    predicted = _predicted(call, media, number_)
    if predicted is None:
        return nothing()
    kind: Json = {"type": "image", "image_id": media.id}
    if media.kind == "video":
        kind = {"type": "video_frame", "video_id": media.id, "frame_index": number_}
    return answer(
        {
            "annotations": predicted["predictions"],
            "id": media.id,
            "kind": "prediction",
            "maps": [],
            "media_identifier": kind,
            "modified": media.uploaded,
        }
    )


@routes.add("GET", f"{MEDIA}/images/{{mid}}/predictions/latest", OLD)
def image_prediction(call: Call) -> Response:
    return _old_prediction(call, call.media("image"), 0)


@routes.add("GET", f"{MEDIA}/videos/{{mid}}/frames/{{frame}}/predictions/latest", OLD)
def frame_prediction(call: Call) -> Response:
    media = call.media("video")
    return _old_prediction(call, media, call.frame(media))


def _asked_media(call: Call, raw: Json, kind: str) -> Media:
    dataset = next((one for one in call.project().datasets if one.id == raw.get("dataset_id")), None)
    if dataset is None:
        raise not_found("dataset", str(raw.get("dataset_id")))
    media = dataset.media.get(str(raw.get(f"{kind}_id")))
    if media is None or media.kind != kind:
        raise not_found(kind, str(raw.get(f"{kind}_id")))
    return media


@routes.add("POST", "projects/{pid}/pipelines/{line}:predict", NEW)
def predict(call: Call) -> Response:
    """Of stored media only; pictures that come with the request are refused (there is no model behind this)."""
    raw = body_object(call.request)
    kind = "video" if "video_id" in raw else "image"
    predicted = _predicted(call, _asked_media(call, raw, kind), int(raw.get("frame_index", 0)))
    return nothing() if predicted is None else answer(predicted)


@routes.add("POST", "projects/{pid}/pipelines/{line}:batch_predict", NEW)
def batch_predict(call: Call) -> Response:
    raw = body_object(call.request)
    media = _asked_media(call, raw, "video")
    first = int(raw.get("start_frame", 0))
    last = int(raw.get("end_frame", media.frame_count))
    rows = []
    for number_ in sorted(media.predictions):
        predicted = _predicted(call, media, number_)
        if predicted is not None and first <= number_ <= last:
            rows.append(
                predicted | {"media_identifier": {"type": "video_frame", "video_id": media.id, "frame_index": number_}}
            )
    return answer({"batch_predictions": rows}) if rows else nothing()
