"""What a command works with: its settings, the folder of the round, the worker, and a client of CVAT."""

from __future__ import annotations

import os
from functools import cached_property
from typing import Any

from common import log
from common.annotating.settings import FiftyoneSettings
from common.annotating.state import Folder, Round
from common.cvat.address import server_key
from common.cvat.client import Client, connect
from common.cvat.settings import CvatSettings
from common.exits import Exit, RunEnds
from common.fiftyone.interpreter import interpreter
from common.fiftyone.process import Limits, Worker, environment_of, handed_on
from common.run import Run
from common.waiting import StopSignal

# Longest time without an event of the worker: starting its database and reading a large dataset are silent (seconds).
IDLE_SECONDS = 1800.0

SyncRun = Run[FiftyoneSettings]


class Desk:
    """The things of one command. The client signs in when it is first needed."""

    def __init__(self, run: SyncRun) -> None:
        self.run = run
        self.settings = run.settings
        self.stop: StopSignal = run.stop
        self.folder = Folder(self.settings.state_dir, self.settings.dataset, self.settings.anno_key)
        self._organization = self.settings.where
        for secret in (self.settings.password, self.settings.database_uri):
            if secret is not None:
                log.hide(secret.get_secret_value())

    @property
    def server(self) -> str:
        return server_key(self.settings.url) if self.settings.url else ""

    @cached_property
    def client(self) -> Client:
        """A signed-in client, for the organization that tasks are made in. Raises RunEnds, CvatError."""
        raw = {name: getattr(self.settings, name) for name in CvatSettings.model_fields}
        raw["organization"] = self._organization
        raw["access_token"] = None  # what FiftyOne makes and what we look after must be seen by the same account
        client, self.server_version, self.account = connect(_with_words(raw), self.stop)
        return client

    @cached_property
    def worker(self) -> Worker:
        """The interpreter with FiftyOne. Raises RunEnds when there is none."""
        settings = self.settings
        total = settings.deadline_hours * 3600
        return Worker(
            interpreter(settings.python),
            self.stop,
            Limits(min(IDLE_SECONDS, total), total),
            environment_of(os.environ, self.handed_on, _secret(settings.database_uri)),
        )

    @property
    def handed_on(self) -> dict[str, str]:
        """FIFTYONE_CVAT_… for the child; nothing when CVAT_SYNC is false."""
        settings = self.settings
        if not settings.cvat_sync:
            return {}
        return handed_on(settings.url, settings.username, _secret(settings.password), settings.email)

    @property
    def connection(self) -> dict[str, Any]:
        """What FiftyOne's client of CVAT is told, as texts: see common/fiftyone/worker/careful.py."""
        settings = self.settings
        return {
            "url": settings.url,
            "username": settings.username,
            "password": _secret(settings.password),
            "email": settings.email,
            "organization": settings.where,
            "verify": str(settings.ca_bundle) if settings.ca_bundle else settings.verify_tls,
            "timeout_seconds": settings.http_timeout_seconds,
            "wait_seconds": settings.server_wait_seconds,
            "jobs_seconds": settings.jobs_deadline_minutes * 60,
        }

    def round_to_work_on(self) -> Round:
        """The round of this dataset and key, made whole by `create`. Raises RunEnds."""
        state = self.folder.read()
        name = f"dataset {self.settings.dataset!r}, key {self.settings.anno_key!r}"
        if state is None and self.folder.is_orphaned:
            raise RunEnds(
                f"run.json is missing in {self.folder.path}, where the files of {name} still lie.",
                "Put a copy of it there: it says which tasks these are. Without one, create begins anew (under another "
                "FIFTYONE_SYNC_ANNO_KEY, while FiftyOne has a record of this one) and puts these files aside.",
                Exit.BAD_CONFIGURATION,
            )
        if state is None:
            raise RunEnds(
                f"Nothing was sent from here for {name}.",
                "create makes it; `fiftyone_sync.py status` lists what there is (it looks in CVAT_STATE_DIR).",
                Exit.BAD_CONFIGURATION,
            )
        if state.server != self.server and self.settings.url:
            raise RunEnds(
                f"The tasks of {name} are on {state.server}, but CVAT_URL is {self.settings.url}.",
                "Set CVAT_URL to the server that they are on.",
                Exit.BAD_CONFIGURATION,
            )
        self.turn_to(state.organization)
        return state

    def forget_record(self, state: Round, look: bool = False) -> bool:
        """Deletes FiftyOne's record of the round; whether there was one. With `look` it stays. Raises RunEnds, Stopped."""
        request = {"do": "forget", "dataset": state.dataset, "anno_key": state.anno_key, "look": look}
        answer = self.worker.ask(request | {"marker": state.marker, "recorded_at": state.recorded_at})
        return bool(answer["forgotten"])

    def turn_to(self, organization: str) -> None:
        """From now on the client works in this organization: a round's things are where it was made."""
        if organization != self._organization:
            self._organization = organization
            self.__dict__.pop("client", None)

    def after_a_stop(self) -> None:
        """What is cleared away after a stop must not be stopped by the same signal; a second one ends the process."""
        self.stop = StopSignal()
        if "client" in self.__dict__:
            self.client.stop = self.stop
        self.__dict__.pop("worker", None)


class _SyncCvatSettings(CvatSettings):
    organization_variable = "FIFTYONE_SYNC_ORGANIZATION or CVAT_ORGANIZATION"


def _with_words(values: dict[str, Any]) -> CvatSettings:
    return _SyncCvatSettings.model_construct(**values)


def _secret(value: Any) -> str:
    return value.get_secret_value() if value is not None else ""
