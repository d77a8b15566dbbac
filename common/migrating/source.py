"""A folder as the source of an upload, whichever tool wrote it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.files import is_folder, is_there
from common.migrating.folder import BadFolder, Entry, ProjectFolder
from common.migrating.legacy import read_legacy
from common.migrating.plausible import wrong_with_project
from common.sc import configuration


@dataclass(frozen=True)
class Source:
    """What is on the disk. `project` has labels with ids where the folder kept them, else it is project.json."""

    folder: ProjectFolder
    described: Mapping[str, Any]
    project: Mapping[str, Any]
    entries: list[Entry]
    normalised: bool
    configuration: Mapping[str, Any] | None
    gaps: list[str]
    is_legacy: bool
    is_dataset: bool = False

    @property
    def name(self) -> str:
        return str(self.described["name"])


def open_source(path: Path) -> Source:
    """Reads a project's folder. Raises BadFolder."""
    folder = ProjectFolder(path)
    if not is_folder(path):
        raise BadFolder(f"{path} is not a folder")
    described = folder.project()
    stored = folder.configuration()
    try:
        if stored and not stored.keys() & {"tasks", "task_chain", "global", "global_"}:
            raise ValueError("no configuration")
        settings = configuration.normal_form(stored) if stored else None
        list(configuration.parameters(settings or {}))
    except (LookupError, TypeError, ValueError, AttributeError):
        raise BadFolder(f"{path / 'configuration.json'} is not as this program writes it") from None
    manifest = folder.manifest()
    if manifest is None and folder.begun() is not None:
        raise BadFolder(f"{path} holds an unfinished download: run the download again first")
    if manifest is None and is_there(folder.ledger_path):
        raise BadFolder(f"{path} has lost its manifest.json: run the download again into another folder")
    if manifest is not None:
        if not isinstance(manifest.get("normalised"), bool) or not isinstance(manifest.get("gaps", []), list):
            raise BadFolder(f"{folder.manifest_path} is not as this program writes it")
        entries = [each for each in folder.entries().values() if not each.gone]
        gaps = [f"missing already in the download: {each}" for each in manifest.get("gaps") or []]
        # A line that is damaged or gone is a picture that nobody would miss. A later download that was broken off has
        # added lines: then there is nothing to compare with.
        if folder.begun() is not None:
            gaps.append("a later download into this folder was broken off: run it again")
        elif not folder.is_as_recorded(manifest):
            gaps.append("media.jsonl has changed since it was written: what it no longer names is missing")
        gaps += [
            f"annotations of {each.kind} {each.name!r} ({each.id}) were not downloaded yet"
            for each in entries
            if each.scenes is None
        ]
        project = manifest.get("project") or described
        if wrong := wrong_with_project(project):
            raise BadFolder(f"{folder.manifest_path} is not as this program writes it: {wrong}")
        made = manifest.get("generation") == "dataset"
        return Source(folder, described, project, entries, bool(manifest["normalised"]), settings, gaps, False, made)
    legacy = read_legacy(folder)
    gaps = [f"{each} belongs to no media file" for each in legacy.orphans]
    return Source(folder, described, described, legacy.entries, legacy.normalised, settings, gaps, True)
