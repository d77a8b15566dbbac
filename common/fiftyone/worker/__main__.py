"""Carries out one request of the product with FiftyOne: `python -m common.fiftyone.worker PARENT_PID`."""

from __future__ import annotations

import errno
import importlib
import os
import sys
from typing import Any

from common.fiftyone.protocol import DATABASE, DISK, STATE, UNEXPECTED, Failed, one_line
from common.fiftyone.worker.channel import Tell, die_with, open_channel, read_request, watch_input

# What `do` asks for: the module and the function that do it. Imported when asked for: `version` needs little.
REQUESTS = {
    "version": ("common.fiftyone.worker.versions", "version"),
    "describe": ("common.fiftyone.worker.describe", "describe"),
    "build": ("common.fiftyone.worker.build", "build"),
    "create": ("common.fiftyone.worker.creating", "create"),
    "load": ("common.fiftyone.worker.loading", "load"),
    "undo": ("common.fiftyone.worker.loading", "undo"),
    "forget": ("common.fiftyone.worker.forget", "forget"),
}


def main() -> int:
    die_with(int(sys.argv[1]))
    tell = open_channel()
    try:
        request = read_request()
    except ValueError:
        return 1  # who started us died before it said what to do
    watch_input()
    try:
        tell("result", result=answer(request, tell))
    except Failed as failed:
        tell(**failed.message())
        return 1
    except Exception as error:  # noqa: BLE001 - the product tells it, with the end of what was printed
        import traceback

        traceback.print_exc()
        tell(**in_words(error).message())
        return 1
    return 0


def answer(request: dict[str, Any], tell: Tell) -> dict[str, Any]:
    """Does what `request` asks for. Raises Failed, and whatever FiftyOne raises."""
    known = REQUESTS.get(str(request.get("do")))
    if known is None:
        raise Failed(UNEXPECTED, f"the worker knows no request {request.get('do')!r}")
    module, function = known
    return dict(getattr(importlib.import_module(module), function)(request, tell))


def in_words(error: BaseException) -> Failed:
    """A failure that nobody foresaw, told with its kind where that is known.

    An exception may bring `kind` and `reason` of its own (those of common/fiftyone/changes.py and its neighbours do).
    """
    name, said = type(error).__name__, one_line(str(error))
    kind = getattr(error, "kind", None)
    if isinstance(kind, str):
        return Failed(kind, one_line(str(getattr(error, "reason", said))))
    no_mongod = isinstance(error, ConnectionError) and "mongod" in said  # FiftyOne's own words
    if (
        no_mongod
        or type(error).__module__.startswith("pymongo")
        or name in ("ServiceListenTimeout", "FiftyOneConfigError")
    ):
        return Failed(DATABASE, f"FiftyOne's database cannot be used ({said})")
    if name == "DiskFull" or (isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)):
        return Failed(DISK, said)
    if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR):
        return Failed(STATE, said)
    return Failed(UNEXPECTED, f"{name}: {said}")


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    if code == 0 and os.environ.get("FIFTYONE_DATABASE_URI"):
        os._exit(0)
    sys.exit(code)
