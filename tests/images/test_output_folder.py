"""The output folder: one run at a time, folders and files that are not ours, and what a run that ends early leaves in it."""

from __future__ import annotations

import csv
import hashlib
import os
import threading
import time
from collections.abc import Callable

import pytest
from rights import like_anybody

from common.lock import locked
from tests.images.conftest import ended
from tests.images.fake_s3 import FakeS3

FEW = {f"p/{number:02}.jpg": bytes([number]) * 2000 for number in range(4)}
NAMES = [key[2:] for key in FEW]


@pytest.fixture
def before_it_starts() -> Callable[[], None]:
    return like_anybody


def test_another_run_in_the_folder_is_waited_for_as_long_as_the_setting_says(start, tmp_path):
    (tmp_path / "out" / ".download").mkdir(parents=True)
    said: list[str] = []
    with FakeS3(FEW) as server:
        with locked(tmp_path / "out" / ".download" / "lock", "another run"):
            process = start(server.url, NAMES, "--s3-prefix", "p/", "--auto-confirm", "--lock-wait-minutes", "1")
            for line in process.stderr:
                said.append(line)
                if "waiting_for_lock" in line:
                    break
            assert process.poll() is None and "another run" in "".join(said), said
        run = ended(process, tmp_path / "out")
    assert run.code == 0 and len(run.files) == 4 and run.happened("lock_taken"), run.said


def test_another_run_in_the_folder_is_not_waited_for_unless_that_was_asked_for(download, tmp_path):
    (tmp_path / "out" / ".download").mkdir(parents=True)
    with FakeS3(FEW) as server, locked(tmp_path / "out" / ".download" / "lock", "another run"):
        run = download(server.url, NAMES, "--s3-prefix", "p/")
    assert run.code == 11 and "another run is already running here" in run.err, run.said


@pytest.mark.parametrize(
    ("path", "mode"),
    [
        ("", 0o500),
        (".download", 0o500),
        (".download/lock", 0o400),
        (".download/parts", 0o500),
        (".download/journal.jsonl", 0o400),
        ("logs", 0o500),
    ],
)
def test_what_an_earlier_run_of_another_user_left_is_named_and_what_to_do(download, tmp_path, path, mode):
    with FakeS3(FEW) as server:
        assert download(server.url, NAMES[:2], "--s3-prefix", "p/").code == 0
        theirs = tmp_path / "out" / path
        if path == ".download":  # with all that a run needs in it, it could go on
            (theirs / "parts").rmdir()
        theirs.chmod(mode)
        run = download(server.url, NAMES, "--s3-prefix", "p/")
        theirs.chmod(0o700)
    assert run.code == 2 and f"CVAT_IMAGES_OUTPUT_DIR={tmp_path}/out cannot be written: Permission denied" in run.err
    assert "writable for the user that runs downloader.py" in run.err and path in run.err, run.err


@pytest.mark.parametrize("path", ["logs", ".download", ".download/parts"])
def test_a_file_where_a_folder_belongs_is_named(download, tmp_path, path):
    theirs = tmp_path / "out" / path
    theirs.parent.mkdir(parents=True)
    theirs.write_text("")
    with FakeS3(FEW) as server:
        run = download(server.url, NAMES, "--s3-prefix", "p/")
    assert run.code == 2 and "cannot be written" in run.err and str(theirs) in run.err and "in the way" in run.err


@pytest.mark.parametrize("path", [".download/lock", ".download/journal.jsonl"])
def test_a_folder_where_a_file_belongs_is_named(download, tmp_path, path):
    theirs = tmp_path / "out" / path
    theirs.mkdir(parents=True)
    with FakeS3(FEW) as server:
        run = download(server.url, NAMES, "--s3-prefix", "p/")
    assert run.code == 2 and f"cannot be written: Is a directory ({theirs})" in run.err, run.err


def test_a_state_that_cannot_be_written_is_named_before_anything_is_fetched(download, tmp_path):
    (tmp_path / "out" / "download_state.json" / "x").mkdir(parents=True)
    with FakeS3(FEW) as server:
        run = download(server.url, NAMES, "--s3-prefix", "p/")
    assert run.code == 2 and not server.asked, run.said
    assert f"cannot be written: Is a directory ({tmp_path}/out/download_state.json)" in run.err, run.err


def test_a_dry_run_says_what_it_may_not_read(start, download, tmp_path):
    with FakeS3(FEW) as server:
        assert download(server.url, NAMES[:2], "--s3-prefix", "p/").code == 0
        journal = tmp_path / "out" / ".download" / "journal.jsonl"
        journal.chmod(0o200)
        run = ended(start(server.url, NAMES, "--s3-prefix", "p/", "--dry-run"), tmp_path / "out")
    assert run.code == 2 and f"cannot be read: Permission denied ({journal})" in run.err, run.err


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
@pytest.mark.parametrize("how", ["--auto-confirm", "--dry-run"])
def test_a_full_disk_behind_standard_output_is_not_called_that_of_the_output_folder(start, tmp_path, through, how):
    through += ["sh", "-c", 'exec "$@" > /dev/full', "sh"]
    with FakeS3(FEW) as server:
        run = ended(start(server.url, NAMES, "--s3-prefix", "p/", how), tmp_path / "out")
    assert run.code == 1 and "standard output cannot be written (No space left on device)" in run.err, run.err
    assert "No room left" not in run.err


@pytest.mark.parametrize("link", [".download", ".download/parts"])
def test_a_link_in_the_place_of_our_own_folder_leads_to_nothing_being_deleted(download, tmp_path, link):
    precious = tmp_path / "precious"
    (precious / "parts").mkdir(parents=True)
    for path in (precious / "passwd", precious / "7.part", precious / "parts" / "7.part"):
        path.write_text("precious")
    (tmp_path / "out" / link).parent.mkdir(parents=True)
    (tmp_path / "out" / link).symlink_to(precious)
    with FakeS3(FEW) as server:
        run = download(server.url, NAMES, "--s3-prefix", "p/")
    assert run.code == 2 and f"is a link to {precious}" in run.err and "Delete the link" in run.err, run.said
    assert sorted(path.name for path in precious.rglob("*")) == ["7.part", "7.part", "parts", "passwd"]


def test_a_link_in_the_place_of_the_lock_is_named_and_what_it_leads_to_stays(download, tmp_path):
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "out" / ".download").mkdir(parents=True)
    (tmp_path / "out" / ".download" / "lock").symlink_to(tmp_path / "precious")
    with FakeS3(FEW) as server:
        run = download(server.url, NAMES, "--s3-prefix", "p/")
    assert run.code == 2 and f"is a link to {tmp_path}/precious" in run.err and "Delete the link" in run.err, run.said
    assert (tmp_path / "precious").read_text() == "precious"


def test_of_the_folder_for_unfinished_files_goes_only_what_we_have_named(download, tmp_path):
    parts = tmp_path / "out" / ".download" / "parts"
    parts.mkdir(parents=True)
    left = {"12.part", f"{'ab' * 16}.big", f"{'ab' * 16}.big.done"}
    for name in (*left, "mine.txt", "x.part", ".bashrc"):
        (parts / name).write_text("x")
        os.utime(parts / name, (0, 0))  # pieces of large objects stay for a month
    with FakeS3(FEW) as server:
        assert download(server.url, NAMES, "--s3-prefix", "p/").code == 0
    assert {path.name for path in parts.iterdir()} == {"mine.txt", "x.part", ".bashrc"}


def test_killed_after_a_file_took_the_place_of_another_one_it_is_not_taken_for_that(start, download, tmp_path):
    """Both have the same size, no ETag is an MD5, and the journal has not got as far as the second one."""
    objects = {"x/dup.bmp": b"x" * 5000, "y/dup.bmp": b"y" * 5000, "z/held.bmp": b"z"}
    never, taken = threading.Event(), tmp_path / "out" / "dup.bmp"
    with FakeS3(objects, lambda kind, key, number: ("wait", never) if key == "z/held.bmp" else None) as server:
        server.etag = lambda data: hashlib.md5(data).hexdigest() + "-2"
        assert download(server.url, ["x/dup.bmp"]).code == 0
        process = start(server.url, ["y/dup.bmp", "z/held.bmp"], "--auto-confirm")
        until = time.monotonic() + 60
        while taken.read_bytes() != objects["y/dup.bmp"] and time.monotonic() < until:
            time.sleep(0.01)
        assert taken.read_bytes() == objects["y/dup.bmp"] and process.poll() is None
        process.kill()
        process.communicate()
        never.set()
        run = download(server.url, ["x/dup.bmp"])
    assert run.code == 0 and run.files["dup.bmp"] == objects["x/dup.bmp"], run.said


def test_what_took_the_place_of_a_file_stands_in_the_log_and_in_the_list(download, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "mine.jpg").write_text("mine")
    (tmp_path / "out" / "00.jpg").write_text("mine")
    (tmp_path / "out" / "01.jpg").symlink_to(tmp_path / "mine.jpg")
    with FakeS3(FEW) as server:
        run = download(server.url, NAMES, "--s3-prefix", "p/")
        assert "(2 replace other files of the same name)" in run.out, run.out
        assert {f"p/{name}": data for name, data in run.files.items()} == FEW
        for name in NAMES[:2]:
            assert f" replaces {name} it_comes=in place of another file of this name" in run.log
        with (run.folder / "logs" / "files.csv").open() as file:
            reasons = [row["reason"] for row in csv.DictReader(file)]
        assert reasons == ["in place of another file of this name"] * 2 + ["", ""]
        assert (tmp_path / "mine.jpg").read_text() == "mine"
        again = download(server.url, NAMES, "--s3-prefix", "p/", "--resume", "false")
    assert again.state["downloaded"] == 4 and again.log.count(" it_comes=fetched again") == 4
