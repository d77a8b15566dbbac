"""--list and --dry-run."""

from __future__ import annotations

import dataclasses

import pytest

from common.backups.names import stem
from common.backups.record import StoredFile
from common.backups.store import Store
from common.exits import RunEnds
from common.saving.report import Tally
from common.saving.shelf import print_plan, print_shelf, require_folder
from tests.common.making import a_candidate, a_record, a_source


def put(tmp_path, source, stamp):
    store = Store(tmp_path, source.server)
    store.prepare()
    staged = store.make_folder(source) / ".backup.staged"
    staged.write_bytes(b"12345")
    file = StoredFile("backup", stem(source, "backup", stamp) + ".zip", 5, "")
    return store.add(dataclasses.replace(a_record(source), stamp=stamp, files=(file,)), [(staged, file)])


def test_backups_are_listed_newest_first_with_size_contents_and_a_path_that_can_be_copied(tmp_path, capsys):
    old, new = put(tmp_path, a_source(), "20261119T000000Z"), put(tmp_path, a_source(), "20261120T000000Z")
    assert print_shelf(tmp_path)
    out = capsys.readouterr().out
    assert out.index(str(new.path)) < out.index(str(old.path))
    assert "5 B" in out and "2 tasks" in out and "2 shapes" in out
    assert "2 backups, 10 B" in out


def test_a_backup_that_is_damaged_says_so(tmp_path, capsys):
    put(tmp_path, a_source(name="\x1b[31mred"), "20261119T000000Z").path.unlink()
    print_shelf(tmp_path)
    out = capsys.readouterr().out
    assert "is missing" in out and "\x1b" not in out


def test_an_empty_shelf_says_so(tmp_path, capsys):
    assert not print_shelf(tmp_path / "nothing here")
    assert not print_shelf(tmp_path)
    assert "There are no backups in" in capsys.readouterr().out


def test_a_dry_run_says_what_would_be_saved_and_why(capsys):
    print_plan([a_candidate(newest=a_record(), reason="changed: 3 tasks instead of 2")], [Tally("p", 1)])
    out = capsys.readouterr().out
    assert "project 12" in out and "changed: 3 tasks instead of 2" in out
    assert "1 on the server, 1 would be saved" in out and "this was a dry run" in out


def test_a_folder_or_nothing_yet_will_do_and_a_file_is_called_a_file(tmp_path):
    require_folder(tmp_path)
    require_folder(tmp_path / "not" / "yet")
    (tmp_path / "file").write_text("")
    for wrong in (tmp_path / "file", tmp_path / "file" / "backups"):
        with pytest.raises(RunEnds, match=f"{tmp_path / 'file'} is not a folder") as caught:
            require_folder(wrong)
        assert caught.value.exit_code == 2
