"""Pieces of a large object: noted only when they are durable, without holding up those who fetch."""

from __future__ import annotations

import errno
import io
import os
import threading

import pytest

from common.exits import RunEnds
from common.images.fetch import PIECE_BYTES, Fetcher, Large, Piece, part_name
from common.images.journal import PIECES_KEPT_SECONDS, bytes_begun, clear_parts, clear_pieces, parts_of
from common.images.pace import Pace
from common.images.plan import Job
from common.s3.bucket import Head
from common.s3.errors import failure
from common.waiting import Stopped, StopSignal

WAIT_SECONDS = 60


@pytest.fixture
def large(tmp_path) -> Large:
    (tmp_path / "parts").mkdir()
    path = tmp_path / "parts" / "x.big"
    path.touch()
    job = Job(1, "a.jpg", "p/a.jpg", 3 * PIECE_BYTES, "not-an-md5")
    return Large(job, path, io.FileIO(path, "r+b"), job.etag, 0.0, {0, 1, 2})


@pytest.fixture
def fetcher(tmp_path) -> Fetcher:
    return Fetcher(
        tmp_path, tmp_path / "parts", StopSignal(), Pace(4), True, 1.0, 0, lambda pieces: None, lambda count: None
    )


def noted(large: Large) -> bytes:
    return large.done_path.read_bytes() if large.done_path.exists() else b""


def test_a_piece_that_lands_during_a_sync_waits_for_the_next_one_and_nobody_waits_for_it(fetcher, large, monkeypatch):
    began, go_on, before_each = threading.Event(), threading.Event(), []

    def slow_sync(descriptor: int) -> None:
        before_each.append(noted(large))
        began.set()
        assert go_on.wait(WAIT_SECONDS)

    monkeypatch.setattr(os, "fdatasync" if hasattr(os, "fdatasync") else "fsync", slow_sync)
    outcomes = []
    syncing = threading.Thread(target=lambda: outcomes.append(fetcher._piece_done(large, 0)))
    syncing.start()
    assert began.wait(WAIT_SECONDS)
    assert fetcher._piece_done(large, 2) is None  # at once, though a sync goes on
    assert fetcher._piece_done(large, 1) is None
    assert noted(large) == b"" and not (fetcher.folder / "a.jpg").exists()
    go_on.set()
    syncing.join(WAIT_SECONDS)
    assert before_each == [b"", b"\0\0\0\0"]  # the sync that began before they landed did not count for 1 and 2
    assert outcomes[0] is not None and outcomes[0].reason == "" and (fetcher.folder / "a.jpg").exists()
    assert not large.done_path.exists()


def test_pieces_of_an_object_that_failed_meanwhile_are_not_noted(fetcher, large, monkeypatch):
    monkeypatch.setattr(
        os, "fdatasync" if hasattr(os, "fdatasync") else "fsync", lambda _: setattr(large, "over", True)
    )
    assert fetcher._piece_done(large, 0) is None
    assert noted(large) == b"" and large.waiting == {0, 1, 2}


def test_a_sync_that_fails_notes_nothing(fetcher, large, monkeypatch):
    def fails(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fdatasync" if hasattr(os, "fdatasync") else "fsync", fails)
    with pytest.raises(OSError, match="Input/output"):
        fetcher._piece_done(large, 0)
    assert noted(large) == b"" and large.waiting == {0, 1, 2}


class NoFiles:
    """A connection that gets no descriptor."""

    def get(self, *_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


def test_too_many_open_files_are_called_so_and_not_a_folder_that_cannot_be_written(fetcher):
    (fetcher.folder / "parts").mkdir()
    with pytest.raises(RunEnds) as ends:
        fetcher.work(Job(1, "a.jpg", "p/a.jpg", 10, ""), NoFiles())
    assert "open files" in ends.value.why and "ulimit -n" in ends.value.remedy
    assert "writable" not in ends.value.remedy


class Comes:
    """A connection that brings the whole object; `when` the books are closed meanwhile."""

    def __init__(self, fetcher: Fetcher, when: str) -> None:
        self.fetcher, self.when = fetcher, when
        (fetcher.folder / "parts").mkdir()

    def get(self, key: str, begin, use, **_: object) -> Head:
        begin(Head(10, ""))
        self.fetcher.closed = self.when == "before the last byte"
        use(memoryview(b"0123456789"))
        self.fetcher.closed = self.when != "never"
        return Head(10, "")


@pytest.mark.parametrize("when", ["before the last byte", "after it"])
def test_a_file_that_comes_when_the_books_are_closed_gets_no_name(fetcher, when):
    with pytest.raises(Stopped):
        fetcher.work(Job(1, "a.jpg", "p/a.jpg", 10, ""), Comes(fetcher, when))
    assert [path.name for path in fetcher.folder.rglob("*")] == ["parts"]


@pytest.mark.parametrize("link", ["x", "x/y"])
def test_a_file_whose_folder_is_a_link_fails_alone_and_nothing_is_written_behind_it(fetcher, tmp_path_factory, link):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (fetcher.folder / link).parent.mkdir(exist_ok=True)
    (fetcher.folder / link).symlink_to(elsewhere)
    comes = Comes(fetcher, "never")
    outcome = fetcher.work(Job(1, "x/y/a.jpg", "x/y/a.jpg", 10, ""), comes)
    assert f"{link} is a link to {elsewhere}" in outcome.reason and "delete the link" in outcome.reason
    assert not list(elsewhere.iterdir()) and not list((fetcher.folder / "parts").iterdir())
    for path in ("z/y/a.jpg", "z/y/b.jpg", "z/c/d/e.jpg"):
        assert fetcher.work(Job(2, path, path, 10, ""), comes).reason == ""
        assert (fetcher.folder / path).read_bytes() == b"0123456789"


class Fails:
    """A server that answers so, whatever it is asked for."""

    def __init__(self, error: Exception | Head) -> None:
        self.error = error

    def get(self, key: str, begin, use, **_: object) -> Head:
        if isinstance(self.error, Exception):
            raise self.error
        begin(self.error)
        return self.error


SIZE = 3 * PIECE_BYTES
LASTING = [
    failure(503, "SlowDown", ""), failure(500, "InternalError", ""), failure(403, "AccessDenied", ""),
    failure(403, "InvalidObjectState", ""), Head(20, ""), Head(SIZE, "e"),
]  # fmt: skip
OVER = [
    failure(412, "PreconditionFailed", ""),
    failure(416, "InvalidRange", ""),
    failure(404, "NoSuchKey", ""),
    Head(SIZE, "f"),
]


@pytest.mark.parametrize("how", ["the first", "another"])
@pytest.mark.parametrize(("answer", "kept"), [*((each, True) for each in LASTING), *((each, False) for each in OVER)])
def test_pieces_are_kept_unless_the_object_is_another_one_or_gone(fetcher, tmp_path, answer, kept, how):
    """With a login page, half an answer, and a server or rights that fail for a while they wait for the next run."""
    fetcher.retry_seconds = 0
    job = Job(1, "a.jpg", "p/a.jpg", SIZE, "e")
    (tmp_path / "parts").mkdir()
    path = tmp_path / "parts" / part_name(job)
    done = path.with_name(path.name + ".done")
    with path.open("wb") as file:
        file.truncate(SIZE)
    done.write_bytes(b"\0\0\0\1")
    fetcher.pace.gave_up = lambda: 1  # no end of the run
    if how == "the first":
        outcome = fetcher.work(job, Fails(answer))
    else:
        large = Large(job, path, io.FileIO(path, "r+b"), "e", 0.0, {0, 2})
        outcome = fetcher.work(Piece(large, 2), Fails(answer))
        assert fetcher.work(Piece(large, 0), Fails(answer)) is None
    assert outcome is not None and outcome.reason
    assert (path.exists() and done.exists()) == kept
    assert not list((tmp_path / "parts").glob("*.part"))


class Pieces:
    """A connection that brings any piece; `meanwhile` is called between its head and its body."""

    def __init__(self, meanwhile=lambda: None) -> None:
        self.meanwhile = meanwhile

    def get(self, key: str, begin, use, *, first: int, count: int, **_: object) -> Head:
        begin(Head(SIZE, "e"))
        self.meanwhile()
        for _number in range(count // (1 << 20)):
            use(memoryview(bytes([first // PIECE_BYTES]) * (1 << 20)))
        return Head(SIZE, "e")


@pytest.fixture
def begun(fetcher) -> list[Piece]:
    """What the first piece of an object has left to the others."""
    (fetcher.folder / "parts").mkdir(exist_ok=True)
    pieces: list[Piece] = []
    fetcher.spread = pieces.extend
    fetcher.retry_seconds = 0
    fetcher.pace.gave_up = lambda: 1  # no end of the run
    return pieces


JOB = Job(1, "a.jpg", "p/a.jpg", SIZE, "e")


def test_the_other_pieces_begin_as_soon_as_the_head_of_the_first_has_come(fetcher, begun):
    others: list[object] = []
    meanwhile = lambda: others.extend(fetcher.work(piece, Pieces()) for piece in begun)  # noqa: E731
    outcome = fetcher.work(JOB, Pieces(meanwhile))
    assert [piece.number for piece in begun] == [1, 2] and others == [None, None]
    assert outcome is not None and not outcome.reason
    assert (fetcher.folder / "a.jpg").read_bytes() == b"".join(bytes([n]) * PIECE_BYTES for n in range(3))


def test_a_file_of_which_another_piece_failed_while_the_first_came_fails_once(fetcher, begun):
    told = []
    gone = Fails(failure(404, "NoSuchKey", ""))
    outcome = fetcher.work(JOB, Pieces(lambda: told.append(fetcher.work(begun[0], gone))))
    assert outcome is None and len(told) == 1 and told[0].code == "NoSuchKey"
    assert not (fetcher.folder / "a.jpg").exists() and not list((fetcher.folder / "parts").iterdir())


@pytest.mark.parametrize("error", [failure(403, "AccessDenied", ""), OSError(errno.EFBIG, "File too large")])
def test_a_file_whose_first_piece_fails_after_its_head_fails_once(fetcher, begun, error):
    def fails() -> None:
        raise error

    outcome = fetcher.work(JOB, Pieces(fails))
    assert outcome is not None and outcome.reason
    assert [fetcher.work(piece, Pieces()) for piece in begun] == [None, None]
    assert not (fetcher.folder / "a.jpg").exists()


def test_nobody_begins_with_pieces_of_an_object_that_is_another_one(fetcher, begun):
    outcome = fetcher.work(JOB, Fails(Head(SIZE, "f")))
    assert outcome is not None and begun == []


def test_a_large_file_that_cannot_have_its_name_is_kept_for_the_next_run(fetcher, large):
    (fetcher.folder / "a.jpg" / "x").mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        fetcher._finish_large(large)
    assert large.path.exists()


def test_before_a_run_only_pieces_go_of_which_nothing_can_be_made(tmp_path):
    job = Job(1, "a.jpg", "p/a.jpg", SIZE, "e")
    ours, older = part_name(job), part_name(job._replace(etag="older"))
    others, long_ago = part_name(job._replace(path="b.jpg")), part_name(job._replace(path="c.jpg"))
    left = [
        ours,
        f"{ours}.done",
        older,
        f"{older}.done",
        others,
        f"{others}.done",
        long_ago,
        "7.part",
        "mine.big",
        "mine",
    ]
    clear_parts(tmp_path)
    for name in left:
        (parts_of(tmp_path) / name).write_bytes(b"x" * 5000)
    then = (parts_of(tmp_path) / long_ago).stat().st_mtime - PIECES_KEPT_SECONDS - 60
    os.utime(parts_of(tmp_path) / long_ago, (then, then))

    def there() -> list[str]:
        return [name for name in left if (parts_of(tmp_path) / name).exists()]

    clear_parts(tmp_path)
    assert there() == [name for name in left if name != "7.part"]
    assert 5000 <= bytes_begun(tmp_path, [ours, "never"]) < 10_000  # not those of other lists
    clear_pieces(tmp_path, {ours}, keep=True)
    assert there() == [ours, f"{ours}.done", others, f"{others}.done", "mine.big", "mine"]
    clear_pieces(tmp_path, {ours}, keep=False)
    assert there() == [others, f"{others}.done", "mine.big", "mine"]
