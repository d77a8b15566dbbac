"""How FiftyOne is started: with which Python, with what in its environment. Nothing is started here."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.annotating.app_settings import AppSettings
from common.fiftyone import process
from common.files import is_there
from common.settings import ENV_DIR, MASK, ROOT

SERVER = ROOT / "common" / "fiftyone" / "app.py"
OF_FIFTYONE = "FIFTYONE_CVAT_"
# Settings and secrets of ours; also what is meant for FiftyOne about CVAT, until it is handed on anew.
OURS = ("CVAT_", "SC_", "FIFTYONE_SYNC_", OF_FIFTYONE)
NO_SECRETS = ("URL", "USERNAME", "EMAIL")
FILE_SECRETS = Path("/run/secrets")


@dataclass(frozen=True)
class Launch:
    """What execve needs."""

    command: tuple[str, ...]
    environment: Mapping[str, str]


def handed_on(settings: AppSettings, environ: Mapping[str, str]) -> dict[str, str]:
    """FIFTYONE_CVAT_…: only what is not empty, and nothing at all while CVAT_SYNC is false.

    What else somebody has set for FiftyOne's CVAT backend (FIFTYONE_CVAT_TASK_SIZE) goes along.
    """
    if not settings.cvat_sync:
        return {}
    password = settings.password.get_secret_value() if settings.password else ""
    theirs = {name: value for name, value in environ.items() if name.startswith(OF_FIFTYONE) and value}
    return theirs | process.handed_on(settings.url, settings.username, password, settings.email)


def launch(settings: AppSettings, python: Path, do: str, script: Sequence[str], environ: Mapping[str, str]) -> Launch:
    """The App (`do` is "serve"), or FiftyOne's Python with a script of the user's."""
    kept = {name: value for name, value in environ.items() if not name.startswith(OURS)}
    if settings.database_uri:
        kept["FIFTYONE_DATABASE_URI"] = settings.database_uri.get_secret_value()
    environment = kept | handed_on(settings, environ)
    if do == "python":
        return Launch((str(python), *script), environment)
    options = ["--address", settings.app_address, "--port", str(settings.app_port)]
    if settings.media:
        options += ["--media", str(settings.media)]
    for path in secret_places(environ):
        options += ["--closed", str(path)]
    # -P: no module of ours takes the place of one that FiftyOne means.
    return Launch((str(python), "-P", str(SERVER), *options), environment)


def secret_places(environ: Mapping[str, str]) -> list[Path]:
    """Where settings and secrets lie, which FiftyOne, its plugins and its visitors have no business with."""
    named = environ.get(ENV_DIR)
    places = [Path(named).absolute()] if named else [ROOT / ".env.local"]
    return [place for place in (*places, FILE_SECRETS) if is_there(place)]


def what_is_missing(settings: AppSettings, environ: Mapping[str, str]) -> list[str]:
    """What will keep annotate() from working in the App, one line each; the App itself starts all the same."""
    if not settings.cvat_sync:
        return []
    given = handed_on(settings, environ)
    missing = [f"CVAT_{name}" for name in ("URL", "USERNAME", "PASSWORD") if OF_FIFTYONE + name not in given]
    lines = []
    if missing:
        lines.append(
            f"CVAT_SYNC is true, but {', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not set: FiftyOne takes "
            "no access token, it cannot sign in without user and password."
        )
    if settings.url.startswith("https://"):
        lines.append("Know that FiftyOne does not verify TLS certificates; fiftyone_sync.py's own requests do.")
    return lines


def of_the_running_app(processes: Path = Path("/proc")) -> dict[str, str] | None:
    """FIFTYONE_CVAT_… of the App that runs on this machine or in this container; None when there is none to be seen."""
    for folder in sorted(processes.glob("[0-9]*")):
        with contextlib.suppress(OSError):
            if os.fsencode(SERVER) not in (folder / "cmdline").read_bytes().split(b"\0"):
                continue
            pairs = (entry.partition("=") for entry in os.fsdecode((folder / "environ").read_bytes()).split("\0"))
            return {name: value for name, _, value in pairs if name.startswith(OF_FIFTYONE)}
    return None


def shown_masked(variables: Mapping[str, str]) -> list[str]:
    """One line each; of what may be a secret only that it is there."""
    return [
        f"{name}={value if name.removeprefix(OF_FIFTYONE) in NO_SECRETS else MASK}"
        for name, value in sorted(variables.items())
    ]
