"""Switches over HTTP, for tests and benchmarks that start the sandbox as a process of its own."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from sandbox.faults import Fault
from sandbox.http import Request, Response
from sandbox.sc.answering import answer as say
from sandbox.sc.answering import body_json

if TYPE_CHECKING:
    from sandbox.sc.server import ScSandbox


def answer(sandbox: ScSandbox, request: Request) -> Response:
    try:
        return _answer(sandbox, request)
    except Exception as error:  # noqa: BLE001 whoever tests wants to read what was wrong with his call
        return say({"error": f"{type(error).__name__}: {error}"}, 400)


def _answer(sandbox: ScSandbox, request: Request) -> Response:
    raw: Any = body_json(request)
    match (request.method, request.path):
        case ("POST", "/sandbox/faults"):
            for one in raw if isinstance(raw, list) else [raw]:
                sandbox.faults.add(Fault.from_json(one))
        case ("DELETE", "/sandbox/faults"):
            sandbox.faults.clear()
        case ("GET", "/sandbox/log"):
            rows = [{"method": one.method, "path": one.path, "query": one.query, "status": one.status, "user": one.user,
                     "at": one.at.isoformat()} for one in list(sandbox.log)]  # fmt: skip
            return say({"exchanges": rows})
        case ("DELETE", "/sandbox/log"):
            sandbox.log.clear()
        case ("GET", "/sandbox/world"):
            return say({"projects": {one.id: one.name for one in list(sandbox.world.projects.values())}})
        case ("POST", "/sandbox/do"):
            {
                "expire_sessions": sandbox.doorman.expire,
                "finish_jobs": sandbox.jobs.finish_all,
            }[raw["call"]]()
        case ("POST", "/sandbox/restart"):
            # After this answer is out, or the one who asked would see his own request cut.
            wanted = (float(raw.get("down_seconds", 1.0)), str(raw.get("mode", "refused")))
            threading.Timer(0.05, sandbox.restart, wanted).start()
        case _:
            return say({"error": "no such switch"}, 404)
    return say({})
