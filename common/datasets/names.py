"""Folder names made of task names: harmless on every file system, one of its own for every task, the same every run."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

from common.files import is_device

LONGEST_CHARACTERS = 200
# A file name may take 255 bytes; what is added to a name (`__<id>`) and temporary names need some of them.
LONGEST_BYTES = 220
UNNAMED = "unnamed_task"


def sanitised(name: str) -> str:
    """A task's name as a folder name: lower case, blanks as `_`, letters and digits of any script, `_`, `-`, `.` only.

    At most 200 characters; never empty, `.` or `..`, never with a dot at an end, never a reserved name of Windows.
    """
    text = unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).lower())
    kept = "".join(c if c in "-." or unicodedata.category(c)[0] in "LNM" else "_" for c in text)
    kept = _tidy(kept)[:LONGEST_CHARACTERS]
    kept = _tidy(kept.encode("utf-8")[:LONGEST_BYTES].decode("utf-8", "ignore"))
    if is_device(kept):
        kept = f"{kept}_" if "." not in kept else kept.replace(".", "_")
    return kept or UNNAMED


def _tidy(text: str) -> str:
    return re.sub(r"_+", "_", text).strip("_. ")


def folder_key(folder: str) -> str:
    """Two folders with the same key are one folder on a file system that ignores case or composes letters."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", folder).casefold())


def folder_names(names: Mapping[int, str], taken: Mapping[str, int] | None = None) -> dict[int, str]:
    """The folder of every task (by id). Tasks whose names collide all get `__<id>` behind them, whatever the order.

    `taken` are the folders of earlier runs with the tasks they belong to (0: none of these, whatever lies there stays): a
    task keeps the folder that it has while its name stays, and a newcomer of the same name gets its own.
    """
    taken = taken or {}
    before: dict[int, set[str]] = {}
    for folder, task_id in taken.items():
        before.setdefault(task_id, set()).add(folder)
    owners: dict[str, set[int]] = {}
    for folder, task_id in [*((sanitised(name), i) for i, name in names.items()), *taken.items()]:
        owners.setdefault(folder_key(folder), set()).add(task_id)
    found: dict[int, str] = {}
    for task_id, name in names.items():
        plain = sanitised(name)
        with_id = f"{plain}__{task_id}"
        if kept := [folder for folder in (plain, with_id) if folder in before.get(task_id, ())]:
            found[task_id] = kept[0]
        else:
            found[task_id] = plain if owners[folder_key(plain)] == {task_id} else with_id
            while owners.get(folder_key(found[task_id]), {task_id}) != {task_id}:
                found[task_id] = f"{found[task_id]}__{task_id}"
    # A task may be called what another one became: "scan__7" beside task 7 "scan".
    while clashes := [i for i in _clashes(found) if found[i] not in before.get(i, ())]:
        for task_id in clashes:
            found[task_id] = f"{found[task_id]}__{task_id}"
    return found


def is_folder_of(folder: str, name: str, task_id: int) -> bool:
    """Whether `folder_names` may have given a task of this name that folder; a copy that somebody made is none."""
    return re.fullmatch(rf"{re.escape(sanitised(name))}(__{task_id})*", folder) is not None


def _clashes(found: Mapping[int, str]) -> list[int]:
    by_key: dict[str, list[int]] = {}
    for task_id, folder in sorted(found.items()):
        by_key.setdefault(folder_key(folder), []).append(task_id)
    return [task_id for ids in by_key.values() if len(ids) > 1 for task_id in ids]
