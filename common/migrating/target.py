"""The project that is uploaded to: made once, or taken up, or added to; its datasets, and what it holds already."""

from __future__ import annotations

from collections import defaultdict

from common import log
from common.exits import Trouble
from common.migrating.claiming import is_ours
from common.migrating.folder import Entry
from common.migrating.journal import Journal, made_by_siblings
from common.migrating.report import Report
from common.migrating.source import Source
from common.migrating.upload_job import LOOKS, IfThere, UploadJob
from common.sc.client import Client
from common.sc.labels import LabelMap, map_labels
from common.sc.media import Media, list_media
from common.sc.projects import (
    Project,
    add_labels,
    create,
    create_dataset,
    creation_body,
    datasets_of,
    get_project,
    is_gone,
    list_projects,
    same_moment,
    statistics,
    takes_labels,
)
from common.waiting import growing_pauses
from common.web import errors


class NameTaken(Trouble):
    """The target has a project of this name that this folder was not uploaded to."""

    remedy = "Choose another --name, or say --resume (go on with an upload of this folder) or --merge (add to it)."


def target_project(client: Client, source: Source, name: str, if_there: IfThere, journal: Journal) -> Project:
    if journal.project_id:
        ours = _taken_up(client, journal)
        if ours is not None:
            return ours
        journal.set_aside()
    if journal.creating is not None:
        found = _made_since(client, name, [*journal.creating["before"], *made_by_siblings(source.folder.path)])
        if found:
            return _adopted(client, journal, found[0], created=True)
    siblings = made_by_siblings(source.folder.path)
    same_name = [each for each in list_projects(client) if each.get("name") == name and str(each["id"]) not in siblings]
    if same_name and if_there == "refuse" and journal.creating is None:
        ids = ", ".join(str(each["id"]) for each in same_name)
        raise NameTaken(f"{client.url} already has a project {name!r} ({ids})")
    if same_name and if_there != "refuse":
        if len(same_name) > 1:
            ids = ", ".join(str(each["id"]) for each in same_name)
            raise NameTaken(f"{client.url} has several projects {name!r} ({ids}): rename all but one")
        return _adopted(client, journal, same_name[0], created=False)
    return _create(client, source, name, [*(str(each["id"]) for each in same_name), *siblings], journal)


def _taken_up(client: Client, journal: Journal) -> Project | None:
    """The project that an earlier run uploaded to; None where it is gone. Raises WebError."""
    try:
        found = get_project(client, journal.project_id)
    except errors.NotFound as error:
        if not is_gone(client, journal.project_id, error):
            raise
        log.get().warning("project_is_gone", project=journal.project_id, detail="it was deleted: it is made anew")
        return None
    if not _is_the_same(client, journal, found):
        detail = "the server was set up anew, and this is another project: ours is made anew"
        log.get().warning("project_is_gone", project=journal.project_id, detail=detail)
        return None
    return found


def _is_the_same(client: Client, journal: Journal, project: Project) -> bool:
    """Whether the project of this id is the one that the journal tells of: the id may have been given once more."""
    if not same_moment(journal.created_at, str(project.get("creation_time") or "")):
        return False
    there = {each.id for each in datasets_of(client, project)}
    return not journal.datasets or bool(there & set(journal.datasets.values()))


def _create(client: Client, source: Source, name: str, before: list[str], journal: Journal) -> Project:
    body = creation_body(source.described, name, client.generation)
    if journal.creating is None:
        journal.write_durably(creating={"name": name, "before": before})
    known = (journal.creating or {}).get("before") or before
    try:
        return _adopted(client, journal, create(client, body), created=True)
    except errors.OutcomeUnknown as error:
        log.get().warning("answer_lost", what="create project", reason=str(error))
    pauses = growing_pauses(0.5)
    for _ in range(LOOKS):
        if found := _made_since(client, name, known):
            return _adopted(client, journal, found[0], created=True)
        client.stop.sleep(next(pauses))
    return _adopted(client, journal, create(client, body), created=True)


def _made_since(client: Client, name: str, before: list[str]) -> list[Project]:
    return [each for each in list_projects(client) if each.get("name") == name and str(each["id"]) not in before]


def _adopted(client: Client, journal: Journal, project: Project, *, created: bool) -> Project:
    noted = {"id": str(project["id"]), "created": created}
    journal.write_durably(project=noted)
    whole = get_project(client, str(project["id"]))
    journal.write_durably(project={**noted, "created_at": str(whole.get("creation_time") or "")})
    return whole


def with_labels(
    client: Client, source: Source, target: Project, labels: LabelMap, report: Report
) -> tuple[Project, LabelMap]:
    """The project with the labels of the source that it lacks, where the server lets them be added. Raises WebError."""
    wanted = [(task, label) for task, label in labels.absent if takes_labels(task, client.generation)]
    if len(wanted) < len(labels.absent):
        report.notes.append(
            "labels cannot be added to a project of SC"
            if client.generation.era == "SC"
            else "labels cannot be added to anomaly and keypoint tasks"
        )
    if not wanted:
        return target, labels
    try:
        target = add_labels(client, target, [(str(task["id"]), label) for task, label in wanted])
    except (errors.Refused, errors.NotFound, errors.ServerError) as error:
        report.notes.append(f"labels could not be added: {error}")
        return target, labels
    names = ", ".join(f"{task['title']}: {label['name']}" for task, label in wanted)
    report.done.append(f"labels were added to the project ({names})")
    if orphans := [str(label["name"]) for _, label in wanted if label.get("parent_id")]:
        report.notes.append(f"labels that were added have no parent there: {', '.join(orphans)}")
    return target, map_labels(source.project, target)


def match_datasets(job: UploadJob) -> None:
    """A dataset of the target for each of the source: the training one by its mark, others by name or made."""
    there = datasets_of(job.client, job.target)
    described = list(job.source.described.get("datasets") or [])
    training = next((str(each["name"]) for each in described if each.get("use_for_training")), None)
    if training is None and described:
        training = str(described[0]["name"])
    used = [each.dataset for each in job.source.entries]
    names = dict.fromkeys([*(str(each["name"]) for each in described), *used])
    merged = []
    for name in names:
        if name in job.journal.datasets:
            continue
        if name == training or training is None:
            target = there[0].id
            training = training if training is not None else name
        elif found := next((each for each in there[1:] if each.name == name), None):
            target = found.id
        elif job.client.generation.era == "SC":
            merged.append(name)
            target = there[0].id
        else:
            target = create_dataset(job.client, job.project_id, name).id
        job.journal.write_durably(dataset=[name, target])
    if job.client.generation.era == "SC" and len(names) > 1:
        job.report.notes.append(f"{len(names)} datasets become one: the target has one per project")


# --- what is there already --------------------------------------------------------------------------------------


def look_around(job: UploadJob, if_there: IfThere) -> None:
    """Claims what the target took from an earlier run without our hearing of it."""
    fresh = job.journal.created and not job.journal.media and not job.journal.sending
    if fresh and not job.journal.doubted:
        return
    pending: dict[tuple[str, str, str], list[Entry]] = defaultdict(list)
    for entry in job.source.entries:
        if entry.id not in job.journal.media:
            pending[(job.journal.datasets[entry.dataset], entry.kind, entry.name)].append(entry)
    for dataset in dict.fromkeys(job.journal.datasets.values()):
        there = _listed(job, dataset)
        job.there |= {each.id: each for each in there}
        if not job.journal.created and dataset not in job.journal.already:
            _meet(job, dataset, there, if_there, pending)
            continue
        claimed = set(job.journal.media.values()) | set(job.journal.already.get(dataset, []))
        for media in there:
            if media.id in claimed:
                continue
            named = pending[(dataset, media.kind, media.name)]
            taken = next((each for each in named if each.id in job.journal.doubted and is_ours(job, each, media)), None)
            if taken is not None:
                named.remove(taken)
                job.journal.write(media=[taken.id, media.id])
    gone = [source for source, target in job.journal.media.items() if target not in job.there]
    for source in gone:  # deleted on the target since
        del job.journal.media[source]
        job.journal.forget_scenes(source)


def _listed(job: UploadJob, dataset: str) -> list[Media]:
    """What a dataset of the target holds. Where something that was sent is not among it, the list is asked for again and
    must not be shorter than the server's own counts: what is missing is sent once more. Raises WebError.
    """
    there = list(list_media(job.client, job.project_id, dataset))
    of = {each.id: job.journal.datasets.get(each.dataset) for each in job.source.entries}
    sent = {target for source, target in job.journal.media.items() if of.get(source) == dataset}
    if sent <= {each.id for each in there}:
        return there
    there = list(list_media(job.client, job.project_id, dataset))
    said = statistics(job.client, job.project_id, dataset) or {}
    counted = said.get("images", 0) + said.get("videos", 0)
    if counted > len(there):
        raise errors.ServerError(
            f"the target lists {len(there):,} images and videos and counts {counted:,}: nothing was sent a second time"
        )
    return there


def _meet(
    job: UploadJob,
    dataset: str,
    there: list[Media],
    if_there: IfThere,
    pending: dict[tuple[str, str, str], list[Entry]],
) -> None:
    """The first look at a project that this upload did not make. With --resume its media are taken for ours by name."""
    left = []
    for media in there:
        fitting = [
            each
            for each in pending[(dataset, media.kind, media.name)]
            if not each.width or not media.width or (each.width, each.height) == (media.width, media.height)
        ]
        if if_there == "resume" and fitting:
            pending[(dataset, media.kind, media.name)].remove(fitting[0])
            job.journal.write(media=[fitting[0].id, media.id])
        else:
            left.append(media.id)
    job.journal.write_durably(already=[dataset, left])
