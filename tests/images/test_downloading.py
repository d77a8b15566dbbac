"""Whole runs of --mode images against moto, over sockets."""

from __future__ import annotations

import csv
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

ROOT = Path(__file__).resolve().parent.parent.parent
KEYS = {
    "data/a.jpg": b"jpeg", "data/b.png": b"png", "data/deep/c.JPG": b"c", "data/x/dup.jpg": b"one",
    "data/y/dup.jpg": b"two", "data/Case.jpg": b"upper", "data/case.jpg": b"lower", "data/sp ace+ü&<.jpg": b"odd",
    "data/../../evil.jpg": b"evil", "data/img.v1.png": b"v1", "other/z.jpg": b"z", "data/n": b"no extension",
}  # fmt: skip


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    client = _client(url)
    client.create_bucket(Bucket="bkt")
    for key, data in KEYS.items():
        client.put_object(Bucket="bkt", Key=key, Body=data)
    for number in range(1100):
        client.put_object(Bucket="bkt", Key=f"many/{number:04}.jpg", Body=b"%d" % number)
    yield url
    server.stop()


def _client(url: str):
    return boto3.client(
        "s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
    )


@pytest.mark.parametrize("transport", ["auto", "boto3"])
def test_names_are_found_in_every_way_and_saved_under_the_asked_name_with_the_true_extension(moto, download, transport):
    names = ["a.jpg", "b.jpg", "c", "dup.jpg", "Case.jpg", "case.jpg", "sp ace+ü&<.jpg", "../../evil.jpg", "img.v1",
             "nope.jpg", "img", "n.jpg", "s3://bkt/data/a.jpg", "data/a.jpg"]  # fmt: skip
    run = download(moto, names, "--s3-prefix", "data/", "--verify", "--transport", transport)
    files = run.files
    upper, lower = (next(name for name in files if name.startswith(start)) for start in ("Case__", "case__"))
    assert files == {
        "a.jpg": b"jpeg", "b.png": b"png", "c.JPG": b"c", upper: b"upper", lower: b"lower", "sp ace+ü&_.jpg": b"odd",
        "evil.jpg": b"evil", "img.v1.png": b"v1", "n": b"no extension",
    }  # fmt: skip
    assert run.code == 3
    assert (run.folder / "logs" / "missing.txt").read_text() == "nope.jpg\nimg\n"
    with open(run.folder / "logs" / "ambiguous.csv", newline="") as file:
        assert list(csv.reader(file))[1:] == [["dup.jpg", "data/x/dup.jpg", "data/y/dup.jpg"]]
    with open(run.folder / "logs" / "files.csv", newline="") as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    assert set(rows) == set(names)
    assert (
        rows["b.jpg"]["key"] == "data/b.png" and rows["b.jpg"]["file"] == "b.png" and rows["b.jpg"]["state"] == "done"
    )
    assert run.state["status"] == "finished" and run.state["downloaded"] == 9
    assert len(re.findall(r"^\S+Z saved ", run.log, re.M)) == 9
    assert re.fullmatch(r"download_\d{8}_\d{6}\.log", next((run.folder / "logs").glob("*.log")).name)


def test_a_second_run_fetches_nothing_and_one_after_a_change_only_what_changed(moto, download):
    _client(moto).put_object(Bucket="bkt", Key="data/a.jpg", Body=b"jpeg")
    names = ["a.jpg", "b.jpg"]
    assert download(moto, names, "--s3-prefix", "data/").code == 0
    again = download(moto, names, "--s3-prefix", "data/")
    assert again.code == 0 and again.state["already_here"] == 2 and again.state["downloaded"] == 0
    _client(moto).put_object(Bucket="bkt", Key="data/a.jpg", Body=b"JPEG")
    changed = download(moto, names, "--s3-prefix", "data/")
    assert "(1 changed since it was fetched)" in changed.out
    assert changed.state["downloaded"] == 1 and changed.files["a.jpg"] == b"JPEG"
    afresh = download(moto, names, "--s3-prefix", "data/", "--resume", "false")
    assert afresh.state["downloaded"] == 2
    _client(moto).put_object(Bucket="bkt", Key="data/a.jpg", Body=b"jpeg")


def test_what_was_missing_is_looked_for_again_and_a_damaged_file_is_fetched_again(moto, download):
    assert download(moto, ["later.jpg", "b"], "--s3-prefix", "data/").code == 3
    _client(moto).put_object(Bucket="bkt", Key="data/later.jpg", Body=b"now")
    run = download(moto, ["later.jpg", "b"], "--s3-prefix", "data/")
    assert run.code == 0 and run.state["downloaded"] == 1
    (run.folder / "b.png").write_bytes(b"torn file")
    repaired = download(moto, ["later.jpg", "b"], "--s3-prefix", "data/")
    assert repaired.files["b.png"] == b"png" and "(1 is not as it was fetched)" in repaired.out
    _client(moto).delete_object(Bucket="bkt", Key="data/later.jpg")


def test_files_that_the_journal_does_not_know_are_recognised_by_their_md5(moto, download, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.jpg").write_bytes(b"jpeg")
    (tmp_path / "out" / "b.png").write_bytes(b"PNG")
    run = download(moto, ["a.jpg", "b.png"], "--s3-prefix", "data/")
    assert run.state["already_here"] == 1 and run.state["downloaded"] == 1
    assert "(1 replaces another file of the same name)" in run.out
    assert run.files == {"a.jpg": b"jpeg", "b.png": b"png"}


def test_a_journal_of_another_bucket_does_not_count(moto, download):
    client = _client(moto)
    client.create_bucket(Bucket="elsewhere")
    client.put_object(Bucket="elsewhere", Key="data/a.jpg", Body=b"JPEG")
    assert download(moto, ["a.jpg"], "--s3-prefix", "data/").files == {"a.jpg": b"jpeg"}
    other = download(moto, ["a.jpg"], "--s3-prefix", "data/", "--bucket", "elsewhere")
    assert other.files == {"a.jpg": b"JPEG"}
    assert "(1 replaces the file of another object)" in other.out


def test_the_file_of_another_object_is_not_said_to_have_changed(moto, download):
    download(moto, ["data/x/dup.jpg"])
    other = download(moto, ["data/y/dup.jpg"])
    assert other.files == {"dup.jpg": b"two"} and "(1 replaces the file of another object)" in other.out
    assert other.state["counts"]["of_others"] == 1 and other.state["counts"]["changed"] == 0


def test_folders_that_cannot_be_kept_are_counted(moto, download):
    run = download(moto, ["evil.jpg", "c.JPG"], "--s3-prefix", "data/", "--keep-folders")
    assert run.files == {"evil.jpg": b"evil", "deep/c.JPG": b"c"}
    assert re.search(r"^found +2 \(1 cannot keep its folders, see logs/files.csv\)$", run.out, re.M)


def test_several_pages_are_listed_and_folders_are_kept_when_asked_for(moto, download):
    run = download(moto, ["many/0000", "1099", "c"], "--keep-folders")
    assert run.code == 0
    assert run.files == {"many/0000.jpg": b"0", "many/1099.jpg": b"1099", "data/deep/c.JPG": b"c"}


@pytest.mark.parametrize("flags", [("--s3-prefix", "man"), ("--s3-prefix", "s3://bkt/many/000")])
def test_a_prefix_without_a_slash_is_a_folder_and_not_the_beginning_of_others(moto, download, flags):
    run = download(moto, ["0000"], *flags)
    assert run.code == 2 and run.state["status"] == "failed" and run.files == {}, run.said
    assert "Nothing lies under man" in run.err and "These are there: many/" in run.err, run.said


@pytest.mark.parametrize("prefix", ["data", "/data", "s3://bkt/data", "s3://bkt"])
def test_a_folder_is_named_with_or_without_its_slashes(moto, download, prefix):
    run = download(moto, ["a.jpg"], "--s3-prefix", prefix)
    assert run.code == 0 and run.files == {"a.jpg": b"jpeg"}


def test_a_rule_chooses_among_several(moto, download):
    assert download(moto, ["dup.jpg"], "--ambiguous", "first").files == {"dup.jpg": b"one"}


def test_a_dry_run_and_a_run_that_nobody_can_confirm_leave_nothing(moto, start, tmp_path):
    dry = start(moto, ["a.jpg", "nope"], "--s3-prefix", "data/", "--dry-run")
    out, err = dry.communicate(timeout=60)
    assert (
        dry.returncode == 0 and "found          1" in out and "missing        1: nope; a run writes all to logs/" in out
    ), err
    assert err.endswith("Dry run: nothing was fetched. 1 of 2 names would come, 1 is missing.\n"), err
    refused = start(moto, ["a.jpg"], "--s3-prefix", "data/")
    _, err = refused.communicate(timeout=60)
    assert refused.returncode == 2 and "--auto-confirm" in err
    assert not (tmp_path / "out").exists()


def test_a_dry_run_into_what_is_no_folder_says_so(moto, start, tmp_path):
    (tmp_path / "out").write_text("a file")
    dry = start(moto, ["a.jpg"], "--dry-run")
    _, err = dry.communicate(timeout=60)
    assert dry.returncode == 2 and "out cannot be read: Not a directory" in err, err


@pytest.mark.parametrize(
    ("names", "typed", "code", "there"),
    [
        ("n.csv", b"y\n", 0, True),
        ("n.csv", b"n\n", 1, False),
        ("-", b"a.jpg\n\x04y\n", 0, True),  # one Ctrl+D ends the names
    ],
)
def test_a_person_at_a_terminal_is_asked(moto, tmp_path, names, typed, code, there):
    (tmp_path / "n.csv").write_text("a.jpg\n")
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "downloader.py"), "--mode", "images", "--csv-file", names, "--output-dir", "out",
         "--s3-prefix", "s3://bkt/data/", "--endpoint-url", moto],
        cwd=tmp_path, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "CVAT_ENV_DIR": str(tmp_path), "CVAT_IMAGES_MIN_FREE_GB": "0",
             "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"},
    )  # fmt: skip
    os.write(ours, typed)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert (tmp_path / "out" / "a.jpg").exists() is there


def test_names_from_a_pipe_are_read_as_those_of_a_file(moto, download, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = subprocess.Popen(["sh", "-c", f"printf 'filename\\na.jpg\\nb\\n' > {pipe}"])
    run = download(moto, pipe, "--s3-prefix", "data/")
    assert writer.wait(60) == 0
    assert run.code == 0 and run.files == {"a.jpg": b"jpeg", "b.png": b"png"}
    assert run.state["csv_file"] == str(pipe)


def test_a_dash_means_the_names_on_standard_input(moto, download):
    run = download(moto, "filename\na.jpg\nb\n", "--s3-prefix", "data/")
    assert run.code == 0 and run.files == {"a.jpg": b"jpeg", "b.png": b"png"}


@pytest.mark.parametrize(
    ("given", "flags", "said"),
    [
        ("", (), "CVAT_IMAGES_CSV_FILE=/dev/stdin holds no names."),
        ("a,b\n1.jpg,2.jpg\n", ("--csv-column", "nosuch"), "CVAT_IMAGES_CSV_FILE=/dev/stdin: "),
        (
            "id,photo\n",
            ("--csv-column", "2"),
            "CVAT_IMAGES_CSV_FILE=/dev/stdin holds no names: its only one, 'photo', is not in the bucket",
        ),
        (
            "filename,n\n" + "a.jpg,1\n" * 300 + 'b.png,"2\n' + "a.jpg,1\n" * 300,
            (),
            "CVAT_IMAGES_CSV_FILE=/dev/stdin: a quote that opens in line 302 is never closed.\n"
            "Look for a quote that is not closed.",
        ),
    ],
)
def test_what_is_wrong_with_standard_input_is_said_of_it_and_not_of_our_copy(moto, download, given, flags, said):
    run = download(moto, given, "--s3-prefix", "data/", *flags)
    assert run.code == 2 and said in run.err and "/dev/fd" not in run.err


def test_a_first_line_that_may_be_a_title_is_one_only_if_no_object_is_called_so(moto, download, tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("a\nb.png\nc.JPG\n")
    named = download(moto, path, "--s3-prefix", "data/")
    assert named.code == 0 and set(named.files) == {"a.jpg", "b.png", "c.JPG"}
    path.write_text("pictures\nb.png\nc.JPG\n")
    titled = download(moto, path, "--s3-prefix", "data/")
    assert titled.code == 0 and titled.state["counts"]["wanted"] == 2
    assert (
        "2 names in" in titled.out
        and "(column pictures, the first line 'pictures' was taken for a title)" in titled.out
    )


def test_what_draws_on_terminals_is_not_loaded_where_there_is_none(tmp_path):
    line = "import sys, common.images.run; print('rich' in sys.modules); import rich; print(rich.__name__)"
    done = subprocess.run([sys.executable, "-c", line], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.split() == ["False", "rich"], done.stderr


def test_all_that_is_wrong_with_the_settings_is_said_at_once(tmp_path):
    done = subprocess.run(
        [sys.executable, str(ROOT / "downloader.py"), "--mode", "images", "--workers", "0", "--endpoint-url", "minio:9000"],
        capture_output=True, text=True, cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "CVAT_ENV_DIR": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 2
    for word in (
        "CVAT_IMAGES_CSV_FILE",
        "CVAT_IMAGES_OUTPUT_DIR",
        "CVAT_IMAGES_BUCKET",
        "CVAT_IMAGES_WORKERS",
        "http://",
    ):
        assert word in done.stderr


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("http://minio_s3:9000", "CVAT_IMAGES_ENDPOINT_URL='http://minio_s3:9000' names a host with an underscore"),
        ("http://user:open-sesame@a..b", "must not hold a user or a password"),
        ("http://user:open-/sesame@127.0.0.1:9", "must not hold a user or a password"),
        ("http://user:open\nsesame@127.0.0.1:9", "must not hold a user or a password"),
    ],
)
def test_an_address_that_is_none_is_named_with_all_other_wrong_settings_and_no_password(tmp_path, address, said):
    done = subprocess.run(
        [sys.executable, str(ROOT / "downloader.py"), "--mode", "images", "--workers", "0", "--endpoint-url", address],
        capture_output=True, text=True, cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "CVAT_ENV_DIR": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 2
    assert said in done.stderr and "CVAT_IMAGES_WORKERS" in done.stderr, done.stderr
    assert "sesame" not in done.stderr and "open" not in done.stderr, done.stderr


def test_no_bucket_no_credentials_no_column(moto, download, tmp_path):
    nobody: Callable[..., object] = download
    gone = nobody(moto, ["a"], "--bucket", "no-such-bucket")
    assert gone.code == 2 and "no such bucket" in gone.err
    without = download(moto, ["a"], AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY="")
    assert without.code == 12 and "aws sso login" in without.err
    column = download(moto, ["a"], "--csv-column", "nonsense")
    assert column.code == 2 and "nonsense" in column.err
    profile = download(moto, ["a"], "--profile", "nobody")
    assert profile.code == 2 and "nobody" in profile.err
