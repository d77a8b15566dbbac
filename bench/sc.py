"""The scenarios of `python -m bench sc`: sc_migrate.py beside geti-sdk and beside bare parallel requests.

Each program meets a server of its own with the same content; every answer of the server comes 20 ms late.
"""

from __future__ import annotations

import io
import json
import shutil
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from PIL import Image

from bench.measure import ROOT, START_SECONDS, Failed, Ran, run
from bench.tables import Result
from common.text import size
from sandbox.sc.film import film

LATENCY_SECONDS = 0.02
DOWNLOAD_GOAL, UPLOAD_GOAL, FLOOR_GOAL = 6.0, 4.0, 1.3
FLAT_GOAL_BYTES = 40e6
VIDEO_BYTES = 2_000_000_000
GETI_SDK = ROOT / ".pytest_cache" / "geti-sdk-2.13.1"  # made by tests/sandbox/sc/test_sc_geti_sdk.py under --all


class ScServer:
    """A played Geti 2.x as a process of its own. Use as a context manager."""

    def __init__(self, folder: Path, samples: str) -> None:
        self._folder = folder
        self._ready = folder / "ready.json"
        self._command = [
            sys.executable, "-m", "sandbox", "sc", "--port", "0", "--samples", samples, "--control", "--data",
            str(folder / "server"), "--ready-file", str(self._ready), "--exit-with-parent",
        ]  # fmt: skip
        self.url = self.token = ""
        self.ca_file = Path()

    def __enter__(self) -> ScServer:
        self._folder.mkdir(parents=True)
        self._process = subprocess.Popen(self._command, cwd=ROOT, stdout=subprocess.DEVNULL)
        patience = time.monotonic() + START_SECONDS
        while not self._ready.exists():
            if self._process.poll() is not None or time.monotonic() > patience:
                self._process.kill()
                raise Failed("the sandbox did not start")
            time.sleep(0.05)
        facts = json.loads(self._ready.read_text())
        self.url, self.token, self.ca_file = facts["url"], facts["token"], Path(facts["ca_file"])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def delay_answers(self) -> None:
        self._switch("faults", {"match": " /api/", "kind": "slow", "seconds": LATENCY_SECONDS, "times": None})

    @property
    def project_ids(self) -> list[str]:
        return list(self._switch("world")["projects"])

    def _switch(self, what: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"{self.url}/sandbox/{what}", data=data, headers={"Content-Type": "application/json"}
        )
        context = ssl.create_default_context(cafile=str(self.ca_file))
        with urllib.request.urlopen(request, timeout=60, context=context) as answer:
            return json.load(answer)

    @property
    def settings(self) -> dict[str, str]:
        return {"SC_HOST": self.url, "SC_TOKEN": self.token, "SC_CA_BUNDLE": str(self.ca_file), "LOG_LEVEL": "ERROR"}


def ours(server: ScServer, folder: Path, *arguments: str | Path) -> Ran:
    """The product as a person runs it, with default settings."""
    return run(
        [sys.executable, ROOT / "sc_migrate.py", *arguments],
        **server.settings, CVAT_ENV_DIR=str(folder), SC_DIR=str(folder / "spool"),
    )  # fmt: skip


def geti_sdk(server: ScServer, what: str, folder: Path) -> Ran:
    return run([GETI_SDK / "bin" / "python", ROOT / "bench" / "sc_peers.py", what, server.url, server.token, folder])


def bare(server: ScServer, what: str, folder: Path) -> Ran:
    return run([sys.executable, ROOT / "bench" / "sc_floor.py", what, server.url, server.token, server.ca_file, folder])


def side_by_side(folder: Path, count: int, *, with_peer: bool = True) -> Result:
    """Download and upload of `count` annotated images by all three, or by two without geti-sdk."""
    result = Result(
        f"{count:,} annotated images, every answer {LATENCY_SECONDS * 1000:.0f} ms late",
        "Pictures of 320 x 240 with boxes in one project of a played Geti 2.x. The floor is requests with ten threads, one "
        "session each: the list, then each file and its annotations (up: each file, then its annotations), without a look "
        "at anything, nothing written durably. sc_migrate.py also hashes, compares scene by scene and syncs; it begins with "
        "ten requests at a time and takes up to twenty while that is faster. Times are of whole processes, with their "
        "start; the server shares the processors.",
        ("program", "download", "of the floor", "upload", "of the floor", "peak memory"),
    )
    programs: list[tuple[str, Callable[[ScServer, Path], Ran], Callable[[ScServer, Path], Ran]]] = [
        ("bare requests", lambda s, d: bare(s, "down", d), lambda s, d: bare(s, "up", d)),
        (
            "sc_migrate.py",
            lambda s, d: ours(s, d.parent, "download", "Many images", "--into", d),
            lambda s, d: ours(s, d.parent, "upload", d),
        ),
    ]
    if not with_peer:
        result.how += " geti-sdk was left out."
    elif (GETI_SDK / "complete").exists():
        programs.append(("geti-sdk 2.13.1", lambda s, d: geti_sdk(s, "down", d), lambda s, d: geti_sdk(s, "up", d)))
    else:
        result.how += " geti-sdk is not installed here (tests/sandbox/sc/test_sc_geti_sdk.py under --all installs it)."
    times: dict[str, tuple[float, float]] = {}
    peaks: dict[str, int] = {}
    for name, down, up in programs:
        data = folder / name.split()[0] / "project"
        data.parent.mkdir(parents=True)
        with ScServer(folder / "source", f"many:{count}") as server:
            server.delay_answers()
            first = down(server, data)
        with ScServer(folder / "target", "none") as server:
            server.delay_answers()
            second = up(server, data)
        times[name], peaks[name] = (first.seconds, second.seconds), max(first.peak_bytes, second.peak_bytes)
        shutil.rmtree(data.parent)
    floor = times["bare requests"]
    for name, (down_seconds, up_seconds) in times.items():
        result.rows.append(
            (name, f"{down_seconds:.1f} s", f"{down_seconds / floor[0]:.2f} ×", f"{up_seconds:.1f} s",
             f"{up_seconds / floor[1]:.2f} ×", size(peaks[name]))
        )  # fmt: skip
    mine = times["sc_migrate.py"]
    for at, (what, goal) in enumerate((("download", DOWNLOAD_GOAL), ("upload", UPLOAD_GOAL))):
        if peer := times.get("geti-sdk 2.13.1"):
            ratio = peer[at] / mine[at]
            result.goal(f"{what}: {goal:g} × faster than geti-sdk", f"{ratio:.1f} ×", ratio >= goal)
        ratio = mine[at] / floor[at]
        result.goal(f"{what}: within {FLOOR_GOAL} × of bare requests", f"{ratio:.2f} ×", ratio <= FLOOR_GOAL)
    return result


def large_video(folder: Path, quick: bool) -> Result:
    """Memory with a large video against memory with a small one, down and up."""
    result = Result(
        "Flat memory: one video",
        "A project with one video, downloaded and uploaded.",
        ("size of the video", "download", "upload", "peak memory"),
    )
    peaks = []
    for bytes_ in (10_000_000, 200_000_000 if quick else VIDEO_BYTES):
        data = folder / "video" / "project"
        data.mkdir(parents=True)
        _video_project(data, bytes_)
        with ScServer(folder / "target", "none") as server:
            up = ours(server, data.parent, "upload", data)
            shutil.rmtree(data)
            down = ours(server, data.parent, "download", "Film", "--into", data)
        peaks.append(max(up.peak_bytes, down.peak_bytes))
        result.rows.append((size(bytes_), f"{down.seconds:.1f} s", f"{up.seconds:.1f} s", size(peaks[-1])))
        shutil.rmtree(data.parent)
    more = max(0, peaks[1] - peaks[0])
    result.goal(f"at most {size(FLAT_GOAL_BYTES)} more memory", f"{size(more)} more", more <= FLAT_GOAL_BYTES)
    return result


def _video_project(data: Path, bytes_: int) -> None:
    """A folder as geti-sdk writes it, with an MP4 that is padded with a `free` box to this size."""
    picture = io.BytesIO()
    Image.new("RGB", (320, 240), (90, 120, 60)).save(picture, "JPEG")
    (data / "videos" / "Dataset").mkdir(parents=True)
    path = data / "videos" / "Dataset" / "street.mp4"
    path.write_bytes(film([picture.getvalue()] * 5, (320, 240)))
    with open(path, "ab") as file:
        rest = bytes_ - file.tell()
        # A box whose length is told in 64 bits: what follows is a hole of the disk.
        file.write((1).to_bytes(4, "big") + b"free" + rest.to_bytes(8, "big"))
        file.truncate(bytes_)
    labels = [{"name": "box", "group": "Objects", "color": "#ff0000ff"}]
    tasks = [
        {"title": "Dataset", "task_type": "dataset"},
        {"title": "Objects", "task_type": "detection", "labels": labels},
    ]
    (data / "project.json").write_text(
        json.dumps(
            {"name": "Film", "datasets": [{"name": "Dataset", "use_for_training": True}],
             "pipeline": {"connections": [{"from": "Dataset", "to": "Objects"}], "tasks": tasks}}
        )
    )  # fmt: skip
