"""Fetching a file: resumed after breaks, begun again after changes, never mixed from two files."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common import transfer
from common.files import DiskFull
from common.settings import ROOT
from common.transfer import Changed, Fetched, Interrupted, Mark, PartFile, fetch, require_room
from common.waiting import Stopped, StopSignal

CONTENT = bytes(range(256)) * 400


@dataclass
class Answer:
    """One answer: which file it is of, and where it breaks off."""

    content: bytes = CONTENT
    validator: str = '"v1"'
    breaks_after: int | None = None
    has_length: bool = True
    ignores_range: bool = False
    gone_wrong: type[Exception] | None = None


@dataclass
class FileServer:
    """Gives the answers one after the other; the last one again and again."""

    answers: list[Answer]
    asked: list[tuple[int, str]] = field(default_factory=list)
    before: list = field(default_factory=list)

    @contextmanager
    def open_at(self, offset, validator):
        answer = self.answers[min(len(self.asked), len(self.answers) - 1)]
        self.asked.append((offset, validator))
        if answer.gone_wrong:
            raise answer.gone_wrong("no answer")
        begin = offset if not answer.ignores_range and validator == answer.validator else 0
        yield Body(answer, begin)


class Body:
    def __init__(self, answer, offset):
        self.offset = offset
        self.total_bytes = len(answer.content) if answer.has_length else None
        self.validator = answer.validator
        self._at, self._answer = offset, answer

    def read(self):
        end = len(self._answer.content)
        if self._answer.breaks_after is not None:
            end = min(end, self._answer.breaks_after)
            if self._at >= end:
                raise Interrupted("the answer was cut off")
        piece = self._answer.content[self._at : min(self._at + 10_000, end)]
        self._at += len(piece)
        return piece


@pytest.fixture
def part(tmp_path):
    return PartFile(tmp_path / ".backup.part")


def got(server, part, label="export 1", **more):
    return fetch(server.open_at, part, label, StopSignal(), **{"wait_first_seconds": 0.001, "stall_seconds": 1, **more})


def whole(part, content=CONTENT):
    return part.path.read_bytes() == content


def test_a_file_arrives_whole_with_its_hash(part):
    assert got(FileServer([Answer()]), part) == Fetched(len(CONTENT), hashlib.sha256(CONTENT).hexdigest(), 0)
    assert whole(part)


def test_an_empty_file_arrives(part):
    assert got(FileServer([Answer(b"")]), part).sha256 == hashlib.sha256(b"").hexdigest()


@given(breaks=st.lists(st.integers(0, len(CONTENT) - 1), max_size=3))
def test_after_any_breaks_the_file_and_its_hash_are_the_same(tmp_path_factory, breaks):
    part = PartFile(tmp_path_factory.mktemp("part") / ".part")
    server = FileServer([*(Answer(breaks_after=place) for place in sorted(breaks)), Answer()])
    passed = []

    def observers():
        passed.clear()
        return [passed.append]

    assert got(server, part, observers=observers).sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert whole(part)
    assert b"".join(passed) == CONTENT


def test_after_a_break_only_the_rest_is_asked_for(part):
    server = FileServer([Answer(breaks_after=30_000), Answer()])
    got(server, part)
    assert server.asked == [(0, ""), (30_000, '"v1"')]


def test_a_later_run_goes_on_where_a_stopped_one_was(part):
    stop = StopSignal()

    def stopping(done, _total):
        if done >= 20_000:
            stop.set(signal.SIGTERM)

    with pytest.raises(Stopped):
        fetch(FileServer([Answer()]).open_at, part, "export 1", stop, on_progress=stopping)
    begun = part.path.stat().st_size
    assert 0 < begun < len(CONTENT)
    server = FileServer([Answer()])
    assert got(server, part).resumed_at == begun
    assert server.asked == [(begun, '"v1"')]
    assert whole(part)


def test_the_beginning_of_another_export_is_thrown_away(part):
    with pytest.raises(Interrupted):
        got(FileServer([Answer(b"other" * 9999, '"old"', breaks_after=20_000)]), part, "export 0")
    server = FileServer([Answer()])
    assert got(server, part, "export 1").resumed_at == 0
    assert server.asked == [(0, "")]
    assert whole(part)


def test_a_file_that_changed_meanwhile_is_fetched_from_its_beginning(part):
    new = b"new" * 20_000
    server = FileServer([Answer(breaks_after=30_000), Answer(new, '"v2"')])
    assert got(server, part).sha256 == hashlib.sha256(new).hexdigest()
    assert server.asked[1] == (30_000, '"v1"')
    assert whole(part, new)


def test_a_proxy_that_drops_if_range_cannot_mix_two_files(part):
    """It answers 206 with the rest of the new file: its ETag says so."""
    new = b"new" * 34_000

    class Dropping(FileServer):
        @contextmanager
        def open_at(self, offset, validator):
            with super().open_at(offset, self.answers[-1].validator if self.asked else validator) as body:
                yield body

    server = Dropping([Answer(breaks_after=30_000), Answer(new, '"v2"')])
    assert got(server, part).sha256 == hashlib.sha256(new).hexdigest()
    assert whole(part, new)


def test_a_file_that_keeps_changing_is_given_up(part):
    server = FileServer([Answer(gone_wrong=Changed)])
    with pytest.raises(Interrupted, match="kept changing"):
        got(server, part)
    assert len(server.asked) == transfer.MOST_FRUITLESS_ATTEMPTS


def test_without_a_validator_every_break_begins_anew(part):
    server = FileServer([Answer(validator="", breaks_after=30_000), Answer(validator="")])
    got(server, part)
    assert server.asked == [(0, ""), (0, "")]
    assert whole(part)


def test_a_server_that_ignores_ranges_sends_all_of_it_again(part):
    server = FileServer([Answer(breaks_after=30_000), Answer(ignores_range=True)])
    assert got(server, part).resumed_at == 0
    assert whole(part)


def test_without_a_length_the_end_is_the_end(part):
    assert got(FileServer([Answer(has_length=False)]), part).size_bytes == len(CONTENT)


def test_less_than_the_promised_length_is_a_break(part):

    class Lying(FileServer):
        @contextmanager
        def open_at(self, offset, validator):
            with super().open_at(offset, validator) as body:
                body.total_bytes = len(CONTENT)
                yield body

    lying = Lying([Answer(CONTENT[:5000]), Answer()])
    assert got(lying, part).size_bytes == len(CONTENT)
    assert lying.asked[1] == (5000, '"v1"')


def test_breaks_without_progress_end_the_attempts_and_keep_what_arrived(part, no_waiting):
    server = FileServer([Answer(breaks_after=30_000)])
    with pytest.raises(Interrupted, match="cut off"):
        got(server, part)
    assert part.path.stat().st_size == 30_000
    assert part.read_mark() == Mark("export 1", '"v1"', len(CONTENT))
    assert len(server.asked) == 1 + transfer.MOST_FRUITLESS_ATTEMPTS


@pytest.mark.parametrize("answer", [{"validator": ""}, {"ignores_range": True}])
def test_a_download_that_breaks_at_the_same_place_ends_also_where_it_cannot_be_resumed(part, no_waiting, answer):
    server = FileServer([Answer(breaks_after=30_000, **answer)])
    with pytest.raises(Interrupted, match="cut off"):
        got(server, part)
    assert len(server.asked) == 1 + transfer.MOST_FRUITLESS_ATTEMPTS


def test_progress_between_breaks_never_ends_the_attempts(part, no_waiting):
    server = FileServer([Answer(breaks_after=place) for place in range(5_000, len(CONTENT), 5_000)] + [Answer()])
    assert len(server.answers) > 2 * transfer.MOST_FRUITLESS_ATTEMPTS
    got(server, part)
    assert whole(part)


def test_a_few_bytes_per_attempt_are_no_progress(part, no_waiting):
    server = FileServer([Answer(breaks_after=place) for place in range(1, 40)])
    with pytest.raises(Interrupted, match="cut off"):
        got(server, part, wait_first_seconds=0.5)
    assert len(server.asked) == transfer.MOST_FRUITLESS_ATTEMPTS
    assert no_waiting == [0.5, 1, 2, 4]


def test_small_gains_add_up_to_progress(part, no_waiting):
    """Four attempts together gain what counts: no fifth is the last one."""
    gain = transfer.SLOWEST_BYTES_PER_SECOND // 4
    server = FileServer([*(Answer(breaks_after=gain * number) for number in range(1, 40)), Answer()])
    got(server, part)
    assert whole(part)


def test_a_trickle_counts_as_a_break(part, monkeypatch):
    monkeypatch.setattr(transfer, "SLOWEST_BYTES_PER_SECOND", 10**15)
    server = FileServer([Answer()])
    got(server, part, stall_seconds=0)
    assert len(server.asked) > len(CONTENT) // 10_000  # one break for every piece, and resumed each time
    assert whole(part)


def test_pieces_that_wait_for_the_hash_are_few(part, monkeypatch):
    """Bounds the memory: a hash that is slower than the network holds the network up."""
    sizes = []

    class Slow(transfer._Feed):
        def put(self, piece):
            super().put(piece)
            sizes.append(self._pieces.qsize() * transfer.PIECE_BYTES)

        def _work(self):
            time.sleep(0.05)
            super()._work()

    monkeypatch.setattr(transfer, "_Feed", Slow)
    got(FileServer([Answer(CONTENT * 3)]), part)
    assert transfer.PIECE_BYTES < max(sizes) <= transfer.MOST_WAITING_BYTES
    assert whole(part, CONTENT * 3)


def test_flushing_works_where_there_is_no_fdatasync_and_leaves_no_descriptor(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "fdatasync", raising=False)
    with open(tmp_path / "file", "wb") as file:
        descriptor = os.dup(file.fileno())
        transfer._Feed._sync(descriptor)
        with pytest.raises(OSError):
            os.fstat(descriptor)


def test_too_little_room_is_known_before_the_download_and_leaves_nothing(part, monkeypatch, tmp_path):
    monkeypatch.setattr(transfer, "free_bytes", lambda folder: len(CONTENT) + 10)
    got(FileServer([Answer()]), part, reserve_bytes=10)
    part.discard()
    with pytest.raises(DiskFull, match=r"102 kB are needed .* 11 B are kept free"):
        got(FileServer([Answer()]), part, reserve_bytes=11)
    assert os.listdir(tmp_path) == []


def test_what_has_arrived_is_not_asked_for_in_room_again(part, monkeypatch):
    with pytest.raises(Interrupted):
        got(FileServer([Answer(breaks_after=100_000)]), part)
    monkeypatch.setattr(transfer, "free_bytes", lambda folder: 3_000)
    got(FileServer([Answer()]), part)
    assert whole(part)


def test_room_is_counted_with_its_reserve(tmp_path):
    require_room(tmp_path, 1, 0)
    with pytest.raises(DiskFull):
        require_room(tmp_path, 1 << 62, 0)


def test_a_disk_that_fills_up_under_the_download_leaves_nothing(tmp_path):
    """A real limit of the kernel (RLIMIT_FSIZE gives EFBIG), in a process of its own."""
    program = (
        "import signal, sys\n"
        "from pathlib import Path\n"
        "from common.files import DiskFull\n"
        "from tests.common.test_transfer import Answer, FileServer, PartFile, got\n"
        "try:\n    got(FileServer([Answer()]), PartFile(Path(sys.argv[1])))\n"
        "except DiskFull as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path / ".part"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000)),
    )
    assert "no room left in" in done.stdout, done.stderr
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("mark", ["", "{", "5", "[]", '{"label": "x", "more": 1}', '{"total_bytes": 1}'])
def test_a_torn_mark_is_no_mark(part, mark):
    part.path.write_bytes(b"beginning")
    part.mark_path.write_text(mark)
    assert part.read_mark() is None
    got(FileServer([Answer()]), part)
    assert whole(part)


def test_a_mark_without_its_file_is_no_mark(part):
    part.write_mark(Mark("export 1", '"v1"', 5))
    assert part.read_mark() is None


def test_a_mark_is_read_back_as_it_was_written(part):
    part.path.touch()
    mark = Mark("dig 2026 action=export&target=project ü", '"v1"', None)
    part.write_mark(mark)
    assert part.read_mark() == mark
    assert json.loads(part.mark_path.read_text())["label"] == mark.label
    part.discard()
    assert os.listdir(part.path.parent) == []


@pytest.mark.parametrize("validator", ['"v1"', ""])
def test_the_mark_of_a_new_file_never_stands_beside_the_bytes_of_the_old(part, monkeypatch, validator):
    """Killed between the mark and the first byte: the next run must not continue old bytes as the new file."""
    with pytest.raises(Interrupted):
        got(FileServer([Answer(validator=validator, breaks_after=30_000)]), part)

    class Killed(BaseException):
        pass

    def killed(*_):
        raise Killed

    monkeypatch.setattr(transfer, "_receive", killed)
    with pytest.raises(Killed):
        got(FileServer([Answer(b"new" * 20_000, '"v2"')]), part)
    assert part.read_mark() is None or part.path.stat().st_size == 0
