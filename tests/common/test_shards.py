"""Shards: together everything, each source once, and never beside a run that would meet the same sources."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.backups.journal import Attempt, Journal, history
from common.lock import Locked, all_locked, locks_of
from common.saving.settings import BackupSettings
from common.settings import SettingsError, load
from common.shards import WHOLE, Shard, parse_shard
from common.sweeping.carry_out import lock_servers
from common.text import iso, now
from tests.common.making import a_source

SERVER = {"CVAT_URL": "https://cvat.example.com"}


@given(st.integers(1, 50), st.integers(0, 10**9))
def test_every_source_is_in_exactly_one_shard(count: int, source_id: int):
    assert sum(Shard(index, count).holds(source_id) for index in range(count)) == 1
    assert WHOLE.holds(source_id)


@pytest.mark.parametrize("text", ["0/4", "3/4", " 3 / 4 ", "0/1"])
def test_a_shard_is_written_index_slash_count(text: str):
    index, count = text.split("/")
    assert parse_shard(text) == Shard(int(index), int(count))


@pytest.mark.parametrize("text", ["4/4", "0/0", "-1/4", "1", "a/b", "1/2/3", "1.5/4", "0/"])
def test_what_is_no_shard_ends_with_bad_configuration(text: str, tmp_path: Path):
    with pytest.raises(SettingsError) as error:
        load(BackupSettings, environ=SERVER | {"CVAT_BACKUP_SHARD": text}, folder=tmp_path)
    assert len(error.value.problems) == 1 and "CVAT_BACKUP_SHARD" in error.value.problems[0]


def shard_with(tmp_path: Path, **environ: str) -> Shard:
    return load(BackupSettings, environ=SERVER | environ, folder=tmp_path).settings.shard


def test_a_pod_of_an_indexed_job_knows_its_shard(tmp_path: Path):
    pod = {"JOB_COMPLETION_INDEX": "2", "JOB_COMPLETION_COUNT": "4"}
    assert shard_with(tmp_path, **pod) == Shard(2, 4)
    assert shard_with(tmp_path, **pod, CVAT_BACKUP_SHARD="0/1") == WHOLE
    assert shard_with(tmp_path) == WHOLE
    assert shard_with(tmp_path, JOB_COMPLETION_COUNT="4") == WHOLE


def test_the_env_file_names_a_shard_too(tmp_path: Path):
    (tmp_path / ".env").write_text("CVAT_BACKUP_SHARD=1/3\n")
    assert shard_with(tmp_path) == Shard(1, 3)


def test_a_pod_that_does_not_know_of_how_many_it_is_one_backs_up_nothing(tmp_path: Path):
    with pytest.raises(SettingsError, match="JOB_COMPLETION_COUNT"):
        shard_with(tmp_path, JOB_COMPLETION_INDEX="2")


def held(stack: contextlib.ExitStack, folder: Path, shard: Shard, content: str = "backup") -> None:
    stack.enter_context(all_locked(locks_of(folder, content, shard), f"backup.py --mode p, shard {shard}"))


def test_shards_of_one_division_work_side_by_side_but_each_only_once(tmp_path: Path):
    with contextlib.ExitStack() as stack:
        held(stack, tmp_path, Shard(0, 2))
        held(stack, tmp_path, Shard(1, 2))
        with pytest.raises(Locked, match="shard 0/2 is already running"):
            held(stack, tmp_path, Shard(0, 2))


@pytest.mark.parametrize("other", [WHOLE, Shard(0, 3), Shard(1, 12)])
def test_a_shard_never_runs_beside_a_whole_run_or_another_division(tmp_path: Path, other: Shard):
    for first, second in ((Shard(0, 2), other), (other, Shard(0, 2))):
        with contextlib.ExitStack() as stack:
            held(stack, tmp_path, first)
            held(stack, tmp_path, first, "annotations")
            with pytest.raises(Locked):
                held(stack, tmp_path, second)
        with contextlib.ExitStack() as stack:
            held(stack, tmp_path, second)


def test_the_sweeper_waits_for_every_shard(tmp_path: Path):
    for content in ("backup", "annotations"):
        with contextlib.ExitStack() as stack:
            held(stack, tmp_path, Shard(1, 4), content)
            with pytest.raises(Locked, match="shard 1/4 is already running"), lock_servers([tmp_path]):
                pass
    with lock_servers([tmp_path]), contextlib.ExitStack() as stack, pytest.raises(Locked):
        held(stack, tmp_path, Shard(0, 4))


def test_a_shard_counts_its_own_bytes_against_its_part_of_the_allowance(tmp_path: Path):
    journal = Journal(tmp_path)
    journal.add([Attempt(iso(now()), "r", "p", a_source(id=n), "saved", bytes=10**n) for n in (1, 2, 3)])
    assert history(journal, "p", now(), is_ours=Shard(1, 2).holds).bytes_in_window == 1010
    assert history(journal, "p", now()).bytes_in_window == 1110
