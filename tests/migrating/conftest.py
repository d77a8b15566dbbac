"""Played SC and Geti servers, and clients that are signed in to them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

import sc_migrate
from common.migrating.download import Wanted, download_project
from common.sc.client import Client
from common.sc.projects import list_projects
from common.sc.settings import Server
from common.sc.signing_in import connect
from common.waiting import StopSignal
from sandbox.cvat import CvatSandbox
from sandbox.sc import ScSandbox
from sandbox.sc.samples import Maker, box, detection


@pytest.fixture
def sc() -> Iterator[Callable[..., ScSandbox]]:
    """A factory of running servers: `server = sc("2.x", samples="none")`; they are stopped after the test."""
    with contextlib.ExitStack() as running:

        def start(generation: str = "2.x", samples: str = "demo", **options) -> ScSandbox:
            return running.enter_context(ScSandbox(generation=generation, samples=samples, **options))

        yield start


@pytest.fixture
def signed_in() -> Callable[..., Client]:
    """A client of a server; with a token where the generation has them, or `token=False`."""

    def make(
        server: ScSandbox,
        *,
        token: bool = True,
        connections: int = 4,
        wait_seconds: float = 20,
        timeout_seconds: float = 20,
        lock_wait_seconds: float = 0,
    ) -> Client:
        with_token = token and server.generation.name != "1.1"
        who = {"token": SecretStr(server.token)} if with_token else {}
        if not with_token:
            who = {"username": server.username, "password": SecretStr(server.password)}
        found = Server(
            server.url,
            ca_bundle=server.ca_file,
            timeout_seconds=timeout_seconds,
            wait_seconds=wait_seconds,
            connections=connections,
            lock_wait_seconds=lock_wait_seconds,
            **who,
        )
        return connect(found, StopSignal())

    return make


@pytest.fixture
def pair(sc):
    """A source with the small project, and an empty target of the same generation."""

    def make(generation: str) -> tuple[ScSandbox, ScSandbox]:
        return small(sc(generation, "none", tls=False)), sc(generation, "none", tls=False)

    return make


def small(server: ScSandbox) -> ScSandbox:
    """One project that has something of everything: two images of one name, a video, a second dataset."""
    maker = Maker(server.world, server.generation)
    project = maker.project("Small", [detection("Detection", "thing", "other")])
    dataset = project.datasets[0]
    for number, name in enumerate(("twice", "twice", "alone")):
        media = maker.image(dataset, name, size=(64, 48))
        maker.annotate(project, media, [(box(3 + number, 4, 20, 10), ["thing"]), (box(30, 20, 9, 9), ["other"])])
    video = maker.video(dataset, "film", 12, (64, 48))
    for frame in (0, 5, 11):
        maker.annotate(project, video, [(box(5, 5 + frame, 20, 10), ["other"])], frame)
    if server.generation.several_datasets:
        media = maker.image(maker.dataset(project, "Second"), "twice", size=(64, 48))
        maker.annotate(project, media, [(box(1, 2, 30, 40), ["thing"])])
    return server


def get(client, folder: Path):
    [project] = list_projects(client)
    return download_project(client, str(project["id"]), folder, Wanted())


def files_of(folder: Path) -> dict[str, bytes]:
    parts = ("images", "videos", "annotations")
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for part in parts
        for path in sorted((folder / part).rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def cvat():
    with CvatSandbox(samples="none") as server:
        yield server


@pytest.fixture
def command(monkeypatch, tmp_path):
    """Runs sc_migrate.py in this process with both servers in its settings; its exit code."""

    def run(sc: Any, cvat: CvatSandbox | None, *arguments: object) -> int:
        monkeypatch.setenv("CVAT_ENV_DIR", str(tmp_path))
        monkeypatch.setenv("SC_DIR", str(tmp_path / "sc-projects"))
        monkeypatch.setenv("CVAT_BACKUP_DIR", str(tmp_path / "backups"))
        if sc is not None:
            for name, value in (("HOST", sc.url), ("USERNAME", sc.username), ("PASSWORD", sc.password)):
                monkeypatch.setenv(f"SC_{name}", value)
            monkeypatch.setenv("SC_ALLOW_HTTP", "true")
            monkeypatch.setenv("SC_MIN_FREE_GB", "0")
            if sc.tls:
                monkeypatch.setenv("SC_CA_BUNDLE", str(sc.ca_file))
        if cvat is not None:
            monkeypatch.setenv("CVAT_URL", cvat.url)
            monkeypatch.setenv("CVAT_ACCESS_TOKEN", cvat.write_token)
        return sc_migrate.main([str(each) for each in arguments])

    return run


def _rounded(shape: object, normalised: bool) -> object:
    """Servers that count in pixels answer in whole ones, whatever they keep."""
    if isinstance(shape, dict):
        return {key: _rounded(value, normalised or key == "angle") for key, value in sorted(shape.items())}
    if isinstance(shape, list):
        return [_rounded(each, normalised) for each in shape]
    return round(shape) if isinstance(shape, float) and not normalised else shape


def contents(server: ScSandbox) -> dict:
    """Everything that users put into a server, without ids: to compare two servers."""
    found: dict = {}
    for project in server.world.projects.values():
        titles = {
            label.id: (task.title, label.name, label.is_empty) for task in project.trainable for label in task.labels
        }
        rows = []
        for dataset in project.datasets:
            for media in dataset.media.values():
                scenes = {
                    frame: sorted(
                        (
                            str(_rounded(each["shape"], server.generation.normalised)),
                            sorted(titles[label["id"]] for label in each["labels"]),
                        )
                        for each in scene.annotations
                    )
                    for frame, scene in sorted(media.scenes.items())
                    if scene.annotations
                }
                rows.append((dataset.use_for_training, media.name, media.kind, media.path.read_bytes(), str(scenes)))
        labels = sorted(
            (task.title, task.task_type, label.name, label.color, label.group, label.hotkey)
            for task in project.trainable
            for label in task.labels
            if not label.is_empty
        )
        found.setdefault(project.name, []).append((labels, sorted(rows)))
    return {name: sorted(each, key=str) for name, each in found.items()}
