"""`listed-<mode>.json`: what the server's last list held that was to be saved, so that a missing backup is noticed.

A source that was deleted before it ever succeeded leaves this list with the next run; it does not count for ever.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from common.files import write_json
from common.sources import Source
from common.text import iso, parse_time

VERSION = 1
COLUMNS = ("kind", "id", "created_at", "name")


@dataclass(frozen=True)
class Listed:
    """The sources that one run had to save or to confirm in one mode. `shard`: "", or which part of how many ("0/4")."""

    server: str
    mode: str
    at: datetime
    run_id: str
    shard: str
    sources: tuple[Source, ...]

    @property
    def shards(self) -> str:
        """Of how many parts this is one; empty when it is the whole."""
        return self.shard.partition("/")[2]


def write_listed(path: Path, listed: Listed) -> None:
    """Writes a list atomically; compact, as it may hold a hundred thousand sources. Raises DiskFull, OSError."""
    rows = [[source.kind, source.id, source.created_at, source.name] for source in listed.sources]
    content = {
        "version": VERSION,
        "server": listed.server,
        "mode": listed.mode,
        "at": iso(listed.at),
        "run_id": listed.run_id,
        "shard": listed.shard,
        "columns": COLUMNS,
        "sources": rows,
    }
    write_json(path, content, indent=None)


def read_listed(path: Path) -> Listed | None:
    """The list at `path`; None when there is none that can be read (it is replaced by the next run)."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        server = str(value["server"])
        sources = tuple(
            Source(server, kind, int(number), str(created_at), str(name))
            for kind, number, created_at, name in value["sources"]
        )
        return Listed(
            server, str(value["mode"]), parse_time(value["at"]), str(value["run_id"]), str(value["shard"]), sources
        )
    except (OSError, ValueError, TypeError, KeyError):
        return None


def lists_in_force(lists: Sequence[Listed]) -> list[Listed]:
    """Without those of an earlier division into shards: a mode's newest list says of how many parts all must be."""
    newest: dict[str, Listed] = {}
    for each in lists:
        if each.mode not in newest or each.at > newest[each.mode].at:
            newest[each.mode] = each
    return [each for each in lists if each.shards == newest[each.mode].shards]
