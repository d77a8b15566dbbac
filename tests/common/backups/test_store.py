"""The folder of one server: found again after renames, and whole after every crash."""

from __future__ import annotations

import dataclasses
import errno
import os
import shutil
import stat
from pathlib import Path
from types import SimpleNamespace

import pytest

from backup import lock_modes
from common.backups import store as store_module
from common.backups.names import next_stamp, stem
from common.backups.record import StoredFile
from common.backups.store import Store, all_backups, backups_in
from common.files import DiskFull
from common.hashing import sha256_of
from common.restoring.folder import prepare
from common.shards import WHOLE
from common.text import now
from tests.common.making import a_record, a_source


class Killed(BaseException):
    """The process ends here."""


@pytest.fixture
def store(tmp_path):
    return opened(tmp_path)


def opened(tmp_path) -> Store:
    store = Store(tmp_path / "backups", "cvat.example.com")
    store.prepare()
    return store


def save(store, source=None, content="backup", parts=("zip",), data=b"12345"):
    """A save as the recipes do it: temporary files, then `add`."""
    source = source or a_source()
    stamp = next_stamp(now(), store.newest_stamp(source, content))
    front = stem(source, content, stamp)
    files = []
    for number, ending in enumerate(parts):
        path = store.make_folder(source) / f".{content}-{number}.staged"
        path.write_bytes(data)
        name = f"{front}.{ending}" if number == 0 else f"{front}_left-out.{ending}"
        files.append((path, StoredFile("backup", name, len(data), sha256_of(path))))
    record = a_record(source, content=content, stamp=stamp, files=tuple(file for _, file in files))
    return store.add(record, files)


def everything(store) -> list[str]:
    return sorted(path.name for path in store.folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_no_room_or_inode_for_a_folder_is_a_full_disk_and_no_question_of_rights(tmp_path, store, monkeypatch, number):
    def full(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "mkdir", full)
    with pytest.raises(DiskFull, match=r"no room left in .*cvat\.example\.com"):
        store.make_folder(a_source())
    run = SimpleNamespace(settings=SimpleNamespace(shard=WHOLE))
    with pytest.raises(DiskFull, match="no room left in"), lock_modes(run, Store(tmp_path / "new", "x"), ["p"]):
        raise AssertionError("nothing is locked")
    with pytest.raises(DiskFull, match="no room left in"):
        prepare(tmp_path / "restores" / "x")


def test_a_saved_backup_is_found_again_by_this_and_by_the_next_run(tmp_path, store):
    saved = save(store)
    for each in (store, opened(tmp_path)):
        found = each.newest(a_source(), "backup")
        assert found == saved
        assert found.path.read_bytes() == b"12345"
        assert each.newest(a_source(), "annotations") is None


def test_a_new_folder_is_private_and_one_that_was_opened_stays_open(tmp_path, store):
    assert stat.S_IMODE(store.folder.stat().st_mode) == 0o700
    store.folder.chmod(0o750)
    assert stat.S_IMODE(opened(tmp_path).folder.stat().st_mode) == 0o750


def test_only_the_backup_and_its_record_lie_in_the_folder(store):
    saved = save(store)
    assert everything(store) == [saved.path.name, f"{saved.path.name}.json"]


def test_a_renamed_project_keeps_its_folder_and_its_history(tmp_path, store):
    first = save(store)
    again = opened(tmp_path)
    second = save(again, a_source(name="A new name"))
    assert second.folder == first.folder
    assert again.newest(a_source(), "backup") == second
    assert [backup.record.stamp for backup in backups_in(first.folder)] == [second.record.stamp, first.record.stamp]


def test_another_project_with_the_same_id_has_a_folder_of_its_own(store):
    save(store)
    later = a_source(created_at="2027-01-01T00:00:00Z")
    assert store.newest(later, "backup") is None
    assert save(store, later).folder != store.folder_of(a_source())


@pytest.mark.parametrize("swept", [False, True])
@pytest.mark.parametrize("middle", ["a-copy", "zzz", "road-signs-copy"])
def test_a_persons_copy_of_a_folder_does_not_become_the_folder_of_its_source(tmp_path, store, capsys, middle, swept):
    first = save(store)
    if swept:  # renamed in CVAT; of the records of the old name the sweeper has left none but those in the copy
        save(store, a_source(name="A new name"))
    copy = first.folder.with_name(f"project-12-{middle}-{first.folder.name[-8:]}")
    shutil.copytree(first.folder, copy)
    if swept:
        (first.folder / f"{first.path.name}.json").unlink()
    again = opened(tmp_path)
    assert again.folder_of(a_source()) == first.folder
    assert save(again).folder == first.folder
    assert f"left_alone={copy}" in capsys.readouterr().out


@pytest.mark.parametrize("names", [("Roads", "roads", "ROADS"), ("a/b", "a\\b", "a b", "a:b"), ("..", ".", "")])
def test_projects_with_awkward_or_equal_names_live_side_by_side(store, names):
    folders = {save(store, a_source(id=number, name=name)).folder.name.lower() for number, name in enumerate(names)}
    assert len(folders) == len(names)
    assert all(path.parent == store.folder for path in store.folder.glob("*/") if path.is_dir())


def test_every_stamp_is_later_than_the_one_before_also_within_a_second(store):
    stamps = [save(store).record.stamp for _ in range(3)]
    assert stamps == sorted(set(stamps))


def test_a_backup_whose_file_is_missing_or_short_does_not_count(store):
    good, short, gone = save(store), save(store), save(store)
    short.path.write_bytes(b"1")
    gone.path.unlink()
    assert store.newest(a_source(), "backup") == good
    assert "has 1 bytes instead of 5" in short.missing_or_short()
    assert "is missing" in gone.missing_or_short()


def test_a_damaged_record_is_passed_over(store):
    good, bad = save(store), save(store)
    (bad.folder / f"{bad.path.name}.json").write_text("{")
    assert store.newest(a_source(), "backup") == good


def test_a_file_without_a_record_is_no_backup(store):
    saved = save(store)
    (saved.folder / f"{saved.path.name}.json").unlink()
    assert store.newest(a_source(), "backup") is None
    assert store.newest_stamp(a_source(), "backup") == saved.record.stamp


def test_a_name_that_is_taken_is_never_overwritten(store):
    saved = save(store)
    staged = saved.folder / ".backup.staged"
    staged.write_bytes(b"other")
    with pytest.raises(FileExistsError):
        store.add(saved.record, [(staged, saved.record.main_file)])
    assert saved.path.read_bytes() == b"12345"
    assert store.newest(a_source(), "backup") == saved
    assert not [name for name in everything(store) if "pending" in name]


@pytest.mark.parametrize("parts", [("zip",), ("zip", "json")])
@pytest.mark.parametrize("crash_at", range(8))
@pytest.mark.parametrize("after", [False, True])
def test_after_a_crash_at_any_rename_no_older_backup_is_lost_and_the_new_one_is_whole_or_gone(
    tmp_path, store, monkeypatch, parts, crash_at, after
):
    old = save(store)
    calls, real = [], os.replace

    def replace(one, other):
        calls.append(other)
        if len(calls) == crash_at + 1:
            if after:
                real(one, other)
            raise Killed
        real(one, other)

    monkeypatch.setattr(os, "replace", replace)
    try:
        save(store, parts=parts, data=b"newer")
        crashed = False
    except Killed:
        crashed = True
    monkeypatch.setattr(os, "replace", real)
    assert crashed == (crash_at < 2 + len(parts))

    again = opened(tmp_path)
    newest = again.newest(a_source(), "backup")
    assert newest is not None
    assert old in list(backups_in(old.folder))
    assert old.missing_or_short() == ""
    whole = crash_at > len(parts) or (crash_at == len(parts) and after)
    assert (newest != old) == whole
    if whole:
        assert newest.path.read_bytes() == b"newer"
    # The next save of this source leaves nothing but backups and their records.
    save(again)
    again.tidy(a_source(), "backup")
    records = list(backups_in(old.folder))
    named = {file.name for backup in records for file in backup.record.files}
    assert set(everything(again)) == named | {f"{backup.path.name}.json" for backup in records}


def test_a_torn_pending_record_is_removed(tmp_path, store):
    old = save(store)
    pending = old.folder / f".{old.path.name.replace('Z.zip', 'Z_x.zip')}{store_module.PENDING}"
    pending.write_text("{")
    assert opened(tmp_path).newest(a_source(), "backup") == old
    assert not pending.exists()


def test_a_pending_record_of_the_other_content_is_left_to_its_own_run(tmp_path, store):
    """Modes a and p may run at the same time: one must not finish or clean what the other is doing."""
    saved = save(store, content="annotations")
    record = saved.folder / f"{saved.path.name}.json"
    pending = saved.folder / f".{saved.path.name}{store_module.PENDING}"
    os.replace(record, pending)
    again = opened(tmp_path)
    again.newest(a_source(), "backup")
    again.tidy(a_source(), "backup")
    assert pending.exists()
    assert again.newest(a_source(), "annotations") == saved


def test_a_store_that_only_looks_changes_nothing(tmp_path, store):
    saved = save(store)
    os.replace(saved.folder / f"{saved.path.name}.json", saved.folder / f".{saved.path.name}{store_module.PENDING}")
    before = everything(store)
    looking = Store(tmp_path / "backups", "cvat.example.com")
    looking.learn()
    assert looking.newest(a_source(), "backup") is None
    assert everything(store) == before


def test_looking_at_a_folder_that_does_not_exist_makes_none(tmp_path):
    looking = Store(tmp_path / "backups", "cvat.example.com")
    looking.learn()
    assert looking.newest(a_source(), "backup") is None
    assert os.listdir(tmp_path) == []


def test_tidying_removes_the_temporary_files_of_one_content_and_nothing_else(store):
    saved = save(store)
    torn = f"..{saved.path.name}.json.pending.tmp"
    backup = ".backup.part .backup.part.json .backup-task-7.part .backup.rewritten .backup.rewritten.directory"
    others = ".annotations-api.staged .annotations-coco-1.0.part notes.txt ..x_annotations_20261121T013300Z.zip.json.pending.tmp"
    for name in (*backup.split(), *others.split(), "..backup-left-out.staged.tmp", torn):
        (saved.folder / name).write_text("x")
    store.tidy(a_source(), "backup")
    assert set(everything(store)) == {saved.path.name, f"{saved.path.name}.json", *others.split()}
    store.tidy(a_source(id=999), "backup")


def test_sweeping_removes_what_tidying_does_at_once_where_nothing_is_to_be_saved_and_elsewhere_once_it_is_old(store):
    saved = save(store)
    other = dataclasses.replace(a_source(), id=77)
    names = [
        ".backup.part", ".backup.part.json", "..backup.part.json.tmp", "..backup-left-out.staged.tmp",
        f"..{saved.path.name}.json.pending.tmp",
    ]  # fmt: skip
    fresh = [saved.folder / name for name in names]
    waiting = [store.make_folder(other) / name for name in names]
    for path in (*fresh, *waiting, saved.folder / ".annotations.part"):
        path.write_text("x")
    store.sweep([a_source()], "backup", lambda source_id: source_id != 77)
    assert not any(path.exists() for path in fresh)
    store.sweep([a_source()], "backup")
    assert all(path.exists() for path in waiting)
    for path in waiting:
        os.utime(path, (0, 0))
    store.sweep([a_source()], "backup")
    assert set(everything(store)) == {saved.path.name, f"{saved.path.name}.json", ".annotations.part"}


def test_all_backups_of_all_servers_are_listed_newest_first(tmp_path, store):
    one, two = save(store), save(store, content="annotations")
    other = Store(tmp_path / "backups", "b.example.com")
    other.prepare()
    three = save(other, dataclasses.replace(a_source(), server="b.example.com"))
    (tmp_path / "backups" / "lost+found").mkdir()
    (tmp_path / "backups" / "a file").touch()
    found = list(all_backups(tmp_path / "backups"))
    assert found[0] == [three]
    assert {backup.path for backup in found[1]} == {one.path, two.path}


def no_right_to(monkeypatch, folder):
    plain = os.listdir

    def listdir(path="."):
        if str(path) == str(folder):
            raise PermissionError(13, "Permission denied", str(path))
        return plain(path)

    monkeypatch.setattr(store_module.os, "listdir", listdir)


def test_a_folder_that_cannot_be_read_is_passed_over_for_looking_and_never_for_saving(tmp_path, store, monkeypatch):
    first, second = save(store), save(store, a_source(id=2))
    no_right_to(monkeypatch, first.folder)
    overlooked = []
    assert list(all_backups(tmp_path / "backups", overlooked)) == [[second]]
    assert [(each.path, each.reason, each.is_damaged) for each in overlooked] == [
        (first.folder, "Permission denied", False)
    ]
    with pytest.raises(PermissionError):
        store.newest(a_source(), "backup")


def test_what_is_no_folder_of_a_server_hides_no_backups(tmp_path, store, monkeypatch):
    saved = save(store)
    (tmp_path / "backups" / "lost+found").mkdir()
    no_right_to(monkeypatch, tmp_path / "backups" / "lost+found")
    overlooked = []
    assert list(all_backups(tmp_path / "backups", overlooked)) == [[saved]] and not overlooked


def test_a_damaged_record_is_told_from_one_that_could_not_be_read(tmp_path, store, monkeypatch):
    first, second = save(store), save(store)
    names = [backup.folder / f"{backup.path.name}.json" for backup in (first, second)]
    names[0].write_text("{")
    plain = type(names[1]).read_text

    def read_text(path, *more, **named):
        if path == names[1]:
            raise OSError(5, "Input/output error", str(path))
        return plain(path, *more, **named)

    monkeypatch.setattr(type(names[1]), "read_text", read_text)
    overlooked = []
    assert list(backups_in(first.folder, overlooked=overlooked)) == []
    assert {each.path: each.is_damaged for each in overlooked} == {names[0]: True, names[1]: False}
