"""Background requests: exports, imports and the creation of tasks from uploads, with their workers and their cache."""

from __future__ import annotations

import os
import queue
import shutil
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sandbox.cvat import archive, datasets
from sandbox.cvat.annotations import Json
from sandbox.cvat.faults import Fault
from sandbox.cvat.world import NoSuchObject, World, iso

WORK_HORSE_KILLED = "Work-horse terminated unexpectedly; waitpid returned 9 (signal 9); "
STUCK = "Job was stuck in intermediate queue."
UNKNOWN_FORMAT_SIGNS = str.maketrans({" ": "_", ".": "~"})


@dataclass
class BackgroundRequest:
    """One entry of /api/requests."""

    id: str
    type: str  # "export:backup", "export:dataset", "export:annotations", "import:backup", "create:task"
    target: str
    user_id: int
    created_date: datetime
    target_id: int | None = None
    project_id: int | None = None
    format: str | None = None
    filename: str | None = None
    base: str = ""
    local: bool = True
    faults: tuple[Fault, ...] = ()
    work: Callable[[], int | None] | None = None
    status: str = "queued"
    message: str = ""
    started_date: datetime | None = None
    finished_date: datetime | None = None
    expiry_date: datetime | None = None
    path: Path | None = None
    download_name: str = ""
    result_id: int | None = None
    hide_dates: bool = False
    freed: threading.Event = field(default_factory=threading.Event)

    @property
    def unfinished(self) -> bool:
        return self.status in ("queued", "started")

    @property
    def subresource(self) -> str:
        return self.type.partition(":")[2]


class Exports:
    """The queues. `workers` threads take exports in order; one more does imports and task creation."""

    def __init__(self, world: World, workers: int) -> None:
        self.world = world
        self.requests: dict[str, BackgroundRequest] = {}
        self.cache_directory = world.media.directory / "cache"
        self.cache_directory.mkdir(parents=True, exist_ok=True)
        self.running = 0
        self._cache: dict[tuple[object, ...], Path] = {}
        self._used_at: dict[Path, float] = {}
        self._building: dict[tuple[object, ...], threading.Lock] = {}
        self._finished = 0
        self._stopping = threading.Event()
        self._queue: queue.SimpleQueue[BackgroundRequest | None] = queue.SimpleQueue()
        self._imports: queue.SimpleQueue[BackgroundRequest | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._serve, args=(self._queue,), name=f"export-{n}", daemon=True)
            for n in range(workers)
        ]
        self._threads.append(threading.Thread(target=self._serve, args=(self._imports,), name="import", daemon=True))
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self.free_all()
        for _ in self._threads:
            self._queue.put(None)
            self._imports.put(None)

    # --- asking ---------------------------------------------------------------------------------------------

    def ask(self, request: BackgroundRequest) -> bool:
        """Queues an export, replacing a finished one; False when the same is queued or running already."""
        with self.world.lock:
            known = self.find(request.id)
            if known is not None and known.unfinished:
                return False
            self.requests[request.id] = request
        self._queue.put(request)
        return True

    def import_later(self, request: BackgroundRequest) -> None:
        with self.world.lock:
            self.requests[request.id] = request
        self._imports.put(request)

    def find(self, request_id: str) -> BackgroundRequest | None:
        request = self.requests.get(request_id)
        if request is not None and request.expiry_date is not None and request.expiry_date < self.world.now():
            del self.requests[request_id]
            return None
        return request

    def cancel(self, request: BackgroundRequest) -> bool:
        with self.world.lock:
            if request.status != "queued":
                return False
            request.status = "cancelled"
            del self.requests[request.id]
            return True

    def answer(self, request: BackgroundRequest, base: str) -> Json:
        with self.world.lock:
            hidden = request.hide_dates and not request.unfinished
            if hidden:
                request.hide_dates = False
            result_url = None
            if request.status == "finished" and request.type.startswith("export:") and request.local:
                kind = "backup" if request.type == "export:backup" else "dataset"
                host = next((one.host for one in request.faults if one.kind == "result_host"), request.base)
                rq_id = quote(request.id, safe="")
                result_url = f"{host}/api/{request.target}s/{request.target_id}/{kind}/download?rq_id={rq_id}"
            username = self.world.users[request.user_id].username
            return {
                "status": request.status,
                "message": request.message,
                "id": request.id,
                "operation": {
                    "type": request.type,
                    "target": request.target,
                    "project_id": request.project_id,
                    "task_id": request.target_id if request.target == "task" and request.target_id else None,
                    "job_id": None,
                    "format": request.format,
                    "lightweight": None,
                },
                "progress": 0.0,  # also when it is over
                "created_date": iso(request.created_date),
                "started_date": iso(request.started_date),
                "finished_date": None if hidden else iso(request.finished_date),
                "expiry_date": None if hidden else iso(request.expiry_date),
                "owner": {"id": request.user_id, "username": username},
                "result_url": result_url,
                "result_id": request.result_id,
            }

    # --- working --------------------------------------------------------------------------------------------

    def _serve(self, waiting: queue.SimpleQueue[BackgroundRequest | None]) -> None:
        while not self._stopping.is_set():
            request = waiting.get()
            if request is None:
                return
            with self.world.lock:
                if request.status != "queued":
                    continue
                request.status = "started"
                request.started_date = self.world.now()
                self.running += 1
            try:
                self._carry_out(request)
            finally:
                with self.world.lock:
                    self.running -= 1

    def _carry_out(self, request: BackgroundRequest) -> None:
        kinds = {fault.kind: fault for fault in request.faults}
        if "worker_died" in kinds:
            # The request stays "started" although nobody works on it; its worker was restarted and is free.
            threading.Thread(target=self._free_later, args=(request, kinds["worker_died"]), daemon=True).start()
            return
        if "hang" in kinds:
            request.freed.wait(kinds["hang"].seconds)
            if self._stopping.is_set():
                return
        if "kill_work_horse" in kinds:
            self._fail(request, WORK_HORSE_KILLED)
            return
        if "fail" in kinds:
            self._fail(request, kinds["fail"].message)
            return
        try:
            if request.work is not None:
                request.result_id = request.work()
            else:
                self._export(request, kinds)
        except NoSuchObject as error:
            self._fail(request, f"{error}\n")
        except Exception as error:  # noqa: BLE001 a worker outlives whatever its work did, as rq's does
            text = str(error)
            self._fail(request, text if text.endswith("\n") else f"{type(error).__name__}: {text}\n")
        else:
            self._finish(request)

    def _free_later(self, request: BackgroundRequest, fault: Fault) -> None:
        if not request.freed.wait(fault.freed_after) and not self._stopping.is_set():
            self._fail(request, STUCK)

    def _finish(self, request: BackgroundRequest) -> None:
        with self.world.lock:
            self._finished += 1
            every = self.world.null_dates_every
            request.hide_dates = bool(every) and self._finished % every == 0 and request.work is None
            ttl = self.world.export_ttl_seconds if request.work is None else 3600.0
            request.finished_date = self.world.now()
            request.expiry_date = request.finished_date + timedelta(seconds=ttl)
            request.status = "finished"

    def _fail(self, request: BackgroundRequest, message: str) -> None:
        with self.world.lock:
            request.message = message
            request.finished_date = self.world.now()
            ttl = self.world.export_ttl_seconds if request.work is None else 30 * 24 * 3600.0
            request.expiry_date = request.finished_date + timedelta(seconds=ttl)
            request.status = "failed"

    def _export(self, request: BackgroundRequest, kinds: dict[str, Fault]) -> None:
        assert request.target_id is not None
        change = kinds.get("change_while_exporting")
        if change is not None and change.when == "before":
            self._change(change)
        with self.world.lock:
            key, request.download_name, request.project_id = self._key_and_name(request)
            if request.filename:
                request.download_name = request.filename
        older = self._newest_older(key) if "lie_stale" in kinds else None
        if older is not None:
            path = older
        else:
            with self.world.lock:
                lock = self._building.setdefault(key, threading.Lock())
            with lock:  # two users asking for the same get the same file
                path = self._cached(key) or self._build(request, key)
        os.utime(path)  # the file's life begins anew, and so its Last-Modified and ETag change
        self._used_at[path] = time.time()
        if change is not None and change.when != "before":
            self._change(change)
        request.path = path
        if "expire" in kinds:
            self.forget(path)

    def _key_and_name(self, request: BackgroundRequest) -> tuple[tuple[object, ...], str, int | None]:
        world, target, target_id = self.world, request.target, request.target_id
        assert target_id is not None
        thing: Any = world.projects.get(target_id) if target == "project" else world.tasks.get(target_id)
        if thing is None:
            if request.type == "export:backup":
                text = f"ErrorDetail(string='Such a {target} does not exist', code='invalid')"
                raise NoSuchObject(f"rest_framework.exceptions.ValidationError: [{text}]")
            model = target.capitalize()
            raise NoSuchObject(f"cvat.apps.engine.models.{model}.DoesNotExist: {model} matching query does not exist.")
        project_id = target_id if target == "project" else thing.project_id
        updated: datetime = thing.updated_date
        if request.type == "export:backup":
            # THE STALE CACHE: only the project's own date counts, which frame deletion, states and stages leave alone.
            key: tuple[object, ...] = (target, target_id, "backup", updated)
            name = f"{target}_{thing.name}_backup_{updated:%Y_%m_%d_%H_%M_%S}.zip".lower()
        else:
            if target == "project":
                updated = max([updated, *(task.updated_date for task in world.tasks_of(thing))])
            key = (target, target_id, request.subresource, request.format, updated)
            stamp = f"{updated:%Y_%m_%d_%H_%M_%S}"
            name = f"{target}_{target_id}_{request.subresource}_{stamp}_{request.format}.zip".lower()
        return key, name, project_id

    def _cached(self, key: tuple[object, ...]) -> Path | None:
        path = self._cache.get(key)
        if path is None or not path.exists():
            return None
        if time.time() - self._used_at.get(path, 0.0) > self.world.export_ttl_seconds:
            self.forget(path)
            return None
        return path

    def _newest_older(self, key: tuple[object, ...]) -> Path | None:
        older = [
            path for known, path in self._cache.items() if known[:-1] == key[:-1] and known != key and path.exists()
        ]
        return older[-1] if older else None

    def _build(self, request: BackgroundRequest, key: tuple[object, ...]) -> Path:
        assert request.target_id is not None
        seconds = self.world.export_seconds_for(request.target, request.target_id)
        if seconds > 0:
            self._stopping.wait(seconds)
        path = self.cache_directory / f"{uuid.uuid4().hex}.zip"
        try:
            if request.type != "export:backup":
                save_images = request.type == "export:dataset"
                assert request.format is not None
                datasets.write_dataset(
                    self.world, request.target, request.target_id, request.format, save_images, request.base, path
                )
            elif request.target == "project":
                archive.write_project(self.world, request.target_id, path)
            else:
                archive.write_task(self.world, request.target_id, path)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        with self.world.lock:
            self._cache[key] = path
        return path

    def _change(self, fault: Fault) -> None:
        if callable(fault.call):
            fault.call()
        elif fault.call:
            getattr(self.world, fault.call)(*fault.args, **fault.kwargs)

    def forget(self, path: Path) -> None:
        """Removes a file from the cache; a request that pointed at it still says finished."""
        path.unlink(missing_ok=True)
        self._used_at.pop(path, None)

    def free_all(self) -> None:
        """Lets go of every export that hangs or whose worker died."""
        for request in list(self.requests.values()):
            request.freed.set()

    def lose_cache(self) -> None:
        """Everything in the cache is gone, as after its cleanup."""
        with self.world.lock:
            self._cache.clear()
            shutil.rmtree(self.cache_directory, ignore_errors=True)
            self.cache_directory.mkdir(parents=True)


def export_id(target: str, target_id: int, user_id: int, subresource: str, format_name: str | None) -> str:
    """The id is the same for the same question of the same user."""
    part = "" if format_name is None else f"&format={format_name.translate(UNKNOWN_FORMAT_SIGNS)}"
    return f"action=export&target={target}&target_id={target_id}&user_id={user_id}{part}&subresource={subresource}"
