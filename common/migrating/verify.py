"""A project on disk, looked at again: against its own record, and against a server."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from common.migrating.crew import side_by_side
from common.migrating.folder import BadFolder, Entry
from common.migrating.journal import Journal, journal_path
from common.migrating.report import Report
from common.migrating.source import Source, open_source
from common.migrating.wholeness import files_read_again, read_again
from common.progress import Display
from common.sc.client import Client
from common.sc.labels import LabelMap, map_labels
from common.sc.media import Media, hash_of, list_media
from common.sc.projects import Project, datasets_of, get_project, list_projects, portable
from common.sc.scenes import (
    differences,
    image_scene,
    same_ranges,
    translate,
    translate_ranges,
    video_ranges,
    video_scenes,
)
from common.waiting import StopSignal
from common.web import errors

_MEND = "Delete what has changed and download again: only what is not there is fetched."


def verify_files(path: Path, stop: StopSignal, workers: int) -> Report:
    """Every file of a downloaded project read again, against the hashes of its record. Raises Trouble."""
    began = time.monotonic()
    source = open_source(path)
    report = Report(source.name, where=str(path))
    if source.is_legacy:
        report.notes.append(
            "the folder was written by another tool: it has no hashes, only its presence can be looked at"
        )
    else:
        manifest = source.folder.manifest() or {}
        counts = manifest.get("counts") or {}
        for what, kind in (("images", "image"), ("videos", "video")):
            have = sum(each.kind == kind for each in source.entries)
            if have < counts.get(what, 0):
                report.gaps.append(f"the manifest counts {counts[what]:,} {what}, {have:,} are in media.jsonl")
        if wrong := files_read_again(source.folder, stop.check):
            report.gaps += wrong
            report.remedy = _MEND
    report.gaps += source.gaps
    with Display(f"reading {source.name}", len(source.entries)) as display:

        def work(entry: Entry) -> list[str]:
            return _readable(source, entry) if source.is_legacy else read_again(source.folder, entry)

        for done in side_by_side(source.entries, work, min(workers, 4), stop, display.tick):
            display.advance()
            wrong = done.made if done.made is not None else [f"{done.item.file}: {done.trouble}"]
            if wrong and not source.is_legacy:
                report.remedy = _MEND
            report.gaps += wrong
            _count(report, done.item)
    report.seconds = time.monotonic() - began
    return report.settle()


def _readable(source: Source, entry: Entry) -> list[str]:
    wrong = [] if (source.folder.path / entry.file).stat().st_size else [f"{entry.file} is empty"]
    for frame in entry.scenes or {}:
        try:
            source.folder.read_json(entry.scene_file(frame))
        except BadFolder as error:
            wrong.append(str(error))
    return wrong


def _count(report: Report, entry: Entry) -> None:
    report.images += entry.kind == "image"
    report.videos += entry.kind == "video"
    report.scenes += len(entry.scenes or {})
    report.shapes += entry.shapes
    report.bytes += entry.size_bytes


@dataclass
class _Pair:
    """A folder and the project on a server that it is compared with."""

    client: Client
    source: Source
    target: Project
    labels: LabelMap
    same_bytes: bool


def verify_server(path: Path, client: Client, name: str = "", *, read_bytes: bool = True) -> Report:
    """A folder compared with a project on a server, scene by scene; with `read_bytes` byte by byte. Raises Trouble.

    The project is the one this folder was uploaded to or downloaded from; else the only one called `name`.
    """
    began = time.monotonic()
    source = open_source(path)
    journal = Journal(journal_path(source.folder.path, client, name or source.name))
    target = _counterpart(client, source, journal, name or source.name)
    report = Report(str(target["name"]), where=f"{client.url} {target['id']}")
    keeps = client.generation.keeps_bytes and not source.is_legacy
    pair = _Pair(client, source, target, map_labels(source.project, target), keeps and read_bytes)
    report.gaps += [f"label {each} is not on the server" for each in pair.labels.missing]
    report.gaps += _project_differences(source, target, client)
    there: dict[str, Media] = {}
    for dataset in datasets_of(client, target):
        there |= {each.id: each for each in list_media(client, str(target["id"]), dataset.id)}
    found = _pairs(source, there, journal)
    with Display(f"comparing {source.name}", len(source.entries)) as display:

        def work(entry: Entry) -> list[str]:
            media = found.get(entry.id)
            return (
                [f"{entry.kind} {entry.name!r} is not on the server"]
                if media is None
                else _differences(pair, entry, media)
            )

        for done in side_by_side(source.entries, work, client.server.connections, client.stop, display.tick):
            display.advance()
            report.gaps += done.made if done.made is not None else [f"{done.item.name!r}: {done.trouble}"]
            _count(report, done.item)
    if extra := len(there) - len({each.id for each in found.values()}):
        report.notes.append(f"the server holds {extra:,} more images or videos than the folder")
    report.seconds = time.monotonic() - began
    return report.settle()


def _counterpart(client: Client, source: Source, journal: Journal, name: str) -> Project:
    origin = (source.folder.manifest() or {}).get("source") or {}
    for identity in (journal.project_id, str(origin.get("project_id", ""))):
        if identity:
            try:
                return get_project(client, identity)
            except (errors.NotFound, errors.Forbidden):
                continue
    named = [each for each in list_projects(client) if each.get("name") == name]
    if len(named) != 1:
        raise BadFolder(f"{client.url} has {len(named) or 'no'} projects called {name!r}: name the one to compare with")
    return get_project(client, str(named[0]["id"]))


def _pairs(source: Source, there: Mapping[str, Media], journal: Journal) -> dict[str, Media]:
    """The server's counterpart of each entry: by the journal, by id, else by dataset-wide unique name and size."""
    found: dict[str, Media] = {}
    free = dict(there)
    for entry in source.entries:
        identity = journal.media.get(entry.id, entry.id)
        if identity in free:
            found[entry.id] = free.pop(identity)
    by_name: dict[tuple[str, str], list[Media]] = {}
    for media in free.values():
        by_name.setdefault((media.kind, media.name), []).append(media)
    for entry in source.entries:
        if entry.id in found:
            continue
        fitting = by_name.get((entry.kind, entry.name), [])
        match = next(
            (m for m in fitting if not entry.width or {entry.width, entry.height} == {m.width, m.height}), None
        )
        if match is not None:
            fitting.remove(match)
            found[entry.id] = match
    return found


def _project_differences(source: Source, target: Project, client: Client) -> list[str]:
    here, there = source.described, portable(target, [])
    wrong = []
    tasks = {each["title"]: each for each in there["pipeline"]["tasks"]}
    for task in here["pipeline"]["tasks"]:
        other = tasks.get(task["title"])
        if other is None:
            wrong.append(f"task {task['title']!r} is not on the server")
            continue
        labels = {each["name"]: each for each in other.get("labels") or []}
        for label in task.get("labels") or []:
            found = labels.get(label["name"], {})
            for key in ("color", "group", "hotkey", "parent_id"):
                if not label.get("is_empty") and label.get(key) and found and label.get(key) != found.get(key):
                    wrong.append(f"label {label['name']!r}: {key} is {found.get(key)!r} there, {label[key]!r} here")
    return wrong


def _differences(pair: _Pair, entry: Entry, media: Media) -> list[str]:
    where = f"{entry.kind} {entry.name!r}"
    wrong = []
    if entry.width and media.width and {entry.width, entry.height} != {media.width, media.height}:
        wrong.append(f"{where}: another size in pixels")
    if pair.same_bytes and entry.sha256 and hash_of(pair.client, str(pair.target["id"]), media) != entry.sha256:
        wrong.append(f"{where}: other bytes than the file's")
    project_id = str(pair.target["id"])
    scenes = {}
    if entry.kind == "image":
        if (scene := image_scene(pair.client, project_id, media)) is not None:
            scenes[""] = scene
    elif entry.scenes or media.annotated:
        scenes = {str(frame): scene for frame, scene in video_scenes(pair.client, project_id, media)}
    normalised = pair.client.generation.normalised
    for frame in entry.scenes or {}:
        at = where + (f" frame {frame}" if frame else "")
        scene = pair.source.folder.read_json(entry.scene_file(frame))
        size = (media.width or entry.width, media.height or entry.height)
        wanted = translate(scene, pair.labels, size, from_normalised=pair.source.normalised, to_normalised=normalised)
        if not wanted.annotations:
            continue
        if frame not in scenes:
            wrong.append(f"{at}: no annotations there")
            continue
        wrong += [f"{at}: {each}" for each in differences(wanted.annotations, scenes[frame], normalised=normalised)]
    for frame in scenes.keys() - (entry.scenes or {}).keys():
        if scenes[frame].get("annotations"):
            at = where + (f" frame {frame}" if frame else "")
            wrong.append(f"{at}: annotations there that the folder does not have")
    if entry.ranges:
        wanted_ranges, lost = translate_ranges(pair.source.folder.read_json(entry.ranges_file), pair.labels)
        if lost or not same_ranges(video_ranges(pair.client, project_id, media) or [], wanted_ranges):
            wrong.append(f"{where}: other labels of stretches there")
    return wrong
