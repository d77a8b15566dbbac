"""The worker's end of the line to the product: reads the request, tells events, notices that the product is gone."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

from common.fiftyone.protocol import FD_VARIABLE

# tell("task_made", id=7, name="…")
Tell = Callable[..., None]
_PR_SET_PDEATHSIG = 1


def die_with(parent: int) -> None:
    """Linux ends this process when the one that started it dies, whatever it is doing. Elsewhere `watch_input` does."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)


def read_request() -> dict[str, Any]:
    """The one line of JSON that says what to do. Raises ValueError."""
    line = sys.stdin.buffer.readline()
    found = json.loads(line)
    if not isinstance(found, dict):
        raise ValueError("the request is no JSON object")
    return found


def watch_input() -> None:
    """Ends this process when standard input ends: nobody is there any more who waits for an answer."""

    def wait() -> None:
        descriptor = sys.stdin.fileno()
        while os.read(descriptor, 4096):
            pass
        os._exit(1)

    threading.Thread(target=wait, name="input", daemon=True).start()


def open_channel() -> Tell:
    """What sends an event. Raises KeyError, ValueError, OSError when nobody has given us a descriptor."""
    descriptor = int(os.environ.pop(FD_VARIABLE))
    os.set_inheritable(descriptor, False)  # mongod, ffprobe and the like must not hold it open
    lock = threading.Lock()

    def tell(event: str, **fields: Any) -> None:
        data = memoryview((json.dumps({"event": event, **fields}, default=str) + "\n").encode("utf-8", "replace"))
        with lock:
            while data:
                data = data[os.write(descriptor, data) :]

    return tell
