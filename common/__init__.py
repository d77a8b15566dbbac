"""The ground floor that all scripts share: settings, logging, the frame of a run, files, transfers."""

import signal
import sys
from pathlib import Path


def _a_script_starts() -> bool:
    """Whether the program is one of the scripts beside this folder: signals of any other are its own business."""
    program = getattr(sys.modules.get("__main__"), "__file__", None)
    return program is not None and Path(program).resolve().parent == Path(__file__).resolve().parent.parent


# Until the frame of the run listens (`common.run`), Ctrl+C would end in the traceback of some import: now it just ends.
if _a_script_starts() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
