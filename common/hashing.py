"""SHA-256 of files that are already on the disk."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

PIECE_BYTES = 1 << 20


def sha256_of(path: Path, between: Callable[[], None] = lambda: None) -> str:
    """The hash of a file; `between` is called between pieces, so that a stop can break off."""
    digest = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        while piece := file.read(PIECE_BYTES):
            between()
            digest.update(piece)
    return digest.hexdigest()
