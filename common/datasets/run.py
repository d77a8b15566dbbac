"""One run of downloader.py --mode datasets, and the same from Python: `download(settings)` returns the metrics."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import queue
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common import log
from common.crew import Crew
from common.cvat.client import connect
from common.cvat.compatibility import version_warnings
from common.datasets import manifest
from common.datasets.book import Book, rule
from common.datasets.choose import Chosen, Task, Tell, choose, tell_of_project
from common.datasets.desk import Desk
from common.datasets.folders import recover, trouble_named
from common.datasets.merging import merge_datasets, require_mergeable
from common.datasets.metrics import FILE_NAME, TaskDetail
from common.datasets.names import folder_names, is_folder_of, sanitised
from common.datasets.pruning import pruner_of
from common.datasets.settings import DatasetSettings, require_complete
from common.datasets.task import Downloaded, download_task
from common.exits import Trouble
from common.files import is_folder
from common.progress import Display
from common.run import Run, give_up_stdout, say
from common.saving.plan import known_format, offered_formats
from common.settings import variables
from common.text import plural, printable
from common.waiting import StopSignal

# The eight keys of the predecessor's `-o cvat_download.KEY=VALUE`; all other settings of ours work the same way.
KEY_PREFIX = "cvat_download."
MOST_FAILURES_SHOWN = 20


def add_dataset_arguments(parser: argparse.ArgumentParser) -> None:
    """The one argument that is no setting of its own."""
    parser.add_argument(
        "-o", action=_Override, metavar="cvat_download.KEY=VALUE", default=None,
        help="a setting by its name: -o cvat_download.project_id=5; null means none, any, or the default",
    )  # fmt: skip


class _Override(argparse.Action):
    """`-o cvat_download.task_ids=[1,2]` is `--task-ids [1,2]`."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        known = {
            KEY_PREFIX + name.removeprefix("CVAT_DOWNLOAD_").lower(): name
            for name in variables(DatasetSettings)
            if name.startswith("CVAT_DOWNLOAD_")
        }
        key, equals, value = str(values).partition("=")
        if not equals:
            parser.error(f"-o {values}: expected cvat_download.KEY=VALUE")
        if key.strip() not in known:
            nearest = difflib.get_close_matches(key.strip(), known, n=1, cutoff=0.5)
            parser.error(f"-o {key}: is not a setting" + (f"; did you mean {nearest[0]}?" if nearest else ""))
        text = value.strip()
        if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
            text = text[1:-1]
        setattr(namespace, known[key.strip()], text or "null")


def run_datasets(run: Run[DatasetSettings]) -> int:
    """One run of the mode."""
    book = Book(run.settings, tell=_print)
    with book.held(run.patience):
        download_all(book, run.stop)
        run.exit_code = book.exit_code
    if failed := book.metrics.of("failed"):
        for detail in failed[:MOST_FAILURES_SHOWN]:
            name = f" ({printable(detail.task_name)})" if detail.task_name else ""
            say(f"FAILED   task {detail.task_id}{name}: {detail.reason}")
            if remedy := book.remedies.get(detail.task_id):
                say(f"         {remedy}")
        if len(failed) > MOST_FAILURES_SHOWN:
            say(f"         and {len(failed) - MOST_FAILURES_SHOWN} more: see {book.settings.folder / FILE_NAME}")
    say(book.last_words())
    return book.exit_code


def download(
    settings: DatasetSettings, tell: Tell = lambda line: None, stop: StopSignal | None = None
) -> dict[str, Any]:
    """Downloads what the settings mean and returns the metrics, as metrics.json has them.

    `tell` is given the lines that the script prints. Tasks that failed are in the metrics (`tasks_failed`,
    `task_details`); raises RunEnds (for settings that are missing; CredentialsRefused for wrong credentials), Trouble
    (CvatError and others) or Locked when nothing could be done at all.
    """
    log.set_up_for_library()
    require_complete(settings)
    book = Book(settings, tell)
    with book.held():
        download_all(book, stop or StopSignal())
    return book.metrics.as_json()


def _print(line: str) -> None:
    """Nobody reads standard output any more: no download fails for that."""
    try:
        print(log.without_secrets(line), flush=True)
    except OSError:
        give_up_stdout()


def download_all(book: Book, stop: StopSignal) -> None:
    """Signs in, chooses, downloads side by side, merges. Raises RunEnds, Trouble, Stopped."""
    settings, tell = book.settings, book.tell
    if settings.merge:
        require_mergeable(settings)
    for line in (rule(), "Starting CVAT Download Pipeline", rule(), f"Connecting to CVAT at {settings.url}..."):
        tell(line)
    slug = settings.organization_slug or settings.organization
    settings = settings.model_copy(update={"organization": slug})
    tell(f"Using organization: {slug or 'everything the account can see'}")
    with stop.breaking_off():
        client, version, account = connect(settings, stop)
        for warning in version_warnings(version):
            log.get().warning("server_version", detail=warning)
        tell_of_project(client, settings, tell)
        tell(f"Successfully connected to CVAT {version} as {account.username}")
        dataset_format = known_format(settings.dataset_format, offered_formats(client), "CVAT_DOWNLOAD_DATASET_FORMAT")
        settings = settings.model_copy(update={"dataset_format": dataset_format})
        book.settings, book.metrics.format = settings, dataset_format
        _tell_settings(settings, tell)
        chosen = choose(client, settings, tell)
    desk = Desk(client, settings, stop, kept=book.kept)
    book.metrics.total_tasks_found, book.metrics.output_dir = chosen.total, str(desk.downloads)
    book.saw_nothing, book.nothing_chosen = not chosen.total, chosen.nothing
    for missing in chosen.missing:
        book.metrics.details.append(
            TaskDetail(missing.id, "", "", "", 0, "", "failed", format=dataset_format, reason=missing.reason)
        )
        book.remedies[missing.id] = "Check the id, CVAT_DOWNLOAD_ORGANIZATION_SLUG and the rights of the account."
    tell(f"Will process {plural(len(chosen.tasks), 'task')}")
    tell(f"Downloads will be saved to: {desk.downloads}")
    tell("")
    with trouble_named(settings.folder):
        recover(desk.staging)
        desk.staging.mkdir(parents=True, exist_ok=True)
        earlier = _earlier(desk, chosen.tasks)
    placed = _work_off(desk, chosen, book, *earlier)
    with contextlib.suppress(OSError):
        desk.staging.rmdir()
    if settings.merge:
        _merge(desk, placed, book)


def _tell_settings(settings: DatasetSettings, tell: Tell) -> None:
    shown = {
        "Dataset format": settings.dataset_format,
        "Include images": str(settings.include_images).lower(),
        "Check image exists": str(settings.check_image_exists).lower(),
        "Project ID filter": settings.project_id,
        "Task IDs filter": list(settings.task_ids) or None,
        "Required status": settings.required_status or "any",
    }
    for name, value in shown.items():
        if value is not None:
            tell(f"{name}: {value}")
    if settings.check_image_exists and pruner_of(settings.dataset_format) is None:
        tell(f"Note: {settings.dataset_format} cannot be checked for deleted images; tasks that have some are named")
    tell("")


def _tell_begun(begun: queue.SimpleQueue[list[str]], tell: Tell) -> None:
    with contextlib.suppress(queue.Empty):
        while True:
            for line in begun.get_nowait():
                tell(line)


def _work_off(
    desk: Desk, chosen: Chosen, book: Book, taken: dict[str, int], homes: dict[int, list[str]]
) -> list[tuple[Task, Path]]:
    """Downloads the chosen tasks; those that are in place afterwards, with their folders."""
    folders = folder_names({task.id: task.name for task in chosen.tasks}, taken)
    by_id = {task.id: task for task in chosen.tasks}
    for task in chosen.tasks:
        if folders[task.id] != sanitised(task.name):
            book.tell(f"Task {task.id} shares its name with another one: its folder is {folders[task.id]}")
    placed: list[tuple[Task, Path]] = []
    begun: queue.SimpleQueue[list[str]] = queue.SimpleQueue()  # what tasks tell while they are at work

    with Display("downloading tasks", len(chosen.tasks)) as display:

        def every() -> None:
            _tell_begun(begun, book.tell)
            display.tick()

        def take(tasks: Sequence[Task], threads: int) -> list[Task]:
            """Downloads these tasks; those for which there was no room come back, and are failures so far."""
            without_room, alone = [], len(tasks) == 1

            def work(task: Task) -> Downloaded:
                watch, older = display.item(f"{task.id} {task.name}"), homes.get(task.id, [])
                try:
                    return download_task(desk, task, folders[task.id], older, watch, begun.put, alone=alone)
                finally:
                    watch.close()

            for done in Crew(tasks, work, desk.stop, threads, "download").results(every):
                _tell_begun(begun, book.tell)
                book.note(done.detail, done.lines, done.remedy, passing=done.passing)
                task = by_id[done.detail.task_id]
                if done.no_room:
                    without_room.append(task)
                if done.detail.success and done.detail.size:
                    placed.append((task, desk.downloads / folders[task.id]))
                if alone or not done.no_room:
                    display.advance()
            return without_room

        # Side by side, each has its archive on the disk and what is unpacked of it: one after the other they may fit.
        without_room = take(chosen.tasks, 2 * desk.settings.concurrency + 1)
        later = sorted(without_room, key=lambda task: task.size) if len(chosen.tasks) > 1 else []
        while later and not take([later.pop(0)], 1):
            pass
        if later:
            book.tell(f"Not tried again: {plural(len(later), 'task')}, since a smaller one finds no room either")
    return sorted(placed, key=lambda each: each[0].id)


def _earlier(desk: Desk, tasks: Sequence[Task]) -> tuple[dict[str, int], dict[int, list[str]]]:
    """The folders of earlier runs: which task each belongs to, and each task's folders.

    0 is none of these tasks: one of another server, or of this one before it was set up anew, which counts its tasks
    from 1 again; or a copy that somebody made, under a name that we would not have given it.
    """
    created = {task.id: task.created_at for task in tasks}
    taken: dict[str, int] = {}
    homes: dict[int, list[str]] = {}
    for path in sorted(desk.downloads.iterdir()):
        head = None
        with contextlib.suppress(PermissionError):  # its task fails by itself, if it is one of these
            head = manifest.read_head(path) if is_folder(path) else None
        if head is not None:
            same = (
                head.server == desk.server and created.get(head.task_id, head.task_created_at) == head.task_created_at
            )
            ours = same and is_folder_of(path.name, head.task_name, head.task_id)
            taken[path.name] = head.task_id if ours else 0
            if ours:
                homes.setdefault(head.task_id, []).append(path.name)
    return taken, homes


def _merge(desk: Desk, placed: Sequence[tuple[Task, Path]], book: Book) -> None:
    """One dataset of everything; where it is not made, that is told and makes the run one that partly failed."""
    failed = len(book.metrics.of("failed"))
    try:
        if placed or failed:
            book.metrics.merged_dir = str(merge_datasets(desk, placed, failed, book.tell))
    except Trouble as error:
        log.get().error("merge_failed", reason=str(error))
        book.metrics.reason = str(error)
    desk.stop.check()
