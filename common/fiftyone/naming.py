"""The ids of labels that were made in CVAT: the same at each load, so that loading twice makes nothing new."""

from __future__ import annotations

import hashlib


def label_id(server: str, task: int, kind: str, server_id: int, frame: int, more: str = "") -> str:
    """24 hex digits, as FiftyOne's ids have, from what the label is called on its server.

    `more` tells labels apart that come from one thing, e.g. the same thing loaded into another field.
    """
    called = "\n".join([server.rstrip("/"), str(task), kind, str(server_id), str(frame), more])
    return hashlib.sha256(called.encode("utf-8", "surrogatepass")).hexdigest()[:24]
