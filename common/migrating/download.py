"""A project from a server to a folder: every dataset, every byte, every annotated frame, or a list of what is missing."""

from __future__ import annotations

import time
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from common import log
from common.files import DiskFull, is_there, publish, write_json
from common.hashing import sha256_of
from common.lock import locked
from common.migrating.crew import side_by_side
from common.migrating.folder import BadFolder, Entry, ProjectFolder
from common.migrating.names import dataset_folders, safe_id, safe_name, stems_of
from common.migrating.picture_size import NoPicture, size_of_picture
from common.migrating.report import Report
from common.migrating.wholeness import compare, recorded_files, settle_vanished, sum_up
from common.progress import Display
from common.sc import configuration, models
from common.sc.address import server_key
from common.sc.client import Client
from common.sc.media import Media, extension_of, fetch_image, fetch_large, list_media, media_path
from common.sc.projects import Dataset, datasets_of, get_project, portable, same_moment, statistics
from common.sc.scenes import image_scene, predictions, video_ranges, video_scenes
from common.text import iso, now, parse_time
from common.transfer import Fetched, Interrupted, PartFile, require_room
from common.version import VERSION
from common.web import errors

# Annotations that an unfinished run fetched are used again for so long; older ones are fetched anew.
FRESH = timedelta(hours=24)


@dataclass(frozen=True)
class Wanted:
    """What is downloaded beside media and annotations."""

    predictions: bool = False
    models: bool = False
    reserve_bytes: int = 0


@dataclass
class _Job:
    """One download under way."""

    client: Client
    project: Mapping[str, Any]
    folder: ProjectFolder
    wanted: Wanted
    folders: dict[str, str] = field(default_factory=dict)
    datasets: dict[str, Dataset] = field(default_factory=dict)
    reuse_scenes: bool = False
    unfinished: bool = False
    files: dict[str, str] = field(default_factory=dict)  # of models: SHA-256 by path
    vanished: dict[str, Entry] = field(default_factory=dict)  # as they were when they had annotations that are gone now


def download_project(client: Client, project_id: str, path: Path, wanted: Wanted, display_name: str = "") -> Report:
    """Downloads one project into `path`; a second run goes on where one was broken off. Raises Trouble, Locked."""
    path.mkdir(parents=True, exist_ok=True)
    with locked(path / ".lock", "sc_migrate.py", client.patience_with_runs):
        return _download(client, project_id, ProjectFolder(path), wanted)


def _download(client: Client, project_id: str, folder: ProjectFolder, wanted: Wanted) -> Report:
    began = time.monotonic()
    project = get_project(client, project_id)
    report = Report(str(project["name"]), where=str(folder.path))
    source = {"server": server_key(client.url), "project_id": str(project["id"])}
    old = _take_up(folder, source, str(project.get("creation_time") or ""))
    unfinished = folder.begun() is not None
    job = _Job(client, project, folder, wanted, reuse_scenes=_is_fresh(folder), unfinished=unfinished)
    if not job.reuse_scenes or folder.begun() is None:
        folder.begin({**source, "begun_at": iso(now())})
    known = recorded_files(folder.manifest())
    job.files = {path: sha256 for path, sha256 in known.items() if path.startswith("models/")}
    datasets = datasets_of(client, project)
    job.datasets = {each.id: each for each in datasets}
    job.folders = dataset_folders((each.id, each.name) for each in datasets)
    write_json(folder.path / "project.json", portable(project, datasets))
    with client.beside("configuration", lambda: configuration.read(client, project)) as reading:
        listed = [media for each in datasets for media in list_media(client, project_id, each.id)]
        stored_configuration = reading()
    write_json(folder.path / "configuration.json", stored_configuration)
    # What is gone on the server stays here: nothing new takes its name. All that are listed have a say in each name, so
    # that a run that was broken off ends with the same names as one that was not.
    stems = stems_of(listed, [entry.stem for entry in old.values()])
    stems |= {identity: entry.stem for identity, entry in old.items()}
    folder.clear_debris([*(_part_of(job, each) for each in listed if each.kind == "video"), *_parts_of_models(job)])
    entries = dict(_fetch_all(job, listed, stems, old, report))
    for identity, entry in old.items():
        if identity not in entries:
            entries[identity] = replace(entry, gone=True)
    _fetch_models(job, report)
    counted = {each.id: statistics(client, project_id, each.id) for each in datasets}
    entries |= settle_vanished(folder, job.datasets, job.vanished, listed, entries, counted, report)
    compare(job.datasets, listed, entries, counted, report)
    sum_up(entries.values(), report)
    report.seconds = time.monotonic() - began
    report.settle()
    folder.finish(
        entries.values(),
        {
            "tool": f"cvat-backups {VERSION}",
            "source": {**source, "name": project["name"], "workspace": client.workspace.get("name", "")},
            "generation": client.generation.era,
            "server_version": client.generation.version,
            "normalised": client.generation.normalised,
            "server_keeps_bytes": client.generation.keeps_bytes,
            "finished_at": iso(now()),
            "project": project,
            "datasets": [
                {"id": each.id, "name": each.name, "use_for_training": each.is_training, "statistics": counted[each.id]}
                for each in datasets
            ],
            "counts": {
                "images": report.images,
                "videos": report.videos,
                "scenes": report.scenes,
                "shapes": report.shapes,
            },
            "files": job.files,
            "complete": not report.gaps,
            "gaps": report.gaps[:1000],
        },
    )
    return report


def _take_up(folder: ProjectFolder, source: Mapping[str, str], created_at: str) -> dict[str, Entry]:
    """What the folder already holds of this project. Raises BadFolder when it holds another one."""
    manifest = folder.manifest()
    before = (manifest or {}).get("source") or folder.begun()
    if before is None:
        if is_there(folder.path / "project.json") or any(
            not each.name.startswith(".") for each in folder.path.iterdir()
        ):
            raise BadFolder(f"{folder.path} is not empty and was not begun by this program: choose another folder")
        return {}
    if any(before.get(key) != value for key, value in source.items()):
        raise BadFolder(f"{folder.path} holds another project ({before.get('server')}, {before.get('project_id')})")
    known = (manifest or {}).get("project")
    if isinstance(known, dict) and not same_moment(str(known.get("creation_time") or ""), created_at):
        raise BadFolder(
            f"{folder.path} holds another project of this id, from before the server was set up anew: choose another folder "
            "(--into), or move that one away"
        )
    return folder.entries()


def _is_fresh(folder: ProjectFolder) -> bool:
    """Whether an unfinished run is young enough for its annotations to be used."""
    begun = folder.begun()
    if begun is None:
        return False
    try:
        return now() - parse_time(str(begun["begun_at"])) < FRESH
    except (KeyError, ValueError):
        return False


def _fetch_all(
    job: _Job, listed: list[Media], stems: Mapping[str, str], old: Mapping[str, Entry], report: Report
) -> Iterable[tuple[str, Entry]]:
    with Display(f"downloading {report.name}", len(listed)) as display:

        def work(media: Media) -> tuple[Entry, list[str]]:
            return _fetch(job, media, stems[media.id], old.get(media.id), display)

        try:
            for done in side_by_side(listed, work, job.client.server.connections, job.client.stop, display.tick):
                display.advance()
                if done.made is not None:
                    entry, gaps = done.made
                    report.gaps += gaps
                    yield entry.id, entry
                elif isinstance(done.trouble, DiskFull):
                    raise done.trouble  # all others would meet it too
                else:
                    log.get().warning("media_failed", media=done.item.id, reason=str(done.trouble))
                    report.gaps.append(f"{done.item.kind} {done.item.name!r} ({done.item.id}): {done.trouble}")
        finally:
            job.folder.close()


def _fetch(job: _Job, media: Media, stem: str, old: Entry | None, display: Display) -> tuple[Entry, list[str]]:
    """One image or video with its annotations. What is missing of it is said, and what came is kept. Raises Trouble."""
    gaps: list[str] = []
    entry = _with_file(job, media, stem, old, display)
    if old is None or entry.file != old.file or entry.scenes is None:
        job.folder.note(entry)
    if entry.scenes is None or not job.reuse_scenes or not _scenes_are_there(job, entry):
        try:
            entry = _with_scenes(job, media, entry)
        except (errors.WebError, Interrupted, ValueError) as error:
            gaps.append(f"annotations of {media.kind} {media.name!r} ({media.id}): {error}")
            return entry, gaps
    if job.wanted.predictions and not entry.predictions:
        try:
            entry = _with_predictions(job, media, entry)
        except errors.WebError as error:
            gaps.append(f"predictions of {media.kind} {media.name!r} ({media.id}): {error}")
    if media.id not in job.vanished:  # that is believed at the end only
        job.folder.note(entry)
    return entry, gaps


# --- files ------------------------------------------------------------------------------------------------------


def _with_file(job: _Job, media: Media, stem: str, old: Entry | None, display: Display) -> Entry:
    dataset = job.datasets[media.dataset_id]
    if old is not None and old.file and _is_there(job, old):
        return replace(old, gone=False, dataset=dataset.name, dataset_id=media.dataset_id)
    relative = _folder_of(job, media)
    folder = job.folder.folder_for(relative)
    path = media_path(job.client, str(job.project["id"]), media)
    part = PartFile(_part_of(job, media))
    fetched: Fetched
    if media.kind == "image":
        require_room(folder, 0, job.wanted.reserve_bytes)
        try:
            fetched = fetch_image(job.client, path, part.path)
        except BaseException:
            part.path.unlink(missing_ok=True)
            raise
    else:
        item = display.item(media.name)
        try:
            fetched = _fetch_video(job, path, part, media, item.bytes)
        finally:
            item.close()
    with open(part.path, "rb") as file:
        extension = extension_of(file.read(16), media.extension, media.kind)
    width, height = media.width, media.height
    if media.kind == "image":
        width, height = _checked_size(part.path, media)
    final = folder / f"{stem}{extension}"
    job.folder.place(part.path, final)
    part.mark_path.unlink(missing_ok=True)
    return Entry(
        id=media.id, dataset_id=media.dataset_id, dataset=dataset.name, name=media.name, kind=media.kind, stem=stem,
        file=f"{relative}/{final.name}", size_bytes=fetched.size_bytes, sha256=fetched.sha256, width=width,
        height=height, frame_count=media.frame_count, uploaded_at=media.uploaded_at,
        scenes=old.scenes if old is not None else None, shapes=old.shapes if old is not None else 0,
    )  # fmt: skip


def _folder_of(job: _Job, media: Media) -> str:
    return f"{media.kind}s/{job.folders[media.dataset_id]}"


def _part_of(job: _Job, media: Media) -> Path:
    """Where the file is while it arrives. That of a video is gone on with by a later run."""
    return job.folder.inside(_folder_of(job, media)) / f".{safe_id(media.id)}.part"


def _fetch_video(job: _Job, path: str, part: PartFile, media: Media, on_progress: Any) -> Fetched:
    require_room(part.path.parent, 0, job.wanted.reserve_bytes)
    try:
        return fetch_large(
            job.client, f"{path}/display/stream", part, media.id, reserve_bytes=job.wanted.reserve_bytes,
            on_progress=on_progress,
        )  # fmt: skip
    except Interrupted as error:
        raise errors.Unreachable(f"the video did not arrive whole: {error}") from None


def _is_there(job: _Job, entry: Entry) -> bool:
    """Whether the file is there as it was written; of a run that was not finished, every byte is read again."""
    path = job.folder.inside(entry.file)
    try:
        if path.stat().st_size != entry.size_bytes:
            return False
        return not job.unfinished or sha256_of(path, job.client.stop.check) == entry.sha256
    except OSError:
        return False


def _scenes_are_there(job: _Job, entry: Entry) -> bool:
    files = [(entry.scene_file(frame), sha256) for frame, sha256 in (entry.scenes or {}).items()]
    files += [(entry.ranges_file, entry.ranges)] if entry.ranges else []
    try:
        return all(sha256_of(job.folder.inside(relative)) == sha256 for relative, sha256 in files)
    except OSError:
        return False


def _checked_size(path: Path, media: Media) -> tuple[int, int]:
    """The size of a picture in pixels, which must be what the server says. Raises ServerError."""
    try:
        width, height = size_of_picture(path)
    except (NoPicture, OSError) as error:
        raise errors.ServerError(f"what arrived is no picture ({error})") from None
    # A camera held upright: the server may give the size after turning.
    if media.width and {width, height} != {media.width, media.height}:
        raise errors.ServerError(
            f"a picture of {width} x {height} arrived, the server says {media.width} x {media.height}"
        )
    return media.width or width, media.height or height


# --- annotations ------------------------------------------------------------------------------------------------


def _with_scenes(job: _Job, media: Media, entry: Entry) -> Entry:
    project_id, scenes, shapes, ranges = str(job.project["id"]), {}, 0, ""
    if media.annotated and media.kind == "image":
        scene = image_scene(job.client, project_id, media)
        if scene is not None:
            scenes[""] = job.folder.write_small(entry.scene_file(""), scene)
            shapes += len(scene["annotations"])
    elif media.kind == "video":
        if media.annotated:
            for frame, scene in video_scenes(job.client, project_id, media):
                scenes[str(frame)] = job.folder.write_small(entry.scene_file(str(frame)), scene)
                shapes += len(scene["annotations"])
        found = video_ranges(job.client, project_id, media)
        if found is None and entry.ranges:
            raise errors.ServerError("the server no longer answers for the labels of stretches, which it had")
        if found:
            ranges = job.folder.write_small(entry.ranges_file, found)
    if media.surely_annotated and not scenes and not ranges:
        raise errors.ServerError("the server lists it as annotated, and answers that it has no annotations")
    if set(entry.scenes or {}) - set(scenes) or (entry.ranges and not ranges):
        job.vanished[media.id] = entry
    return replace(entry, scenes=scenes, shapes=shapes, ranges=ranges)


def _with_predictions(job: _Job, media: Media, entry: Entry) -> Entry:
    found = {}
    project_id = str(job.project["id"])
    frames: list[str] = [""] if media.kind == "image" else sorted(entry.scenes or {}, key=int)
    for frame in frames:
        predicted = predictions(job.client, project_id, media, int(frame) if frame else None)
        if predicted is not None:
            found[frame] = job.folder.write_small(entry.prediction_file(frame), predicted)
    return replace(entry, predictions=found)


# --- models -----------------------------------------------------------------------------------------------------


def _parts_of_models(job: _Job) -> list[Path]:
    return list((job.folder.path / "models").glob(".*.part")) if job.wanted.models else []


def _fetch_models(job: _Job, report: Report) -> None:
    """What is trained and which model is active, always; the files where they are wanted."""
    project_id = str(job.project["id"])
    try:
        groups = models.model_groups(job.client, project_id)
    except errors.WebError as error:
        report.gaps.append(f"the list of models: {error}")
        return
    trained = sum(len(group["models"]) for group in groups)
    if not trained:
        return
    job.files["models/models.json"] = job.folder.write_small("models/models.json", groups)
    report.notes.append(
        "models: no server takes model files in; only the server's own archive (export-archive) moves them"
        if job.client.generation.has_archives
        else "models: this server has no way to move them to another"
    )
    if not job.wanted.models:
        return
    folder = job.folder.folder_for("models")
    for file in models.model_files(job.client, project_id, groups):
        final = folder / f"{safe_name(file.name)}.zip"
        if _model_is_there(job, final):
            continue
        part = PartFile(folder / f".{final.name}.part")
        try:
            fetched = fetch_large(job.client, file.path, part, file.path, reserve_bytes=job.wanted.reserve_bytes)
            publish(part.path, final)  # at once on the disk: a later run believes it by its name
            job.files[f"models/{final.name}"] = fetched.sha256
            part.mark_path.unlink(missing_ok=True)
        except (errors.WebError, Interrupted) as error:
            report.gaps.append(f"model file {file.name}: {error}")


def _model_is_there(job: _Job, final: Path) -> bool:
    """Whether a model's file is there as it was written; of one that no manifest tells of, whether it is a whole zip."""
    relative = f"models/{final.name}"
    try:
        sha256 = sha256_of(final, job.client.stop.check)
    except OSError:
        return False
    if relative not in job.files and zipfile.is_zipfile(final):
        job.files[relative] = sha256
    return job.files.get(relative) == sha256
