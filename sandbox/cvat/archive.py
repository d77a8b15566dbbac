"""Backup archives as CVAT writes them: every member stored, projects with `task_N/`, tasks at the root."""

from __future__ import annotations

import json
import os
import re
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sandbox.cvat.annotations import Json, LabelIndex
from sandbox.cvat.media import MediaFile, MediaStore
from sandbox.cvat.world import Label, Project, Task, World

ASSET_LINK = re.compile(r"/api/assets/([0-9a-f-]{36})")
FIXED_DATE = (1980, 1, 1, 0, 0, 0)


class Archive:
    """A zip with stored members. Media go in by the kernel's copy, with the checksum the store remembers."""

    def __init__(self, path: Path, media: MediaStore) -> None:
        self.zip = zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True)
        self.media = media

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_: object) -> None:
        self.zip.close()

    def add(self, name: str, content: bytes, date: tuple[int, ...], mode: int = 0o600) -> None:
        info = zipfile.ZipInfo(name, _six(date))
        info.external_attr = mode << 16
        info.create_system = 3
        self.zip.writestr(info, content)

    def add_media(self, name: str, file: MediaFile, date: tuple[int, ...]) -> None:
        info = zipfile.ZipInfo(name, _six(date))
        info.external_attr = 0o100644 << 16
        info.create_system = 3
        with file.path.open("rb") as source:
            size = os.fstat(source.fileno()).st_size
            if size < 1024 * 1024:
                self.zip.writestr(info, source.read())
                return
            # zipfile would read every byte through Python; the header is written by it, the bytes are not.
            target = self.zip.fp
            assert target is not None
            info.CRC = self.media.crc(file.path)
            info.file_size = info.compress_size = size
            target.seek(self.zip.start_dir)
            info.header_offset = target.tell()
            target.write(info.FileHeader(zip64=False))
            target.flush()
            done = 0
            while done < size:
                done += os.sendfile(target.fileno(), source.fileno(), done, size - done)
            target.seek(0, os.SEEK_END)
            self.zip.start_dir = target.tell()
            self.zip.filelist.append(info)
            self.zip.NameToInfo[info.filename] = info
            self.zip._didModify = True  # type: ignore[attr-defined]


def _six(date: tuple[int, ...]) -> tuple[int, int, int, int, int, int]:
    year, month, day, hour, minute, second = date[:6]
    return year, month, day, hour, minute, second


def _dos(moment: datetime) -> tuple[int, ...]:
    return moment.astimezone(UTC).timetuple()[:6]


def write_project(world: World, project_id: int, path: Path) -> None:
    """The project as it is now; the lock is held only while its description is read, not while media are copied."""
    with world.lock:
        plan = _ProjectPlan(world, world.project(project_id))
    with Archive(path, world.media) as archive:
        plan.write(archive)


def write_task(world: World, task_id: int, path: Path) -> None:
    with world.lock:
        plan = _TaskPlan(world, world.task(task_id), "")
    with Archive(path, world.media) as archive:
        plan.write(archive)


class _ProjectPlan:
    def __init__(self, world: World, project: Project) -> None:
        self.made_at = _dos(world.now())
        self.description: Json = {
            "name": project.name,
            "bug_tracker": project.bug_tracker,
            "status": project.status,
            "labels": [label_json(label) for label in project.labels],
            "version": "1.0",
        }
        self.guide = _GuidePlan(world, project.guide_id, "")
        # The number of a folder counts all tasks of the project, also those without data, which are left out.
        self.tasks = [
            _TaskPlan(world, task, f"task_{number}/")
            for number, task in enumerate(sorted(world.tasks_of(project), key=lambda task: task.id))
            if task.data is not None
        ]

    def write(self, archive: Archive) -> None:
        archive.add("project.json", compact(self.description), self.made_at)
        self.guide.write(archive)
        for task in self.tasks:
            task.write(archive)


class _TaskPlan:
    def __init__(self, world: World, task: Task, prefix: str) -> None:
        data = task.data
        assert data is not None
        labels = world.labels_of(task)
        index = world.label_index(task)
        self.prefix = prefix
        self.made_at = _dos(world.now())
        self.media_date = _dos(data.created_date)
        self.files = list(data.files)
        self.manifest = data.manifest
        self.guide = _GuidePlan(world, task.guide_id, prefix)
        about_data: Json = {
            "chunk_size": data.chunk_size,
            "image_quality": data.image_quality,
            "start_frame": data.start_frame,
            "stop_frame": data.stop_frame,
        }
        if data.frame_filter:
            about_data["frame_filter"] = data.frame_filter
        about_data |= {
            "storage_method": data.storage_method,
            "sorting_method": data.sorting_method,
            "chunk_type": data.original_chunk_type,
            "deleted_frames": sorted(data.deleted_frames),
        }
        if data.failed:
            about_data["custom_segments"] = True
        about_data["storage"] = "local"
        if task.validation is not None:
            # Not recorded: the key CVAT's source uses for the layout; without disabled frames, which are lost.
            about_data["validation_layout"] = {
                "mode": task.validation.mode,
                "frames": task.validation.frames,
            }
        jobs = [world.jobs[job_id] for job_id in task.job_ids]
        self.description: Json = {
            "name": task.name,
            "bug_tracker": task.bug_tracker,
            "status": task.status,
            "subset": task.subset,
            "labels": [label_json(label) for label in labels],
            "version": "1.0",
            "data": about_data,
            "jobs": [],
        }
        if task.consensus_replicas:
            self.description["consensus_replicas"] = task.consensus_replicas
        for job in jobs:
            row: Json = {
                "status": job.status,
                "type": job.type,
                "start_frame": job.start_frame,
                "stop_frame": job.stop_frame,
            }
            if job.included_frames is not None:
                row["frames"] = job.included_frames
            self.description["jobs"].append(row)
        self.annotations = [portable(job.annotations.completed(index).as_json(), index) for job in jobs]

    def write(self, archive: Archive) -> None:
        self.guide.write(archive)
        for file in self.files:
            archive.add_media(f"{self.prefix}data/{file.name}", file, self.media_date)
        if self.manifest is not None:
            archive.add(f"{self.prefix}data/manifest.jsonl", self.manifest, self.media_date, mode=0o100644)
        archive.add(f"{self.prefix}task.json", compact(self.description), self.made_at)
        # Unlike the other JSON of an archive, this one escapes whatever is not ASCII.
        annotations = json.dumps(self.annotations, separators=(",", ":")).encode()
        archive.add(f"{self.prefix}annotations.json", annotations, FIXED_DATE)


class _GuidePlan:
    def __init__(self, world: World, guide_id: int | None, prefix: str) -> None:
        self.prefix = prefix
        self.text: str | None = None
        self.assets: list[tuple[str, bytes]] = []
        guide = world.guides.get(guide_id) if guide_id is not None else None
        if guide is None:
            return
        self.made_at = _dos(guide.updated_date)

        def renamed(match: re.Match[str]) -> str:
            asset = world.assets.get(match.group(1))
            if asset is None:
                return match.group(0)
            self.assets.append((asset.filename, asset.content))
            return f"assets/{asset.filename}"

        self.text = ASSET_LINK.sub(renamed, guide.markdown)

    def write(self, archive: Archive) -> None:
        if self.text is None:
            return
        archive.add(f"{self.prefix}annotation_guide.md", self.text.encode(), self.made_at)
        for name, content in self.assets:
            archive.add(f"{self.prefix}assets/{name}", content, self.made_at, mode=0o100644)


def compact(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def label_json(label: Label) -> Json:
    """A label without its ids."""
    row: Json = {
        "name": label.name,
        "color": label.color,
        "attributes": [
            {
                "name": spec.name,
                "mutable": spec.mutable,
                "input_type": spec.input_type,
                "default_value": spec.default_value,
                "values": spec.values,
            }
            for spec in label.attributes
        ],
        "type": label.type,
        "sublabels": [label_json(sublabel) for sublabel in label.sublabels],
    }
    if label.type == "skeleton":
        names = {str(sublabel.id): sublabel.name for sublabel in label.sublabels}
        row["svg"] = re.sub(
            r'data-label-id="(\d+)"', lambda m: f'data-label-name="{names.get(m.group(1), "")}"', label.svg
        )
    return row


def portable(item: Any, index: LabelIndex) -> Any:
    """Annotations as a backup holds them: no ids, labels and attributes by name."""
    if isinstance(item, list):
        return [portable(one, index) for one in item]
    if not isinstance(item, dict):
        return item
    if "spec_id" in item:
        return {"value": item["value"], "name": index.specs[item["spec_id"]].name}
    row = {
        key: portable(value, index) if isinstance(value, list) and key != "points" else value
        for key, value in item.items()
        if key not in ("id", "label_id")
    }
    if "label_id" in item:
        row["label"] = index.by_id[item["label_id"]].name
    return row
