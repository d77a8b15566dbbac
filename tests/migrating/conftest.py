"""Played SC and Geti servers, and clients that are signed in to them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest
from pydantic import SecretStr

from common.sc.client import Client
from common.sc.settings import Server
from common.sc.signing_in import connect
from common.waiting import StopSignal
from sandbox.sc import ScSandbox


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
            **who,
        )
        return connect(found, StopSignal())

    return make


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
