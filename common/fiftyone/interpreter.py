"""Which Python has FiftyOne."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

from common.exits import Exit, RunEnds
from common.files import is_file
from common.settings import ROOT

OWN_ENVIRONMENT = ROOT / ".venvs" / "fiftyone"


def interpreter(named: Path | None) -> Path:
    """FIFTYONE_SYNC_PYTHON, else the running one when it has FiftyOne, else that of .venvs/fiftyone. Raises RunEnds."""
    if named is not None:
        if not (is_file(named) and os.access(named, os.X_OK)):
            raise RunEnds(
                f"FIFTYONE_SYNC_PYTHON={str(named)!r} is no program.",
                "It is the python of an environment with FiftyOne, for example .venvs/fiftyone/bin/python.",
                Exit.BAD_CONFIGURATION,
            )
        return named
    here = importlib.util.find_spec("fiftyone")
    if here is not None and here.origin is not None:  # a mere folder of that name has no origin
        return Path(sys.executable)
    own = OWN_ENVIRONMENT / "bin" / "python"
    if is_file(own):
        return own
    raise RunEnds(
        "FiftyOne is not installed here. It gets an environment of its own (about 1 GB); two commands make it:",
        f"  python3 -m venv {OWN_ENVIRONMENT}\n"
        f"  {own} -m pip install -r {ROOT / 'requirements-fiftyone.txt'}\n"
        "Or set FIFTYONE_SYNC_PYTHON to the python of one that has it.",
        Exit.BAD_CONFIGURATION,
    )
