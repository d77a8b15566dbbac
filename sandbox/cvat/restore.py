"""Reading backup archives back into the world, and failing as the real server does."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sandbox.cvat.annotations import Json, stored_annotations
from sandbox.cvat.media import MediaFile
from sandbox.cvat.world import Label, Project, Task, User, Validation, World

NAME_LIMIT = 256


class ImportFailed(Exception):
    """The import job failed; the text is what the request's `message` says."""


def restore_project(world: World, path: Path, user: User, organization_id: int | None) -> int:
    """Makes a new project of the archive, or nothing at all."""
    project: Project | None = None
    try:
        with zipfile.ZipFile(path) as archive:
            description = json.loads(archive.read("project.json"))
            with world.lock:
                project = world.add_project(
                    str(description["name"])[:NAME_LIMIT],
                    organization_id,
                    owner=user,
                    labels=description.get("labels") or [],
                    bug_tracker=description.get("bug_tracker") or "",
                    status=description.get("status") or "annotation",
                )
                _name_skeletons(project.labels)
                _restore_guide(world, archive, project, "", user)
            numbers = {
                int(match.group(1))
                for name in archive.namelist()
                if (match := re.fullmatch(r"task_(\d+)/task\.json", name))
            }
            for number in sorted(numbers):
                _restore_task(world, archive, f"task_{number}/", user, project, organization_id)
    except Exception as error:
        if project is not None:
            world.delete_project(project.id)
        raise ImportFailed(failure_text(error)) from error
    world.touch(project)
    return project.id


def restore_task(world: World, path: Path, user: User, organization_id: int | None) -> int:
    try:
        with zipfile.ZipFile(path) as archive:
            return _restore_task(world, archive, "", user, None, organization_id).id
    except Exception as error:
        raise ImportFailed(failure_text(error)) from error


def failure_text(error: BaseException) -> str:
    if isinstance(error, zipfile.BadZipFile):
        # The real one shows its whole traceback here and only here.
        return (
            "Traceback (most recent call last):\n"
            '  File "/home/django/cvat/apps/engine/backup.py", line 1241, in _read_meta\n'
            '    with ZipFile(self._filename, "r") as input_file:\n'
            f'    raise BadZipFile("{error}")\nzipfile.BadZipFile: {error}\n'
        )
    return f"{type(error).__name__}: {error}\n"


def _restore_task(
    world: World,
    archive: zipfile.ZipFile,
    prefix: str,
    user: User,
    project: Project | None,
    organization_id: int | None,
) -> Task:
    description: Json = json.loads(archive.read(f"{prefix}task.json"))
    about: Json = description["data"]
    annotations = json.loads(archive.read(f"{prefix}annotations.json"))
    # The comparison the real importer makes with the chunk size of a failed upload, which is null.
    if not about["chunk_size"] > 0:
        raise ValueError("chunk_size")
    files, manifest = _restore_media(world, archive, f"{prefix}data/", bytes_of_kind(about))
    with world.lock:
        task = world.add_empty_task(
            str(description["name"])[:NAME_LIMIT],
            project,
            owner=user,
            org=organization_id,
            labels=() if project else description.get("labels") or [],
            subset=description.get("subset") or "",
            bug_tracker=description.get("bug_tracker") or "",
            status=description.get("status") or "annotation",
        )
        try:
            _name_skeletons(task.labels)
            task.consensus_replicas = int(description.get("consensus_replicas") or 0)
            world.attach_files(
                task,
                files,
                kind="video" if about["chunk_type"] == "video" else "images",
                segment_size=_segment_size(description["jobs"]),
                overlap=_overlap(description["jobs"]),
                image_quality=about["image_quality"],
                chunk_size=about["chunk_size"],
                sorting_method="predefined",  # the manifest's order is the order
                start_frame=about["start_frame"],
                stop_frame=about["stop_frame"],
                frame_filter=about.get("frame_filter") or "",
                manifest=manifest,
                make_jobs=False,
            )
            assert task.data is not None
            task.data.sorting_method = about.get("sorting_method") or "lexicographical"
            task.data.deleted_frames = set(about.get("deleted_frames") or [])
            _restore_jobs(world, task, description["jobs"], annotations)
            layout = about.get("validation_layout")
            if layout:
                task.validation = Validation(layout["mode"], list(layout["frames"]))
            _restore_guide(world, archive, task, prefix, user)
            world.touch(task)
        except Exception:
            if task.id in world.tasks:
                world.delete_task(task.id)
            raise
        return task


def bytes_of_kind(about: Mapping[str, Any]) -> str:
    return "video" if about["chunk_type"] == "video" else "images"


def _segment_size(jobs: list[Json]) -> int:
    sizes = (job["stop_frame"] - job["start_frame"] + 1 for job in jobs if job["type"] == "annotation")
    return next(sizes, 0)


def _overlap(jobs: list[Json]) -> int:
    """A backup holds no overlap: it follows from the first two jobs."""
    rows = [job for job in jobs if job["type"] == "annotation"]
    return rows[0]["stop_frame"] - rows[1]["start_frame"] + 1 if len(rows) > 1 else 0


def _restore_media(
    world: World, archive: zipfile.ZipFile, folder: str, kind: str
) -> tuple[list[MediaFile], bytes | None]:
    """The media in the manifest's order; without a manifest, by name."""
    members = [
        info
        for info in archive.infolist()
        if info.filename.startswith(folder) and info.filename != folder and not info.is_dir()
    ]
    manifest: bytes | None = None
    files: dict[str, MediaFile] = {}
    for info in members:
        name = info.filename[len(folder) :]
        if name == "manifest.jsonl":
            manifest = archive.read(info)
        elif name != "index.json":
            files[name] = world.media.add(name, archive.read(info))
    if manifest is None or kind == "video":
        return [files[name] for name in sorted(files)], manifest
    ordered = []
    for line in manifest.decode().splitlines()[2:]:
        if line.strip():
            row = json.loads(line)
            ordered.append(files[row["name"] + row["extension"]])
    return ordered, manifest


def _restore_jobs(world: World, task: Task, rows: list[Json], annotations: list[Json]) -> None:
    index = world.label_index(task)
    parent_id: int | None = None
    for number, row in enumerate(rows):
        job = world.add_job(
            task,
            row["start_frame"],
            row["stop_frame"],
            type=row["type"],
            status=row["status"],  # restored, while stage and state begin anew
            included_frames=row.get("frames"),
        )
        if job.type == "consensus_replica":
            job.parent_job_id = parent_id
        else:
            parent_id = job.id
        if number < len(annotations):
            raw = _with_ids(annotations[number], index.top, None)
            job.annotations = stored_annotations(raw, index, world.annotation_id).completed(index)


def _with_ids(item: Any, labels: Mapping[str, Label], parent: Label | None) -> Any:
    """Names back to ids; elements look among their label's sublabels, and attributes in their own label."""
    if isinstance(item, list):
        return [_with_ids(one, labels, parent) for one in item]
    if not isinstance(item, dict):
        return item
    own = labels[item["label"]] if "label" in item else parent
    row: Json = {key: value for key, value in item.items() if key not in ("label", "attributes")}
    if "label" in item:
        assert own is not None
        row["label_id"] = own.id
    if "attributes" in item:
        assert own is not None
        specs = {spec.name: spec.id for spec in own.attributes}
        row["attributes"] = [
            {"spec_id": specs[attribute["name"]], "value": attribute["value"]} for attribute in item["attributes"]
        ]
    for key in ("tags", "shapes", "tracks"):
        if isinstance(item.get(key), list):
            row[key] = _with_ids(item[key], labels, own)
    if isinstance(item.get("elements"), list) and own is not None:
        sublabels = {sublabel.name: sublabel for sublabel in own.sublabels}
        row["elements"] = _with_ids(item["elements"], sublabels, own)
    return row


def _name_skeletons(labels: list[Label]) -> None:
    """A skeleton's drawing points at its sublabels by id again."""
    for label in labels:
        for sublabel in label.sublabels:
            label.svg = label.svg.replace(f'data-label-name="{sublabel.name}"', f'data-label-id="{sublabel.id}"')


def _restore_guide(world: World, archive: zipfile.ZipFile, thing: Project | Task, prefix: str, user: User) -> None:
    try:
        text = archive.read(f"{prefix}annotation_guide.md").decode()
    except KeyError:
        return
    guide = world.add_guide(thing, text)
    for info in archive.infolist():
        folder = f"{prefix}assets/"
        if info.filename.startswith(folder) and not info.is_dir():
            name = info.filename[len(folder) :]
            asset = world.add_asset(guide, name, archive.read(info), user)
            guide.markdown = guide.markdown.replace(f"assets/{name}", f"/api/assets/{asset.uuid}")
