"""Every fault of the network on every phase: what arrives is equal to the source, and everything is there once."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import sc_migrate
from common.exits import Exit
from common.migrating.folder import ProjectFolder
from common.migrating.source import open_source
from common.migrating.upload import upload_project
from common.migrating.verify import verify_files
from common.waiting import StopSignal
from sandbox.faults import Fault
from sandbox.sc import ScSandbox
from sandbox.sc.samples import Maker, box

from .conftest import contents, files_of, get

ALL = bool(os.environ.get("CVAT_TESTS_ALL"))
# Silence after which an answer is given up: short where one stalls (longer than that, for certain).
STALL_TIMEOUT_SECONDS = 1.0
TIMEOUT_SECONDS = 20.0
# Each stall costs a timeout: by default only these meet one.
STALLING = ("list of media", "image", "video", "scene", "new project")
GENERATIONS = ["1.1", "2.x"]
LONG = pytest.mark.skipif(not ALL, reason="CVAT_TESTS_ALL=1 meets every fault at every request by itself")
# Downloads and uploads meet all of them; whole migrations by default these.
QUICK_MIGRATIONS = (
    ("2.x", "cut before the answer, done all the same"),
    ("2.x", "502"),
    ("1.1", "500, done all the same"),
)

FAULTS: dict[str, Callable[[str], Fault]] = {
    "cut before the answer": lambda match: Fault(match, "cut", rst=True),
    "cut before the answer, done all the same": lambda match: Fault(match, "cut", after_handling=True),
    "cut inside of the answer": lambda match: Fault(match, "cut", after_bytes=9),
    "429": lambda match: Fault(match, "status", status=429, headers={"Retry-After": "0"}),
    "500": lambda match: Fault(match, "status", status=500),
    "500, done all the same": lambda match: Fault(match, "status", status=500, after_handling=True),
    "502": lambda match: Fault(match, "status", status=502),
    "502, done all the same": lambda match: Fault(match, "status", status=502, after_handling=True),
    "503": lambda match: Fault(match, "status", status=503),
    "503, done all the same": lambda match: Fault(match, "status", status=503, after_handling=True),
    "slow": lambda match: Fault(match, "slow", seconds=0.1, bytes_per_second=20_000),
    "stall": lambda match: Fault(match, "stall", seconds=30, after_bytes=9),
}
# What a download and an upload ask, each once as (method and) address.
DOWNLOADING = {
    "project": r"GET .*/projects/[^/?]+$",
    "list of media": r"POST .*/media:query|GET .*/media/images\?",
    "image": r"GET .*/images/[^/]+/display/full",
    "video": r"GET .*/display/stream",
    "file service": r"GET .*/fileservice/",
    "scene": r"GET .*/images/[^/]+/annotations/latest",
    "scenes of a video": r"GET .*/videos/[^/]+/annotations/latest",
    "labels of stretches": r"GET .*/range_annotation",
    "configuration": r"GET .*configuration",
    "statistics": r"GET .*/statistics",
    "models": r"GET .*/model_groups",
}
UPLOADING = {
    "new project": r"POST .*/projects$",
    "list of projects": r"GET .*/projects/?(\?|$)",
    "configuration": r"(POST|PATCH) .*configuration",
    "further dataset": r"POST .*/datasets$",
    "image": r"POST .*/media/images$",
    "video": r"POST .*/media/videos$",
    "scene": r"POST .*/images/[^/]+/annotations$",
    "scene of a frame": r"POST .*/frames/\d+/annotations$",
    "labels of stretches": r"POST .*/range_annotation",
    "list of media": r"POST .*/media:query|GET .*/media/images\?",
    "statistics": r"GET .*/statistics",
}


def without_bytes(found: dict, server: ScSandbox) -> dict:
    """Servers that encode anew keep no bytes."""
    if not server.generation.reencodes:
        return found
    return {
        name: [(labels, sorted(row[:3] + row[4:] for row in rows)) for labels, rows in each]
        for name, each in found.items()
    }


def whole_run(
    monkeypatch, folder: Path, source: ScSandbox, target: ScSandbox, timeout_seconds: float = TIMEOUT_SECONDS
) -> int:
    """`sc_migrate.py migrate --all` in this process."""
    values = {"SC_ALLOW_HTTP": "true", "SC_DIR": str(folder / "projects"), "CVAT_ENV_DIR": str(folder)}
    values |= {"SC_HTTP_TIMEOUT_SECONDS": str(timeout_seconds), "SC_SERVER_WAIT_SECONDS": "30"}
    values |= {"SC_CONNECTIONS": "3", "SC_MIN_FREE_GB": "0", "LOG_LEVEL": "ERROR"}
    for prefix, server in (("SC_", source), ("SC_TARGET_", target)):
        values |= {f"{prefix}HOST": server.url}
        values |= (
            {f"{prefix}USERNAME": server.username, f"{prefix}PASSWORD": server.password}
            if server.generation.name == "1.1"
            else {f"{prefix}TOKEN": server.token}
        )
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    return sc_migrate.main(["migrate", "--all"])


def timeout_for(fault: str) -> float:
    return STALL_TIMEOUT_SECONDS if fault == "stall" else TIMEOUT_SECONDS


def set_faults(server: ScSandbox, fault: str, matches: dict[str, str], only: str | None) -> None:
    for name, match in matches.items():
        if name == only or (only is None and (ALL or fault != "stall" or name in STALLING)):
            server.faults.add(FAULTS[fault](match))


def requests_of(matches: dict[str, str]) -> list:
    """By default one run meets the fault at every request once; with --all each request by itself as well."""
    return [
        pytest.param(None, id="every request"),
        *(pytest.param(name, id=name, marks=[pytest.mark.slow, LONG]) for name in matches),
    ]


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("only", requests_of(DOWNLOADING))
@pytest.mark.parametrize("generation", GENERATIONS)
def test_a_disturbed_download_is_equal_to_an_undisturbed_one(
    pair, signed_in, tmp_path, no_waiting, generation, only, fault
):
    source, _ = pair(generation)
    client = signed_in(source, timeout_seconds=timeout_for(fault))
    assert get(client, tmp_path / "undisturbed").gaps == []
    set_faults(source, fault, DOWNLOADING, only)
    report = get(client, tmp_path / "disturbed")
    assert report.gaps == [] and report.outcome == "done"
    assert files_of(tmp_path / "disturbed") == files_of(tmp_path / "undisturbed")
    both = [ProjectFolder(tmp_path / each).entries() for each in ("undisturbed", "disturbed")]
    assert both[0] == both[1] and len(both[0]) == report.images + report.videos
    assert verify_files(tmp_path / "disturbed", StopSignal(), 2).gaps == []
    assert not [each for each in (tmp_path / "disturbed").rglob(".*") if each.suffix in (".part", ".tmp")]


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("only", requests_of(UPLOADING))
@pytest.mark.parametrize("generation", GENERATIONS)
def test_a_disturbed_upload_leaves_everything_there_once(
    pair, signed_in, tmp_path, no_waiting, generation, only, fault
):
    source, target = pair(generation)
    assert get(signed_in(source), tmp_path / "x").gaps == []
    there = signed_in(target, timeout_seconds=timeout_for(fault))
    set_faults(target, fault, UPLOADING, only)
    report = upload_project(there, open_source(tmp_path / "x"))
    assert report.gaps == []
    assert without_bytes(contents(target), target) == without_bytes(contents(source), source)


@pytest.mark.parametrize(
    ("generation", "fault"),
    [
        pytest.param(
            generation, fault, marks=[] if (generation, fault) in QUICK_MIGRATIONS else [pytest.mark.slow, LONG]
        )
        for generation in GENERATIONS
        for fault in FAULTS
    ],
)
def test_a_migration_that_is_disturbed_on_both_sides_is_whole(
    pair, tmp_path, no_waiting, monkeypatch, generation, fault
):
    source, target = pair(generation)
    set_faults(source, fault, DOWNLOADING, None)
    set_faults(target, fault, UPLOADING, None)
    assert whole_run(monkeypatch, tmp_path, source, target, timeout_for(fault)) == Exit.ALL_GOOD
    assert without_bytes(contents(target), target) == without_bytes(contents(source), source)
    assert whole_run(monkeypatch, tmp_path, source, target) == Exit.ALL_GOOD
    assert without_bytes(contents(target), target) == without_bytes(contents(source), source)


def test_what_is_new_in_the_source_since_a_migration_is_migrated_too(pair, tmp_path, monkeypatch, capsys):
    source, target = pair("2.x")
    assert whole_run(monkeypatch, tmp_path, source, target) == Exit.ALL_GOOD
    assert whole_run(monkeypatch, tmp_path, source, target) == Exit.ALL_GOOD
    assert "migrated before" in capsys.readouterr().out
    [project] = source.world.projects.values()
    maker = Maker(source.world, source.generation)
    media = maker.image(project.datasets[0], "new", size=(64, 48))
    maker.annotate(project, media, [(box(1, 1, 9, 9), ["thing"])])
    assert whole_run(monkeypatch, tmp_path, source, target) == Exit.ALL_GOOD
    assert contents(target) == contents(source)


def restarting(server: ScSandbox, after: int, mode: str) -> None:
    """The server goes away while it handles its request of this number, and comes back."""
    original, lock, seen = server.handle, threading.Lock(), [0]

    def handle(request, faults):
        answered = original(request, faults)
        with lock:
            seen[0] += 1
            due = seen[0] == after
        if due:
            server.restart(0.3, mode)
        return answered

    server.handle = handle  # type: ignore[method-assign]


@pytest.mark.parametrize("mode", ["refused", "502", "503"])
@pytest.mark.parametrize("after", [9, 18, 25])
def test_servers_that_restart_in_the_middle_of_a_migration_lose_nothing(
    pair, tmp_path, no_waiting, monkeypatch, after, mode
):
    source, target = pair("2.x")
    restarting(source, after, mode)
    restarting(target, after, mode)
    assert whole_run(monkeypatch, tmp_path, source, target) == Exit.ALL_GOOD
    assert contents(target) == contents(source)
