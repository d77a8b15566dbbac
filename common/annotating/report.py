"""The closing tables of fiftyone_sync.py: on standard output, the last words on standard error."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from common.stdout import console
from common.text import plural, printable

MOST_LINES = 20
WIDTH = 200  # where it goes to a file, so that no table is cut off


def print_table(heads: Sequence[tuple[str, str]], rows: Iterable[Sequence[str]]) -> None:
    """A table; `heads` are titles with "left" or "right"."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for head, justify in heads:
        table.add_column(head, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    for row in rows:
        table.add_row(*(Text(printable(cell, 100)) for cell in row))
    console(WIDTH).print(table)


def print_findings(problems: Sequence[str], warnings: Sequence[str]) -> None:
    for line in problems:
        print(f"REFUSED  {printable(line, 600)}")
    for line in warnings:
        print(f"NOTE     {printable(line, 600)}")


def print_tasks(url: str, tasks: Sequence[tuple[int, str, int]]) -> None:
    """What `create` made: id, name and samples of each task."""
    print_table(
        [("task", "right"), ("name", "left"), ("samples", "right"), ("open it at", "left")],
        [(str(number), name, f"{samples:,}", f"{url}/tasks/{number}") for number, name, samples in tasks],
    )


def print_load(result: Mapping[str, Any]) -> None:
    """What `load` did, field by field, and what it left alone."""
    counted = ("added", "changed", "removed", "put_back", "same")
    fields: Mapping[str, Mapping[str, Any]] = result["fields"]
    print_table(
        [("field", "left"), *((each.replace("_", " "), "right") for each in counted), ("ignored", "right")],
        [
            (name, *(f"{number(each.get(column)):,}" for column in counted), f"{total(each.get('ignored')):,}")
            for name, each in fields.items()
        ],
    )
    for name, each in fields.items():
        for kind, count in (each.get("ignored") or {}).items():
            if not number(count):
                continue
            print(f"IGNORED        {name}: {words_of(kind)} ({number(count):,}), because {permission_of(kind)}")
        for kind, count in (each.get("unexpected") or {}).items():
            print(f"UNEXPECTED     {name}: {printable(str(kind), 60)} ({shown(count)})")
        for kind, count in (each.get("not_supported") or {}).items():
            print(f"NOT SUPPORTED  {name}: {printable(str(kind), 60)} ({shown(count)}), left as it is")
    for was, name in (result.get("renamed") or {}).items():
        told = f"class {printable(was, 60)!r} is called {printable(name, 60)!r} in CVAT by now"
        print(f"RENAMED        {told}: labels keep theirs")
    deleted = result.get("deleted_frames") or []
    _print_some([f"DELETED FRAME  {shown(each)}: its labels were kept as they were" for each in deleted], len(deleted))
    missing = [f"MISSING        {shown(each)}" for each in result.get("missing") or []]
    _print_some(missing, int(result.get("missing_count") or 0))


def print_changed_since(result: Mapping[str, Any]) -> None:
    """What `undo` left as it is."""
    lines = [f"CHANGED SINCE  {shown(each)}" for each in result.get("changed_since") or []]
    _print_some(lines, int(result.get("changed_count") or 0))


def _print_some(lines: Sequence[str], count: int) -> None:
    """The first of the lines, and how many more there are of `count`."""
    for line in lines[:MOST_LINES]:
        print(line)
    more = max(count, len(lines)) - min(len(lines), MOST_LINES)
    if lines and more:
        print(f"{lines[0][:15]}and {plural(more, 'more of them', 'more of them')}")


def number(value: Any) -> int:
    return total(value) if isinstance(value, Mapping) else int(value or 0)


def total(value: Any) -> int:
    return sum(number(each) for each in value.values()) if isinstance(value, Mapping) else int(value or 0)


def shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{printable(str(key), 40)} {shown(each)}" for key, each in value.items())
    if isinstance(value, list):
        return ", ".join(shown(each) for each in value[:5]) + (", …" if len(value) > 5 else "")
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else printable(str(value), 200)


_PERMISSIONS = {
    "additions": "labels added in CVAT", "deletions": "labels deleted in CVAT", "label_edits": "changed classes",
    "index_edits": "changed tracks", "spatial_edits": "moved or reshaped labels",
}  # fmt: skip


def words_of(kind: str) -> str:
    return _PERMISSIONS.get(kind.removeprefix("allow_"), printable(kind, 40))


def permission_of(kind: str) -> str:
    name = kind.removeprefix("allow_")
    if name in _PERMISSIONS:
        return f"FIFTYONE_SYNC_ALLOW_{name.upper()} is false"
    return "the settings do not allow it"


def written(result: Mapping[str, Any]) -> int:
    """How many labels a load wrote."""
    sums = totals(result)
    return sum(sums[column] for column in ("added", "changed", "removed", "put_back"))


def totals(result: Mapping[str, Any]) -> dict[str, int]:
    """The sums over all fields."""
    return {
        column: sum(number(each.get(column)) for each in result["fields"].values())
        for column in ("added", "changed", "removed", "put_back", "same")
    } | {"ignored": sum(total(each.get("ignored")) for each in result["fields"].values())}
