"""What has not changed is not asked for again, and nothing that changes is overlooked."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from running import (
    assert_adds_up,
    assert_all_saved,
    assert_equals_server,
    assert_sound,
    debris,
    record_of,
    records,
    run_backup,
)

from sandbox.cvat import CvatSandbox
from sandbox.cvat.samples import TRAFFIC
from sandbox.cvat.world import World

EXPORT = "POST .*/export"


def later(days: float) -> str:
    """Python that makes the program's clock run ahead (or behind) by so many days."""
    return (
        "import datetime, common.text\n"
        f"common.text.now = lambda: datetime.datetime.now(datetime.UTC) + datetime.timedelta(days={days})"
    )


def change_nothing(world: World) -> None:
    project = world.project(1)
    world.patch_project(project, {"bug_tracker": project.bug_tracker})


CHANGES: dict[str, Callable[[World], object]] = {
    "a new shape": lambda world: world.add_shape(1, "car"),
    "the same annotations put again": lambda world: world.annotations_changed(world.job(1)),
    "a deleted frame": lambda world: world.delete_frame(1, 0),
    "a job's state": lambda world: world.set_job(1, state="in progress"),
    "a job's stage": lambda world: world.set_job(1, stage="validation"),
    "a task's name": lambda world: world.patch_task(world.task(1), {"name": "other"}),
    "a task's subset": lambda world: world.patch_task(world.task(1), {"subset": "Train"}),
    "the project's name": lambda world: world.rename_project(1, "other"),
    "a new label": lambda world: world.change_labels(world.project(1), [{"name": "tree"}]),
    "a new task": lambda world: world.add_task(1, "more", frames=2),
    "a new task without data": lambda world: world.add_empty_task("more", 1),
    "a deleted task": lambda world: world.delete_task(1),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_change_is_noticed_and_saved_and_only_it(
    server: CvatSandbox, tmp_path: Path, change: Callable[[World], object]
) -> None:
    run_backup(server, tmp_path)
    change(server.world)
    done = run_backup(server, tmp_path)
    assert done.outcomes() == {"project 1": "saved", "project 2": "unchanged", "project 3": "unchanged"}
    assert_all_saved(done, server)
    assert len(records(done.folder)) == 4


def test_nothing_changed_asks_for_no_export_and_confirms_the_backups(server: CvatSandbox, tmp_path: Path) -> None:
    first = run_backup(server, tmp_path, "--mode", "p", "a")
    before = {path: path.stat().st_mtime_ns for path in first.folder.rglob("*.zip*")}
    asked = server.log_count(EXPORT)
    change_nothing(server.world)
    done = run_backup(server, tmp_path, "--mode", "p", "a")
    assert done.code == 0
    assert server.log_count(EXPORT) == asked
    assert set(done.outcomes("p").values()) == set(done.outcomes("a").values()) == {"unchanged"}
    assert {path: path.stat().st_mtime_ns for path in done.folder.rglob("*.zip*")} == before
    assert_adds_up(done, server, "p", "a")


@pytest.fixture(scope="module")
def large() -> Iterator[CvatSandbox]:
    with CvatSandbox(samples="many:300", anonymous_per_minute=10_000) as sandbox:
        yield sandbox


def test_three_hundred_unchanged_projects_cost_a_few_listings(large: CvatSandbox, tmp_path: Path) -> None:
    first = run_backup(large, tmp_path)
    assert_all_saved(first, large)
    large.log.clear()
    done = run_backup(large, tmp_path)
    assert done.code == 0
    assert set(done.outcomes().values()) == {"unchanged"}
    assert len(done.outcomes()) == 300
    asked = Counter(re.sub(r"\d+", "N", exchange.line) for exchange in large.log)
    assert sum(asked.values()) <= 12, asked
    large.world.add_shape(large.world.project(77).task_ids[0], "car")
    again = run_backup(large, tmp_path)
    assert [source for source, outcome in again.outcomes().items() if outcome == "saved"] == ["project 77"]
    assert_sound(done.folder)


@pytest.mark.parametrize(
    ("days", "saved"), [(6.9, False), (7.1, True), (-0.01, False), (-3, True)], ids=lambda value: str(value)
)
def test_unchanged_projects_are_saved_anew_once_a_week(
    server: CvatSandbox, tmp_path: Path, days: float, saved: bool
) -> None:
    run_backup(server, tmp_path)
    done = run_backup(server, tmp_path, patched=later(days))
    assert set(done.outcomes().values()) == {"saved" if saved else "unchanged"}
    # Whatever the clock says, the newest backup has the newest name.
    assert_all_saved(done, server)
    assert len({record.stamp for record in records(done.folder) if record.source.id == 1}) == 1 + saved


def test_a_period_of_zero_days_saves_at_every_run(server: CvatSandbox, tmp_path: Path) -> None:
    run_backup(server, tmp_path)
    done = run_backup(server, tmp_path, "--full-every-days", "0")
    assert set(done.outcomes().values()) == {"saved"}


def test_force_saves_unchanged_projects(server: CvatSandbox, tmp_path: Path) -> None:
    run_backup(server, tmp_path)
    done = run_backup(server, tmp_path, "--force")
    assert set(done.outcomes().values()) == {"saved"}
    assert len(assert_sound(done.folder)) == 6


def test_a_backup_whose_file_was_lost_or_cut_is_made_again(server: CvatSandbox, tmp_path: Path) -> None:
    first = run_backup(server, tmp_path)
    lost, cut = (next(first.folder.glob(f"*/project-{n}-*/*_backup_*.zip")) for n in (1, 2))
    lost.unlink()
    cut.write_bytes(cut.read_bytes()[:-10])
    done = run_backup(server, tmp_path)
    assert done.outcomes() == {"project 1": "saved", "project 2": "saved", "project 3": "unchanged"}
    for number in (1, 2, 3):
        assert_equals_server(server, done.folder, record_of(done.folder, "project", number))


def test_images_asked_for_now_make_a_new_backup_of_annotations(server: CvatSandbox, tmp_path: Path) -> None:
    run_backup(server, tmp_path, "--mode", "a")
    done = run_backup(server, tmp_path, "--mode", "a", CVAT_BACKUP_SAVE_IMAGES="true")
    assert set(done.outcomes("a").values()) == {"saved"}
    for record in assert_sound(done.folder)[3:]:
        assert record.export.save_images
        assert record.verified.media_files == record.verified.frames > 0
    again = run_backup(server, tmp_path, "--mode", "a", CVAT_BACKUP_SAVE_IMAGES="true")
    assert set(again.outcomes("a").values()) == {"unchanged"}


# --- what is chosen -----------------------------------------------------------------------------------------------


CHOICES = [
    ({"CVAT_BACKUP_INCLUDE": "project 000?", "CVAT_BACKUP_EXCLUDE": "project 0003"}, {1, 2}),
    ({"CVAT_BACKUP_INCLUDE": "*1,project:3"}, {1, 3}),
    ({"CVAT_BACKUP_INCLUDE": "2"}, {2}),
    ({"CVAT_BACKUP_EXCLUDE": "PROJECT 0002"}, {1, 3}),
    ({"CVAT_BACKUP_INCLUDE": "project*", "CVAT_BACKUP_EXCLUDE": "project:1, 2"}, {3}),
    ({"CVAT_BACKUP_INCLUDE": "task:1"}, set()),
    ({"CVAT_BACKUP_EXCLUDE": "*"}, set()),
]


@pytest.mark.parametrize(("settings", "chosen"), CHOICES, ids=lambda value: str(value))
def test_only_what_is_chosen_is_saved(
    server: CvatSandbox, tmp_path: Path, settings: dict[str, str], chosen: set[int]
) -> None:
    done = run_backup(server, tmp_path, **settings)
    if not chosen:
        assert done.code == 2
        assert "CVAT_BACKUP_INCLUDE" in done.err
        return
    assert {record.source.id for record in assert_sound(done.folder)} == chosen
    assert_adds_up(done, server)
    assert done.code == 0


# --- modes --------------------------------------------------------------------------------------------------------


@pytest.fixture
def mixed(server: CvatSandbox) -> CvatSandbox:
    """Three projects and two loose tasks, one of them without data."""
    server.world.add_task(None, "loose", 2, labels=TRAFFIC)
    server.world.add_empty_task("nothing yet")
    return server


MODES = [
    ((), "p", {"project": 3, "task": 1}),
    (("--mode", "p"), "p", {"project": 3, "task": 1}),
    (("--mode", "t"), "t", {"task": 1}),
    (("--mode", "a"), "a", {"project": 3, "task": 1}),
    (("--mode", "p", "t"), "pt", {"project": 3, "task": 1}),
    (("--mode", "p", "--mode", "a"), "pa", {"project": 6, "task": 2}),
    (("--mode", "a,t,p"), "atp", {"project": 6, "task": 2}),
]


@pytest.mark.parametrize(("arguments", "modes", "kinds"), MODES, ids=lambda value: str(value))
def test_modes_save_what_they_are_for_each_source_once(
    mixed: CvatSandbox, tmp_path: Path, arguments: tuple[str, ...], modes: str, kinds: dict[str, int]
) -> None:
    done = run_backup(mixed, tmp_path, *arguments)
    assert done.code == 0, done.said
    found = assert_sound(done.folder)
    assert Counter(record.source.kind for record in found) == kinds
    assert_adds_up(done, mixed, *modes)


def test_loose_tasks_can_be_left_out_of_mode_p(mixed: CvatSandbox, tmp_path: Path) -> None:
    done = run_backup(mixed, tmp_path, CVAT_BACKUP_STANDALONE_TASKS="false")
    assert Counter(record.source.kind for record in assert_sound(done.folder)) == {"project": 3}
    assert done.last_run()["listed"] == 3


def test_a_dry_run_says_what_it_would_do_and_writes_nothing(mixed: CvatSandbox, tmp_path: Path) -> None:
    done = run_backup(mixed, tmp_path, "--dry-run", "--mode", "p", "a")
    assert done.code == 0
    assert not done.folder.exists()
    assert mixed.log_count(EXPORT) == 0
    for project in mixed.world.projects.values():
        assert project.name in done.out


def test_a_dry_run_leaves_what_another_run_is_writing_alone(server: CvatSandbox, tmp_path: Path) -> None:
    done = run_backup(server, tmp_path)
    record = next(done.folder.glob("*/project-1-*/*.zip.json"))
    # As in the middle of a commit: the record is still pending, and the backup has not got its name yet.
    pending, part = record.with_name(f".{record.name}.pending"), record.with_name(".backup.part")
    record.rename(pending)
    record.with_suffix("").rename(part)
    before = sorted(debris(done.folder))
    assert run_backup(server, tmp_path, "--dry-run").code == 0
    assert sorted(debris(done.folder)) == before
    again = run_backup(server, tmp_path)
    assert again.outcomes()["project 1"] == "saved"
    assert_all_saved(again, server)


def test_what_a_backup_lacks_is_named_in_every_run_that_leaves_it_standing(server: CvatSandbox, tmp_path: Path) -> None:
    server.world.fail_upload(server.world.add_empty_task("broken", 1))
    server.world.add_empty_task("no data", 1)
    for outcome in ("saved + 0 unchanged", "0 saved + "):
        run = run_backup(server, tmp_path)
        assert outcome in run.out, run.out
        assert re.search(r"MENDED .*task \d+ \(broken\) was left out", run.out), run.out
        assert re.search(r"LEFT OUT .*\(no data\)", run.out), run.out
