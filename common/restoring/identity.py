"""Whether what bears a number on the server is what a journal says was made.

A server that was set up anew at the same address counts from 1 again: the numbers in the journals are other people's
projects there. Only the number together with the exact moment it was made is ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from common.restoring.journal import Journal, Piece
from common.text import parse_time

# What a journal without dates names was made before it was last written; clocks and file systems may differ by this.
LEEWAY = timedelta(minutes=1)


def is_ours(item: Mapping[str, Any], journal: Journal, piece: Piece) -> bool:
    """Whether `item`, which the server gave for the piece's kind and id, is what the piece became."""
    made_at = str(item.get("created_date") or "")
    if piece.result_created:
        return _same_moment(made_at, piece.result_created)
    # A journal of an earlier version: it must bear the name that this restore gave it, and be of that time.
    if is_marked(item, piece):
        return True
    if str(item.get("name") or "").strip() != piece.name.strip():
        return False
    try:
        moment, last = parse_time(made_at), parse_time(journal.last_saved) if journal.last_saved else None
        return parse_time(journal.at) <= moment and (last is None or moment <= last + LEEWAY)
    except ValueError:
        return False


def is_marked(item: Mapping[str, Any], piece: Piece) -> bool:
    """Whether it still bears the name that no other has."""
    return f"[cvat-backups {piece.marker}]" in str(item.get("name") or "")


def _same_moment(one: str, other: str) -> bool:
    try:
        return parse_time(one) == parse_time(other)
    except ValueError:
        return one == other
