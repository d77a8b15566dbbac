"""The frame every script runs in: settings, logging, signals, honest exit code, last words.

A script hands over what it does as a function of `Run`; everything that can end a run early comes back
here and becomes one exit code and one closing sentence.
"""

from __future__ import annotations

import argparse
import io
import os
import secrets
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import FrameType
from typing import Generic

import structlog

from common import log
from common.exits import Exit, RunEnds, Trouble
from common.lock import Locked
from common.settings import Loaded, SettingsError, SettingsType, add_flags, load, shown, variables
from common.text import now
from common.waiting import Stopped, StopSignal

STOPPING_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@dataclass(frozen=True)
class Run(Generic[SettingsType]):
    """One run of one script."""

    settings: SettingsType
    arguments: argparse.Namespace
    stop: StopSignal
    id: str = field(default_factory=lambda: secrets.token_hex(4))
    started_at: datetime = field(default_factory=now)


def frame(
    cls: type[SettingsType],
    parser: argparse.ArgumentParser,
    argv: Sequence[str] | None,
    body: Callable[[Run[SettingsType]], int],
    also_check: Callable[[argparse.Namespace, Mapping[str, str]], list[str]] = lambda arguments, raw: [],
) -> int:
    """Runs `body` with checked settings and returns the exit code.

    `also_check` finds what this call misses in the raw settings; its lines are reported with all other problems.
    """
    parser.add_argument("--print-config", action="store_true", help="show the settings in force and end")
    add_flags(parser, cls)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # an ASCII terminal must not end a run at the first foreign name
    arguments = parser.parse_args(argv)
    try:
        flags = {name: getattr(arguments, name, None) for name in variables(cls)}
        needed = [] if arguments.print_config else [lambda raw: also_check(arguments, raw)]
        loaded = load(cls, flags=flags, also_check=needed)
    except SettingsError as error:
        for problem in error.problems:
            say(f"configuration: {problem}")
        say("Nothing was done. Every setting is explained in .env; put yours into .env.local or the environment.")
        return Exit.BAD_CONFIGURATION
    log.set_up(loaded.settings.log_level, loaded.settings.log_format)
    if arguments.print_config:
        print("\n".join(shown(loaded)))
        return Exit.ALL_GOOD
    return _guarded(loaded, arguments, body)


def _guarded(
    loaded: Loaded[SettingsType], arguments: argparse.Namespace, body: Callable[[Run[SettingsType]], int]
) -> int:
    stop = StopSignal()
    _listen(stop)
    run = Run(loaded.settings, arguments, stop)
    structlog.contextvars.bind_contextvars(run=run.id)
    for warning in loaded.warnings:
        log.get().warning("unknown_setting", detail=warning)
    try:
        return body(run)
    except Stopped:
        say("Stopped. What was finished is saved; the next run goes on from here.")
        return 128 + (stop.signal_number or signal.SIGTERM)
    except Locked as error:
        say(f"{error}. Nothing was done.")
        return Exit.LOCKED
    except RunEnds as error:
        say(error.why)
        if error.remedy:
            say(error.remedy)
        return error.exit_code
    except Trouble as error:
        say(f"{str(error).rstrip('.')}.")
        if error.remedy:
            say(error.remedy)
        return Exit.NOTHING_WORKED
    except BrokenPipeError:
        # The reader of our standard output went away (`backup.py --list | head`): nothing to tell anybody.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except Exception as error:  # noqa: BLE001 - the last place that can tell anybody
        log.get().exception("unexpected_error")
        say(f"Unexpected error: {type(error).__name__}: {error}")
        say("This is a fault of the program. Please report it with the log above; backups made so far are intact.")
        return Exit.NOTHING_WORKED


def _listen(stop: StopSignal) -> None:
    def handle(number: int, _frame: FrameType | None) -> None:
        stop.set(number)
        # A second signal ends the process at once, in the ordinary way.
        for each in STOPPING_SIGNALS:
            signal.signal(each, signal.SIG_DFL)
        if stop.breaks_off:
            raise Stopped

    for number in STOPPING_SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup asks for SIGHUP to be ignored
            signal.signal(number, handle)


def say(text: str) -> None:
    """A sentence for the person at the screen, on standard error; no secret leaves with it."""
    print(log.without_secrets(text), file=sys.stderr, flush=True)


def leave(code: int) -> None:
    """Ends the process. Threads that still wait for a socket after a stop must not hold it up."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            code = code or Exit.NOTHING_WORKED
    os._exit(code)
