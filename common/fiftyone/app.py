"""The FiftyOne App behind a door of ours. Run by an interpreter that has fiftyone: `python -P app.py --media FOLDER …`.

Nothing of ours is imported here: the standard library and fiftyone only. FiftyOne's own server (read and tried, 1.22.1)
asks nobody who they are, and does more for them than show a dataset, so
- GET /media?filepath=… serves any file that the process may read: here, only files below the folders given;
- a page of any other website may post to it from a visitor's browser: here, only its own pages may;
- plugins and operators read files too: on Linux, the process gives up reading the settings before FiftyOne begins
  (Landlock, in the kernel since 5.13), and so does everything that it starts;
- FIFTYONE_CVAT_… values are guessed to be numbers and lists (a password 0012345 becomes 12345): here they stay text.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableMapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

Application = Callable[[MutableMapping[str, Any], Any, Any], Awaitable[None]]
TEXTS = ("url", "username", "password", "email")
# How many refused folders are told; a log is not to be filled from outside.
MOST_TOLD = 50
# linux/landlock.h and linux/prctl.h; the same numbers on every machine that Linux runs on.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_READ_FILE, _PATH_BENEATH, _NO_NEW_PRIVS = 1 << 2, 1, 38


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="The FiftyOne App, for fiftyone_app.py", allow_abbrev=False)
    parser.add_argument("--address", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--media", action="append", default=[], help="folder whose files are shown")
    parser.add_argument("--closed", action="append", default=[], help="file or folder that FiftyOne must not read")
    arguments = parser.parse_args(argv)
    why_not = close_off(arguments.closed)
    if why_not:
        tell("settings_readable", detail=f"FiftyOne and its plugins could read the settings: {why_not}")
    import fiftyone as fo
    import fiftyone.server.main as server

    keep_texts(fo.annotation_config.backends, os.environ)
    folders = [*arguments.media, fo.config.default_dataset_dir]
    server.app = guarded(server.app, folders, arguments.closed, os.environ.get("FIFTYONE_ALLOWED_ORIGINS", ""))
    tell("app_begins", address=arguments.address, port=arguments.port, media=arguments.media, version=fo.__version__)
    server.start_server(port=arguments.port, address=arguments.address)


def tell(event: str, **more: Any) -> None:
    """One JSON line of the log."""
    print(json.dumps({"event": event, **more}), file=sys.stderr, flush=True)


def keep_texts(backends: MutableMapping[str, Any], environ: MutableMapping[str, str]) -> None:
    """Address and credentials of CVAT exactly as the environment has them."""
    for name in TEXTS:
        value = environ.get(f"FIFTYONE_CVAT_{name.upper()}")
        if value and "cvat" in backends:
            backends["cvat"][name] = value


# --- the door ---------------------------------------------------------------------------------------------------


def guarded(app: Application, folders: Iterable[str], closed: Iterable[str], allowed_origins: str) -> Application:
    """`app`, asked only for media below `folders`, for nothing at `closed`, and only by its own pages."""
    roots = [os.path.realpath(folder) for folder in folders]
    never = [os.path.realpath(path) for path in closed]
    friends = {each.strip() for each in allowed_origins.split(",")}
    told: set[str] = set()

    async def guard(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] not in ("http", "websocket"):
            await app(scope, receive, send)
            return
        headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        origin = headers.get(b"origin")
        if origin and not is_own_page(origin, headers.get(b"host", "")) and not friends & {origin, "*"}:
            await refuse(scope, send, 403, f"{origin} is not this App's address: see docs/fiftyone.md")
            return
        for path in paths_asked_for(scope):
            if not lies_below(path, roots) or lies_below(path, never):
                folder = str(Path(path).parent)
                if folder not in told and len(told) < MOST_TOLD:
                    told.add(folder)
                    tell("media_refused", folder=folder, detail="it is not below FIFTYONE_MEDIA")
                await refuse(scope, send, 404, "Not found")
                return
        await app(scope, receive, send)

    return guard


def is_own_page(origin: str, host: str) -> bool:
    """Whether a browser's Origin is the address that it asked."""
    return urlsplit(origin).netloc.lower() == host.lower()


def paths_asked_for(scope: MutableMapping[str, Any]) -> list[str]:
    """Every file that a request names; `filepath` may stand there more than once."""
    if scope["path"].rstrip("/") != "/media":
        return []
    pairs = parse_qsl(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)
    return [value for name, value in pairs if name == "filepath" and value]


def lies_below(path: str, roots: Sequence[str]) -> bool:
    """Whether the file lies in one of the folders, wherever links lead."""
    if "\0" in path or not path.startswith("/"):
        return False
    real = os.path.realpath(path)
    return any(real == root or real.startswith(root.rstrip("/") + "/") for root in roots)


async def refuse(scope: MutableMapping[str, Any], send: Any, status: int, text: str) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode(errors="replace")})


# --- giving up the settings -------------------------------------------------------------------------------------


def close_off(closed: Sequence[str]) -> str:
    """From now on neither this process nor its children can read what lies at `closed`. Returns why not, or ""."""
    if not closed:
        return ""
    if not sys.platform.startswith("linux"):
        return "only Linux can hide files from a process"
    libc = ctypes.CDLL(None, use_errno=True)
    handled = ctypes.c_uint64(_READ_FILE)
    rules = libc.syscall(_CREATE_RULESET, ctypes.byref(handled), ctypes.c_size_t(8), 0)
    if rules < 0:
        return f"no Landlock here ({os.strerror(ctypes.get_errno())}); it needs Linux 5.13 and Docker 23"
    try:
        for path in everything_but([os.path.realpath(each) for each in closed]):
            try:
                beneath = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
            except OSError:  # gone meanwhile, or not ours to see: then it stays closed
                continue
            # struct landlock_path_beneath_attr is packed: 8 bytes of rights, 4 of descriptor.
            rule = _READ_FILE.to_bytes(8, sys.byteorder) + beneath.to_bytes(4, sys.byteorder)
            libc.syscall(_ADD_RULE, rules, _PATH_BENEATH, rule, 0)
            os.close(beneath)
        if libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.syscall(_RESTRICT_SELF, rules, 0):
            return f"Landlock refuses ({os.strerror(ctypes.get_errno())})"
    finally:
        os.close(rules)
    return ""


def everything_but(closed: Sequence[str], folder: str = "/") -> Iterator[str]:
    """The largest files and folders in which nothing of `closed` lies. Links are left out: what they lead to counts."""
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return
    for name in names:
        path = f"{folder.rstrip('/')}/{name}"
        if path in closed or Path(path).is_symlink():
            continue
        if any(each.startswith(path + "/") for each in closed):
            yield from everything_but(closed, path)
        else:
            yield path


if __name__ == "__main__":
    main()
