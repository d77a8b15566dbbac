"""sweeper.py called in this process, at a fixed moment."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import time_machine

import sweeper
from tests.sweeping.shelves import NOW, Shelf


@dataclass(frozen=True)
class Swept:
    code: int
    out: str
    err: str
    folder: Path

    def happened(self, event: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.err.splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == event]

    @property
    def last_run(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "last-run-sweep.json").read_text())
        return found


@pytest.fixture
def shelf(tmp_path: Path) -> Callable[..., Shelf]:
    return lambda **source: Shelf(tmp_path / "backups", **source)


@pytest.fixture
def sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., Swept]]:
    """`sweep("--dry-run", ttl="48")`: flags, and settings by the name of their flag. TTL a day and minimum 1 otherwise."""
    monkeypatch.setenv("CVAT_ENV_DIR", str(tmp_path))
    (tmp_path / "backups").mkdir(exist_ok=True)

    def call(*flags: str, at: Any = NOW, **settings: str) -> Swept:
        values = {
            "dir": str(tmp_path / "backups"),
            "ttl": "24",
            "min_num_backups": "1",
            "log_format": "json",
        } | settings
        argv = [f"--{name.replace('_', '-')}={value}" for name, value in values.items()]
        capsys.readouterr()
        with time_machine.travel(at, tick=False):
            code = sweeper.main([*flags, *argv])
        said = capsys.readouterr()
        assert "Traceback" not in said.err and "fault of the program" not in said.err, said.err
        return Swept(code, said.out, said.err, tmp_path / "backups")

    yield call
