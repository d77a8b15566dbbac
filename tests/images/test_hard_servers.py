"""Servers and buckets that are allowed to be the way they are, and a run that must come through or say what is wrong."""

from __future__ import annotations

import contextlib
import csv
import errno
import hashlib
import os
import socket
import sqlite3
import threading
import time

import pytest

from common.exits import RunEnds
from common.images.folder import trouble_named
from common.images.plan import Plan
from common.images.report import Report
from common.text import now
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


@pytest.mark.parametrize("transport", ["auto", "boto3"])
def test_a_size_that_no_object_can_have_makes_no_listing(download, transport):
    listing = (
        b"<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>p/00.jpg</Key><LastModified>"
        b"2026-01-01T00:00:00.000Z</LastModified><ETag>&quot;e&quot;</ETag><Size>9223372036854775808</Size></Contents>"
        b"</ListBucketResult>"
    )
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/xml\r\nContent-Length: %d\r\n\r\n%b" % (
        len(listing),
        listing,
    )
    with FakeS3({}, lambda kind, key, number: ("raw", answer) if kind == "list" else None) as server:
        run = download(server.url, ["00.jpg"], "--s3-prefix", "p/", "--retry-seconds", "1", "--transport", transport)
    assert run.code == 1 and "The bucket could not be listed: an object in the server's listing has a size" in run.err


def raw_answer(body: bytes, *headers: str, status: str = "200 OK") -> tuple[str, bytes]:
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(body)}", *headers]
    return "raw", "\r\n".join([*lines, "", ""]).encode() + body


def etag_of(data: bytes) -> str:
    return f'etag: "{hashlib.md5(data).hexdigest()}"'


@pytest.mark.parametrize("transport", ["auto", "boto3"])
@pytest.mark.parametrize(
    "answer",
    [
        raw_answer(bytes([3]) * 100, etag_of(FEW["p/03.jpg"])),
        raw_answer(bytes([3]) * 2002, etag_of(FEW["p/03.jpg"])),
        raw_answer(b"<html>log in</html>"),
        raw_answer(b"<Error><Code>InternalError</Code></Error>"),
        raw_answer(b""),
    ],
    ids=["half of it", "more of it", "a login page", "an error", "nothing"],
)
def test_a_body_of_another_size_than_the_listings_is_never_the_file(download, transport, answer):
    args = (FEW_NAMES, "--s3-prefix", "p/", "--retry-seconds", "1", "--transport", transport)
    with FakeS3(FEW, lambda kind, key, number: answer if key == "p/03.jpg" else None) as server:
        run = download(server.url, *args)
        assert run.code == 3 and len(run.files) == 3, run.said
        assert "FAILED    p/03.jpg: the server sends " in run.err and "and the listing says 2,000" in run.err
        server.fault = lambda kind, key, number: answer if kind == "get" and number == 1 else None
        server.asked.clear()
        healed = download(server.url, *args)
    assert healed.code == 0 and healed.files == {key[2:]: data for key, data in FEW.items()}, healed.said


@pytest.mark.parametrize("transport", ["auto", "boto3"])
@pytest.mark.parametrize("size", [2_000, 40 << 20])
def test_an_object_that_was_changed_after_the_listing_stands_in_the_books_as_it_was_saved(download, transport, size):
    with FakeS3({"p/a.jpg": bytes(size)}) as server:
        newer = b"newer" * 1000

        def change(kind: str, key: str, number: int) -> None:
            if kind == "get":
                server.objects["p/a.jpg"] = newer

        server.fault = change
        args = (server.url, ["a.jpg"], "--s3-prefix", "p/", "--verify", "--transport", transport)
        run = download(*args)
        assert run.code == 0 and run.files == {"a.jpg": newer}, run.said
        with open(run.folder / "logs" / "files.csv", newline="") as file:
            (row,) = csv.DictReader(file)
        assert (row["state"], row["bytes"], row["etag"]) == ("done", "5000", hashlib.md5(newer).hexdigest())
        again = download(*args)
    assert again.code == 0 and again.state["already_here"] == 1, again.said


def test_a_large_object_that_becomes_a_login_page_is_never_done(download):
    big = os.urandom(50 << 20)

    def portal(kind: str, key: str, number: int):
        return raw_answer(b"<html>log in</html>") if kind == "get" and number > 1 else None

    args = (["big.bin"], "--s3-prefix", "p/", "--retry-seconds", "1")
    with FakeS3({"p/big.bin": big}, portal) as server:
        run = download(server.url, *args)
        assert run.code in (1, 3) and not run.files, run.said
        server.fault = lambda kind, key, number: None
        healed = download(server.url, *args)
    assert healed.code == 0 and healed.files == {"big.bin": big}, healed.said


def test_a_file_that_an_earlier_version_took_for_whole_is_fetched_again(download, tmp_path):
    args = (["a.jpg"], "--s3-prefix", "p/")
    with FakeS3({"p/a.jpg": b"whole"}) as server:
        download(server.url, *args)
        journal = tmp_path / "out" / ".download" / "journal.jsonl"
        journal.write_text(journal.read_text().replace('"bytes": 5', '"bytes": 2'))
        (tmp_path / "out" / "a.jpg").write_bytes(b"wh")
        run = download(server.url, *args)
    assert run.code == 0 and run.files == {"a.jpg": b"whole"}, run.said


def test_an_object_without_an_etag_of_its_own_is_known_again_by_the_listings(download):
    data = b"no etag"
    with FakeS3({"p/a.jpg": data}, lambda kind, key, number: raw_answer(data) if kind == "get" else None) as server:
        server.etag = lambda data: "of-the-listing"
        args = (server.url, ["a.jpg"], "--s3-prefix", "p/")
        assert download(*args).code == 0
        again = download(*args)
    assert again.code == 0 and again.state["already_here"] == 1, again.said


@pytest.mark.parametrize("transport", ["auto", "boto3"])
def test_one_object_that_is_said_to_be_in_another_region_fails_alone(download, transport):
    moved = raw_answer(b"", "x-amz-bucket-region: eu-west-1", status="301 Moved")
    with FakeS3(FEW, lambda kind, key, number: moved if key == "p/03.jpg" else None) as server:
        run = download(server.url, FEW_NAMES, "--s3-prefix", "p/", "--transport", transport)
    assert run.code == 3 and len(run.files) == 3, run.said
    assert "FAILED    p/03.jpg: the server says that it is in the region eu-west-1" in run.err


def test_a_body_that_breaks_off_is_fetched_again_by_boto3_too(download):
    with FakeS3(FEW, lambda kind, key, number: ("cut", 3) if kind == "get" and number == 1 else None) as server:
        run = download(server.url, FEW_NAMES, "--s3-prefix", "p/", "--transport", "boto3")
    assert run.code == 0 and run.files == {key[2:]: data for key, data in FEW.items()}, run.said


@pytest.mark.parametrize("when", ["from the beginning", "in the middle"])
def test_a_clock_that_is_wrong_ends_with_refused_credentials_whenever_it_shows(download, when):
    def skewed(kind: str, key: str, number: int):
        if when == "from the beginning" or key == "p/3.jpg":
            return (403, "RequestTimeTooSkewed")
        return None

    with FakeS3({f"p/{number}.jpg": b"x" for number in range(4)}, skewed) as server:
        run = download(server.url, ["0", "1", "2", "3"], "--s3-prefix", "p/", "--processes", "1", "--workers", "1")
    assert run.code == 12 and "Set the clock" in run.err, run.said
    assert len(run.files) == (3 if when == "in the middle" else 0)


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
        plan._number(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 3000000) SELECT max(i) FROM n"
        )


def test_a_stop_breaks_off_a_long_list_and_that_of_the_run_before_stays(tmp_path):
    stop = StopSignal()
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "missing.txt").write_text("before")
    with contextlib.closing(Plan("bkt", "p/")) as plan:
        plan.add_names(f"{number}.jpg" for number in range(50_000))
        plan.match()
        report = Report(tmp_path, now(), "id", {})
        with pytest.raises(Stopped), plan.breaking_off(stop):
            stop.set(2)
            report.write_lists(plan, everything=True)
    assert [path.read_text() for path in (tmp_path / "logs").iterdir()] == ["before"]


def test_a_stop_breaks_off_the_reading_of_a_long_journal():
    read = []

    def lines():
        for number in range(100_000):
            read.append(number)
            yield f"{number}.jpg", "key", "etag", 1, True

    def check() -> None:
        if read:
            raise Stopped

    with contextlib.closing(Plan("bkt", "p/")) as plan, pytest.raises(Stopped):
        plan.remember(lines(), check)
    assert len(read) < 10_000
