"""The worker without importing FiftyOne anew for each request: a process imports once, then forks for every worker.

What runs is the worker itself in a process of its own, with its own environment, input and output; only the seconds
that the import takes are spared. `python quick_worker.py SOCKET` with the Python that has FiftyOne is the process that
forks; `python quick_worker.py SOCKET ask -m MODULE ARGUMENT…` is what stands in for that Python. Standard library and
FiftyOne only.
"""

from __future__ import annotations

import json
import os
import runpy
import select
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any

WORKER_FD = "FIFTYONE_WORKER_FD"


def ask(place: str, arguments: list[str]) -> int:
    """Has one worker run; its exit code."""
    number = int(os.environ[WORKER_FD])
    order = {"arguments": arguments, "environment": dict(os.environ), "cwd": os.getcwd(), "fd": number}
    content = json.dumps(order).encode()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(place)
        socket.send_fds(connection, [len(content).to_bytes(4, "big")], [0, 1, 2, number])
        connection.sendall(content)
        for descriptor in (0, 1, 2, number):
            os.close(descriptor)  # the worker alone holds them now
        answer = connection.recv(4)
    return int.from_bytes(answer, "big") if answer else 70


def serve(place: str) -> None:
    import fiftyone.core.odm.database as database
    import fiftyone.utils.cvat  # noqa: F401 what most requests need

    database._disconnect()  # its threads would be missing in a fork
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    parent = os.getppid()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(place)
        listening.listen(16)
        listening.settimeout(1.0)
        print("ready", flush=True)
        while os.getppid() == parent:
            try:
                connection, _ = listening.accept()
            except TimeoutError:
                continue
            connection.setblocking(True)
            if os.fork() == 0:
                listening.close()
                _forked(lambda connection=connection: _keep(connection))
            connection.close()


def _forked(work: Callable[[], int]) -> None:
    code = 70
    try:
        code = work()
    except BaseException:  # noqa: BLE001 a fork must not go on as its parent
        import traceback

        traceback.print_exc()
    finally:
        os._exit(code)


def _keep(connection: socket.socket) -> int:
    """Starts a worker, tells its exit code, and kills it when whoever asked is gone."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    head, descriptors, _, _ = socket.recv_fds(connection, 4, 4)
    length, content = int.from_bytes(head, "big"), b""
    while len(content) < length:
        content += connection.recv(length - len(content))
    order = json.loads(content)
    worker = os.fork()
    if worker == 0:
        connection.close()
        _forked(lambda: _work(order, descriptors))
    for descriptor in descriptors:
        os.close(descriptor)
    while True:
        ended, status = os.waitpid(worker, os.WNOHANG)
        if ended:
            connection.sendall(max(0, os.waitstatus_to_exitcode(status) % 256).to_bytes(4, "big"))
            return 0
        if select.select([connection], [], [], 0.02)[0]:
            os.kill(worker, signal.SIGKILL)
            os.waitpid(worker, 0)
            return 0


def _work(order: dict[str, Any], descriptors: list[int]) -> int:
    number = order["fd"]
    # First out of the way: a number that is wanted may be one that was received.
    copies = [os.dup2(descriptor, 200 + place) for place, descriptor in enumerate(descriptors)]
    for wanted, copy in zip((0, 1, 2, number), copies, strict=True):
        os.dup2(copy, wanted)
        os.close(copy)
    os.set_inheritable(number, True)
    os.setsid()
    os.environ.clear()
    os.environ.update(order["environment"])
    os.chdir(order["cwd"])
    _, module, *arguments = order["arguments"]
    parent = int(arguments[0])
    os.getppid = lambda: parent  # type: ignore[assignment] # the worker looks whether who started it is still there
    sys.path.insert(0, order["cwd"])
    sys.argv = [module, *arguments]
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", closefd=False, buffering=1)  # noqa: SIM115
    sys.stderr = open(2, "w", closefd=False, buffering=1)  # noqa: SIM115
    import fiftyone as fo
    import fiftyone.core.odm.database as database

    database.establish_db_conn(fo.config)
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        return int(end.code or 0) if not isinstance(end.code, str) else 1
    return 0


if __name__ == "__main__":
    if sys.argv[2:3] == ["ask"]:
        sys.exit(ask(sys.argv[1], sys.argv[3:]))
    serve(sys.argv[1])
