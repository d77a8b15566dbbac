"""One upload under way: what its steps share."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Literal

from common.migrating.journal import Journal
from common.migrating.report import Report
from common.migrating.source import Source
from common.sc.client import Client
from common.sc.labels import LabelMap
from common.sc.media import Media
from common.sc.projects import Project

# What becomes of a project of this name that is there already.
IfThere = Literal["refuse", "resume", "merge"]
# How often the server is looked at after an answer was lost, before the same is sent again.
LOOKS = 5


@dataclass
class UploadJob:
    """One upload of one folder to one project."""

    client: Client
    source: Source
    journal: Journal
    report: Report
    target: Project
    labels: LabelMap
    there: dict[str, Media] = field(default_factory=dict)  # what the target holds, by id, as far as we know
    empty_scenes: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def project_id(self) -> str:
        return str(self.target["id"])
