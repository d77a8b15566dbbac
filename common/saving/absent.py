"""Sources that have backups and are no longer on the server's list: asked for by id, one question each and run.

Only a plain 404 from CVAT itself, or an id that now belongs to another source, says that one is gone. A list that is
shorter says nothing: rights, filters and organizations shorten it too.
"""

from __future__ import annotations

import os
from pathlib import Path

from common import log
from common.backups.journal import Journal
from common.backups.names import folder_key, source_key, stamp, stamp_of
from common.backups.record import Record
from common.backups.standing import Standings
from common.backups.store import Store, backups_in
from common.backups.survey import CONTENTS, source_folders
from common.cvat.client import Client
from common.cvat.errors import CvatError, NotFound, Throttled, Unreachable
from common.cvat.listing import source_of
from common.saving.plan import Plan
from common.sources import Source


def absent_sources(client: Client, store: Store, plan: Plan, organization: str) -> list[Source]:
    """Those of which this run was told that they are gone. Empty when this run cannot tell."""
    if organization:
        return []  # within one organization everything of the others is 404
    folders = {key: folder for folder in source_folders(store.folder) if (key := folder_key(folder.name))}
    missing = [
        newest
        for key, folder in folders.items()
        if key not in plan.listed and plan.shard.holds(key[1]) and (newest := _newest(folder))
    ]
    if not missing:
        return []
    oldest = min((_oldest_stamp(folder) for key, folder in folders.items() if key in plan.listed), default="")
    standings = Standings(Journal(store.folder).attempts())
    found = []
    for record in missing:
        if not oldest or _last_seen(record, standings) < oldest:
            # Nothing that was there in its days is there today: this may be another server at the same address.
            continue
        source = record.source
        try:
            if _is_gone(client, source):
                found.append(source)
        except (Unreachable, Throttled) as error:
            log.get().warning("absent_sources_not_asked_for", reason=str(error))
            break
        except CvatError as error:
            log.get().info("source_not_listed", source=str(source), name=source.name, reason=str(error))
    for source in found:
        log.get().info("source_absent", source=str(source), name=source.name)
    return found


def _newest(folder: Path) -> Record | None:
    try:
        newest = next(backups_in(folder), None)
    except OSError as error:
        log.get().warning("folder_unreadable", folder=str(folder), reason=error.strerror)
        return None
    return newest.record if newest and folder_key(folder.name) == source_key(newest.record.source) else None


def _last_seen(record: Record, standings: Standings) -> str:
    """The stamp of the moment at which the server last had this source, as far as we know."""
    seen = [standings.of(record.source.key, content).confirmed_at for content in CONTENTS]
    return max([record.stamp, *(stamp(at) for at in seen if at)])


def _oldest_stamp(folder: Path) -> str:
    try:
        names = os.listdir(folder)
    except OSError:  # `_newest`, or the plan, has said so
        return "9"
    stamps = (stamp_of(name, content) for name in names for content in CONTENTS)
    return min((each for each in stamps if each), default="9")


def _is_gone(client: Client, source: Source) -> bool:
    """Raises CvatError when the server says neither that it is there nor that it is not."""
    try:
        present = source_of(source.server, source.kind, client.get(f"/api/{source.kind}s/{source.id}"))
    except NotFound as error:
        if not isinstance(error.payload, dict):
            raise  # a proxy's page, not CVAT's word
        return True
    except (KeyError, TypeError, ValueError):
        return False
    return source_key(present) != source_key(source)
