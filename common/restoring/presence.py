"""What is on the server already: the source itself, an earlier copy, a namesake, the organization; and what was begun."""

from __future__ import annotations

import contextlib
from typing import Any

from common.backups.sidecar import Sidecar
from common.cvat import errors
from common.cvat.address import server_key
from common.cvat.listing import items, source_of
from common.exits import Trouble
from common.restoring import journal as journals
from common.restoring.find import Chosen
from common.restoring.identity import is_ours
from common.restoring.journal import Journal
from common.restoring.order import Order, Restored, Target
from common.restoring.soundness import Sound
from common.sources import Kind
from common.text import printable


class ExistsAlready(Trouble):
    """Something of that name is on the server: nothing is overwritten, and no second one is made unasked."""

    remedy = "--name NAME restores it under another name, --again makes another one of the same name."


def origin_of(chosen: Chosen, sound: Sound) -> str:
    """What was restored, in the journal: tells two sources of one name apart from two backups of one source."""
    text = journals.source_text(chosen.backup.record.source) if chosen.backup else sound.sha256
    return text if chosen.task is None else f"{text} task {chosen.task.id}"


def taken_up(target: Target, sound: Sound, name: str, organization: str, order: Order) -> Journal | None:
    """What an earlier run began with the same order and did not finish."""
    for journal in journals.all_journals(target.folder):
        if (journal.pieces and journal.pieces[0].index) != sound.only:
            continue
        same = (journal.sha256, journal.name, journal.organization, journal.purpose) == (
            sound.sha256, name, organization, order.purpose,
        )  # fmt: skip
        if journal.state == "under way" and same and journal.kind == sound.kind:
            return journal
    return None


def is_lost(target: Target, journal: Journal) -> bool:
    """Whether what an earlier run had made is gone: with it went the assurance that nothing else has its name."""
    first = journal.pieces[0]
    if first.state not in ("imported", "named") or first.result_id is None:
        return False
    try:
        return not is_ours(target.client.get(f"/api/{first.kind}s/{first.result_id}"), journal, first)
    except errors.NotFound:
        return True


def made_before(target: Target, origin: str, sound: Sound, name: str) -> int | None:
    """The id of what an earlier restore of this source made, if it is still there, whatever it is called by now."""
    for journal in journals.all_journals(target.folder):
        same = (journal.state, journal.kind, journal.source, journal.name) == ("done", sound.kind, origin, name)
        if same and journal.result_id is not None:
            with contextlib.suppress(errors.NotFound):
                item = target.client.get(f"/api/{sound.kind}s/{journal.result_id}")
                if is_ours(item, journal, journal.pieces[0]):
                    return journal.result_id
    return None


def require_free(
    target: Target, origin: str, sound: Sound, name: str, org_id: int | None, home: int | None, order: Order
) -> int | None:
    """Nothing of this name is there, or another one is asked for. The id of a copy that this very backup made before.

    What was restored from another source is no conflict: two projects may well bear the same name. Raises ExistsAlready.
    """
    if order.again or order.purpose == "drill":
        return None
    made = [
        journal
        for journal in journals.all_journals(target.folder)
        if journal.kind == sound.kind and journal.state in ("done", "under way")
    ]
    taken = []
    for item in items(target.client, f"/api/{sound.kind}s"):
        if sound.kind == "task" and item.get("project_id") != home:
            continue
        if str(item["name"]).strip() != name or (home is None and _org_id(item) != org_id):
            continue
        journal = _maker_of(item, made)
        if journal is None:
            taken.append(int(item["id"]))
        elif journal.sha256 == sound.sha256:
            return int(item["id"])
        elif journal.source == origin:
            taken.append(int(item["id"]))
    if taken:
        listed = ", ".join(str(number) for number in taken[:5])
        raise ExistsAlready(f"a {sound.kind} {printable(name, 60)!r} is on the server already ({listed})")
    return None


def _maker_of(item: dict[str, Any], made: list[Journal]) -> Journal | None:
    """The restore that made what is on the server, the newest first."""
    for journal in reversed(made):
        if journal.result_id == int(item["id"]) and is_ours(item, journal, journal.pieces[0]):
            return journal
    return None


def _org_id(item: dict[str, Any]) -> int | None:
    found = item.get("organization_id", item.get("organization"))
    return found if isinstance(found, int) else None


def original_of(target: Target, chosen: Chosen, kind: Kind, order: Order) -> int | None:
    """The id of the source itself, when it is still (or again) on this server."""
    source = chosen.backup.record.source if chosen.backup else None
    if source is None or source.server != server_key(target.client.url):
        return None
    try:
        present = source_of(source.server, kind, target.client.get(f"/api/{kind}s/{source.id}"))
    except errors.NotFound:
        return None
    except errors.Forbidden as error:
        # It is there, for somebody else: a restore that took it for gone would double it.
        if order.again or order.name:
            return source.id
        raise ExistsAlready(
            f"{source} belongs to somebody else there, and this account may not look ({error})"
        ) from None
    return source.id if present.created_at == source.created_at else None


def organization_for(
    target: Target, chosen: Chosen, sidecar: Sidecar | None, order: Order, done: Restored
) -> tuple[str, int | None]:
    """The slug and id of the organization that is restored into: the one asked for, else the one it came from."""
    asked = target.settings.organization
    if asked == "@personal" or order.purpose == "drill":
        return "", None
    source = chosen.backup.record.source if chosen.backup else None
    if not asked and (source is None or source.organization_id is None):
        return "", None
    known = {str(item["slug"]): int(item["id"]) for item in items(target.client, "/api/organizations")}
    if asked:
        return asked, known.get(asked)
    slug = sidecar.organization.slug if sidecar and sidecar.organization else ""
    if not slug and source and source.server == server_key(target.client.url):
        slug = next((name for name, number in known.items() if number == source.organization_id), "")
    if slug in known:
        return slug, known[slug]
    which = f"organization {slug!r}" if slug else "the organization it was in"
    done.remarks.append(f"{which} is not on this server: it came back into the personal space (--organization chooses)")
    return "", None
