"""The wall to FiftyOne: what a worker may do to us, and what we do with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from annotating.conftest import Played

from common import log
from common.exits import Exit, RunEnds
from common.fiftyone.process import Limits, Worker, WorkerFailed, environment_of, handed_on, said
from common.waiting import Stopped, StopSignal


def worker(played: Played, idle: float = 30, total: float = 60, stop: StopSignal | None = None) -> Worker:
    environment = environment_of({"FAKE_FIFTYONE": str(played.script), "PATH": "/usr/bin:/bin"}, {}, "")
    return Worker(played.python, stop or StopSignal(), Limits(idle, total), environment)


def test_the_answer_and_the_events_before_it_arrive(played: Played):
    played.plan(version={"says": ["loading"]})
    assert worker(played).ask({"do": "version"})["supported"] is True


def test_a_request_larger_than_a_pipe_arrives_whole(played: Played):
    worker(played).ask({"do": "version", "padding": "x" * 1_000_000})
    assert len(played.requests("version")[0]["padding"]) == 1_000_000


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("bad_request", Exit.BAD_CONFIGURATION), ("version", Exit.BAD_CONFIGURATION),
        ("credentials", Exit.CREDENTIALS_REFUSED), ("server", Exit.NOTHING_WORKED), ("what?", Exit.NOTHING_WORKED),
    ],
)  # fmt: skip
def test_what_fails_has_its_exit_code_and_its_reason(played: Played, kind: str, code: Exit):
    played.plan(version={"then": "fail", "kind": kind, "reason": "because\x1b[31m of that"})
    with pytest.raises(WorkerFailed) as met:
        worker(played).ask({"do": "version"})
    assert met.value.exit_code == code
    assert met.value.why == "Because [31m of that."


def test_a_worker_that_dies_is_told_with_its_last_words(played: Played):
    played.plan(version={"says": ["one thing", "out of luck"], "then": "die"})
    with pytest.raises(WorkerFailed, match=r"SIGKILL.*for want of memory"):
        worker(played).ask({"do": "version"})


def test_a_worker_without_a_word_is_ended(played: Played):
    played.plan(version={"then": "hang"})
    with pytest.raises(WorkerFailed, match="no sign for"):
        worker(played, idle=0.5).ask({"do": "version"})


def test_a_worker_that_only_talks_is_ended_too(played: Played):
    played.plan(version={"then": "babble"})
    heard: list[dict[str, Any]] = []
    with pytest.raises(WorkerFailed, match="FIFTYONE_SYNC_DEADLINE"):
        worker(played, idle=5, total=1).ask({"do": "version"}, heard.append)
    assert {each["event"] for each in heard} == {"still_here"}


def test_a_stop_ends_it(played: Played):
    played.plan(version={"then": "hang"})
    stop = StopSignal()
    with pytest.raises(Stopped):
        worker(played, stop=stop).ask({"do": "version"}, lambda event: stop.set(15))


def test_bytes_of_files_are_not_logged_and_text_is(
    played: Played, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    log.set_up("DEBUG", "json")
    log.hide("a long secret")
    noise = bytes(range(128, 256)) * 20
    played.plan(version={"prints": [noise.hex(), b"x with a long secret".hex()], "then": "silent"})
    with pytest.raises(WorkerFailed):
        worker(played).ask({"do": "version"})
    lines = [line for line in capsys.readouterr().err.splitlines() if "fiftyone_said" in line]
    assert len(lines) == 1 and "x with ********" in lines[0]


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (b"Uploading samples to CVAT...", "Uploading samples to CVAT..."),
        (b"\x1b[32mgreen\x1b[0m", "green"),
        ("Größe ü".encode(), "Größe ü"),
        (b"{'files': {'client_files[0]': ('a.png', b'\\x89PNG\\r\\n\\x1a\\n\\x00\\x00')}}", ""),
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", ""),
    ],
)
def test_what_is_printed_is_text_or_nothing(line: bytes, text: str):
    assert said(line) == text


def test_the_child_gets_what_is_not_empty_and_none_of_our_secrets():
    ours = {
        "CVAT_PASSWORD": "x",
        "SC_TOKEN": "y",
        "FIFTYONE_CVAT_TASK_SIZE": "3",
        "HOME": "/home/me",
        "AWS_PROFILE": "p",
    }
    given = environment_of(ours, handed_on("https://c", "me", "0012", ""), "mongodb://m")
    assert given["HOME"] == "/home/me" and given["FIFTYONE_CVAT_PASSWORD"] == "0012"
    assert given["FIFTYONE_DATABASE_URI"] == "mongodb://m"
    assert not {"CVAT_PASSWORD", "SC_TOKEN", "AWS_PROFILE", "FIFTYONE_CVAT_TASK_SIZE", "FIFTYONE_CVAT_EMAIL"} & set(
        given
    )


def test_a_python_that_is_none_is_a_bad_setting(tmp_path: Path):
    nothing = Worker(tmp_path / "no-python", StopSignal(), Limits(1, 1), {})
    with pytest.raises(RunEnds) as met:
        nothing.ask({"do": "version"})
    assert met.value.exit_code == Exit.BAD_CONFIGURATION
