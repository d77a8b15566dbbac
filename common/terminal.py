"""What standard error can show: bars and colours, or only lines one below the other."""

from __future__ import annotations

import os
import sys

# As rich has it, which draws nothing there: no cursor can be moved in an editor's shell or in `script`.
_ONLY_LINES = ("dumb", "unknown")


def draws() -> bool:
    """Whether it is a terminal on which something can be drawn and wiped away again."""
    return sys.stderr.isatty() and os.environ.get("TERM", "").lower() not in _ONLY_LINES


def has_colours() -> bool:
    """Whether somebody sees colours there, and has not asked for none (https://no-color.org)."""
    return draws() and not os.environ.get("NO_COLOR")
