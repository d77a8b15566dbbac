"""The exit codes of every script, and the exception that ends a run with one of them."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """What a script's exit code says. 128 + n: stopped by signal n."""

    ALL_GOOD = 0
    NOTHING_WORKED = 1
    BAD_CONFIGURATION = 2
    SOME_FAILED = 3
    LOCKED = 11
    CREDENTIALS_REFUSED = 12


class Trouble(Exception):
    """Something outside of the program is wrong: a server, a disk. The text says what, `remedy` what to do about it.

    It ends one item; where it meets the run itself (signing in, listing) it ends the run, as what it is.
    """

    remedy = ""


class RunEnds(Exception):
    """The whole run cannot go on. Says why in plain words and what to do about it."""

    exit_code: Exit = Exit.NOTHING_WORKED

    def __init__(self, why: str, remedy: str = "", exit_code: Exit | None = None) -> None:
        super().__init__(why)
        self.why = why
        self.remedy = remedy
        if exit_code is not None:
            self.exit_code = exit_code
