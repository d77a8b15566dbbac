"""FiftyOne's client of CVAT, held to deadlines, TLS and plain words.

FiftyOne 1.22.1 verifies no certificate, sets no timeout, waits without end for jobs that never come and for counts
that never agree, prints the bytes of all files when the server says no, and takes a `labels.url` of the server as
the place to send its cookies. All of it goes through the methods that are replaced here; they are looked at before
anything is done (`check_inside`), so that another version is refused and not half wrapped.
"""

from __future__ import annotations

import inspect
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import requests

from common.fiftyone.protocol import CREDENTIALS, DATA, DEADLINE, SERVER, UNREACHABLE, VERSION, Failed, one_line
from common.fiftyone.worker.channel import Tell
from common.fiftyone.worker.marks import marked, with_marked_record
from common.fiftyone.worker.multipart import FormBody
from common.tls import TlsTrouble, tls_trouble

OLDEST_SERVER = "2.5"
# What is replaced or relied on, with its parameters as they are in the version that is wrapped.
INSIDE = {
    "_setup": ["self"],
    "_add_organization": ["self"],
    "_login": ["self", "username", "password", "email"],
    "_make_request": ["self", "request_method", "url", "print_error_info", "kwargs"],
    "post": ["self", "url", "kwargs"],
    "put": ["self", "url", "kwargs"],
    "get_project_id": ["self", "project_name"],
    "create_project": ["self", "name", "schema"],
    "create_task": [
        "self", "name", "schema", "segment_size", "image_quality", "task_assignee", "project_id", "issue_tracker",
    ],
    "_get_task_id_labels_json": ["self", "task_json"],
    "_get_paginated_results": ["self", "base_url", "get_page_url", "value"],
    "_parse_local_files": ["self", "paths"],
    "_get_job_ids": ["self", "task_id"],
    "_get_cvat_schema": ["self", "label_schema", "project_id", "occluded_attr", "group_id_attr"],
    "_upload_annotations": [
        "self", "anno_shapes", "anno_tags", "anno_tracks", "class_id_map", "attr_id_map", "task_id",
    ],
}  # fmt: skip
# Longest silence while the server stores an upload or the annotations of a task (seconds).
LONG_SILENCE_SECONDS = 900
CONNECT_SECONDS = 10
MOST_PUTS = 3
# How long a request that is finished may have no jobs to show (seconds).
JOBS_AFTER_SECONDS = 60
_GATEWAY = (502, 503, 504)


@dataclass
class Connection:
    """Where CVAT is and how patient we are. `verify` is true, false or the path of a PEM file; times in seconds."""

    url: str
    username: str
    password: str = field(repr=False)
    email: str = ""
    organization: str = ""
    verify: bool | str = True
    timeout_seconds: float = 60.0
    wait_seconds: float = 300.0
    jobs_seconds: float = 3600.0


@dataclass
class Making:
    """What one `create` is about: the mark on all that it makes, and whether its project is a new one."""

    marker: str
    new_project: bool = False
    classes: dict[str, dict[str, str]] = field(default_factory=dict)


def check_inside(api: Any) -> None:
    """Raises Failed when FiftyOne's class does not have the methods that are replaced, with the same parameters."""
    wrong = []
    for name, parameters in INSIDE.items():
        method = getattr(api, name, None)
        if method is None or list(inspect.signature(method).parameters) != parameters:
            wrong.append(name)
    if wrong:
        raise Failed(VERSION, f"this FiftyOne is another inside than the one that is known ({', '.join(wrong)})")


def wrap(connection: Connection, making: Making, tell: Tell) -> None:
    """From now on everything in this process that talks to CVAT through FiftyOne does so carefully. Raises Failed."""
    import fiftyone.utils.annotations as foua
    import fiftyone.utils.cvat as fouc

    check_inside(fouc.CVATAnnotationAPI)
    fouc.CVATAnnotationAPI = careful(fouc.CVATAnnotationAPI, connection, making, tell)
    fouc.CVATBackend.register_run = with_marked_record(getattr(fouc.CVATBackend, "register_run", None), making.marker)
    foua._select_labels_with_type = with_masks_in_files(getattr(foua, "_select_labels_with_type", None))


def with_masks_in_files(select: Any) -> Any:
    """FiftyOne's choice of the labels to send, which takes one with a `mask_path` for a plain box: as an instance it
    would not be sent. Raises Failed."""
    if select is None or list(inspect.signature(select).parameters) != ["samples", "label_field", "label_type"]:
        raise Failed(VERSION, "this FiftyOne is another inside than the one that is known (_select_labels_with_type)")
    from fiftyone import ViewField as F

    def chosen(samples: Any, label_field: str, label_type: str) -> Any:
        has_mask = F("mask").exists() | F("mask_path").exists()
        if label_type in ("detection", "detections"):
            return samples.filter_labels(label_field, ~has_mask, only_matches=False)
        if label_type in ("instance", "instances"):
            return samples.filter_labels(label_field, has_mask, only_matches=False)
        return select(samples, label_field, label_type)

    return chosen


def careful(base: Any, connection: Connection, making: Making, tell: Tell) -> Any:  # noqa: C901 - one class, many small methods
    """A subclass of FiftyOne's CVATAnnotationAPI for one connection and one `create`."""

    class CarefulAPI(base):  # type: ignore[misc]
        def _setup(self) -> None:
            self._rq_ids: dict[int, str] = {}
            self._puts: dict[str, int] = {}
            super()._setup()
            from packaging.version import Version

            if self._server_version < Version(OLDEST_SERVER):
                raise Failed(VERSION, f"CVAT {self._server_version} is older than {OLDEST_SERVER}")

        def _add_organization(self) -> None:
            if connection.organization:
                personal = connection.organization == "@personal"
                self._session.headers["X-Organization"] = "" if personal else connection.organization

        def _login(self, username: str, password: str, email: str | None = None) -> None:
            self._session.auth = lambda request: request  # or requests would send what ~/.netrc says
            super()._login(username, password, email=email)

        def _make_request(self, request_method: Any, url: str, print_error_info: bool = True, **kwargs: Any) -> Any:
            return send(request_method, at_home(url, connection.url), connection, print_error_info, kwargs)

        def post(self, url: str, **kwargs: Any) -> Any:
            if not kwargs.get("files"):
                return super().post(url, **kwargs)
            response = self._upload(url, **kwargs)
            answer = _json(response)
            task_id = int(urlsplit(url).path.rstrip("/").split("/")[-2])
            if isinstance(answer, dict) and answer.get("rq_id"):
                self._rq_ids[task_id] = str(answer["rq_id"])
            return response

        def _upload(self, url: str, data: dict[str, Any], files: dict[str, tuple[str, Path]], **kwargs: Any) -> Any:
            told = Progress(tell)
            try:
                body = FormBody(
                    [(name, str(value)) for name, value in data.items()],
                    [(name, file_name, path) for name, (file_name, path) in files.items()],
                    told.add,
                )
                tell("uploading", files=len(files), bytes=len(body))
                headers = {"Content-Type": body.content_type}
                return super().post(url, data=body, headers=headers, **kwargs)
            except OSError as error:  # those of requests have become Failed
                raise Failed(DATA, f"a file cannot be read: {one_line(str(error))}") from None

        def put(self, url: str, **kwargs: Any) -> Any:
            if url.endswith("/annotations"):
                # FiftyOne sends until the counts agree: a server that drops a shape would get it for ever.
                self._puts[url] = self._puts.get(url, 0) + 1
                if self._puts[url] > MOST_PUTS:
                    raise Failed(SERVER, f"the server keeps other annotations than it was sent, {MOST_PUTS} times")
            return super().put(url, **kwargs)

        def get_project_id(self, project_name: str) -> Any:
            # Looked for by the product before; one of the same name that appears meanwhile is somebody else's.
            return None if making.new_project else super().get_project_id(project_name)

        def create_project(self, name: str, schema: Any = None) -> Any:
            made = super().create_project(marked(name, making.marker), schema)
            tell("project_made", id=made, name=name)
            return made

        def _get_task_id_labels_json(self, task_json: dict[str, Any]) -> Any:
            name = task_json["name"]
            answer = self.post(self.tasks_url, json={**task_json, "name": marked(name, making.marker)}).json()
            tell("task_made", id=answer["id"], name=name, created_date=answer.get("created_date"))
            return answer["id"], self._get_paginated_results(answer["labels"]["url"])

        def _parse_local_files(self, paths: list[str]) -> Any:
            import fiftyone.core.utils as fou

            names = fou.UniqueFilenameMaker()
            files = {}
            for number, path in enumerate(paths):
                files[f"client_files[{number}]"] = (names.get_output_path(path), Path(path))
            return files, []

        def _get_job_ids(self, task_id: int) -> Any:
            find = super()._get_job_ids
            return jobs_of(self, task_id, self._rq_ids.get(task_id), lambda: find(task_id), connection, tell)

        def _get_cvat_schema(self, label_schema: Any, **kwargs: Any) -> Any:
            found = super()._get_cvat_schema(label_schema, **kwargs)
            making.classes = {name: dict(classes) for name, classes in found[4].items()}
            return found

        def _upload_annotations(self, shapes: Any, tags: Any, tracks: Any, *rest: Any, **named: Any) -> Any:
            tell("sending_annotations", shapes=len(shapes), tags=len(tags), tracks=len(tracks))
            return super()._upload_annotations(shapes, tags, tracks, *rest, **named)

    return CarefulAPI


class Progress:
    """Tells how much has been sent, about once a second."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._sent = 0
        self._told_at = time.monotonic()

    def add(self, count: int) -> None:
        self._sent += count
        if time.monotonic() - self._told_at >= 1:
            self._told_at = time.monotonic()
            self._tell("uploaded", bytes=self._sent)


def jobs_of(api: Any, task_id: int, rq_id: str | None, find: Any, connection: Connection, tell: Tell) -> list[int]:
    """The ids of a task's jobs, waited for until the server has made frames of the upload. Raises Failed."""
    ends_at = time.monotonic() + connection.jobs_seconds
    finished_at = None
    pause = 0.1
    while True:
        if rq_id is not None and finished_at is None:
            state, message = state_of_request(api, rq_id)
            if state == "failed":
                raise Failed(DATA, f"CVAT could not read the files of task {task_id}: {last_line(message)}")
            if state in ("finished", "unknown"):
                finished_at = time.monotonic()
            else:
                tell("preparing", task=task_id, state=state)
        if rq_id is None or finished_at is not None:
            job_ids: list[int] = find()
            if job_ids:
                return job_ids
        now = time.monotonic()
        if now >= ends_at or (finished_at is not None and now - finished_at > JOBS_AFTER_SECONDS):
            raise Failed(DEADLINE, f"task {task_id} got no jobs within {connection.jobs_seconds / 60:g} minutes")
        tell("waiting_for_jobs", task=task_id)
        time.sleep(min(pause, max(0.0, ends_at - now)))
        pause = min(2.0, pause * 1.5)


def state_of_request(api: Any, rq_id: str) -> tuple[str, str]:
    """What the server says of a request of its own: queued, started, failed, finished; unknown where it has none."""
    try:
        answer = api.get(f"{api.base_api_url}/requests/{quote(rq_id, safe='')}", print_error_info=False).json()
    except requests.exceptions.HTTPError:  # 404: an older server, or the request is forgotten because it is done
        return "unknown", ""
    return str(answer.get("status", "unknown")), str(answer.get("message") or "")


def last_line(message: str) -> str:
    """The last line of a traceback, which says what it was about."""
    lines = [line for line in message.splitlines() if line.strip()]
    return one_line(lines[-1], 300) if lines else "it gave no reason"


def at_home(url: str, base: str) -> str:
    """The same question at the address that we were given: links of a server behind a proxy may lead elsewhere."""
    parts = urlsplit(url)
    at = parts.path.find("/api/")
    if at < 0:
        raise Failed(SERVER, "the server's answer leads to a place that is none of its own")
    return f"{base.rstrip('/')}{parts.path[at:]}" + (f"?{parts.query}" if parts.query else "")


def send(method: Any, url: str, connection: Connection, in_own_words: bool, kwargs: dict[str, Any]) -> Any:
    """One request with a timeout, to a verified server; what is safe to repeat is repeated. Raises Failed.

    Without `in_own_words` a 404 is raised as requests does: FiftyOne looks for it.
    """
    question = getattr(method, "__name__", "") == "get"
    large = isinstance(kwargs.get("data"), FormBody) or url.endswith("/annotations")
    silence = max(LONG_SILENCE_SECONDS, connection.timeout_seconds) if large else connection.timeout_seconds
    ends_at = time.monotonic() + connection.wait_seconds
    pause = 0.5
    while True:
        wait = 0.0
        try:
            # While a body is sent, it is the first of the two that limits the silence.
            response = method(
                url, verify=connection.verify, timeout=(max(CONNECT_SECONDS, connection.timeout_seconds), silence),
                allow_redirects=False, **kwargs,
            )  # fmt: skip
        except requests.exceptions.RequestException as error:
            failed = Failed(UNREACHABLE, f"CVAT at {connection.url} cannot be reached: {cause(error)}")
            if (not question and not never_sent(error)) or _is_for_good(error):
                raise failed from None
        else:
            if response.status_code == 429:
                wait = retry_after(response)
            elif response.status_code not in _GATEWAY or not question:
                return answered(response, url, in_own_words)
            failed = Failed(UNREACHABLE, f"CVAT answers {response.status_code}", response.status_code)
        if time.monotonic() + max(wait, pause) > ends_at or isinstance(kwargs.get("data"), FormBody):
            raise failed
        time.sleep(max(wait, pause))
        pause = min(10.0, pause * 2)


def _is_for_good(error: Exception) -> bool:
    """Whether TLS will fail the next time as well: a certificate, not a connection that was cut off."""
    return isinstance(error, requests.exceptions.SSLError) and tls_trouble(cause(error)) is not TlsTrouble.CUT


def never_sent(error: Exception) -> bool:
    """Whether the server cannot have seen the request: no connection came about."""
    inner = getattr(error.args[0] if error.args else None, "reason", None)
    return isinstance(error, requests.exceptions.ConnectTimeout) or type(inner).__name__ in (
        "NewConnectionError", "NameResolutionError", "ConnectTimeoutError",
    )  # fmt: skip


def cause(error: Exception) -> str:
    """The innermost reason of what requests raises, without its address and objects."""
    inner: Any = error
    while True:
        within = [getattr(inner, "reason", None), *getattr(inner, "args", ())]
        deeper = next((each for each in within if isinstance(each, BaseException)), None)
        if deeper is None:
            break
        inner = deeper
    text = str(getattr(inner, "strerror", None) or (str(inner).rsplit(": ", 1)[-1] or type(inner).__name__))
    return one_line(text, 200)


def retry_after(response: Any) -> float:
    try:
        return max(0.0, float(response.headers.get("Retry-After", "")))
    except ValueError:
        return 1.0


def answered(response: Any, url: str, in_own_words: bool) -> Any:
    """The response when it is a good one. Raises Failed with the server's reason, HTTPError for a 404 that is expected."""
    status = response.status_code
    where = urlsplit(url).path
    if 200 <= status < 300:
        told_as = response.headers.get("Content-Type", "")
        if response.content and "json" not in told_as and _json(response) is None:
            raise Failed(
                SERVER, f"{where}: a page came instead of an answer (a login page or a proxy in the way)", status
            )
        return response
    said = reason(response)
    if status == 404 and not in_own_words:
        response.raise_for_status()
    if where.endswith("/auth/login") and status in (400, 401, 403):
        raise Failed(CREDENTIALS, f"CVAT refused the user name and password: {said}", status)
    if status == 401:
        raise Failed(CREDENTIALS, f"CVAT does not accept the session any more: {said}", status)
    if 300 <= status < 400:
        raise Failed(SERVER, f"{where} leads elsewhere ({status}): CVAT_URL must be the address itself", status)
    raise Failed(SERVER, f"{response.request.method} {where}: {status}, {said}", status)


def reason(response: Any) -> str:
    """The words in the body of a refusal, at most a few lines of them; never an HTML page."""
    answer = _json(response)
    if answer is None:
        return one_line(str(response.reason or "no reason given"), 100)
    return one_line(", ".join(_texts(answer)) or "no reason given", 300)


def _texts(answer: Any, name: str = "") -> list[str]:
    if isinstance(answer, dict):
        return [text for key, each in answer.items() for text in _texts(each, str(key))]
    if isinstance(answer, list):
        return [text for each in answer[:5] for text in _texts(each, name)]
    plain = name in ("", "detail", "message", "non_field_errors")
    return [str(answer) if plain else f"{name}: {answer}"]


def _json(response: Any) -> Any:
    try:
        return response.json()
    except (ValueError, requests.exceptions.RequestException):
        return None
