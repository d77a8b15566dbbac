"""Tables on standard output, whoever reads it."""

from __future__ import annotations

import errno
import os
import sys
from typing import Any

from rich.console import Console

from common.exits import Trouble


class _Stdout(Console):
    """rich ends the process when nobody reads what it prints; here it is an exception like others."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))

    def print(self, *objects: Any, **options: Any) -> None:
        try:
            super().print(*objects, **options)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise Trouble(f"standard output cannot be written ({error.strerror})") from error


def console(width: int = 140) -> Console:
    """Standard output: as wide as the terminal, or so many characters where it goes to a file.

    Its `print` raises BrokenPipeError, Trouble.
    """
    return _Stdout(width=None if sys.stdout.isatty() else width, highlight=False, markup=False)
