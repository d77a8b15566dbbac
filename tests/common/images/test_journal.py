"""The journal of an output folder: what it is believed, what it is not, and that nothing in it ends a run."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest

from common.images import journal as module
from common.images.journal import VOID, Journal, Recorder, line_of
from common.images.plan import Plan
from common.s3.address import source_of
from common.s3.bucket import Listed

SOURCE = source_of("http://here:9000", "bkt")
GOOD = line_of("a.jpg", "x/a.jpg", "e-1", 1)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    (tmp_path / ".download").mkdir()
    journal = Journal(tmp_path, SOURCE)
    journal.begin()
    return journal


def standing(journal: Journal, key: str = "x/a.jpg", *, keep: bool = True) -> tuple[int, list[str]]:
    """How many files count as being here, when `a.jpg` is to be this object; and what is said of those replaced."""
    folder = journal.path.parent.parent
    with contextlib.closing(Plan("bkt", "")) as plan:
        plan.add_names([key])
        plan.add_objects([Listed("x/a.jpg", 1, "e-1"), Listed("y/a.jpg", 1, "f-1")])
        plan.match()
        plan.remember(journal.read())
        plan.compare(folder, lambda path, md5: False, keep=keep)
        replaced = [file for files in plan.in_place_of() for file in files]
        last_lines = {path: size for path, _, _, size, _ in journal.read()}
        assert all(is_known == (last_lines.get(path, VOID) != VOID) for path, _, is_known in replaced)
        return plan.counts.already, [what for _, what, _ in replaced]


@pytest.mark.parametrize(
    "damage",
    [
        '{"file": "a.jpg", "key": "x/a.jpg", "etag": "e-1", "bytes": Infinity}',
        '{"file": "a.jpg", "key": "x/a.jpg", "etag": "e-1", "bytes": 1e999}',
        '{"file": "a.jpg", "key": "x/a.jpg", "etag": "e-1", "bytes": 12345678901234567890123}',
        '{"file": "a.jpg", "key": "x/a.jpg", "etag": "e-1", "bytes": NaN}',
        '{"file": "\\ud800.jpg", "key": "x/a.jpg", "etag": "e-1", "bytes": 1}',
        '{"file": "a.jpg", "key": "\\udfff", "etag": "e-1", "bytes": 1}',
        '{"void": "\\ud800"}',
        '{"source": 5}\n' + json.dumps({"source": "http://here:9000 bkt"}),
        "[" * 200_000,
        "[]",
        '"source"',
        "5",
        "null",
        "\0\0\0",
        '{"file": "b.jpg", "key"',
    ],
)  # fmt: skip
def test_a_damaged_line_is_passed_over_and_those_around_it_hold(journal, damage):
    (journal.path.parent.parent / "a.jpg").write_bytes(b"x")
    with journal.path.open("a") as file:
        file.write(f"{GOOD}\n{damage}\n{line_of('c.jpg', 'c.jpg', 'c-1', 5)}\n")
    assert standing(journal) == (1, [])
    assert list(journal.read())[-1] == ("c.jpg", "c.jpg", "c-1", 5, True)


def test_what_is_void_is_believed_no_longer_until_it_is_noted_anew(journal):
    (journal.path.parent.parent / "a.jpg").write_bytes(b"x")
    journal.add([GOOD])
    assert standing(journal) == (1, [])
    journal.void(["a.jpg", "never.jpg"])
    assert standing(journal) == (0, ["in place of another file of this name"])
    journal.add([line_of("a.jpg", "y/a.jpg", "f-1", 1)])
    assert standing(journal) == (0, ["in place of the file of another object"])
    assert standing(journal, "y/a.jpg") == (1, [])


@pytest.mark.parametrize("there", [True, False])
def test_before_the_file_of_another_object_comes_what_is_noted_of_this_one_is_to_be_void(journal, there):
    """Also when somebody has deleted the file: else a kill leaves the other one's bytes with this one's line."""
    if there:
        (journal.path.parent.parent / "a.jpg").write_bytes(b"x")
    journal.add([GOOD])
    what = "in place of the file of another object" if there else "in place of one that is gone"
    assert standing(journal, "y/a.jpg") == (0, [what])


def test_a_link_is_a_file_that_is_replaced_and_a_folder_is_not(journal):
    (journal.path.parent.parent / "a.jpg").symlink_to("nowhere")
    assert standing(journal) == (0, ["in place of another file of this name"])
    (journal.path.parent.parent / "a.jpg").unlink()
    (journal.path.parent.parent / "a.jpg").mkdir()
    assert standing(journal) == (0, [])


def test_without_resume_nothing_is_kept_and_what_is_there_is_told(journal):
    (journal.path.parent.parent / "a.jpg").write_bytes(b"x")
    journal.add([GOOD])
    assert standing(journal, keep=False) == (0, ["fetched again"])


@pytest.mark.parametrize(
    "noted",
    [
        "https://bkt.s3.eu-central-1.amazonaws.com",  # as our own connections noted it
        "https://s3.eu-central-1.amazonaws.com",  # as boto3 did
        "https://s3.amazonaws.com",
        "https://bkt.s3-accelerate.dualstack.amazonaws.com:443",
        "https://bucket.vpce-0a1b.s3.eu-central-1.vpce.amazonaws.com",
    ],
)
def test_a_bucket_of_aws_is_the_same_by_whichever_address_it_was_asked(tmp_path, noted):
    (tmp_path / ".download").mkdir()
    journal = Journal(tmp_path, source_of("https://bkt.s3.eu-central-1.amazonaws.com", "bkt"))
    journal.path.write_text(json.dumps({"journal": 1, "source": f"{noted} bkt"}) + f"\n{GOOD}\n")
    assert [line[-1] for line in journal.read()] == [True]
    journal.path.write_text(json.dumps({"journal": 1, "source": f"{noted} other"}) + f"\n{GOOD}\n")
    assert [line[-1] for line in journal.read()] == [False]


@pytest.mark.parametrize(
    ("ours", "botos"),
    [
        ("http://minio:9000", "http://minio:9000"),
        ("https://bkt.ceph.example", "https://ceph.example"),
        ("https://Ceph.example", "https://ceph.example/swift"),
    ],
)
def test_a_bucket_of_another_server_has_one_name_for_both_kinds_of_connections(ours, botos):
    assert source_of(ours, "bkt") == source_of(botos, "bkt") != source_of("https://elsewhere.example", "bkt")


def test_a_batch_of_files_is_durable_before_the_journal_says_so(journal, monkeypatch):
    did: list[str] = []
    monkeypatch.setattr(module, "sync_all", lambda folder: did.append(f"synced {folder}"))
    monkeypatch.setattr(journal, "add", lambda lines: did.append(f"noted {len(lines)}"))
    recorder = Recorder(journal.path.parent.parent, journal)
    recorder.saved([GOOD, GOOD])
    recorder.saved([GOOD])
    assert recorder.close(60)
    assert did == [f"synced {journal.path.parent.parent}", "noted 3"]


def test_what_could_not_be_made_durable_is_not_noted(journal, monkeypatch):
    def fails(folder: Path) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(module, "sync_all", fails)
    recorder = Recorder(journal.path.parent.parent, journal)
    recorder.saved([GOOD])
    with pytest.raises(OSError, match="Input/output"):
        recorder.close(60)
    assert list(journal.read()) == []


def test_all_on_the_file_system_is_synced(tmp_path):
    module.sync_all(tmp_path)
    with pytest.raises(FileNotFoundError):
        module.sync_all(tmp_path / "never")
