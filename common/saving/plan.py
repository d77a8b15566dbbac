"""From the server's list to what is saved in this run: filters, decisions, order."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from common.backups.journal import History
from common.backups.names import is_drill, source_key
from common.backups.record import Export
from common.backups.store import Store
from common.cvat.client import Account, Client
from common.cvat.errors import as_cvat_gives
from common.cvat.listing import Inventory
from common.exits import Exit, RunEnds
from common.ownership import how_to_make_writable
from common.saving.annotations import wanted_export
from common.saving.choose import Candidate, Mode, belongs_to, content_of, decide, in_order, is_chosen
from common.saving.report import Tally
from common.saving.settings import BackupSettings
from common.shards import WHOLE, Shard
from common.sources import Kind, SourceState


@dataclass
class Plan:
    """What is to be saved, in order, and what has already been decided about the rest."""

    candidates: list[Candidate] = field(default_factory=list)
    tallies: dict[Mode, Tally] = field(default_factory=dict)
    shard: Shard = WHOLE  # what this run deals with; the rest is other runs'
    listed: frozenset[tuple[Kind, int, str]] = frozenset()  # everything on the server's list, filtered out or not
    # For mode a: CVAT_BACKUP_FORMAT as the server spells it, and every format that it offers.
    format: str = ""
    formats: dict[str, str] = field(default_factory=dict)


def make_plan(
    inventory: Inventory,
    modes: Sequence[Mode],
    settings: BackupSettings,
    store: Store,
    formats: dict[str, str],
    histories: dict[Mode, History],
    now: datetime,
    *,
    force: bool,
) -> Plan:
    """Decides about every source of the server's list, for every mode."""
    plan = Plan(shard=settings.shard, format=settings.format, formats=formats)
    full_every = timedelta(days=settings.full_every_days)
    plan.listed = frozenset(source_key(state.source) for state in inventory.states)
    for mode, all_states in _dealt_with(inventory, modes, settings).items():
        states = [state for state in all_states if plan.shard.holds(state.source.id)]
        tally = plan.tallies[mode] = Tally(mode, listed=len(states), shard=plan.shard)
        postponed = histories[mode].postponed if mode in histories else frozenset()
        for state in states:
            if not _passes(state, settings):
                tally.excluded += 1
                continue
            try:
                newest = store.newest(state.source, content_of(mode))
            except OSError as error:
                # A folder that cannot be read is not an empty one, and no reason to leave out the others.
                folder = store.folder_of(state.source) or store.folder
                reason = f"its folder {folder} cannot be read: {error.strerror or error}"
                tally.refuse(state, reason, how_to_make_writable(folder, "backup.py"))
                continue
            record = newest.record if newest else None
            wanted = Export()
            if mode == "a":
                wanted = wanted_export(state, settings.format, formats, save_images=settings.save_images)
            decision = decide(state, record, wanted, now, full_every=full_every, force=force)
            if decision.save:
                was_postponed = state.source.key in postponed
                candidate = Candidate(state, mode, decision.reason, record, was_postponed, decision.anew)
                plan.candidates.append(candidate)
            else:
                without_data = state.source.kind == "task" and not state.has_data
                tally.note(state, "without data" if without_data else "unchanged", decision.reason, record)
    plan.candidates = in_order(plan.candidates)
    return plan


def _dealt_with(inventory: Inventory, modes: Sequence[Mode], settings: BackupSettings) -> dict[Mode, list[SourceState]]:
    """What each mode deals with, of the whole server. With --mode p and t in one call, loose tasks are t's."""
    found: dict[Mode, list[SourceState]] = {}
    claimed: set[tuple[str, tuple[str, str, int, str]]] = set()
    for mode in modes:
        found[mode] = [
            state
            for state in inventory.states
            if belongs_to(state.source, mode, settings.standalone_tasks)
            and (content_of(mode), state.source.key) not in claimed
        ]
        claimed.update((content_of(mode), state.source.key) for state in found[mode])
    return found


def _passes(state: SourceState, settings: BackupSettings) -> bool:
    return not is_drill(state.source.name) and is_chosen(state.source, settings.include, settings.exclude)


def idle_patterns(inventory: Inventory, settings: BackupSettings) -> list[str]:
    """What of CVAT_BACKUP_INCLUDE and CVAT_BACKUP_EXCLUDE matches nothing at all: most likely a typing error."""
    sources = [state.source for state in inventory.states]
    patterns = (*settings.include, *settings.exclude)
    return [str(pattern) for pattern in patterns if not any(pattern.matches(source) for source in sources)]


def clear_debris(store: Store, plan: Plan) -> None:
    """Removes what killed runs have left of sources that need no saving now; the others go on with it."""
    for mode, tally in plan.tallies.items():
        settled = [line.source for line in tally.lines if line.outcome == "unchanged"]
        store.sweep(settled, content_of(mode), plan.shard.holds)


def require_something(inventory: Inventory, plan: Plan, account: Account, settings: BackupSettings) -> None:
    """Never a silent backup of nothing. Raises RunEnds. One shard may well be empty: the whole server counts."""
    where = f"in organization {settings.organization!r}" if settings.organization else "on this server"
    if not inventory.states:
        if account.is_superuser:
            remedy = "A superuser sees everything there is: this server (or organization) is empty."
        else:
            remedy = (
                f"{account.username!r} is no superuser: CVAT shows such an account only what it owns, what it is assigned to, "
                "and what its organization roles allow (maintainer or owner for everything). "
                "Give it one of these rights, or use an account that has them."
            )
        raise RunEnds(
            f"The account {account.username!r} sees no project and no task {where}: there is nothing to back up.",
            remedy,
        )
    dealt_with = _dealt_with(inventory, list(plan.tallies), settings)
    for mode, states in dealt_with.items():
        if states and (settings.include or settings.exclude) and not any(_passes(state, settings) for state in states):
            raise RunEnds(
                f"CVAT_BACKUP_INCLUDE and CVAT_BACKUP_EXCLUDE leave none of the {len(states)} sources of --mode {mode}.",
                "Look at the names with --dry-run without these settings.",
                Exit.BAD_CONFIGURATION,
            )
    # A server without loose tasks is nothing unusual for --mode t; one without anything for p or a is.
    if not any(dealt_with.values()) and set(plan.tallies) != {"t"}:
        raise RunEnds(
            f"The server has {inventory.projects} projects and {inventory.tasks} tasks, but nothing that these modes deal with.",
            "--mode p saves projects, --mode t tasks in no project, --mode a the annotations of both.",
        )


def offered_formats(client: Client) -> dict[str, str]:
    """The dataset formats that the server exports, by name, with their dimension ("2d" or "3d")."""
    answer = client.get("/api/server/annotation/formats")
    with as_cvat_gives("the list of dataset formats"):
        return {
            str(item["name"]): str(item.get("dimension", "2d")).lower()
            for item in answer["exporters"]
            if item.get("enabled", True)
        }


# What people call a format beside the names that CVAT gives: YOLOv5 to YOLO12 are Ultralytics' kinds.
_ULTRALYTICS = re.compile(r"yolo[\s_-]*v?(?:5|8|9|10|11|12|26)(?!\d|\.)")


def known_format(wanted: str, offered: dict[str, str], variable: str = "CVAT_BACKUP_FORMAT") -> str:
    """The format's name as the server spells it. Raises RunEnds with those that may be meant, and all."""
    by_lower = {name.lower(): name for name in offered}
    if wanted.lower() in by_lower:
        return by_lower[wanted.lower()]
    meant = " or ".join(map(repr, _may_be_meant(wanted, offered)))
    hint = f"did you mean {meant}? It offers" if meant else "it offers"
    raise RunEnds(
        f"{variable}={wanted!r} is not a format of this server; {hint}: {', '.join(sorted(offered))}",
        "",
        Exit.BAD_CONFIGURATION,
    )


def _may_be_meant(wanted: str, offered: Iterable[str]) -> list[str]:
    """The formats that have most of the words of what somebody wrote; with none of them, the one that is spelt alike."""

    def words(name: str) -> set[str]:
        return set(re.findall(r"[a-z]{3,}", name.lower()))

    def bare(name: str) -> str:
        return re.sub(r"[^a-z0-9.]", "", name.lower())

    if alike := [name for name in offered if bare(name) == bare(wanted)]:
        return alike
    asked = words(_ULTRALYTICS.sub("ultralytics yolo ", wanted.lower()))
    shared = {name: len(asked & words(name)) for name in offered}
    if most := max(shared.values(), default=0):
        return sorted(name for name, count in shared.items() if count == most)
    by_lower = {name.lower(): name for name in offered}
    return [by_lower[name] for name in difflib.get_close_matches(wanted.lower(), by_lower, n=1, cutoff=0.4)]
