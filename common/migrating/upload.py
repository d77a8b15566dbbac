"""A project from a folder to a server: made once, every file sent once, every scene compared with what was stored.

The journal says before each step what is about to be asked for. After a kill or a lost answer the server is looked at
first: what it took without our hearing of it is claimed, not sent again; what arrived twice all the same is deleted.
"""

from __future__ import annotations

import time

from common.files import is_folder
from common.lock import locked
from common.migrating.comparing import compare, remove_doubles
from common.migrating.journal import Journal, journal_path
from common.migrating.report import Report
from common.migrating.sending import send_all
from common.migrating.source import Source
from common.migrating.target import look_around, match_datasets, target_project, with_labels
from common.migrating.upload_job import IfThere, UploadJob
from common.sc import configuration
from common.sc.client import Client
from common.sc.labels import map_labels
from common.sc.projects import not_restorable
from common.text import plural


def upload_project(
    client: Client, source: Source, name: str = "", if_there: IfThere = "refuse", *, auto_training: bool | None = None
) -> Report:
    """Uploads a folder as a project called `name` (default: its own). A second run goes on. Raises Trouble, Locked.

    `auto_training` is how it is left (None: as it was in the source). It is off while annotations are put there.
    """
    name = name or source.name
    began = time.monotonic()
    path = journal_path(source.folder.path, client, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path.with_suffix(".lock"), "sc_migrate.py", client.patience_with_runs):
        journal = Journal(path)
        report = Report(name)
        try:
            target = target_project(client, source, name, if_there, journal)
            report.project_id = str(target["id"])
            report.project_created_at = str(target.get("creation_time") or "")
            report.where = f"{client.url} {report.project_id}"
            labels = map_labels(source.project, target)
            if labels.missing and if_there == "merge" and not journal.created:
                target, labels = with_labels(client, source, target, labels, report)
            job = UploadJob(client, source, journal, report, target, labels)
            _upload(job, if_there, auto_training)
        finally:
            journal.close()
        report.seconds = time.monotonic() - began
        return report.settle()


def _upload(job: UploadJob, if_there: IfThere, auto_training: bool | None) -> None:
    job.report.gaps += job.source.gaps
    job.report.gaps += [f"label {each} has no counterpart in the target" for each in job.labels.missing]
    if job.journal.created:
        job.report.notes += not_restorable(job.source.described, job.client.generation)
    if is_folder(job.source.folder.path / "models"):
        job.report.notes.append("models: no server takes model files in; only the server's own archive moves them")
    if is_folder(job.source.folder.path / "predictions"):
        job.report.notes.append("predictions: no server takes them in; they stay in the folder as data")
    if job.journal.auto_training is None:
        before = configuration.set_auto_training(job.client, job.target, lambda task: False)
        job.journal.write_durably(auto_training={str(task): value for task, value in before.items()})
    else:
        configuration.set_auto_training(job.client, job.target, lambda task: False)
    match_datasets(job)
    look_around(job, if_there)
    send_all(job)
    remove_doubles(job)
    compare(job)
    _restore_configuration(job, auto_training)
    if job.empty_scenes:
        job.report.notes.append(f"{plural(job.empty_scenes, 'scene')} without any shape: servers keep none")
    if not job.report.gaps:
        job.journal.write_durably(done=True)


def _restore_configuration(job: UploadJob, auto_training: bool | None) -> None:
    """The values of the source, then auto-training, last of all."""
    stored = job.source.configuration
    before = {int(task): value for task, value in (job.journal.auto_training or {}).items()}
    wanted = before
    if stored is not None and job.journal.created:
        carried = configuration.carry_over(job.client, job.target, stored)
        job.report.notes += carried.sentences
        wanted = before | configuration.stored_auto_training(stored)
    elif stored is None and not job.source.is_dataset:
        job.report.notes.append("configuration: the folder holds none")
    if set(job.report.gaps) - set(job.source.gaps) and job.journal.created:
        return  # it stays off until everything is there: the next run restores it
    configuration.set_auto_training(
        job.client, job.target, lambda task: wanted.get(task, False) if auto_training is None else auto_training
    )
