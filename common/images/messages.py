"""What the processes that fetch and the run tell each other: pickled, over a socket of each.

Large objects are fetched by all processes together. Each is brought together in one of them, which writes the books about
it; when another has nothing left to do, the run asks for some of the pieces that still wait (`Lend`), passes these on
(`Lent`), and tells the lender what has become of each (`Fetched`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from common.exits import Exit
from common.images.fetch import Outcome

# So many pieces must wait in a process before it is asked for half of them.
LEAST_TO_LEND = 2


class Told(NamedTuple):
    """What a process tells: outcomes since the last time, and its figures since its start."""

    outcomes: list[Outcome]
    bytes_done: int
    retries: int
    throttled: int
    name_now: str
    last_good: float = 0.0  # see `Pace`; the monotonic clock is the same in all processes
    to_lend: int = 0  # see `Fleet`
    is_idle: bool = True


class Ended(NamedTuple):
    """Why a process is at its end before the run is. `kind`: "ends" (RunEnds), "refused" (CredentialsRefused), "fault"."""

    kind: str
    why: str = ""
    remedy: str = ""
    exit_code: int = Exit.NOTHING_WORKED


class Lend(NamedTuple):
    """What a process is asked: to give up so many pieces that wait, for another process."""

    most: int


class Loan(NamedTuple):
    """Pieces of one object. `job` is a `Job`, as plain values; the process `lender` brings it together."""

    lender: int
    job: tuple[Any, ...]
    etag: str
    numbers: list[int]


class Lent(NamedTuple):
    """What a process answers to `Lend`; the run passes it on. `to_lend`: what is left there."""

    loans: list[Loan]
    to_lend: int = 0


class Over(NamedTuple):
    """What those who have borrowed pieces hear: the object has failed."""

    job_id: int


class Fetched(NamedTuple):
    """What became of a piece that the process `lender` had lent; the run passes it back. `bytes_done` as in `Told`."""

    lender: int
    job_id: int
    number: int
    has_come: bool
    bytes_done: int


Heard = Told | Ended | Lent | Fetched | BaseException | None
