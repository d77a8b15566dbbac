"""From a folder on the disk to a verdict on each of its files. Nothing is deleted here."""

from __future__ import annotations

import dataclasses
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from common.backups.journal import Journal
from common.backups.legacy import LegacyGroup
from common.backups.removal import acknowledged
from common.backups.retention import Rules, Standing, Verdict, decide, size_cutoff, sudden_drop, why_nothing_goes
from common.backups.standing import Standings
from common.backups.store import folders_of_sources
from common.backups.survey import History, Survey, source_folders, survey


@dataclass
class Judged:
    """One history with a verdict on every backup. `drop` is the sudden drop that a person has to look at first."""

    history: History
    verdicts: list[Verdict]
    drop: str = ""

    @property
    def frozen(self) -> str:
        """Why a person has to look before anything goes; empty when nobody has to."""
        return self.history.broken or ("a sudden drop that nobody has acknowledged" if self.drop else "")


@dataclass
class Case:
    """One source's folder. `trouble` is why it could not be read at all."""

    folder: Path
    survey: Survey
    judged: list[Judged]
    trouble: str = ""


@dataclass
class SizeLimit:
    """What CVAT_BACKUP_MAX_SIZE takes beyond the rules. `still_over_bytes`: what the laws and the minimum hold all the same."""

    until: float
    bytes_at_until: int
    still_over_bytes: int = 0

    def apply(self, verdicts: list[Verdict]) -> list[Verdict]:
        """Oldest first, because the verdicts are newest first and those of one moment are few."""
        return [self._one(verdict) for verdict in reversed(verdicts)][::-1]

    def _one(self, verdict: Verdict) -> Verdict:
        at = verdict.copy.at.timestamp()
        if verdict.delete or verdict.by_law or at > self.until:
            return verdict
        if at == self.until:
            if self.bytes_at_until <= 0:
                return verdict
            self.bytes_at_until -= verdict.copy.size_bytes
        reason = f"CVAT_BACKUP_MAX_SIZE is exceeded; else kept as {verdict.reason}"
        return dataclasses.replace(verdict, delete=True, reason=reason)


@dataclass(frozen=True)
class Judge:
    """The rules of one run, at one moment."""

    rules: Rules
    now: datetime
    drop_threshold: float
    even_if_stale: bool = False

    def cases(self, server: Path, between: Callable[[], None] = lambda: None) -> Iterator[Case]:
        """Every source of one server, one after the other."""
        try:
            standings = Standings(Journal(server).attempts(), self.rules.gap)
        except OSError as error:
            # Without it nobody knows what was confirmed lately: nothing of this server goes.
            yield Case(server, Survey(server), [], f"its journal cannot be read ({error.strerror})")
            return
        copies = {copy: paths[0] for paths in folders_of_sources(server).values() for copy in paths[1:]}
        for folder in source_folders(server):
            between()
            yield self.case(folder, standings, of=copies.get(folder))

    def survey(self, folder: Path) -> Survey:
        """What lies in a folder at this run's moment."""
        return survey(folder, self.now)

    def case(self, folder: Path, standings: Standings, of: Path | None = None) -> Case:
        """`of`: the folder that backup.py uses for this source, where that is another one."""
        try:
            found = self.survey(folder)
        except OSError as error:
            return Case(folder, Survey(folder), [], f"the folder cannot be read ({error.strerror})")
        if of is not None:
            found.debris = []
            for history in found.histories:
                history.broken = history.broken or f"it is a copy of {of.name}"
        looked_at = acknowledged(folder)
        judged = [self._judged(each, standings, looked_at.get(each.content, "")) for each in found.histories]
        if (
            not self.rules.let_anything_go
            or found.unreadable
            or any(self._is_protected(each, standings) for each in judged)
        ):
            found.debris = [debris for debris in found.debris if not debris.is_whole]
        return Case(folder, found, judged)

    def _is_protected(self, judged: Judged, standings: Standings) -> bool:
        """Whether a law holds a history back at this moment, also where it has nothing that the rules would let go."""
        newest = next((verdict for verdict in judged.verdicts if verdict.copy.is_good), None)
        if newest is not None and newest.delete:
            return False  # only CVAT_BACKUP_ORPHAN_DAYS takes the newest good one, and it stands above the laws
        history = judged.history
        standing = standings.of(history.key, history.content)
        return bool(
            why_nothing_goes(
                history.copies, self.rules, standing, self.now, frozen=judged.frozen, even_if_stale=self.even_if_stale
            )
        )

    def _judged(self, history: History, standings: Standings, looked_at: str) -> Judged:
        drop = "" if history.broken else sudden_drop(history.copies, self.drop_threshold, looked_at)
        judged = Judged(history, [], drop)
        standing = standings.of(history.key, history.content)
        judged.verdicts = decide(
            history.copies, self.rules, standing, self.now, frozen=judged.frozen, even_if_stale=self.even_if_stale
        )
        return judged

    def legacy(self, group: LegacyGroup) -> list[Verdict]:
        """The predecessor wrote no journal and no records: TTL, keep rules and minimum are all there is."""
        fresh = Standing(confirmed_at=self.now)
        return decide(group.copies, dataclasses.replace(self.rules, orphan_after=None), fresh, self.now)

    def size_limit(self, servers: list[Path], limit_bytes: int, between: Callable[[], None]) -> SizeLimit | None:
        """Reads everything once to know what must go beyond the rules; None when they alone leave few enough bytes."""
        total, moments, sizes = 0, array("d"), array("q")
        for server in servers:
            for case in self.cases(server, between):
                for verdict in (verdict for judged in case.judged for verdict in judged.verdicts if not verdict.delete):
                    total += verdict.copy.size_bytes
                    if not verdict.by_law:
                        moments.append(verdict.copy.at.timestamp())
                        sizes.append(verdict.copy.size_bytes)
        cutoff = size_cutoff(moments, sizes, total - limit_bytes)
        still_over = max(0, total - sum(sizes) - limit_bytes)
        if cutoff is None:
            return SizeLimit(-1e18, 0, still_over) if still_over else None
        return SizeLimit(*cutoff, still_over)
