"""How the tests of whole runs start downloader.py --mode datasets, and how they look at what it left."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ended import Ended
from running import OUR_FAULT, PATIENCE_SECONDS, finish, start

from sandbox.cvat import CvatSandbox


@dataclass(frozen=True)
class Downloaded(Ended):
    """A run that is over."""

    folder: Path
    folders: list[str]  # the finished ones when the run was over; nothing else lies about

    @property
    def metrics(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "metrics.json").read_text())
        return found

    @property
    def outcomes(self) -> dict[int, str]:
        return {detail["task_id"]: detail["outcome"] for detail in self.metrics["task_details"]}

    def detail(self, task_id: int) -> dict[str, Any]:
        [found] = [each for each in self.metrics["task_details"] if each["task_id"] == task_id]
        return found


def begin(server: CvatSandbox | str, tmp_path: Path, *arguments: str, **more: Any) -> Any:
    values = {"CVAT_DOWNLOAD_OUTPUT_DIR": str(tmp_path / "outputs"), "CVAT_DOWNLOAD_MIN_FREE_GB": "0"} | more
    mode = () if arguments[:1] == ("-o",) else ("--mode", "datasets")
    return start(server, tmp_path, *mode, *arguments, script="downloader", **values)


def run(server: CvatSandbox | str, tmp_path: Path, *arguments: str, **more: Any) -> Downloaded:
    """One whole run."""
    done = finish(begin(server, tmp_path, *arguments, **more), tmp_path / "outputs", PATIENCE_SECONDS)
    assert OUR_FAULT not in done.said and "Traceback" not in done.said, done.said
    return downloaded(done.code, done.out, done.err, done.folder)


def downloaded(code: int, out: str, err: str, folder: Path) -> Downloaded:
    """What a run that is over has left."""
    return Downloaded(code, out, err, folder, sorted(path.name for path in (folder / "cvat_downloads").glob("*")))


def assert_complete(folder: Path) -> list[str]:
    """The files of a folder are those of its manifest, byte for byte; returns their names."""
    head, *lines = (json.loads(line) for line in (folder / ".cvat-download.jsonl").read_text().splitlines())
    end = lines.pop()
    assert head["version"] == 1 and end["end"] == len(lines)
    for entry in lines:
        content = (folder / entry["path"]).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (entry["bytes"], entry["sha256"])
    names = sorted(entry["path"] for entry in lines)
    there = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    assert there == sorted([*names, ".cvat-download.jsonl"])
    return names
