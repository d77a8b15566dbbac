"""The ground floor that all scripts share: settings, logging, the frame of a run, files, transfers."""

# A Python that is too old must get as far as being told so: nothing newer than 3.7 in this file.
from __future__ import annotations

import signal
import sys
from pathlib import Path
from types import TracebackType

OLDEST_PYTHON = (3, 11)
_ROOT = Path(__file__).resolve().parent.parent


def _a_script_starts() -> bool:
    """Whether the program is one of the scripts beside this folder: what happens in any other is its own business."""
    program = getattr(sys.modules.get("__main__"), "__file__", None)
    return program is not None and Path(program).resolve().parent == _ROOT


def _turn_away(why: str) -> None:
    """This Python cannot run the script: says so, and which one can. Raises SystemExit (2: bad configuration)."""
    script = Path(sys.argv[0]).name
    ours = _ROOT / ".venv"
    start = f".venv/bin/python {script}"
    set_up = "./run-locally-backup.sh --help"
    if not (ours / "bin" / "python").exists():
        remedy = f"Set up .venv, once, with  {set_up}  and then use  {start}"
    elif Path(sys.prefix).resolve() == ours.resolve():
        remedy = f"Bring .venv up to date with  {set_up}  and try again."
    else:
        remedy = f"Use the Python in .venv:  {start}"
    print(f"{script}: {why} ({sys.executable}).\n{remedy}  (in {_ROOT})", file=sys.stderr)
    sys.exit(2)


def _explain(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """In place of a traceback: a library that is missing. Every other error is shown as it always is."""
    missing = (getattr(error, "name", None) or "").partition(".")[0]
    ours = (_ROOT / missing).exists() or (_ROOT / f"{missing}.py").exists()
    if isinstance(error, ModuleNotFoundError) and not ours:
        _turn_away(f"this Python lacks the package {missing}")
    sys.__excepthook__(kind, error, trace)


if _a_script_starts():
    if sys.version_info < OLDEST_PYTHON:
        _turn_away("Python {}.{} or later is needed, this one is older".format(*OLDEST_PYTHON))
    sys.excepthook = _explain
    # Until the frame of the run listens (`common.run`), Ctrl+C would end in the traceback of some import: now it just ends.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
