"""The frame every script runs in: settings, logging, signals, honest exit code, last words.

A script hands over what it does as a function of `Run`; everything that can end a run early comes back
here and becomes one exit code and one closing sentence.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import io
import os
import re
import secrets
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import FrameType
from typing import Generic

from common import log
from common.exits import Exit, RunEnds, Trouble
from common.lock import Locked, Patience
from common.settings import (
    RUN_ID,
    Loaded,
    Settings,
    SettingsError,
    SettingsType,
    add_flags,
    flag_name,
    has_no_flag,
    is_secret,
    load,
    shown,
    variables,
)
from common.text import now
from common.waiting import STOPPING_SIGNALS, Stopped, StopSignal


def new_run_id(environ: Mapping[str, str]) -> str:
    """The id that scheduler.py has given this run, or a new one: eight hexadecimal digits."""
    given = environ.get(RUN_ID, "")
    return given if re.fullmatch(r"[0-9a-f]{8}", given) else secrets.token_hex(4)


@dataclass
class Run(Generic[SettingsType]):
    """One run of one script. Whoever keeps its books sets `exit_code`: what a run that breaks off has come to so far."""

    settings: SettingsType
    arguments: argparse.Namespace
    stop: StopSignal
    id: str = field(default_factory=lambda: new_run_id(os.environ))
    started_at: datetime = field(default_factory=now)
    exit_code: int | None = None
    when_stopped: str = "What was finished is saved; the next run goes on from here."

    @property
    def patience(self) -> Patience:
        """How long this run waits for another one's locks."""
        return Patience(self.settings.lock_wait_minutes * 60, self.stop)

    def code(self, otherwise: int) -> int:
        """The exit code of a run that breaks off; `otherwise` when it has come to nothing that is known."""
        return otherwise if self.exit_code is None else self.exit_code


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
    _set_up_streams(restart=argv is None)
    # The settings fill a screen by themselves; all of them stand below, and few are needed.
    usage = parser.format_usage().removeprefix("usage: ").rstrip().replace("%", "%%")
    parser.usage = f"{usage}\n{' ' * len(f'usage: {parser.prog} ')}[--SETTING VALUE ...]"
    parser.add_argument("--print-config", action="store_true", help="show the settings in force and end")
    add_flags(parser, cls)
    arguments, unknown = parser.parse_known_args(argv)
    if unknown:
        parser.error(_not_understood(unknown, cls))
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
        return _guarded(loaded, arguments, lambda run: _show(loaded))
    return _guarded(loaded, arguments, body)


def _show(loaded: Loaded[SettingsType]) -> int:
    put("\n".join(shown(loaded)))
    return Exit.ALL_GOOD


def _not_understood(unknown: Sequence[str], cls: type[Settings]) -> str:
    """What to say of arguments that no flag takes. What follows an unknown flag may be a secret: it is not repeated."""
    first = unknown[0]
    if not first.startswith("-"):
        return f"unrecognized argument: {first}"
    name = first.partition("=")[0] if first.startswith("--") else first[:2]
    for variable, setting in variables(cls).items():
        if is_secret(setting) and flag_name(variable) == name:
            return f"unrecognized argument: {name} (a secret has no flag: set {variable}, or {variable}_FILE)"
    flags = [
        flag_name(variable)
        for variable, setting in variables(cls).items()
        if not (is_secret(setting) or has_no_flag(setting))
    ]
    meant = _flags_like(name, flags)
    return f"unrecognized argument: {name}" + (f" (did you mean {' or '.join(meant)}?)" if meant else "")


def _flags_like(name: str, flags: Sequence[str]) -> list[str]:
    """Flags that have this one's word among theirs (--csv-file has --csv), or begin alike; else those spelled much like it."""
    word = name.removeprefix("--")
    alike = [flag for flag in flags if flag.startswith(name) or word in flag.split("-")]
    return alike[:5] or difflib.get_close_matches(name, flags, 2, 0.7)


def _set_up_streams(*, restart: bool) -> None:
    """Neither an ASCII terminal nor a closed stream must end a run at the first foreign name or line."""
    if restart and sys.getfilesystemencoding() != "utf-8":
        # In a locale that is not UTF-8, Python cannot even name the files of a project called "ü"; that is set only once.
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])  # noqa: S606
    # A closed stream (`>&-`) is None; the first file that is opened would take its place.
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _guarded(
    loaded: Loaded[SettingsType], arguments: argparse.Namespace, body: Callable[[Run[SettingsType]], int]
) -> int:
    stop = StopSignal()
    _listen(stop)
    run = Run(loaded.settings, arguments, stop)
    log.bind(run=run.id)
    for warning in loaded.warnings:
        log.get().warning("unknown_setting", detail=warning)
    try:
        return body(run)
    except Stopped:
        say(f"Stopped. {run.when_stopped}".rstrip())
        return 128 + (stop.signal_number or signal.SIGTERM)
    except Locked as error:
        say(f"{error}. Nothing was done.")
        return Exit.LOCKED
    except RunEnds as error:
        say(error.why)
        if error.remedy:
            say(error.remedy)
        return run.code(error.exit_code)
    except Trouble as error:
        say(f"{str(error).rstrip('.')}.")
        if error.remedy:
            say(error.remedy)
        return run.code(Exit.NOTHING_WORKED)
    except BrokenPipeError:
        # The reader of our standard output went away (`backup.py --list | head`): nothing to tell anybody.
        give_up_stdout()
        return run.code(128 + signal.SIGPIPE)
    except Exception as error:  # noqa: BLE001 - the last place that can tell anybody
        log.get().exception("unexpected_error")
        say(f"Unexpected error: {type(error).__name__}: {error}")
        say("This is a fault of the program. Please report it with the log above; what was saved so far is intact.")
        return run.code(Exit.NOTHING_WORKED)


def _end_at_once(number: int, _frame: FrameType | None) -> None:
    """Ends the process by the signal itself, in the ordinary way."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def _listen(stop: StopSignal) -> None:
    def handle(number: int, _frame: FrameType | None) -> None:
        stop.set(number)
        # A second signal ends the process at once. Not SIG_DFL here: one that came together with the first is delivered
        # after this function, and Python drops it with an error when no function is there to take it.
        for each in listened:
            signal.signal(each, _end_at_once)
        if stop.breaks_off:
            raise Stopped

    # nohup asks for SIGHUP to be ignored.
    listened = [each for each in STOPPING_SIGNALS if signal.getsignal(each) is not signal.SIG_IGN]
    for each in listened:
        signal.signal(each, handle)


def say(text: str) -> None:
    """A sentence for the person at the screen, on standard error; no secret leaves with it."""
    print(log.without_secrets(text), file=log.stderr, flush=True)


def put(text: str) -> None:
    """Lines for standard output. Raises BrokenPipeError, Trouble: what is full there is not the disk that we work on."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise Trouble(f"standard output cannot be written ({error.strerror})") from error


def give_up_stdout() -> None:
    """Nobody takes our standard output: what is still in its buffer must not fail once more at the end."""
    with contextlib.suppress(OSError):  # a replaced stream (a test's) has no descriptor
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def leave(code: int) -> None:
    """Ends the process. Threads that still wait for a socket after a stop must not hold it up."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        code = code or 128 + signal.SIGPIPE
    except (OSError, ValueError):
        code = code or Exit.NOTHING_WORKED
    log.stderr.flush()
    os._exit(code)
