"""What the log file and download_state.json say of a run that did not come to its end."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time

import pytest

from tests.images.conftest import ROOT, Fetched, ended
from tests.images.fake_s3 import FakeS3

FEW = {f"p/{number:02}.jpg": bytes([number]) * 2000 for number in range(4)}
NAMES = [key[2:] for key in FEW]


@pytest.fixture
def run_id(download):
    """The id of a good run, which lies in the books already."""
    with FakeS3(FEW) as server:
        run = download(server.url, NAMES[:2], "--s3-prefix", "p/")
    assert run.code == 0 and run.state["status"] == "finished", run.said
    (run.folder / "download_state.json").write_text(json.dumps({**run.state, "last_rate": 12_345}))
    return run.state["run_id"]


def test_a_token_that_has_expired_before_the_list_is_noted_in_the_place_of_the_run_before(download, run_id):
    with FakeS3(FEW, lambda kind, key, number: (400, "ExpiredToken")) as server:
        run = download(server.url, NAMES, "--s3-prefix", "p/")
    assert run.code == 12, run.said
    assert run.state["status"] == "failed" and run.state["run_id"] != run_id
    assert run.state["lists"] == {} and run.state["downloaded"] == 0
    assert run.state["last_rate"] == 12_345  # for the next estimate
    assert " ended The AWS token has expired" in run.log.splitlines()[-1], run.log


def test_files_that_do_not_fit_are_noted(download, run_id):
    with FakeS3(FEW) as server:
        run = download(server.url, NAMES, "--s3-prefix", "p/", CVAT_IMAGES_MIN_FREE_GB="1000000")
    assert run.code == 1 and run.state["status"] == "failed" and run.state["run_id"] != run_id, run.said
    assert run.state["left"] == 2 and run.state["lists"] == {
        "missing": "logs/missing.txt", "ambiguous": "logs/ambiguous.csv",
    }  # fmt: skip
    assert " ended " in run.log.splitlines()[-1] and "are to be fetched" in run.log.splitlines()[-1], run.log


def test_a_stop_while_the_bucket_is_listed_is_noted(start, tmp_path, run_id):
    never, reached = threading.Event(), threading.Event()

    def hold(kind, key, number):
        reached.set()
        return ("wait", never)

    with FakeS3(FEW, hold) as server:
        process = start(server.url, NAMES, "--auto-confirm")
        assert reached.wait(60)
        process.send_signal(signal.SIGINT)
        run = ended(process, tmp_path / "out")
        never.set()
    assert run.code == 130 and run.state["status"] == "stopped" and run.state["run_id"] != run_id, run.said
    assert run.log.splitlines()[-1].endswith("ended stopped by a signal")


def test_the_state_is_that_of_this_run_from_its_beginning_and_goes_with_it(start, tmp_path, run_id):
    """At intervals, which are short here."""
    (tmp_path / "sitecustomize.py").write_text("import common.images.report as it\nit.STATE_EVERY_SECONDS = 0.05\n")
    listing, files, out = threading.Event(), threading.Event(), tmp_path / "out"

    def hold(kind, key, number):
        if kind == "list":
            return ("wait", listing) if number == 2 else None
        return ("wait", files) if key == "p/03.jpg" else None

    def wait_for(**wanted: object) -> None:
        until = time.monotonic() + 60
        while True:
            state = Fetched(0, "", "", out).state
            facts = {**state["counts"], **state, "is_new": state["run_id"] != run_id}
            if all(facts[name] == value for name, value in wanted.items()):
                return
            assert time.monotonic() < until, state
            time.sleep(0.02)

    with FakeS3(FEW, hold) as server:
        server.page_keys = 2
        process = start(server.url, NAMES, "--s3-prefix", "p/", "--auto-confirm", PYTHONPATH=f"{tmp_path}:{ROOT}")
        wait_for(is_new=True, status="running", listed=2, downloaded=0)
        listing.set()
        wait_for(status="running", listed=4, already_here=2, downloaded=1)
        files.set()
        run = ended(process, out)
    assert run.code == 0 and run.state["status"] == "finished" and run.state["downloaded"] == 2, run.said


def test_a_question_that_is_not_answered_with_yes_is_noted(tmp_path, run_id):
    ours, theirs = pty.openpty()
    os.write(ours, b"n\n")
    long_ago = tmp_path / "out" / ".download" / "parts" / f"{'ab' * 16}.big"
    long_ago.write_text("pieces")
    os.utime(long_ago, (0, 0))
    with FakeS3(FEW) as server:
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "downloader.py"), "--csv-file", "names.csv", "--output-dir", "out",
             "--s3-prefix", "s3://bkt/p/", "--endpoint-url", server.url],
            cwd=tmp_path, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "CVAT_ENV_DIR": str(tmp_path),
                 "CVAT_IMAGES_MIN_FREE_GB": "0", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"},
        )  # fmt: skip
        (tmp_path / "names.csv").write_text("\n".join(["filename", *NAMES]))
        run = ended(process, tmp_path / "out")
    assert run.code == 1 and run.state["status"] == "declined" and run.state["run_id"] != run_id, run.said
    assert " declined the question was not answered" in run.log.splitlines()[-1]
    assert long_ago.exists()  # nothing goes before somebody was asked


def test_a_dry_run_leaves_the_books_as_they_were(start, tmp_path, run_id):
    def books():
        return {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*") if path.is_file()}

    before = books()
    with FakeS3(FEW, lambda kind, key, number: (400, "ExpiredToken")) as server:
        run = ended(start(server.url, NAMES, "--s3-prefix", "p/", "--dry-run"), tmp_path / "out")
    assert run.code == 12 and books() == before, run.said


def test_after_a_stop_the_last_words_point_to_the_log_and_not_to_a_list_of_an_earlier_run(start, tmp_path, run_id):
    objects = {f"p/{number:02}.jpg": b"x" * 100 for number in range(40)}
    never, reached = threading.Event(), threading.Event()

    def partly(kind, key, number):
        if "p/10" <= key < "p/19":
            return (403, "AccessDenied")
        if key >= "p/30":
            reached.set()
            return ("wait", never)
        return None

    out = tmp_path / "out"
    assert (out / "logs" / "files.csv").exists()
    with FakeS3(objects, partly) as server:
        process = start(server.url, [key[2:] for key in objects], "--s3-prefix", "p/", "--auto-confirm")
        assert reached.wait(60)
        deadline = time.monotonic() + 60
        while Fetched(0, "", "", out).log.count(" failed ") < 9 and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        run = ended(process, out)
        never.set()
    assert run.code == 130 and run.state["status"] == "stopped" and run.state["failed"] == 9, run.said
    name = run.state["log"]
    assert f"4 more in {name}" in run.err and "files.csv" not in run.err, run.err
    assert (out / name).read_text().count(" failed ") == 9
    assert run.err.count("goes on from here") == 1 and '{"' not in run.err, run.err
    assert set(run.state["lists"]) == {"missing", "ambiguous"}


def test_a_list_that_cannot_be_written_makes_the_run_a_failed_one(download, tmp_path):
    (tmp_path / "out" / "logs" / "files.csv" / "x").mkdir(parents=True)
    with FakeS3(FEW) as server:
        run = download(server.url, NAMES, "--s3-prefix", "p/")
    assert run.code == 3 and run.state["status"] == "failed" and "all" not in run.state["lists"], run.said
    assert "files.csv)" in run.err and " ended IsADirectoryError" in run.log


def test_a_run_that_comes_to_its_end_names_all_its_lists(download):
    with FakeS3(FEW) as server:
        run = download(server.url, NAMES, "--s3-prefix", "p/")
    for name in (run.state["log"], *run.state["lists"].values()):
        assert (run.folder / name).is_file()
    assert set(run.state["lists"]) == {"missing", "ambiguous", "all"} and " ended " not in run.log
