"""Switches over HTTP, for tests and benchmarks that start the sandbox as a process of its own."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from sandbox.cvat.faults import Fault
from sandbox.cvat.http import Request, Response, json_response

if TYPE_CHECKING:
    from sandbox.cvat.server import CvatSandbox

WORLD_CALLS = frozenset(
    {
        "add_org",
        "add_project",
        "add_shape",
        "add_task",
        "add_user",
        "delete_frame",
        "delete_project",
        "delete_task",
        "move_task",
        "put_annotations",
        "rename_project",
        "restore_frame",
        "set_job",
    }
)


def answer(sandbox: CvatSandbox, request: Request) -> Response:
    try:
        return _answer(sandbox, request)
    except Exception as error:  # noqa: BLE001 whoever tests wants to read what was wrong with his call
        return json_response({"error": f"{type(error).__name__}: {error}"}, 400)


def _answer(sandbox: CvatSandbox, request: Request) -> Response:
    raw: Any = request.json()
    match (request.method, request.path):
        case ("POST", "/sandbox/faults"):
            for one in raw if isinstance(raw, list) else [raw]:
                sandbox.faults.add(Fault.from_json(one))
            return json_response({})
        case ("DELETE", "/sandbox/faults"):
            sandbox.faults.clear()
            return json_response({})
        case ("GET", "/sandbox/log"):
            rows = [
                {
                    "method": one.method,
                    "path": one.path,
                    "query": one.query,
                    "status": one.status,
                    "user": one.user,
                    "at": one.at.isoformat(),
                }
                for one in list(sandbox.log)
            ]
            return json_response({"exchanges": rows})
        case ("DELETE", "/sandbox/log"):
            sandbox.log.clear()
            return json_response({})
        case ("GET", "/sandbox/world"):
            world = sandbox.world
            return json_response(
                {
                    "projects": {p.id: p.name for p in world.projects.values()},
                    "tasks": {t.id: t.name for t in world.tasks.values()},
                    "jobs": {j.id: j.task_id for j in world.jobs.values()},
                }
            )
        case ("POST", "/sandbox/do"):
            return json_response({"result": _do(sandbox, raw)})
        case ("POST", "/sandbox/set"):
            return json_response({"result": _set(sandbox, raw)})
        case ("POST", "/sandbox/restart"):
            sandbox_restart = (float(raw.get("down_seconds", 1.0)), str(raw.get("mode", "refused")))
            # After this answer is out, or the one who asked would see his own request cut.
            import threading

            threading.Timer(0.05, sandbox.restart, sandbox_restart).start()
            return json_response({})
    return json_response({"error": "no such switch"}, 404)


def _do(sandbox: CvatSandbox, raw: Any) -> Any:
    call = raw["call"]
    if call == "lose_cache":
        sandbox.exports.lose_cache()
        return None
    if call not in WORLD_CALLS:
        raise ValueError(f"not allowed: {call}")
    result = getattr(sandbox.world, call)(*raw.get("args", ()), **raw.get("kwargs", {}))
    with contextlib.suppress(AttributeError):
        return {"id": result.id}
    return None


def _set(sandbox: CvatSandbox, raw: Any) -> Any:
    """Settings of the world: {"health": {"DiskUsage": "…"}, "export_seconds": 1.5, "export_ttl_seconds": 5}."""
    world = sandbox.world
    if "health" in raw:
        world.health.update(raw["health"])
    for name in ("export_seconds", "export_ttl_seconds"):
        if name in raw:
            setattr(world, name, float(raw[name]))
    for name in ("upload_limit_bytes", "null_dates_every"):
        if name in raw:
            setattr(world, name, int(raw[name]))
    if "leak_deleted_frames" in raw:
        world.leak_deleted_frames = bool(raw["leak_deleted_frames"])
    return None
