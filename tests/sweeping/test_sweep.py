"""sweeper.py over folders as backup.py leaves them."""

from __future__ import annotations

import os
import shutil
import time
from datetime import timedelta
from pathlib import Path

import pytest

from common.backups import removal
from common.backups.record import read
from common.backups.store import Backup, backups_in
from common.lock import locked
from tests.sweeping.shelves import CONTENT, NOW


def nights(shelf, count: int = 6, **more):
    for night in reversed(range(count)):
        shelf.add(1 + 24 * night, **more)


# --- deleting ---------------------------------------------------------------------------------------------------


def test_what_is_older_than_the_ttl_goes_with_record_and_files_and_every_file_has_a_reason_in_the_log(shelf, sweep):
    mine = shelf()
    nights(mine)
    nights(mine, content="annotations")
    done = sweep(ttl="48", min_num_backups="1")
    assert done.code == 0
    assert mine.ages == [1, 25]
    assert len(os.listdir(mine.folder)) == 2 * 2 + 2 * 3
    gone = done.happened("file_goes")
    assert len(gone) == 4 + 8
    assert all("older than the TTL" in line["reason"] for line in gone)
    assert {line["reason"] for line in done.happened("file_kept")} == {"the newest good backup", "younger than the TTL"}
    assert done.last_run["counts"] == {
        "sources": 1, "kept": 4, "deleted": 8, "debris": 0, "held_back": 0, "marked_bad": 0, "look": 0, "failed": 0,
    }  # fmt: skip
    assert done.last_run["exit_code"] == 0
    assert done.last_run["freed_bytes"] == len(CONTENT) * 12


def test_a_dry_run_names_each_file_with_keep_or_delete_and_the_reason_and_changes_nothing(shelf, sweep, tmp_path):
    mine = shelf()
    nights(mine)
    before = sorted(str(path) for path in tmp_path.rglob("*"))
    done = sweep("--dry-run", ttl="48")
    assert done.code == 0
    lines = [line.split() for line in done.out.splitlines() if line.startswith("  ")]
    assert [line[0] for line in lines] == ["keep", "keep", "delete", "delete", "delete", "delete"]
    assert all(line[1].endswith(".zip") and "(" in line[2] for line in lines)
    assert "4 backups would go" in done.out
    assert sorted(str(path) for path in tmp_path.rglob("*")) == before


def test_without_a_ttl_and_a_keep_rule_nothing_goes_not_even_for_size(shelf, sweep):
    mine = shelf()
    nights(mine, 20)
    done = sweep(ttl="0", max_size="0.000000001")
    assert done.code == 0
    assert len(mine.ages) == 20
    assert "No backup is deleted: neither CVAT_BACKUP_TTL nor a keep rule" in done.out


def test_the_predecessors_wrapper_with_its_ttl_of_zero_and_minimum_of_two_deletes_nothing(shelf, sweep):
    mine = shelf()
    nights(mine)
    assert sweep(ttl="0", min_num_backups="2").code == 0
    assert len(mine.ages) == 6


@pytest.mark.parametrize("minimum", ["0", "-1"])
def test_a_minimum_of_zero_is_refused(shelf, sweep, minimum):
    mine = shelf()
    nights(mine)
    done = sweep(min_num_backups=minimum)
    assert done.code == 2
    assert "CVAT_MIN_NUM_BACKUPS" in done.err
    assert len(mine.ages) == 6


def test_the_older_name_of_the_ttl_is_understood_and_a_contradiction_refused(shelf, sweep, monkeypatch, tmp_path):
    mine = shelf()
    nights(mine)
    (tmp_path / ".env").write_text("CVAT_BACKUP_TTL=720\n")
    monkeypatch.setenv("CVAT_BACKUP_TTL_HOURS", "48")
    monkeypatch.setattr("tests.sweeping.conftest.NOW", NOW)
    assert sweep("--dry-run", ttl="").out.count("  delete") == 4
    monkeypatch.setenv("CVAT_BACKUP_TTL", "24")
    done = sweep(ttl="")
    assert done.code == 2
    assert "CVAT_BACKUP_TTL_HOURS" in done.err
    assert len(mine.ages) == 6
    monkeypatch.setenv("CVAT_BACKUP_TTL", "48")
    assert sweep("--dry-run", ttl="").code == 0


def test_each_source_is_counted_by_itself_whatever_it_is_called(shelf, sweep):
    front, rear = shelf(id=1, name="car_front"), shelf(id=2, name="car_rear")
    reborn = shelf(id=1, name="car_front", created_at="2026-05-05T00:00:00Z")
    elsewhere = shelf(id=1, name="car_front", server="other.example.com")
    for one in (front, reborn, elsewhere):
        one.add(500)
        one.attempt(1)
    nights(rear, 4)
    assert sweep(min_num_backups="1").code == 0
    assert [one.ages for one in (front, reborn, elsewhere, rear)] == [[500], [500], [500], [1]]


@pytest.mark.parametrize("outcome", ["failed", "gone"])
def test_after_a_failed_attempt_nothing_of_the_source_goes_unless_somebody_insists(shelf, sweep, outcome):
    broken, fine = shelf(id=1), shelf(id=2)
    nights(broken)
    broken.attempt(0.5, outcome)
    nights(fine)
    done = sweep()
    assert done.code == 0
    assert len(broken.ages) == 6 and fine.ages == [1]
    assert "held back: its newest attempt failed" in done.out
    assert done.happened("source_held_back")
    assert done.last_run["counts"]["held_back"] == 1
    sweep("--even-if-stale")
    assert broken.ages == [1]


def test_when_backup_py_has_not_run_for_days_nothing_goes(shelf, sweep):
    mine = shelf()
    nights(mine)
    assert sweep(at=NOW + timedelta(days=4)).code == 0
    assert len(mine.ages) == 6
    sweep("--even-if-stale", at=NOW + timedelta(days=4))
    assert len(mine.ages) == 1


def test_a_source_that_is_only_confirmed_as_unchanged_is_not_stale(shelf, sweep):
    mine = shelf()
    for hours in (300, 250, 200):
        mine.add(hours)
    mine.attempt(150, "unchanged")
    for hours in (126, 102, 78, 54, 30, 6):
        mine.attempt(hours, "unchanged")
    sweep()
    assert mine.ages == [200]


# --- what cannot be trusted -------------------------------------------------------------------------------------


@pytest.mark.parametrize("harm", ["short", "missing", "record torn", "record of the future", "record of another file"])
@pytest.mark.parametrize("which", [0, 3])
def test_nothing_goes_when_a_record_and_its_file_disagree_and_the_run_says_so(shelf, sweep, harm, which):
    mine = shelf()
    paths = [mine.add(1 + 24 * night) for night in reversed(range(6))][::-1]
    path = paths[which]
    record = path.with_name(path.name + ".json")
    if harm == "short":
        path.write_bytes(b"PK")
    elif harm == "missing":
        path.unlink()
    elif harm == "record torn":
        record.write_text(record.read_text()[:100])
    elif harm == "record of the future":
        record.write_text(record.read_text().replace('"version": 1', '"version": 99'))
    else:
        record.write_text(paths[5].with_name(paths[5].name + ".json").read_text())
    before = sorted(os.listdir(mine.folder))
    done = sweep()
    assert done.code == 3
    assert "LOOK" in done.out
    assert done.last_run["look"]
    left = sorted(os.listdir(mine.folder))
    assert left == before


def test_a_backup_marked_as_bad_counts_for_nothing_is_not_touched_and_holds_up_nobody(shelf, sweep):
    mine = shelf()
    paths = [mine.add(1 + 24 * night) for night in reversed(range(4))][::-1]
    Backup(read(paths[0].with_name(paths[0].name + ".json")), mine.folder).mark_bad("its hash is another")
    done = sweep()
    assert done.code == 0
    assert mine.ages == [1, 25]
    assert "its hash is another" in done.out
    assert done.last_run["counts"]["marked_bad"] == 1


def test_a_sudden_drop_is_loud_and_freezes_the_source_until_somebody_acknowledges_it(shelf, sweep):
    mine, other = shelf(id=12), shelf(id=13)
    nights(mine, 5)
    mine.add(0.5, shapes=4)
    nights(other)
    for _ in range(2):
        done = sweep()
        assert done.code == 3
        assert "4 annotations, the one before it had 10" in done.out
        assert "--acknowledge project:12" in done.out
        assert len(mine.ages) == 6 and other.ages == [1]
    done = sweep("--acknowledge", "project:12")
    assert done.code == 0
    assert sweep().code == 0
    assert mine.ages == [0.5, 1]


def test_after_an_acknowledgement_the_next_drop_is_one_again(shelf, sweep):
    mine = shelf(id=12)
    nights(mine, 3)
    mine.add(0.9, shapes=4)
    sweep("--acknowledge", mine.folder.name)
    mine.add(0.5, shapes=1)
    assert sweep().code == 3


@pytest.mark.parametrize("name", ["project:99", "task:12", "nonsense", "project:12"])
def test_an_acknowledgement_that_does_not_name_one_source_is_refused(shelf, sweep, name):
    shelf(id=12).add(1)
    shelf(id=12, created_at="2020-01-01T00:00:00Z").add(1)
    done = sweep("--acknowledge", name)
    assert done.code == 2
    assert name in done.err


def test_an_acknowledgement_that_cannot_be_written_says_where(shelf, sweep):
    mine = shelf(id=12)
    mine.add(1)
    (mine.folder / "acknowledged.json").mkdir()
    done = sweep("--acknowledge", "project:12")
    assert done.code == 2 and f"--acknowledge: {mine.folder} cannot be read or written" in done.err


def test_a_server_whose_journal_cannot_be_read_loses_nothing_and_the_others_are_swept(shelf, sweep):
    mine, other = shelf(id=12), shelf(id=13, server="other.example.com")
    nights(mine, 5)
    nights(other, 5)
    (mine.server / "runs.jsonl").unlink()
    (mine.server / "runs.jsonl").mkdir()
    done = sweep()
    assert done.code == 3 and "its journal cannot be read (Is a directory)" in done.err, done.out + done.err
    assert len(mine.ages) == 5 and other.ages == [1]


# --- size ---------------------------------------------------------------------------------------------------------


def test_max_size_takes_the_oldest_of_all_sources_first_beyond_ttl_and_keep_rules_but_not_the_minimum(shelf, sweep):
    one, two = shelf(id=1), shelf(id=2)
    nights(one, 6)
    for night in reversed(range(6)):
        two.add(13 + 24 * night)
    limit = str(7 * len(CONTENT) / 1e9)
    done = sweep("--dry-run", ttl="10000", max_size=limit)
    assert done.out.count("  delete") == 5
    assert sweep(ttl="10000", min_num_backups="2", max_size=limit).code == 0
    assert one.ages == [1, 25, 49, 73] and two.ages == [13, 37, 61]
    done = sweep(ttl="10000", min_num_backups="2", max_size="0.000000001")
    assert one.ages == [1, 25] and two.ages == [13, 37]
    assert "still exceeded" in done.out


def test_max_size_takes_nothing_of_a_source_that_a_law_protects(shelf, sweep):
    mine = shelf()
    nights(mine)
    mine.attempt(0.5, "failed")
    sweep(ttl="10000", max_size="0.000000001")
    assert len(mine.ages) == 6


# --- debris and strangers -------------------------------------------------------------------------------------------


def test_debris_older_than_a_day_goes_and_nothing_that_is_not_ours(shelf, sweep):
    mine = shelf()
    good = mine.add(1)
    stem = good.name.split("_backup_")[0]
    old = [
        ".backup.part", ".backup.part.json", ".annotations-coco-1.0.part", ".backup.rewritten", ".backup-left-out.staged",
        f".{stem}_backup_20261101T000000Z.zip.json.pending.tmp", f"..{stem}_backup_20261101T000000Z.zip.json.tmp",
        f".{stem}_backup_20261101T000000Z.zip.json.pending",
        f"{stem}_backup_20261102T000000Z.zip", f"{stem}_backup_20261102T000000Z_left-out.json",
    ]  # fmt: skip
    strangers = [
        "notes.txt", ".hidden", "backup.zip", f"{stem}_backup_20271102T000000Z.zip", "metadata_20261101T000000Z.json",
        f"{stem}_annotations_20261102T000000Z_api.zip", "acknowledged.json", ".DS_Store", ".backup-notes.txt",
    ]  # fmt: skip
    for name in (*old, *strangers):
        mine.put(name)
    young = mine.put(".backup-task-7.part", days_ago=0.9)
    done = sweep()
    left = set(os.listdir(mine.folder))
    assert done.code == 0
    assert left == {good.name, f"{good.name}.json", young.name, *strangers}
    assert done.last_run["counts"]["debris"] == len(old)


@pytest.mark.parametrize(
    "name",
    ["Copy of {}.zip", "keep-{}.zip", "{}.copy.zip", "Copy of {}_left-out.json", ".keep-{}.zip.json.tmp",
     ".keep-{}.zip.json.pending", "project-1-road-signs_backup_20261102T000000Z.zip", "project-123_backup_20261102T000000Z.zip",
     "task-12_backup_20261102T000000Z.zip"],
)  # fmt: skip
def test_a_file_that_a_person_renamed_or_that_is_another_sources_is_no_debris(shelf, sweep, name):
    mine = shelf(id=12)
    for hours in (500, 300, 1):
        path = mine.add(hours)
    for hours in range(480, 0, -20):
        mine.attempt(hours)
    stranger = mine.put(name.format(path.name.split("_backup_")[0] + "_backup_20261102T000000Z"))
    done = sweep()
    assert done.code == 0
    assert stranger.exists()
    assert mine.ages == [1]


def test_a_persons_copy_of_a_backup_with_its_record_is_left_alone_and_holds_up_nobody(shelf, sweep):
    mine = shelf()
    for hours in (500, 300, 1):
        path = mine.add(hours)
    for hours in range(480, 0, -20):
        mine.attempt(hours)
    copies = [mine.put(f"Copy of {each.name}", content=each.read_bytes()) for each in (path, Path(f"{path}.json"))]
    assert sweep().code == 0
    assert all(copy.exists() for copy in copies)
    assert set(mine.ages) == {1}


def test_debris_from_before_a_source_was_renamed_in_cvat_is_still_ours(shelf, sweep):
    mine = shelf(id=12, name="Road signs")
    mine.add(1)
    old = [mine.put(f"project-12{name}_backup_20261102T000000Z.zip") for name in ("", "-harbour", "-道路-2_backup")]
    assert sweep().code == 0
    assert not any(path.exists() for path in old)


def test_a_file_without_a_record_stays_while_there_is_no_good_backup_that_is_newer(shelf, sweep):
    mine = shelf()
    stem = mine.add(1).name.split("_backup_")[0]
    for path in mine.folder.iterdir():
        path.unlink()
    orphan = mine.put(f"{stem}_backup_20261102T000000Z.zip")
    assert sweep().code == 0
    assert orphan.exists()


def test_a_whole_file_without_a_record_stays_while_no_rule_lets_backups_go(shelf, sweep):
    mine = shelf()
    stem = mine.add(1).name.split("_backup_")[0]
    orphan, remains = mine.put(f"{stem}_backup_20261102T000000Z.zip"), mine.put(".backup.part")
    assert sweep(ttl="0").code == 0
    assert orphan.exists() and not remains.exists()
    assert sweep().code == 0
    assert not orphan.exists()


def test_a_whole_file_without_a_record_stays_while_a_law_holds_its_source(shelf, sweep):
    mine = shelf()
    nights(mine)
    mine.attempt(0.5, "failed")
    stem = next(mine.folder.glob("*.zip")).name.split("_backup_")[0]
    orphan, remains = mine.put(f"{stem}_backup_20261102T000000Z.zip"), mine.put(".backup.part")
    sweep()
    assert orphan.exists() and not remains.exists()
    sweep("--even-if-stale")
    assert not orphan.exists()


@pytest.mark.parametrize("law", ["failed", "absent", "unreadable", "another server", "drop"])
def test_a_whole_file_without_a_record_stays_while_a_law_holds_its_source_of_which_nothing_else_would_go(
    shelf, sweep, law
):
    mine = shelf()
    for hours in (22, 12, 2):
        path = mine.add(hours)
    stem = path.name.split("_backup_")[0]
    orphan, remains = mine.put(f"{stem}_backup_20261102T000000Z.zip"), mine.put(".backup.part")
    if law in ("failed", "absent"):
        mine.attempt(0.5, law, mode="p" if law == "failed" else "")
    elif law == "unreadable":
        path.with_name(f"{path.name}.json").write_text("garbage")
    elif law == "another server":
        record = path.with_name(f"{path.name}.json")
        record.write_text(record.read_text().replace(mine.source.server, "other.example.com"))
    else:
        mine.add(0.5, shapes=1)
    done = sweep(min_num_backups="3")
    assert orphan.exists() and not remains.exists()
    assert done.last_run["counts"]["debris"] == 1


def test_a_save_that_lacks_only_its_last_rename_is_no_debris(shelf, sweep):
    mine = shelf()
    path = mine.add(500)
    record = path.with_name(path.name + ".json")
    pending = record.with_name(f".{record.name}.pending")
    record.rename(pending)
    mine.add(1)
    for each in (path, pending):
        os.utime(each, (1e9, 1e9))
    sweep()
    assert path.exists() and pending.exists()


def test_unknown_folders_and_files_are_left_alone(shelf, sweep, tmp_path):
    mine = shelf()
    nights(mine, 2)
    strangers = [mine.server / "project-12-road-signs.zip", tmp_path / "backups" / "photos" / "a.zip"]
    strangers += [mine.server / "something" / ".backup.part", tmp_path / "backups" / "project_x_backup_2020.zip"]
    for path in strangers:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
        os.utime(path, (1e9, 1e9))
    assert sweep().code == 0
    assert all(path.exists() for path in strangers)


def everything(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize("records", [0, 1, 3])
def test_a_persons_archive_of_sources_folders_is_no_servers_and_is_left_alone(shelf, sweep, tmp_path, records):
    mine = shelf()
    paths = [mine.add(hours) for hours in (500, 300, 30)]
    for hours in range(480, 0, -20):
        mine.attempt(hours)
    archive = tmp_path / "backups" / "archive"
    copies = archive / mine.folder.name
    copies.mkdir(parents=True)
    for path in paths:
        shutil.copy(path, copies)
        os.utime(copies / path.name, (1e9, 1e9))
    for path in paths[3 - records :]:
        shutil.copy(f"{path}.json", copies)
    (copies / ".backup.part").write_bytes(b"x")
    os.utime(copies / ".backup.part", (1e9, 1e9))
    before = everything(archive)
    done = sweep(keep_within="10000", ttl="10000")
    assert done.code == 0
    assert everything(archive) == before
    assert done.last_run["counts"]["deleted"] == done.last_run["counts"]["debris"] == 0
    assert "1 folder that no record shows to be a server's left alone" in done.out
    assert sweep().code == 0
    assert everything(archive) == before
    assert mine.ages == [30]


@pytest.mark.parametrize("called", ["with a date", "with the same digits"])
def test_a_persons_copy_of_a_sources_folder_is_held_back_and_looked_at_and_the_source_is_swept(shelf, sweep, called):
    mine = shelf(id=12)
    for hours in (500, 300, 1):
        path = mine.add(hours)
    for hours in range(480, 0, -20):
        mine.attempt(hours)
    stem = path.name.split("_backup_")[0]
    name = f"{mine.folder.name}-20261121" if called == "with a date" else f"project-12-a-copy-{mine.folder.name[-8:]}"
    copy = mine.server / name
    shutil.copytree(mine.folder, copy)
    for each in (".backup.part", f"{stem}_backup_20261102T000000Z.zip"):
        (copy / each).write_bytes(b"x")
        os.utime(copy / each, (1e9, 1e9))
    before = everything(copy)
    done = sweep()
    assert everything(copy) == before
    assert mine.ages == [1]
    assert done.code == 3
    assert f"LOOK     {copy}: it" in done.out


@pytest.mark.parametrize("harm", ["renamed", "no journal, no readable record"])
def test_a_servers_folder_that_does_not_name_itself_is_looked_at_by_a_person_and_nothing_in_it_is_touched(
    shelf, sweep, harm
):
    mine = shelf()
    nights(mine)
    mine.put(".backup.part")
    folder = mine.server
    if harm == "renamed":
        folder = mine.server.rename(mine.server.with_name(f"{mine.server.name}.old"))
    else:
        (folder / "runs.jsonl").unlink()
        for path in mine.folder.glob("*.json"):
            path.write_text("garbage")
    before = everything(folder)
    done = sweep()
    assert done.code == 3
    assert f"LOOK     {folder}: no record and no line of the journal in it" in done.out
    assert "1 thing to LOOK at" in done.out and "There are no backups" not in done.out
    assert everything(folder) == before


def test_a_servers_folder_without_a_journal_or_without_a_record_is_still_a_servers(shelf, sweep):
    one, two = shelf(id=1), shelf(id=2, server="other.example.com")
    nights(one)
    (one.server / "runs.jsonl").unlink()
    two.attempt(1, "failed")
    parts = [one.put(".backup.part"), two.put(".backup.part")]
    assert sweep().code == 0
    assert not any(part.exists() for part in parts)


# --- crashes, locks, troubles ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", range(8))
def test_a_crash_in_the_middle_of_deleting_leaves_no_record_without_its_files(shelf, sweep, monkeypatch, after):
    mine = shelf()
    nights(mine, 4)
    plain, done = Path.unlink, []

    class Crash(BaseException):
        pass

    def unlink(path: Path, missing_ok: bool = False) -> None:
        if len(done) == after:
            raise Crash
        done.append(path)
        plain(path, missing_ok)

    monkeypatch.setattr(removal.Path, "unlink", unlink)
    if after < 6:
        with pytest.raises(Crash):
            sweep()
    else:
        sweep()
    monkeypatch.setattr(removal.Path, "unlink", plain)
    found = list(backups_in(mine.folder))
    assert found[0].path.exists()
    assert not any(backup.missing_or_short() for backup in found)
    for path in mine.folder.glob("*.zip"):
        os.utime(path, (1e9, 1e9))
    assert sweep().code == 0
    assert mine.ages == [1]
    assert len(os.listdir(mine.folder)) == 2


@pytest.mark.parametrize("content", ["backup", "annotations"])
def test_while_backup_py_runs_the_sweeper_ends_with_11_and_does_nothing(shelf, sweep, content):
    mine = shelf()
    nights(mine)
    with locked(mine.server / f".lock-{content}", "backup.py"):
        began = time.perf_counter()
        done = sweep()
        assert time.perf_counter() - began < 5
        assert done.code == 11
        assert sweep("--dry-run").code == 0
    assert len(mine.ages) == 6


def test_a_file_that_cannot_be_deleted_is_a_failure_and_the_others_go(shelf, sweep, monkeypatch):
    stuck, fine = shelf(id=1), shelf(id=2)
    nights(stuck, 3)
    nights(fine, 3)
    plain = Path.unlink

    def unlink(path: Path, missing_ok: bool = False) -> None:
        if path.parent == stuck.folder:
            raise PermissionError(13, "Permission denied")
        plain(path, missing_ok)

    monkeypatch.setattr(removal.Path, "unlink", unlink)
    done = sweep()
    assert done.code == 3
    assert "Permission denied" in done.out
    assert len(done.last_run["failures"]) == 2
    assert len(stuck.ages) == 3 and fine.ages == [1]


@pytest.mark.parametrize("what", ["records", "files", "debris", "folder"])
def test_what_could_not_be_deleted_is_not_counted_as_deleted(shelf, sweep, monkeypatch, what):
    mine = shelf()
    nights(mine, 3)
    mine.put(".backup.part")
    plain = Path.unlink

    def unlink(path: Path, missing_ok: bool = False) -> None:
        kind = "debris" if path.name == ".backup.part" else "records" if path.name.endswith(".json") else "files"
        if path.parent == mine.folder and kind == what:
            raise PermissionError(13, "Permission denied")
        plain(path, missing_ok)

    def sync_folder(folder: Path) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(removal.Path, "unlink", unlink)
    if what == "folder":
        monkeypatch.setattr(removal, "sync_folder", sync_folder)
    done = sweep()
    assert done.code == 3
    gone, debris = (2, 0) if what == "debris" else (0, 1)
    counts = done.last_run["counts"]
    assert (counts["deleted"], counts["debris"]) == (gone, debris)
    assert counts["kept"] == len(mine.ages) == (3 if what == "records" else 1)
    assert done.last_run["freed_bytes"] == gone * len(CONTENT) + debris * len(b"debris")
    assert f"{gone} backups deleted" in done.out


@pytest.mark.parametrize(
    ("name", "code"), [("lost+found", 0), (".Trash-1000", 0), ("other.example.com", 3), ("host_8080", 3)]
)
def test_a_folder_that_may_not_be_read_stops_nothing_and_is_looked_at_if_it_may_be_a_servers(
    shelf, sweep, monkeypatch, tmp_path, name, code
):
    mine = shelf()
    nights(mine, 3)
    closed = tmp_path / "backups" / name
    closed.mkdir()
    plain = os.scandir

    def scandir(path):
        if Path(path) == closed:
            raise PermissionError(13, "Permission denied", str(path))
        return plain(path)

    monkeypatch.setattr(os, "scandir", scandir)
    for flags in (("--dry-run",), ()):
        done = sweep(*flags)
        assert done.code == code
        assert (f"LOOK     {closed}: it cannot be read" in done.out) == (code == 3)
    assert mine.ages == [1]


def test_a_backup_folder_that_does_not_exist_is_no_success(sweep, tmp_path):
    done = sweep(dir=str(tmp_path / "nowhere"))
    assert done.code == 1
    assert "CVAT_BACKUP_DIR" in done.err


@pytest.mark.parametrize("flags", [(), ("--dry-run",)])
def test_an_empty_backup_folder_is_nothing_to_do_and_perhaps_the_wrong_one(sweep, tmp_path, flags):
    (tmp_path / "backups" / "somebody else's").mkdir()
    done = sweep(*flags)
    assert done.code == 0
    assert f"There are no backups in {tmp_path / 'backups'}" in done.out
    assert "CVAT_BACKUP_DIR is not the folder" in done.out
    assert done.happened("no_backups")


def test_the_folder_of_one_server_in_the_place_of_all_is_refused_and_the_right_one_named(shelf, sweep, tmp_path):
    mine = shelf()
    nights(mine)
    done = sweep(dir=str(mine.server))
    assert done.code == 2
    assert f"Set it to {tmp_path / 'backups'}." in done.err
    assert len(mine.ages) == 6


# --- vanished ---------------------------------------------------------------------------------------------------------


def test_the_backups_of_a_vanished_source_go_only_with_orphan_days_and_only_after_them(shelf, sweep):
    mine = shelf()
    for hours in (1200, 1100, 1000):
        mine.add(hours)
    for hours in (900, 870, 2):
        mine.attempt(hours, "absent", mode="")
    assert sweep().code == 0
    assert sweep(orphan_days="37").code == 0
    assert len(mine.ages) == 3
    done = sweep("--dry-run", orphan_days="36")
    assert done.out.count("  delete") == 3
    sweep(orphan_days="36")
    assert mine.ages == []
    assert sweep().code == 0


def test_a_folder_that_cannot_be_read_keeps_all_it_has_and_costs_no_other_any(shelf, sweep, monkeypatch):
    mine, other = shelf(), shelf(id=2)
    nights(mine)
    nights(other)
    plain = os.scandir

    def scandir(path="."):
        if str(path) == str(mine.folder):
            raise PermissionError(13, "Permission denied", str(path))
        return plain(path)

    with monkeypatch.context() as patched:
        patched.setattr(os, "scandir", scandir)
        done = sweep(ttl="48", min_num_backups="1")
    assert done.code == 3, done.err
    assert "the folder cannot be read" in done.out + done.err
    assert mine.ages == [1, 25, 49, 73, 97, 121]
    assert other.ages == [1, 25]
