"""Servers and buckets that are allowed to be the way they are, and a run that must come through or say what is wrong."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import socket
import sqlite3
import threading
import time

import pytest

from common.exits import RunEnds
from common.images.folder import trouble_named
from common.images.plan import Plan
from common.waiting import Stopped, StopSignal
from tests.images.conftest import ROOT
from tests.images.fake_s3 import FakeS3

FEW = {f"p/{number:02}.jpg": bytes([number]) * 2000 for number in range(4)}
FEW_NAMES = [key[2:] for key in FEW]


def test_etags_of_encrypted_objects_are_no_md5_and_fail_nothing_with_verify(download):
    objects = {**FEW, "p/big.bin": bytes(40 << 20)}
    with FakeS3(objects) as server:
        server.etag = lambda data: hashlib.md5(b"encrypted" + data).hexdigest()
        server.more_headers = {"x-amz-server-side-encryption": "aws:kms"}
        run = download(server.url, [*FEW_NAMES, "big.bin"], "--s3-prefix", "p/", "--verify", "--retry-seconds", "1")
        boto = download(
            server.url, FEW_NAMES, "--s3-prefix", "p/", "--verify", "--retry-seconds", "1", "--resume", "false",
            "--transport", "boto3",
        )  # fmt: skip
    assert run.code == 0, run.said
    assert boto.code == 0, boto.said


def test_denied_keys_that_come_first_do_not_keep_the_others_from_coming(download):
    objects = {f"p/{number:03}.jpg": b"x" * 100 for number in range(120)}

    def closed(kind, key, number):
        return (403, "AccessDenied") if kind == "get" and key < "p/060" else None

    with FakeS3(objects, closed) as server:
        run = download(server.url, [key[2:] for key in objects], "--s3-prefix", "p/", "--workers", "2")
        assert run.code == 3 and len(run.files) == 60, run.said
        again = download(server.url, [key[2:] for key in objects], "--s3-prefix", "p/")
    assert again.code == 3 and again.state["failed"] == 60, again.said


def test_one_file_that_the_server_never_gives_is_the_failure_of_that_file(download):
    with FakeS3(FEW, lambda kind, key, number: (500, "InternalError") if key == "p/03.jpg" else None) as server:
        args = (server.url, FEW_NAMES, "--s3-prefix", "p/", "--retry-seconds", "1", "--workers", "1")
        run = download(*args)
        assert run.code == 3 and "FAILED    p/03.jpg" in run.err and len(run.files) == 3, run.said
        again = download(*args)
    assert again.code == 3 and "FAILED    p/03.jpg" in again.err, again.said


def test_an_address_that_is_no_s3_is_a_wrong_setting_and_not_wrong_credentials(download):
    with FakeS3(FEW, lambda kind, key, number: (404, "") if kind == "list" else None) as server:
        run = download(server.url, FEW_NAMES, "--s3-prefix", "p/")
    assert run.code == 2 and "--endpoint-url" in run.err and "no longer in the bucket" not in run.err, run.said


def test_a_server_that_dribbles_is_given_up(download):
    """One byte after the other, never silent for long, never done."""
    stop = threading.Event()

    def dribble(connection: socket.socket) -> None:
        connection.sendall(b'HTTP/1.1 200 OK\r\netag: "x"\r\ncontent-length: 20000\r\n\r\n')
        while not stop.wait(0.2):
            connection.sendall(b"x")

    with FakeS3({"p/a.jpg": b"a" * 20000, **FEW}) as server:
        server.hijack = lambda kind, key: dribble if key == "p/a.jpg" else None
        began = time.monotonic()
        try:
            run = download(
                server.url, ["a.jpg", *FEW_NAMES], "--s3-prefix", "p/", "--retry-seconds", "1",
                CVAT_IMAGES_TIMEOUT_SECONDS="2",
            )  # fmt: skip
        finally:
            stop.set()
    assert time.monotonic() - began < 55
    assert run.code == 3 and "FAILED    p/a.jpg" in run.err and len(run.files) == 4, run.said


def test_a_name_in_another_bucket_is_not_looked_for_in_this_one(download):
    with FakeS3(FEW) as server:
        run = download(server.url, ["s3://other/x/00.jpg", "s3://bkt/p/01.jpg"], "--s3-prefix", "p/")
    assert run.code == 3 and set(run.files) == {"01.jpg"}, run.said


def test_a_password_in_the_endpoint_is_told_to_nobody(download):
    with FakeS3(FEW) as server:
        address = server.url.replace("http://", "http://user:geheim77@")
        run = download(address, FEW_NAMES, "--s3-prefix", "p/")
        left = b"".join(path.read_bytes() for path in run.folder.rglob("*") if path.is_file())
    assert "geheim77" not in run.said and b"geheim77" not in left


def test_a_run_whose_books_cannot_be_written_is_not_all_good(start, tmp_path):
    (tmp_path / "out" / "logs" / "files.csv" / "x").mkdir(parents=True)
    with FakeS3(FEW) as server:
        process = start(server.url, FEW_NAMES, "--s3-prefix", "p/", "--auto-confirm")
        _, said = process.communicate(timeout=60)
    assert "files.csv" in said and process.returncode == 3, said


def test_a_disk_without_room_for_the_plan_is_no_fault_of_the_program(tmp_path):
    db = sqlite3.connect(":memory:")
    db.execute("PRAGMA max_page_count = 2")
    with pytest.raises(RunEnds, match=r"No room left in .*full") as ended, trouble_named(tmp_path):
        db.executescript("CREATE TABLE a (x); CREATE TABLE b (x); CREATE TABLE c (x);")
    assert "Make room" in ended.value.remedy
    with pytest.raises(RunEnds, match=r"No room left in .*No space"), trouble_named(tmp_path):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(sqlite3.OperationalError, match="no such table"), trouble_named(tmp_path):
        sqlite3.connect(":memory:").execute("SELECT * FROM missing")


def test_what_was_fetched_is_known_again_when_the_listing_moved_us_to_another_region(download, tmp_path):
    """As AWS does for a bucket in another region than the one that is set: the bucket has an address of its own there."""
    with FakeS3(FEW) as here, FakeS3(FEW) as there:
        here.etag = there.etag = lambda data: hashlib.md5(data).hexdigest() + "-2"
        here.hijack = lambda kind, key: elsewhere

        def elsewhere(connection: socket.socket) -> None:
            connection.sendall(b"HTTP/1.1 301 Moved\r\nx-amz-bucket-region: eu-north-1\r\ncontent-length: 0\r\n\r\n")

        # botocore's own rule for the addresses of the regions, with ours in it.
        (tmp_path / "sitecustomize.py").write_text(
            "import os\nimport common.s3.client as client\nmake = client.door_of\n"
            "def door_of(reach, session, boto):\n"
            "    if boto.meta.region_name == 'eu-north-1':\n"
            "        reach = reach._replace(endpoint_url=os.environ['THERE'])\n"
            "        boto = session.create_client('s3', region_name='eu-north-1', endpoint_url=os.environ['THERE'])\n"
            "    return make(reach, session, boto)\n"
            "client.door_of = door_of\n"
        )
        environment = {"THERE": there.url, "PYTHONPATH": f"{tmp_path}:{ROOT}"}
        first = download(here.url, FEW_NAMES, "--s3-prefix", "p/", **environment)
        assert first.code == 0 and there.count("get") == 4, first.said
        again = download(here.url, FEW_NAMES, "--s3-prefix", "p/", **environment)
    assert again.code == 0 and again.state["already_here"] == 4 and there.count("get") == 4, again.said


def test_a_stop_breaks_off_a_statement_that_takes_long():
    stop = StopSignal()
    with contextlib.closing(Plan("bkt", "p/")) as plan, pytest.raises(Stopped), plan.breaking_off(stop):
        stop.set(2)
        plan.add_names((f"{number}.jpg" for number in range(100_000)), stop.check)
