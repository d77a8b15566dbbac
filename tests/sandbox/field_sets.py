"""Which fields every answer has, found the same way in recordings of a real server and in the sandbox's answers.

python tests/sandbox/field_sets.py FOLDER_OF_RECORDINGS    writes field_sets.json anew
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

COMMITTED = Path(__file__).with_name("field_sets.json")
FieldSets = dict[str, list[list[str]]]


def field_sets(exchanges: Iterable[tuple[str, str, Any]]) -> FieldSets:
    """Of (method, target, JSON body): for every kind of object, the sets of keys it was seen with."""
    found: dict[str, set[tuple[str, ...]]] = {}
    for method, target, body in exchanges:
        if isinstance(body, dict):
            for kind, row in _objects(method, target, body):
                if isinstance(row, dict):
                    found.setdefault(kind, set()).add(tuple(sorted(row)))
    return {kind: [list(fields) for fields in sorted(sets)] for kind, sets in sorted(found.items())}


def _objects(method: str, target: str, body: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    path = urlsplit(target).path
    if path.startswith("/api/requests/"):
        path = "/api/requests/{id}"
    path = re.sub(r"/\d+(?=/|$)", "/{id}", path)
    key = f"{method} {path}"
    yield key, body
    rows = [body]
    if "results" in body and "count" in body:
        rows = [row for row in body["results"] if isinstance(row, dict)]
        yield from ((f"{key} item", row) for row in rows)
    yield from _annotations(key, body)
    for row in rows:
        yield "operation", row.get("operation")
        for sub in ("owner", "assignee", "jobs", "tasks", "labels", "issues", "comments"):
            yield f"{sub} of {path}", row.get(sub)
        yield from (("frame of data/meta", frame) for frame in _list(row, "frames"))
        if path == "/api/labels":
            yield from (("attribute of label", attribute) for attribute in _list(row, "attributes"))


def _annotations(key: str, body: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for part in ("tag", "shape", "track"):
        for row in _list(body, f"{part}s"):
            yield f"{key} {part}", row
            yield from ((f"{key} {part} element", element) for element in _list(row, "elements"))
            yield from ((f"{key} track shape", shape) for shape in _list(row, "shapes"))


def _list(row: dict[str, Any], key: str) -> list[Any]:
    value = row.get(key)
    return value if isinstance(value, list) else []


def recorded(folder: Path) -> FieldSets:
    """The field sets of a folder of recordings, of the answers that succeeded."""
    exchanges = []
    for file in sorted(folder.glob("*.json")):
        for one in json.loads(file.read_text()):
            request, response = one.get("request"), one.get("response")
            if request and response and 200 <= response["status"] < 300:
                body = response.get("body")
                if isinstance(body, dict) and "json" in body:
                    exchanges.append((request["method"], request["target"], body["json"]))
    return field_sets(exchanges)


if __name__ == "__main__":
    COMMITTED.write_text(json.dumps(recorded(Path(sys.argv[1])), indent=1) + "\n")
