"""A project from a folder to a server: made once, every file sent once, every scene compared with what was stored.

The journal says before each step what is about to be asked for. After a kill or a lost answer the server is looked at
first: what it took without our hearing of it is claimed, not sent again; what arrived twice all the same is deleted.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from typing import Literal

from common import log
from common.exits import Trouble
from common.lock import locked
from common.migrating.crew import side_by_side
from common.migrating.folder import BadFolder, Entry
from common.migrating.journal import Journal, journal_path, made_by_siblings
from common.migrating.report import Report
from common.migrating.source import Source
from common.progress import Display
from common.sc import configuration
from common.sc.client import Client
from common.sc.labels import LabelMap, map_labels
from common.sc.media import Media, delete, list_media, upload
from common.sc.projects import (
    Project,
    create,
    create_dataset,
    creation_body,
    datasets_of,
    get_project,
    list_projects,
    not_restorable,
    statistics,
)
from common.sc.scenes import differences, put_ranges, put_scene, same_ranges, translate, translate_ranges, video_ranges
from common.text import plural
from common.waiting import growing_pauses
from common.web import errors

IfThere = Literal["refuse", "resume", "merge"]
# How often the server is looked at after an answer was lost, before the same is sent again.
LOOKS = 5


class ExistsAlready(Trouble):
    """The target has a project of this name that this folder was not uploaded to."""

    remedy = "Choose another --name, or say --resume (go on with an upload of this folder) or --merge (add to it)."


@dataclass
class _Job:
    """One upload under way."""

    client: Client
    source: Source
    journal: Journal
    report: Report
    target: Project
    labels: LabelMap
    there: dict[str, Media] = field(default_factory=dict)  # what the target holds, by id, as far as we know
    empty_scenes: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def project_id(self) -> str:
        return str(self.target["id"])


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
    with locked(path.with_suffix(".lock"), "sc_migrate.py"):
        journal = Journal(path)
        report = Report(name)
        try:
            target = _target_project(client, source, name, if_there, journal)
            report.where = f"{client.url} {target['id']}"
            job = _Job(client, source, journal, report, target, map_labels(source.project, target))
            _upload(job, if_there, auto_training)
        finally:
            journal.close()
        report.seconds = time.monotonic() - began
        return report.settle()


def _upload(job: _Job, if_there: IfThere, auto_training: bool | None) -> None:
    job.report.gaps += job.source.gaps
    job.report.gaps += [f"label {each} has no counterpart in the target" for each in job.labels.missing]
    if job.journal.created:
        job.report.notes += not_restorable(job.source.described, job.client.generation)
    if (job.source.folder.path / "models").is_dir():
        job.report.notes.append("models: no server takes model files in; only the server's own archive moves them")
    if (job.source.folder.path / "predictions").is_dir():
        job.report.notes.append("predictions: no server takes them in; they stay in the folder as data")
    if job.journal.auto_training is None:
        before = configuration.set_auto_training(job.client, job.target, lambda task: False)
        job.journal.write_durably(auto_training={str(task): value for task, value in before.items()})
    else:
        configuration.set_auto_training(job.client, job.target, lambda task: False)
    _match_datasets(job)
    _look_around(job, if_there)
    _send_all(job)
    _remove_doubles(job)
    _compare(job)
    _restore_configuration(job, auto_training)
    if job.empty_scenes:
        job.report.notes.append(f"{plural(job.empty_scenes, 'scene')} without any shape: servers keep none")
    if not job.report.gaps:
        job.journal.write_durably(done=True)


# --- the project ------------------------------------------------------------------------------------------------


def _target_project(client: Client, source: Source, name: str, if_there: IfThere, journal: Journal) -> Project:
    if journal.project_id:
        try:
            return get_project(client, journal.project_id)
        except errors.NotFound:
            log.get().warning("project_is_gone", project=journal.project_id, detail="it was deleted: it is made anew")
            journal.set_aside()
    if journal.creating is not None:
        found = _made_since(client, name, [*journal.creating["before"], *made_by_siblings(source.folder.path)])
        if found:
            return _adopted(client, journal, found[0], created=True)
    ours = made_by_siblings(source.folder.path)
    same_name = [each for each in list_projects(client) if each.get("name") == name and str(each["id"]) not in ours]
    if same_name and if_there == "refuse" and journal.creating is None:
        ids = ", ".join(str(each["id"]) for each in same_name)
        raise ExistsAlready(f"{client.url} already has a project {name!r} ({ids})")
    if same_name and if_there != "refuse":
        if len(same_name) > 1:
            ids = ", ".join(str(each["id"]) for each in same_name)
            raise ExistsAlready(f"{client.url} has several projects {name!r} ({ids}): rename all but one")
        return _adopted(client, journal, same_name[0], created=False)
    return _create(client, source, name, [*(str(each["id"]) for each in same_name), *ours], journal)


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
    journal.write_durably(project={"id": str(project["id"]), "created": created})
    return get_project(client, str(project["id"]))


def _match_datasets(job: _Job) -> None:
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


def _look_around(job: _Job, if_there: IfThere) -> None:
    """Claims what the target took from an earlier run without our hearing of it."""
    fresh = job.journal.created and not job.journal.media and not job.journal.sending
    if fresh and not job.journal.doubted:
        return
    pending: dict[tuple[str, str, str], list[Entry]] = defaultdict(list)
    for entry in job.source.entries:
        if entry.id not in job.journal.media:
            pending[(job.journal.datasets[entry.dataset], entry.kind, entry.name)].append(entry)
    for dataset in dict.fromkeys(job.journal.datasets.values()):
        there = list(list_media(job.client, job.project_id, dataset))
        job.there |= {each.id: each for each in there}
        if not job.journal.created and dataset not in job.journal.already:
            _meet(job, dataset, there, if_there, pending)
            continue
        claimed = set(job.journal.media.values()) | set(job.journal.already.get(dataset, []))
        for media in there:
            if media.id in claimed:
                continue
            # At most one of a name is under way at any time: this is it.
            doubted = [each for each in pending[(dataset, media.kind, media.name)] if each.id in job.journal.doubted]
            if doubted:
                pending[(dataset, media.kind, media.name)].remove(doubted[0])
                job.journal.write(media=[doubted[0].id, media.id])
    gone = [source for source, target in job.journal.media.items() if target not in job.there]
    for source in gone:  # deleted on the target since
        del job.journal.media[source]
        job.journal.forget_scenes(source)


def _meet(
    job: _Job, dataset: str, there: list[Media], if_there: IfThere, pending: dict[tuple[str, str, str], list[Entry]]
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


# --- sending ----------------------------------------------------------------------------------------------------


def _send_all(job: _Job) -> None:
    """Media of the same name one after another, all others side by side."""
    groups: dict[tuple[str, str], list[Entry]] = defaultdict(list)
    for entry in job.source.entries:
        groups[(job.journal.datasets[entry.dataset], entry.name)].append(entry)
    with Display(f"uploading {job.report.name}", len(job.source.entries)) as display:

        def work(group: list[Entry]) -> list[str]:
            gaps = []
            for entry in group:
                try:
                    gaps += _send(job, entry, display)
                except (Trouble, OSError) as error:
                    gaps.append(f"{entry.kind} {entry.name!r} ({entry.id}): {error}")
                display.advance()
            return gaps

        for done in side_by_side(groups.values(), work, job.client.server.connections, job.client.stop, display.tick):
            job.report.gaps += done.made or []
            if done.trouble is not None:
                job.report.gaps.append(f"{done.item[0].name!r}: {done.trouble}")


def _send(job: _Job, entry: Entry, display: Display) -> list[str]:
    """One image or video with its scenes; what did not get there. Raises Trouble, OSError."""
    if not entry.file:
        return [f"{entry.kind} {entry.name!r} ({entry.id}) has no file"]
    media = _sent_media(job, entry)
    with job.lock:
        job.report.images += entry.kind == "image"
        job.report.videos += entry.kind == "video"
        job.report.bytes += entry.size_bytes
    gaps: list[str] = []
    if entry.ranges:
        gaps += _send_ranges(job, entry, media)  # before the scenes: it may replace some
    for frame in entry.scenes or {}:
        gaps += _send_scene(job, entry, media, frame)
    return gaps


def _send_ranges(job: _Job, entry: Entry, media: Media) -> list[str]:
    """The labels of stretches of a video; what of them did not get there."""
    if job.journal.scenes.get((entry.id, "ranges")) == entry.ranges:
        return []
    where = f"labels of stretches of video {entry.name!r}"
    if job.client.generation.era == "SC":
        return [f"{where}: the target has none"]
    wanted, lost = translate_ranges(job.source.folder.read_json(entry.ranges_file), job.labels)
    gaps = [f"{where}: label {label} is not in the target" for label in lost]
    job.journal.write(again=entry.id)  # what it replaces is sent after it, in whatever run
    try:
        put_ranges(
            job.client, job.project_id, replace(media, frame_count=media.frame_count or entry.frame_count), wanted
        )
        stored = video_ranges(job.client, job.project_id, media)
    except errors.WebError as error:
        return [*gaps, f"{where}: {error}"]
    if not same_ranges(stored, wanted):
        gaps.append(f"{where}: they did not come back as they were sent")
    if not gaps:
        job.journal.write(scene=[entry.id, "ranges", entry.ranges])
    return gaps


def _sent_media(job: _Job, entry: Entry) -> Media:
    """The target's media of an entry: sent before, or sent now, once."""
    dataset = job.journal.datasets[entry.dataset]
    if target := job.journal.media.get(entry.id):
        return job.there[target]
    path = job.source.folder.inside(entry.file)
    if path.stat().st_size != entry.size_bytes:
        raise BadFolder(f"{entry.file} has changed since it was downloaded")
    for attempt in range(2):
        job.journal.write(sending=entry.id)
        try:
            media = upload(job.client, job.project_id, dataset, entry.kind, path, entry.file_name)
        except errors.OutcomeUnknown as error:
            job.journal.write(doubt=entry.id)
            log.get().warning("answer_lost", what=entry.file_name, reason=str(error))
            found = _taken_all_the_same(job, entry, dataset)
            if found is None:
                if attempt:
                    raise
                continue
            media = found
        with job.lock:
            job.there[media.id] = media
        job.journal.write(media=[entry.id, media.id])
        return media
    raise AssertionError


def _taken_all_the_same(job: _Job, entry: Entry, dataset: str) -> Media | None:
    """Looks whether the target took a file although its answer did not reach us. Some take a while."""
    pauses = growing_pauses(0.5)
    for look in range(LOOKS):
        claimed = set(job.journal.media.values()) | set(job.journal.already.get(dataset, []))
        for media in list_media(job.client, job.project_id, dataset):
            if media.id not in claimed and (media.kind, media.name) == (entry.kind, entry.name):
                return media
        if look + 1 < LOOKS:
            job.client.stop.sleep(next(pauses))
    return None


def _send_scene(job: _Job, entry: Entry, media: Media, frame: str) -> list[str]:
    scene, sha256 = job.source.folder.read_json_and_hash(entry.scene_file(frame))
    where = f"{entry.kind} {entry.name!r}" + (f" frame {frame}" if frame else "")
    count = len(scene.get("annotations") or [])
    if not count:
        with job.lock:
            job.empty_scenes += 1
        return []
    if job.journal.scenes.get((entry.id, frame)) == sha256:
        with job.lock:
            job.report.scenes += 1
            job.report.shapes += count
        return []
    generation = job.client.generation
    size = (media.width or entry.width, media.height or entry.height)
    try:
        translated = translate(
            scene, job.labels, size, from_normalised=job.source.normalised, to_normalised=generation.normalised
        )
        gaps = [f"{where}: {each}" for each in translated.lost]
        if not translated.annotations:
            return gaps
        stored = put_scene(job.client, job.project_id, media, int(frame) if frame else None, translated)
    except (ValueError, errors.WebError) as error:
        return [f"annotations of {where}: {error}"]
    gaps += [
        f"{where}: {each}" for each in differences(translated.annotations, stored, normalised=generation.normalised)
    ]
    with job.lock:
        job.report.scenes += 1
        job.report.shapes += len(translated.annotations)
    if not gaps:
        job.journal.write(scene=[entry.id, frame, sha256])
    return gaps


# --- afterwards -------------------------------------------------------------------------------------------------


def _remove_doubles(job: _Job) -> None:
    """Deletes what arrived twice: a file whose answer was lost, sent again, and taken both times."""
    if not job.journal.doubted:
        return
    by_id = {entry.id: entry for entry in job.source.entries}
    doubted = {
        (job.journal.datasets[entry.dataset], entry.kind, entry.name)
        for entry in (by_id.get(each) for each in job.journal.doubted)
        if entry is not None
    }
    claimed = set(job.journal.media.values())
    for dataset in {each[0] for each in doubted}:
        others = set(job.journal.already.get(dataset, []))
        for media in list(list_media(job.client, job.project_id, dataset)):
            if (dataset, media.kind, media.name) in doubted and media.id not in claimed | others:
                log.get().warning("double_deleted", media=media.id, name=media.name)
                delete(job.client, job.project_id, media)


def _compare(job: _Job) -> None:
    """What the target lists and counts, against what was sent to it."""
    sent = job.journal.media
    scenes_of = Counter(source for source, frame in job.journal.scenes if frame != "ranges")
    for dataset in dict.fromkeys(job.journal.datasets.values()):
        there = {each.id: each for each in list_media(job.client, job.project_id, dataset)}
        own = [each for each in job.source.entries if job.journal.datasets[each.dataset] == dataset and each.id in sent]
        for entry in own:
            media = there.get(sent[entry.id])
            if media is None:
                job.report.gaps.append(f"{entry.kind} {entry.name!r} was sent and is not listed by the target")
            elif entry.width and media.width and {entry.width, entry.height} != {media.width, media.height}:
                job.report.gaps.append(
                    f"{entry.kind} {entry.name!r}: {entry.width} x {entry.height} here, {media.width} x {media.height} there"
                )
            elif entry.name != media.name:
                job.report.notes.append(f"{entry.kind} {entry.name!r} is called {media.name!r} there")
        if job.journal.created and (extra := len(there.keys() - set(sent.values()))):
            job.report.gaps.append(f"the target holds {plural(extra, 'file')} that this upload did not send")
        ours = {sent[each.id] for each in own}
        if gone := len((there.keys() & set(sent.values())) - ours):
            job.report.notes.append(
                f"{plural(gone, 'file')} of an earlier upload, gone in the source since, stay there"
            )
        said = statistics(job.client, job.project_id, dataset)
        if said is None:
            continue
        frames = sum(scenes_of[each.id] for each in own if each.kind == "video")
        images = sum(scenes_of[each.id] for each in own if each.kind == "image")
        for what, count in (("annotated_images", images), ("annotated_frames", frames)):
            if said.get(what, count) < count:
                job.report.gaps.append(
                    f"the target counts {said[what]:,} {what.replace('_', ' ')}, {count:,} were sent"
                )


def _restore_configuration(job: _Job, auto_training: bool | None) -> None:
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
