"""Large objects are fetched by all processes together, whatever fails in one of them."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from common.images import crew, fetch
from common.images.crew import Fleet
from common.images.fetch import Fetcher, Large, Outcome, Piece, part_name
from common.images.messages import Fetched, Lent, Loan
from common.images.pace import Pace
from common.images.plan import Job
from common.images.process import Lending, Mouth
from common.images.processes import Processes, WorkerFault
from common.s3.bucket import Head
from common.s3.errors import Changed, KeyFailed
from common.waiting import Deadline, Stopped, StopSignal

PIECE, PIECES = 4096, 60
PATIENCE_SECONDS = 60.0
OBJECT = b"".join(hashlib.sha256(b"%d" % number).digest() for number in range(PIECE * PIECES // 32))
JOB = Job(1, "a.bin", "p/a.bin", len(OBJECT), "etag")


class Bucket:
    """Hands each piece out after a moment, and notes which process asked; `trouble` may fail it (raise) before."""

    renews = False

    def __init__(self, notes: Path, trouble: Callable[[int, bool], None]) -> None:
        self.notes = notes
        self.trouble = trouble

    def reader(self) -> Bucket:
        return self

    def close(self) -> None:
        return

    def get(self, key: str, begin, use, *, first: int, count: int, **_: object) -> Head:
        number = first // PIECE
        with contextlib.suppress(FileExistsError):
            if number == 0:
                (self.notes / "owner").symlink_to(str(os.getpid()))
        is_owner = os.readlink(self.notes / "owner") == str(os.getpid())
        self.trouble(number, is_owner)
        head = Head(len(OBJECT), "etag")
        begin(head)
        time.sleep(0.02)
        use(memoryview(OBJECT[first : first + count]))
        (self.notes / f"{number}-{'owner' if is_owner else 'other'}").write_text(str(os.getpid()))
        return head

    def pieces_of(self, who: str) -> set[int]:
        return {int(path.name.partition("-")[0]) for path in self.notes.glob(f"*-{who}")}


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    monkeypatch.setattr(fetch, "PIECE_BYTES", PIECE)
    for module in (fetch, crew):
        monkeypatch.setattr(module, "LARGE_BYTES", 2 * PIECE)


@pytest.fixture
def bucket_with(tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "out" / "parts").mkdir(parents=True)
    return lambda trouble=lambda number, is_owner: None: Bucket(tmp_path / "notes", trouble)


@contextlib.contextmanager
def several(bucket: Bucket, folder: Path, count: int = 2):
    if sys.platform != "linux":
        pytest.skip("processes are forked on Linux only")

    def make(bucket: Bucket, stop: StopSignal) -> Fleet:
        pace = Pace(4)

        def fetcher(fleet: Fleet) -> Fetcher:
            return Fetcher(folder, folder / "parts", stop, pace, False, 0.2, 0, fleet.spread, fleet.count)

        return Fleet(bucket, pace, stop, fetcher)

    with contextlib.closing(Processes(count, bucket, StopSignal(), make)) as made:
        yield made


def fetched(made: Processes, *jobs: Job) -> list[Outcome]:
    deadline = Deadline(PATIENCE_SECONDS)

    def every() -> None:
        assert not deadline.is_over, "it never ends"

    return [each for some in made.outcomes(iter([list(jobs)]), every) for each in some]


def test_one_large_object_is_fetched_by_all_processes(bucket_with, tmp_path):
    bucket = bucket_with()
    with several(bucket, tmp_path / "out") as made:
        outcomes = fetched(made, JOB)
        assert made.bytes_done == len(OBJECT)
    assert [each.reason for each in outcomes] == [""]
    assert (tmp_path / "out" / "a.bin").read_bytes() == OBJECT
    own, others = bucket.pieces_of("owner"), bucket.pieces_of("other")
    assert own | others == set(range(PIECES)) and not own & others  # each once
    assert len(others) >= PIECES // 5
    assert list((tmp_path / "out" / "parts").iterdir()) == []


def test_of_many_processes_none_has_the_most_of_one_object_to_itself(bucket_with, tmp_path):
    bucket = bucket_with()
    with several(bucket, tmp_path / "out", 4) as made:
        assert [each.reason for each in fetched(made, JOB)] == [""]
    shares = Counter(path.read_text() for path in bucket.notes.glob("*-o*"))
    assert len(shares) >= 3 and sum(shares.values()) == PIECES and max(shares.values()) < PIECES * 0.6, shares
    assert (tmp_path / "out" / "a.bin").read_bytes() == OBJECT


def test_a_piece_that_another_process_cannot_write_is_fetched_by_its_own_one(bucket_with, tmp_path):
    def trouble(number: int, is_owner: bool) -> None:
        if not is_owner:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))

    with several(bucket_with(trouble), tmp_path / "out") as made:
        assert [each.reason for each in fetched(made, JOB)] == [""]
    assert (tmp_path / "out" / "a.bin").read_bytes() == OBJECT


def test_a_piece_that_another_process_cannot_get_is_fetched_by_the_one_that_brings_the_object_together(
    bucket_with, tmp_path
):
    def trouble(number: int, is_owner: bool) -> None:
        if not is_owner and number % 2:
            raise KeyFailed("no", "InternalError")

    bucket = bucket_with(trouble)
    with several(bucket, tmp_path / "out") as made:
        outcomes = fetched(made, JOB)
        assert made.bytes_done == len(OBJECT)
    assert [each.reason for each in outcomes] == [""]
    assert (tmp_path / "out" / "a.bin").read_bytes() == OBJECT
    others = bucket.pieces_of("other")
    assert others and not any(number % 2 for number in others)


def test_an_object_that_changes_meanwhile_fails_once_wherever_that_is_met(bucket_with, tmp_path):
    def trouble(number: int, is_owner: bool) -> None:
        if number >= PIECES - 5:  # those that are lent first
            raise Changed("the object changed while it was fetched", "Changed")

    with several(bucket_with(trouble), tmp_path / "out") as made:
        outcomes = fetched(made, JOB)
    assert [each.code for each in outcomes] == ["Changed"]
    assert not (tmp_path / "out" / "a.bin").exists()


def test_where_the_file_cannot_be_opened_by_another_process_its_own_one_fetches_all(bucket_with, tmp_path, monkeypatch):
    def fails(*_: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(Fetcher, "borrowed", fails)
    bucket = bucket_with()
    with several(bucket, tmp_path / "out") as made:
        outcomes = fetched(made, JOB)
    assert [each.reason for each in outcomes] == [""] and bucket.pieces_of("other") == set()
    assert (tmp_path / "out" / "a.bin").read_bytes() == OBJECT


def test_only_what_its_own_process_has_made_durable_is_noted_when_the_run_is_stopped(bucket_with, tmp_path):
    bucket = bucket_with()
    with several(bucket, tmp_path / "out") as made:

        def every() -> None:
            if len(bucket.pieces_of("other")) > 5:
                made._stop.set(15)

        with pytest.raises(Stopped):
            list(made.outcomes(iter([[JOB]]), every))
    part = tmp_path / "out" / "parts" / part_name(JOB)
    notes = part.with_name(part.name + ".done").read_bytes()
    noted = {int.from_bytes(notes[at : at + 4], "big") for at in range(0, len(notes), 4)}
    content = part.read_bytes()
    assert noted
    for number in noted:
        assert content[number * PIECE : (number + 1) * PIECE] == OBJECT[number * PIECE : (number + 1) * PIECE]


def test_several_large_objects_all_come(bucket_with, tmp_path):
    bucket = bucket_with()
    jobs = [JOB._replace(id=number, path=f"{number}.bin", key=f"p/{number}.bin") for number in range(5)]
    with several(bucket, tmp_path / "out", 3) as made:
        outcomes = fetched(made, *jobs)
    assert sorted(each.job.id for each in outcomes) == list(range(5)) and not any(each.reason for each in outcomes)
    for job in jobs:
        assert (tmp_path / "out" / job.path).read_bytes() == OBJECT


def test_a_fault_in_who_hears_the_run_ends_the_run_as_a_fault(bucket_with, tmp_path, monkeypatch):
    def fails(*_: object) -> None:
        raise TypeError("a fault of ours")

    monkeypatch.setattr(Lending, "borrow", fails)
    with several(bucket_with(), tmp_path / "out") as made, pytest.raises(WorkerFault, match="a fault of ours"):
        fetched(made, JOB)


class Shelf:
    """A fleet of one process that lends and borrows."""

    def __init__(self, *pieces: Piece) -> None:
        self.pieces = list(pieces)
        self.bytes_done, self.to_lend = 7, 5

    def lend(self, most: int) -> list[Piece]:
        return self.pieces[:most]

    def borrow(self, job: Job, etag: str, numbers: list[int], tell: Callable[[int, bool], None], lender: int) -> Large:
        self.borrowed = Large(job, Path("x"), io.FileIO(os.devnull), etag, 0.0, set(), tell=tell, lender=lender)
        return self.borrowed


class Words(Mouth):
    def __init__(self) -> None:
        self.said = []

    def say(self, make: Callable[[], object]) -> None:
        self.said.append(make())


def test_what_was_borrowed_is_lent_on_in_the_name_of_the_process_that_it_belongs_to():
    own = Large(JOB, Path("x"), io.FileIO(os.devnull), "e1", 0.0, {0})
    other = Large(
        JOB._replace(id=2), Path("x"), io.FileIO(os.devnull), "e2", 0.0, set(), tell=lambda *_: None, lender=99
    )
    words = Words()
    Lending(Shelf(Piece(own, 3), Piece(other, 4)), words).lend(2)
    assert words.said == [
        Lent([Loan(os.getpid(), tuple(JOB), "e1", [3]), Loan(99, tuple(JOB._replace(id=2)), "e2", [4])], 5)
    ]


def test_pieces_of_an_object_that_has_failed_elsewhere_are_given_up():
    shelf, words = Shelf(), Words()
    lending = Lending(shelf, words)
    lending.borrow(Loan(99, tuple(JOB), "e", [1, 2]))
    lending.give_up(JOB.id + 1)
    assert not shelf.borrowed.over
    lending.give_up(JOB.id)
    assert shelf.borrowed.over
    shelf.borrowed.tell(2, True)
    assert words.said == [Fetched(99, JOB.id, 2, True, 7)]
