"""Images and videos: listing all of them, fetching one, sending one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal
from urllib.parse import parse_qs, urlsplit

import requests

from common.files import disk_full_named
from common.sc.client import Client
from common.sc.endings import ends_whole
from common.transfer import Body, Changed, Fetched, Interrupted, Opener, PartFile, fetch
from common.waiting import growing_pauses
from common.web import errors
from common.web.bodies import AnswerBody, FinishedBody, position

Kind = Literal["image", "video"]
PAGE_MEDIA = 1000
PAGE_MEDIA_BEFORE_QUERIES = 500
MOST_ATTEMPTS = 5


@dataclass(frozen=True)
class Media:
    """One image or video as a server lists it. Sizes of pictures in pixels; `name` has no extension.

    `annotated` is False only when the server says of every task that there is nothing; `surely_annotated` is True only
    when it says of some task that there is something.
    """

    id: str
    dataset_id: str
    name: str
    kind: Kind
    width: int = 0
    height: int = 0
    extension: str = ""
    frame_count: int = 0
    frame_rate: float = 0.0
    annotated: bool = True
    surely_annotated: bool = False
    uploaded_at: str = ""


def media_of(item: Mapping[str, Any], dataset_id: str, kind: Kind) -> Media:
    """One item of a server's list."""
    information = item.get("media_information") or {}
    states = item.get("annotation_state_per_task")
    if isinstance(states, Mapping):  # folders of older tools
        states = [states]
    said = [str(each.get("state", "")).lower() for each in states or [] if isinstance(each, Mapping)]
    extension = str(information.get("extension") or "").strip().lower()
    return Media(
        id=str(item["id"]),
        dataset_id=dataset_id,
        name=str(item["name"]),
        kind="video" if str(item.get("type", kind)).lower() == "video" else "image",
        width=_whole(information.get("width")),
        height=_whole(information.get("height")),
        extension=extension if not extension or extension.startswith(".") else f".{extension}",
        frame_count=_whole(information.get("frame_count")),
        frame_rate=float(information.get("frame_rate") or 0),
        annotated=not said or any(state != "none" for state in said),
        surely_annotated=any(state not in ("", "none") for state in said),
        uploaded_at=str(item.get("upload_time") or ""),
    )


def _whole(value: Any) -> int:
    return int(value) if isinstance(value, int | float) else 0


def dataset_path(client: Client, project_id: str, dataset_id: str) -> str:
    return f"{client.home}/projects/{project_id}/datasets/{dataset_id}"


def media_path(client: Client, project_id: str, media: Media) -> str:
    return f"{dataset_path(client, project_id, media.dataset_id)}/media/{media.kind}s/{media.id}"


# --- listing ----------------------------------------------------------------------------------------------------


def list_media(client: Client, project_id: str, dataset_id: str) -> Iterator[Media]:
    """Every image and video of a dataset, each once. Raises WebError."""
    # Side by side: the answers take their time.
    with client.beside("listing", lambda: list(_list_kind(client, project_id, dataset_id, "video"))) as videos:
        yield from _list_kind(client, project_id, dataset_id, "image")
        yield from videos()


def _list_kind(client: Client, project_id: str, dataset_id: str, kind: Kind) -> Iterator[Media]:
    path = dataset_path(client, project_id, dataset_id)
    seen: set[str] = set()
    for page in _queried(client, path, kind) if client.generation.queries else _listed(client, path, kind):
        fresh = [item for item in page if str(item["id"]) not in seen]
        if not fresh:
            return  # also where a server offers a next page for ever
        seen.update(str(item["id"]) for item in fresh)
        for item in fresh:
            yield media_of(item, dataset_id, kind)


def _queried(client: Client, path: str, kind: Kind) -> Iterator[list[Mapping[str, Any]]]:
    # By the moment of upload: names are not unique, and pages sorted by them may overlap.
    params = {"limit": PAGE_MEDIA, "sort_by": "media_upload_date", "sort_direction": "asc"}
    rule = {"condition": "and", "rules": [{"field": "media_type", "operator": "equal", "value": kind}]}
    skip = 0
    while True:
        with client.stop.asking():
            answer = client.json("POST", f"{path}/media:query", rule, params={**params, "skip": skip}, repeat=True)
        page = _media_in(answer)
        yield page
        skip += len(page)
        if not page or not answer.get("next_page"):
            return


def _listed(client: Client, path: str, kind: Kind) -> Iterator[list[Mapping[str, Any]]]:
    params: dict[str, Any] = {"top": PAGE_MEDIA_BEFORE_QUERIES}
    while True:
        answer = _listed_page(client, f"{path}/media/{kind}s", params)
        page = _media_in(answer)
        yield page
        following = str(answer.get("next_page") or "")
        if not page or not following:
            return
        # Of the address only the parameters are taken: it may name another host.
        asked = {key: values[-1] for key, values in parse_qs(urlsplit(following).query).items()}
        if not asked.get("skiptoken") and not asked.get("skip"):
            return
        params = {"top": PAGE_MEDIA_BEFORE_QUERIES, **asked}


def _listed_page(client: Client, path: str, params: Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        answer = client.get(path, params)
    except errors.NotFound:
        if path.endswith("videos"):
            return {"media": []}  # an SC without videos
        raise
    return answer if isinstance(answer, dict) else {}


def _media_in(answer: Any) -> list[Mapping[str, Any]]:
    """The media of an answer. Raises NotJson where it is no list of media: that must not be taken for an empty one."""
    found = answer.get("media") if isinstance(answer, dict) else None
    if not isinstance(found, list) or any(
        not isinstance(each, dict) or not each.get("id") or "name" not in each for each in found
    ):
        raise errors.NotJson("the server's answer is no list of images and videos")
    return found


# --- fetching ---------------------------------------------------------------------------------------------------


def fetch_image(client: Client, path: str, to: Path) -> Fetched:
    """Streams the stored bytes of an image into a new file. Raises WebError, Interrupted, DiskFull."""
    pauses = growing_pauses(0.5, longest=10)
    for attempt in range(1, MOST_ATTEMPTS + 1):
        try:
            return _fetch_once(client, f"{path}/display/full", to)
        except errors.Unreachable:
            if attempt == MOST_ATTEMPTS:
                raise
            client.stop.sleep(next(pauses))
    raise AssertionError


def _fetch_once(client: Client, path: str, to: Path) -> Fetched:
    digest, size = hashlib.sha256(), 0
    with client.streaming(path) as response, disk_full_named(to.parent), open(to, "wb", buffering=0) as file:
        if "html" in response.headers.get("Content-Type", ""):
            raise errors.NotJson(f"GET {path}: a web page came in place of the file")
        for piece in client.pieces(response):
            file.write(piece)
            digest.update(piece)
            size += len(piece)
        announced = response.headers.get("Content-Length", "")
        if announced.isdigit() and not response.headers.get("Content-Encoding") and int(announced) != size:
            raise errors.Unreachable(f"GET {path}: {size:,} of {announced} bytes arrived")
    if not size:
        raise errors.ServerError(f"GET {path}: the server sent an empty file")
    if not _says_how_long(response) and not ends_whole(to):
        raise errors.Unreachable(f"GET {path}: {_NO_END}")
    return Fetched(size, digest.hexdigest(), 0)


_NO_END = "the server did not say how long the file is, and its end cannot be found in what arrived"


def _says_how_long(response: requests.Response) -> bool:
    """Whether a connection that ends too early is noticed. Without a length its end is taken for that of the file."""
    if "chunked" in response.headers.get("Transfer-Encoding", "").lower():
        return True
    return response.status_code == 206 or response.headers.get("Content-Length", "").isdigit()


def hash_of(client: Client, project_id: str, media: Media) -> str:
    """The SHA-256 of the stored bytes of an image or video, which are kept nowhere. Raises WebError."""
    path = media_path(client, project_id, media) + ("/display/full" if media.kind == "image" else "/display/stream")
    digest = hashlib.sha256()
    with client.streaming(path) as response:
        for piece in client.pieces(response):
            digest.update(piece)
    return digest.hexdigest()


def fetch_large(
    client: Client,
    path: str,
    part: PartFile,
    label: str,
    *,
    reserve_bytes: int = 0,
    on_progress: Callable[[int, int | None], None] = lambda done, total: None,
) -> Fetched:
    """Fetches a video or an archive, going on where a break or a killed run stopped. Raises WebError, Interrupted."""
    said: list[bool] = []
    fetched = fetch(
        opener(client, path, lambda response: said.append(_says_how_long(response))), part, label, client.stop,
        reserve_bytes=reserve_bytes, on_progress=on_progress, stall_seconds=client.server.timeout_seconds,
    )  # fmt: skip
    if said and not said[-1] and not ends_whole(part.path):
        part.discard()
        raise Interrupted(_NO_END)
    return fetched


def opener(client: Client, path: str, look: Callable[[requests.Response], None] = lambda response: None) -> Opener:
    """How `transfer.fetch` opens this address, from an offset on. `look` sees each answer."""

    @contextmanager
    def open_at(offset: int, validator: str) -> Iterator[Body]:
        headers = {"Accept-Encoding": "identity"}
        if offset:
            headers |= {"Range": f"bytes={offset}-", "If-Range": validator}
        try:
            with client.streaming(path, headers=headers) as response:
                if "html" in response.headers.get("Content-Type", ""):
                    raise errors.NotJson(f"GET {path}: a web page came in place of the file")
                look(response)
                yield AnswerBody(response, *position(response, offset))
        except errors.PastTheEnd as error:
            if error.total_bytes != offset:
                raise Changed from None
            yield FinishedBody(offset, validator)

    return open_at


_MAGIC = (
    (b"\xff\xd8\xff", ".jpg"),
    (b"\x89PNG\r\n\x1a\n", ".png"),
    (b"BM", ".bmp"),
    (b"II*\x00", ".tif"),
    (b"MM\x00*", ".tif"),
    (b"\x1aE\xdf\xa3", ".webm"),
)


def extension_of(beginning: bytes, said: str, kind: Kind) -> str:
    """The extension of a file by its first 16 bytes; what the server said where they do not tell.

    Matroska begins like WebM, and JPEG files are called .jpeg too: a server that says so is believed.
    """
    found = next((extension for magic, extension in _MAGIC if beginning.startswith(magic)), "")
    if beginning[:4] == b"RIFF":
        found = {b"WEBP": ".webp", b"AVI ": ".avi"}.get(beginning[8:12], "")
    elif beginning[4:8] == b"ftyp":
        found = ".mov" if beginning[8:10] == b"qt" else ".mp4"
    alike = {
        ".jpg": (".jpg", ".jpeg", ".jfif"),
        ".tif": (".tif", ".tiff"),
        ".webm": (".webm", ".mkv"),
        ".mp4": (".mp4", ".m4v", ".mov"),
    }
    if said and (not found or said in alike.get(found, (found,))):
        return said
    return found or (".jpg" if kind == "image" else ".mp4")


# --- sending ----------------------------------------------------------------------------------------------------


class MultipartFile:
    """A multipart form with one file, read from the disk while it is sent: memory stays flat however large it is."""

    BOUNDARY = "----cvat-backups-2f1c9a7be4d84c35a0d6"

    def __init__(self, path: Path, file_name: str) -> None:
        name = file_name.replace("\\", "\\\\").replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
        head = (
            f'--{self.BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        )
        self._head = head.encode("utf-8", "replace")
        self._tail = f"\r\n--{self.BOUNDARY}--\r\n".encode()
        self._file: BinaryIO = open(path, "rb")  # noqa: SIM115 - closed with this object
        self._file_bytes = path.stat().st_size
        self._at = 0

    @property
    def content_type(self) -> str:
        return f"multipart/form-data; boundary={self.BOUNDARY}"

    def __len__(self) -> int:
        return len(self._head) + self._file_bytes + len(self._tail)

    def tell(self) -> int:
        return self._at

    def read(self, size: int = -1) -> bytes:
        if size < 0:
            size = len(self)
        if self._at < len(self._head):
            piece = self._head[self._at : self._at + size]
        elif self._at < len(self._head) + self._file_bytes:
            left = len(self._head) + self._file_bytes - self._at
            piece = self._file.read(min(max(size, 1 << 18), left))
            if not piece:
                raise OSError("the file became shorter while it was sent")
        else:
            offset = self._at - len(self._head) - self._file_bytes
            piece = self._tail[offset : offset + size]
        self._at += len(piece)
        return piece

    def close(self) -> None:
        self._file.close()


def upload(client: Client, project_id: str, dataset_id: str, kind: Kind, path: Path, file_name: str) -> Media:
    """Sends one file, once. Raises WebError; OutcomeUnknown when the server may have taken it all the same."""
    opened: list[MultipartFile] = []

    def body() -> MultipartFile:
        opened.append(MultipartFile(path, file_name))
        return opened[-1]

    try:
        answer = client.json(
            "POST",
            f"{dataset_path(client, project_id, dataset_id)}/media/{kind}s",
            body,
            headers={"Content-Type": f"multipart/form-data; boundary={MultipartFile.BOUNDARY}"},
        )
    finally:
        for each in opened:
            each.close()
    if not isinstance(answer, dict) or not answer.get("id"):
        raise errors.OutcomeUnknown(f"the id of {file_name!r} did not come back")
    return media_of(answer, dataset_id, kind)


def delete(client: Client, project_id: str, media: Media) -> None:
    """Deletes one image or video; one that is gone already is no error. Raises WebError."""
    try:
        client.send("DELETE", media_path(client, project_id, media), repeat=True)
    except errors.NotFound:
        return
