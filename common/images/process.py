"""Within one of the processes that fetch: workers of its own, fed over a socket by the run (`common.images.processes`)."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import socket
import threading
import time
import traceback
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from common.exits import RunEnds
from common.images.crew import TICK_SECONDS, Fleet
from common.images.fetch import Large, Outcome, Piece
from common.images.messages import LEAST_TO_LEND, Ended, Fetched, Lend, Lent, Loan, Over, Told
from common.images.plan import Job
from common.s3.errors import CredentialsRefused
from common.s3.fast import FastBucket
from common.s3.signing import Keys
from common.waiting import Stopped, StopSignal

# Builds the workers of one process, in that process.
Make = Callable[[FastBucket, StopSignal], Fleet]


@dataclass(frozen=True)
class Latest:
    """The keys that a process was given last, in place of what asks botocore for them."""

    keys: Keys | None

    def __call__(self) -> Keys | None:
        return self.keys


def be_a_process(link: socket.socket, bucket: FastBucket, make: Make) -> None:
    """Fetches what it is told to, until it is told to end or nobody is left to tell it."""
    mouth = Mouth(link)
    with contextlib.suppress(Stopped):
        ended = _fetch(link, mouth, bucket, make)
        if ended is not None:
            mouth.say(lambda: ended)


class Mouth:
    """Says things to the run, for all threads."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link
        self._turn = threading.Lock()

    def say(self, make: Callable[[], Told | Ended | Lent | Fetched]) -> None:
        """`make` is called when it is our turn, so that no figure is older than one that was said before.

        Raises Stopped when nobody is left to be told.
        """
        try:
            with self._turn:
                self._link.sendall(pickle.dumps(make()))
        except OSError:
            raise Stopped from None


class Lending:
    """The pieces of this process' objects that are out, and those of others that are here."""

    def __init__(self, fleet: Fleet, mouth: Mouth) -> None:
        self._fleet = fleet
        self._mouth = mouth
        self._out: dict[tuple[int, int], Piece] = {}
        self._here: weakref.WeakSet[Large] = weakref.WeakSet()

    def lend(self, most: int) -> None:
        loans: dict[int, Loan] = {}
        for piece in self._fleet.lend(most):
            large, job = piece.large, piece.large.job
            if large.tell is None:
                self._out[job.id, piece.number] = piece
            loan = loans.setdefault(job.id, Loan(large.lender or os.getpid(), tuple(job), large.etag, []))
            loan.numbers.append(piece.number)
        self._mouth.say(lambda: Lent(list(loans.values()), self._fleet.to_lend))

    def borrow(self, loan: Loan) -> None:
        """Has pieces fetched for another process, in the file that it has begun."""
        job = Job(*loan.job)
        tell = partial(self._tell, loan.lender, job.id)
        large = self._fleet.borrow(job, loan.etag, loan.numbers, tell, loan.lender)
        if large is not None:
            self._here.add(large)
            return
        for number in loan.numbers:  # that process meets it, too, and knows what it is
            tell(number, False)

    def _tell(self, lender: int, job_id: int, number: int, has_come: bool) -> None:
        self._mouth.say(lambda: Fetched(lender, job_id, number, has_come, self._fleet.bytes_done))

    def take_back(self, fetched: Fetched) -> None:
        """A piece that did not come is fetched here."""
        piece = self._out.pop((fetched.job_id, fetched.number), None)
        if piece is not None:
            self._fleet.take_back(piece._replace(has_come=fetched.has_come))

    def give_up(self, job_id: int) -> None:
        """The object has failed: nobody needs its pieces any more."""
        for large in list(self._here):
            if large.job.id == job_id:
                large.over = True


def _fetch(link: socket.socket, mouth: Mouth, bucket: FastBucket, make: Make) -> Ended | None:
    stop = StopSignal()
    inbox: deque[list[Job]] = deque()
    fleet = make(bucket, stop)
    hear = partial(_hear, link, inbox, bucket, fleet, Lending(fleet, mouth), stop)
    try:
        threading.Thread(target=hear, name="hear", daemon=True).start()
    except RuntimeError as error:
        what = f"The system grants no threads to a process that fetches ({error})."
        return Ended("ends", what, "Use fewer --processes.")
    told_at, told_state = time.monotonic(), (True, False)

    def jobs() -> Iterator[list[Job]]:
        while True:
            yield inbox.popleft() if inbox else []

    def state() -> tuple[bool, bool]:
        return fleet.is_idle, fleet.to_lend >= LEAST_TO_LEND

    def tell(outcomes: list[Outcome]) -> None:
        nonlocal told_at, told_state
        told_at, told_state = time.monotonic(), state()
        mouth.say(
            lambda: Told(
                outcomes, fleet.bytes_done, fleet.retries, fleet.throttled, fleet.name_now, fleet.last_good,
                fleet.to_lend, fleet.is_idle,
            )
        )  # fmt: skip

    def every() -> None:
        if told_state != state() or time.monotonic() - told_at > TICK_SECONDS:
            tell([])

    try:
        for outcomes in fleet.outcomes(jobs(), every):
            tell(outcomes)
    except Stopped:
        return None
    except CredentialsRefused as error:
        return Ended("refused", error.why, error.remedy)
    except RunEnds as error:
        return Ended("ends", error.why, error.remedy, error.exit_code)
    except Exception:  # noqa: BLE001 - told to the run, which tells the user
        return Ended("fault", traceback.format_exc())
    return None


def _hear(
    link: socket.socket,
    inbox: deque[list[Job]],
    bucket: FastBucket,
    fleet: Fleet,
    lending: Lending,
    stop: StopSignal,
) -> None:
    """Takes what the run sends; its silence for good is the end, and so is a fault here: the run would wait for ever."""
    try:
        with contextlib.suppress(EOFError, OSError, pickle.UnpicklingError, Stopped), link.makefile("rb") as words:
            while True:
                match message := pickle.load(words):  # noqa: S301 - from the process that forked us
                    case Keys():
                        bucket.keys = Latest(message)
                    case float():
                        fleet.good_elsewhere(message)
                    case Lend(most):
                        lending.lend(most)
                    case Lent():
                        for loan in message.loans:
                            lending.borrow(loan)
                    case Fetched():
                        lending.take_back(message)
                    case Over(job_id):
                        lending.give_up(job_id)
                    case _:
                        inbox.append([Job(*each) for each in message])
                        fleet.wake()
    except BaseException as error:  # noqa: BLE001 - raised in the main thread
        fleet.fail(error)
    stop.set(signal.SIGTERM)
    fleet.wake()
