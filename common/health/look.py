"""Looking: reads what the scripts and the scheduler leave on the disk, and makes a snapshot of it.

What is known from the last look is kept, so that the next one costs what has changed since, not what there is.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import shutil
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, tzinfo
from pathlib import Path

from common import log
from common.backups.listed import Listed, lists_in_force, read_listed
from common.backups.names import server_folder
from common.backups.record import Content
from common.backups.standing import Key
from common.backups.survey import server_folders
from common.cvat.address import server_key
from common.exits import Trouble
from common.files import is_folder, is_there
from common.health.assess import ListedServer, Wanted, assess, why_missed
from common.health.disk import DiskLog, Sample
from common.health.holdings import Held, Holdings
from common.health.nights import night_of, strip
from common.health.scheduler_state import SCHEDULER_FILE, JobLog, asked_for, read_scheduler
from common.health.snapshot import ORDER, ContentView, ServerView, Snapshot, SourceView, State
from common.health.watch import Seen, Watch
from common.restoring.journal import source_text
from common.sources import Source
from common.text import parse_time, printable

CONTENT_OF: dict[str, Content] = {"p": "backup", "t": "backup", "a": "annotations"}
# What was changed without changing its folder (a file cut short in place) is noticed after so long.
THOROUGH_EVERY = timedelta(hours=1)
MOST_MISSING_SHARDS = 8


class Look:
    """One backup folder and one state folder. Used by one thread.

    `own_url` is CVAT_URL; "" when it is not set. `zone` is where nights are counted; None = this machine's.
    """

    def __init__(
        self, backup_dir: Path, state_dir: Path, own_url: str, max_age: timedelta, zone: tzinfo | None = None
    ) -> None:
        self._backup_dir = backup_dir
        self._state_dir = state_dir
        self._own_server = server_key(own_url) if own_url else ""
        self._max_age = max_age
        self._zone = zone
        self._servers: dict[str, _Server] = {}
        self._jobs = JobLog(state_dir)
        self._disk = DiskLog(state_dir)
        self._disk_loaded = False
        self._thorough_at: datetime | None = None

    def look(self, now: datetime, check: Callable[[], None] = lambda: None, troubles: tuple[str, ...] = ()) -> Snapshot:
        """A snapshot of this moment. `check` is called between folders and may raise.

        What cannot be read makes the verdict unhealthy and is no reason to show nothing.
        """
        began = time.monotonic()
        found = list(troubles)
        scheduler = read_scheduler(self._state_dir / SCHEDULER_FILE)
        with _told(found, "the journal of the jobs cannot be read"):
            self._jobs.catch_up()
        tonight = night_of(now, self._zone)
        thoroughly = self._thorough_at is None or abs(now - self._thorough_at) >= THOROUGH_EVERY
        asked = asked_for([job.command for job in scheduler.jobs] if scheduler else [], self._own_server)
        self._find_servers({self._own_server, *asked} - {""}, found)
        for server in self._servers.values():
            server.catch_up(found, thoroughly=thoroughly, check=check)
        if thoroughly:
            self._thorough_at = now
        judged: list[ListedServer] = []
        wanted: list[Wanted] = []
        views: list[ServerView] = []
        for folder, key in self._expected(asked).items():
            server = self._servers.get(folder) or _Server(self._backup_dir / folder, self._zone)
            modes = asked.get(key) or server.modes or frozenset("p")
            missing = tuple(sorted(modes - server.modes))
            judged.append(ListedServer(key, missing, server.missing_shards(modes), server.broken_off(modes)))
            mine = server.wanted(modes)
            wanted += mine.values()
            views.append(server.view(key, mine, now, self._max_age, tonight))
        done = {server_folder(view.server) for view in views}
        for folder, server in sorted(self._servers.items()):
            if folder not in done:
                views.append(server.view("", None, now, self._max_age, tonight))
        used_bytes = sum(server.holdings.size_bytes for server in self._servers.values())
        free_bytes, disk_bytes = self._room(found)
        held = sum(view.backups for view in (v for server in views for s in server.sources for v in s.contents))
        self._sample(Sample(now, used_bytes, free_bytes, held), found)
        drills = [server.watch.last_drill for server in self._servers.values() if server.watch.last_drill]
        return Snapshot(
            at=now,
            seconds=time.monotonic() - began,
            max_age=self._max_age,
            verdict=assess(scheduler, judged, wanted, now, self._max_age, found),
            scheduler=scheduler,
            job_runs=dict(self._jobs.runs),
            job_seconds=dict(self._jobs.seconds),
            job_exit_codes=dict(self._jobs.exit_codes),
            errors=self._jobs.errors,
            servers=tuple(views),
            last_drill=max(drills, key=lambda drill: drill.at, default=None),
            samples=tuple(self._disk.samples),
            used_bytes=used_bytes,
            free_bytes=free_bytes,
            disk_bytes=disk_bytes,
            tonight=tonight,
        )

    def _find_servers(self, named: set[str], found: list[str]) -> None:
        """All folders of servers; those of the named ones also while they hold nothing but a list."""
        if not is_there(self._backup_dir):  # before the first run
            self._servers = {}
            return
        with _told(found, f"the folder of the backups cannot be read ({self._backup_dir})"):
            names = {path.name for path in server_folders(self._backup_dir)}
            names |= {name for name in map(server_folder, named) if is_folder(self._backup_dir / name)}
            self._servers = {
                name: self._servers.get(name) or _Server(self._backup_dir / name, self._zone) for name in sorted(names)
            }

    def _expected(self, asked: Mapping[str, frozenset[str]]) -> dict[str, str]:
        """The folders that are judged, with their servers: those of CVAT_URL and of the crontab's lines."""
        keys = {key for key in (self._own_server, *asked) if key}
        if not keys:  # nobody says which: all that were ever listed
            keys = {server.name for server in self._servers.values() if server.modes}
        return {server_folder(key): key for key in sorted(keys)}

    def _room(self, found: list[str]) -> tuple[int, int]:
        with _told(found, "the free room on the disk of the backups cannot be seen"):
            place = self._backup_dir
            while not is_there(place) and place != place.parent:
                place = place.parent
            usage = shutil.disk_usage(place)
            return usage.free, usage.total
        return 0, 0

    def _sample(self, sample: Sample, found: list[str]) -> None:
        with _told(found, f"the state folder cannot be used ({self._state_dir})"):
            if not self._disk_loaded:
                self._disk.load(sample.at)
                self._disk_loaded = True
            if self._disk.is_due(sample.at):
                self._disk.add(sample)


@contextlib.contextmanager
def _told(found: list[str], what: str):  # type: ignore[no-untyped-def]
    """What fails inside becomes one of the reasons."""
    try:
        yield
    except (OSError, Trouble) as error:
        reason = getattr(error, "strerror", None) or str(error)
        log.get().warning("health_look_failed", what=what, reason=reason)
        found.append(f"{what}: {reason}")


class _Server:
    """What is known of one server's folder."""

    def __init__(self, folder: Path, zone: tzinfo | None) -> None:
        self._folder = folder
        self.watch = Watch(folder, zone)
        self.holdings = Holdings(folder, zone)
        self._held: dict[tuple[Key, Content], Held] = {}
        self._lists: dict[str, tuple[tuple[int, int, int], Listed]] = {}
        self._in_force: list[Listed] = []
        self._tonight = 0

    @property
    def name(self) -> str:
        """The server's address, as its sources say it."""
        sources = [*self.watch.sources.values(), *(held.source for held in self._held.values())]
        return next((source.server for source in sources), self._folder.name)

    @property
    def modes(self) -> frozenset[str]:
        return frozenset(listed.mode for listed in self._in_force)

    def catch_up(self, found: list[str], *, thoroughly: bool, check: Callable[[], None]) -> None:
        """Lists first, the disk last: what a later step shows is never older than what an earlier one promises."""
        with _told(found, f"the lists in {self._folder.name} cannot be read"):
            self._read_lists()
        with _told(found, f"the journal in {self._folder.name} cannot be read"):
            self.watch.catch_up(check)
        with _told(found, f"the backups in {self._folder.name} cannot be read"):
            self.holdings.look(thoroughly=thoroughly, check=check)
            self._held = self.holdings.held

    def _read_lists(self) -> None:
        lists: dict[str, tuple[tuple[int, int, int], Listed]] = {}
        for path in sorted(self._folder.glob("listed-*.json")):
            with contextlib.suppress(FileNotFoundError):
                status = path.stat()
                version = (status.st_ino, status.st_size, status.st_mtime_ns)
                known = self._lists.get(path.name)
                if known is not None and known[0] == version:
                    lists[path.name] = known
                elif (listed := read_listed(path)) is not None and listed.mode in CONTENT_OF:
                    lists[path.name] = (version, listed)
        self._lists = lists
        self._in_force = lists_in_force([listed for _, listed in lists.values()])

    def missing_shards(self, modes: frozenset[str]) -> tuple[tuple[str, str], ...]:
        """The shards of each mode's present division that have no list here, a few of them: ("p", "3/4")."""
        there = {(listed.mode, listed.shard) for listed in self._in_force}
        divisions = sorted(
            {(listed.mode, int(listed.shards)) for listed in self._in_force if listed.shards.isdecimal()}
        )
        missing = (
            (mode, f"{index}/{count}")
            for mode, count in divisions
            if mode in modes
            for index in range(count)
            if (mode, f"{index}/{count}") not in there
        )
        return tuple(itertools.islice(missing, MOST_MISSING_SHARDS))

    def broken_off(self, modes: frozenset[str]) -> dict[str, str]:
        """Why the last run of each mode broke off; nothing for those that came to their end."""
        reasons = {}
        for path in sorted(self._folder.glob("last-run-*.json")):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                value = json.loads(path.read_text(encoding="utf-8"))
                if value["mode"] in modes and value["ended_because"] != "finished":
                    reasons[str(value["mode"])] = printable(str(value["ended_because"]), 300)
        return reasons

    def wanted(self, modes: frozenset[str]) -> dict[tuple[Key, Content], Wanted]:
        """Every source that the last lists of these modes hold, with what is known about it."""
        found: dict[tuple[Key, Content], Wanted] = {}
        for listed in self._in_force:
            if listed.mode in modes:
                content = CONTENT_OF[listed.mode]
                for source in listed.sources:
                    found[source.key, content] = self._wanted(source, content)
        return found

    def _wanted(self, source: Source, content: Content) -> Wanted:
        seen = self.watch.seen.get((source.key, content))
        held = self._held.get((source.key, content))
        newest = held.newest if held else None
        good_at = seen.good_at if seen else None
        if newest is not None and (good_at is None or newest.at > good_at):
            good_at = newest.at  # the journal may be younger than the backups
        return Wanted(
            source,
            content,
            good_at,
            on_disk=newest is not None,
            problem=held.problem if held else "",
            outcome=seen.outcome if seen else "",
            reason=seen.reason if seen else "",
            tried_at=parse_time(seen.tried_at) if seen and seen.tried_at else None,
        )

    def view(
        self,
        key: str,
        wanted: Mapping[tuple[Key, Content], Wanted] | None,
        now: datetime,
        max_age: timedelta,
        tonight: int,
    ) -> ServerView:
        """This folder as it is shown. `wanted` is None when nothing asks for this server."""
        asked = wanted or {}
        self.watch.forget({pair[0] for pair in asked} | {pair[0] for pair in self._held}, tonight)
        pairs = {*asked, *self._held, *self.watch.seen}
        sources: dict[Key, Source] = {}
        contents: dict[Key, list[ContentView]] = {}
        for pair in pairs:
            source_key, content = pair
            want, held, seen = asked.get(pair), self._held.get(pair), self.watch.seen.get(pair)
            sources[source_key] = (
                want.source if want else self.watch.sources.get(source_key) or (held.source if held else None)
            ) or sources[source_key]
            contents.setdefault(source_key, []).append(_view(content, want, held, seen, now, max_age, tonight))
        views = [
            SourceView(
                source,
                tuple(sorted(contents[source_key], key=lambda view: view.content != "backup")),
                self.watch.drills.get(source_text(source)),
            )
            for source_key, source in sources.items()
        ]
        views.sort(key=lambda view: (ORDER.index(view.state), view.source.kind, view.source.id, view.source.created_at))
        return ServerView(key or self.name, wanted is not None, tuple(views))


def _view(
    content: Content,
    want: Wanted | None,
    held: Held | None,
    seen: Seen | None,
    now: datetime,
    max_age: timedelta,
    tonight: int,
) -> ContentView:
    why = why_missed(want, now, max_age) if want else ""
    outcome = seen.outcome if seen else ""
    state: State
    if want is None or (outcome == "gone" and not why):
        state = "unasked"
    elif why:
        state = "missed"
    elif outcome == "without data":
        state = "empty"
    elif outcome == "failed":
        state, why = "failing", f"its last attempt failed: {seen.reason if seen else ''}"
    else:
        state = "good"
    good_at = (
        want.good_at if want else (seen.good_at if seen else None) or (held.newest.at if held and held.newest else None)
    )
    return ContentView(
        content=content,
        state=state,
        why=why,
        good_at=good_at,
        outcome=outcome,
        seconds=seen.seconds if seen else 0.0,
        failures=seen.failures if seen else 0,
        exported_bytes=seen.exported_bytes if seen else 0,
        newest=held.newest if held else None,
        backups=held.backups if held else 0,
        size_bytes=held.size_bytes if held else 0,
        strip=strip(
            seen.nights if seen else {},
            held.nights if held else frozenset(),
            seen.first_night if seen else None,
            tonight,
            still_asked=want is not None,
        ),
    )
