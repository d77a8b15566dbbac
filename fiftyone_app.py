#!/usr/bin/env python3
"""Starts the FiftyOne App: with address and credentials of CVAT when CVAT_SYNC is true, with nothing of them otherwise.

docs/fiftyone.md explains it; every setting stands in .env.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from typing import NoReturn

from common.annotating.app import (
    Launch,
    handed_on,
    launch,
    of_the_running_app,
    shown_masked,
    what_is_missing,
)
from common.annotating.app_settings import AppSettings
from common.exits import Exit
from common.fiftyone.interpreter import interpreter
from common.run import Run, frame, leave, say


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="fiftyone_app.py", description=(__doc__ or "").split("\n")[0], allow_abbrev=False
    )
    parser.add_argument(
        "do",
        nargs="?",
        choices=("serve", "show", "python"),
        default="serve",
        help="serve = start the App (as without it); show = what FiftyOne gets of CVAT, secrets masked; python = start "
        "FiftyOne's Python with the same environment, for scripts of your own: fiftyone_app.py python -- script.py create",
    )
    parser.add_argument("script", nargs="*", help="behind python: a script and its arguments")
    return frame(AppSettings, parser, argv, run_app)


def run_app(run: Run[AppSettings]) -> int:
    if run.arguments.do == "show":
        return show(run.settings)
    python = interpreter(run.settings.python)
    for line in what_is_missing(run.settings, os.environ):
        say(line)
    return become(launch(run.settings, python, run.arguments.do, run.arguments.script, os.environ))


def become(begin: Launch) -> NoReturn:
    """Another program in the place of this one, under the same process id: a container's signals reach it."""
    os.execve(begin.command[0], begin.command, begin.environment)  # noqa: S606


def show(settings: AppSettings) -> int:
    """What the next start hands on, and whether the App that runs has the same."""
    coming, running = handed_on(settings, os.environ), of_the_running_app()
    print(f"CVAT_SYNC={str(settings.cvat_sync).lower()}")
    print("\n".join(shown_masked(coming)) or "nothing of CVAT is handed on to FiftyOne")
    for line in what_is_missing(settings, os.environ):
        say(line)
    if running is None:
        print("no App runs here")
    elif running != coming:
        print("The App that runs here has something else; restart it to change that. It has:")
        print("\n".join(shown_masked(running)) or "nothing of CVAT")
    else:
        print("the App that runs here has the same")
    return Exit.ALL_GOOD


if __name__ == "__main__":
    leave(main())
