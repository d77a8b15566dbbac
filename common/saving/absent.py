"""Sources that have backups and are no longer on the server's list: asked for by id, one question each and run.

Only a plain 404 from CVAT itself, or an id that now belongs to another source, says that one is gone. A list that is
shorter says nothing: rights, filters and organizations shorten it too.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from common import log
from common.backups.names import folder_key, source_key
from common.backups.store import Store, backups_in
from common.backups.survey import source_folders
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
    if not plan.listed & folders.keys():
        # Not one of our sources is there: this may be another server, or an empty one, at the same address.
        return []
    found = []
    for source in _newest_sources([folder for key, folder in folders.items() if key not in plan.listed]):
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


def _newest_sources(folders: list[Path]) -> Iterator[Source]:
    for folder in folders:
        newest = next(backups_in(folder), None)
        if newest is not None and folder_key(folder.name) == source_key(newest.record.source):
            yield newest.record.source


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
