"""The status page: a snapshot as one HTML document, without scripts and without anything from elsewhere."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from common.health.holdings import Newest
from common.health.nights import FAILED, GOOD, MISSING, UNCHANGED
from common.health.plots import (
    HEIGHT,
    STEP,
    TALL,
    WIDTH,
    WORDS,
    columns,
    dashes,
    day,
    disk_plot,
    full_on,
    growth_bytes_per_day,
    strip_words,
)
from common.health.scheduler_state import asked_for
from common.health.snapshot import ServerView, Snapshot, SourceView
from common.text import duration, iso, plural, printable, size
from common.version import VERSION

_HERE = Path(__file__).parent
STYLE = (_HERE / "page.css").read_text(encoding="utf-8")
# What a browser may do with the page: show it, with this style. Nothing is loaded, run, framed or sent elsewhere.
STYLE_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
POLICY = (
    f"default-src 'none'; style-src 'sha256-{STYLE_HASH}'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
# So many rows of a server stand open; the others are folded. Problems come first.
OPEN_ROWS = 100
# Up to so many sources every night has a title of its own.
MOST_TITLES = 150
FILTER_FROM = 15
LONGEST_QUERY = 100
LONGEST_NAME = 120


@dataclass(frozen=True, slots=True)
class Headline:
    """The answer at a glance. `mood`: good, bad or new."""

    mood: str
    text: str
    lede: str


def headline(snapshot: Snapshot) -> Headline:
    """Is everything backed up?"""
    verdict, hours = snapshot.verdict, f"{snapshot.max_age.total_seconds() / 3600:g} hours"
    judged = [source for server in snapshot.servers if server.judged for source in server.sources]
    wanted = [source for source in judged if source.state != "unasked"]
    missed = [source for source in wanted if source.state == "missed"]
    servers = ", ".join(server.server for server in snapshot.servers if server.judged)
    if verdict.healthy:
        good = sum(source.state != "empty" for source in wanted)
        subject = f"All {good:,} sources on {servers} were" if good != 1 else f"The only source on {servers} was"
        lede = f"{subject} saved, or confirmed as unchanged, within {hours}."
        empty = len(wanted) - good
        if empty:
            lede += f" {plural(empty, 'more has', 'more have')} no images or video yet."
        return Headline("good", "Everything is backed up", lede)
    alive = snapshot.scheduler is not None and snapshot.scheduler.lives(snapshot.at)
    if not alive:
        lede = "No backup is made while it stands still."
        return Headline("bad", "The scheduler is not running", lede)
    if verdict.is_new:
        lede = f"{plural(len(missed), 'source')} waiting for the first backup." if missed else ""
        under_way = any(job.running_since and asked_for([job.command], "") for job in _jobs(snapshot))
        return Headline("new", "The first backup is under way" if under_way else "Nothing is backed up yet", lede)
    if missed:
        names = ", ".join(f"“{printable(source.source.name, 40)}”" for source in missed[:3])
        more = f" and {len(missed) - 3:,} more" if len(missed) > 3 else ""
        text = f"{len(missed):,} of {len(wanted):,} sources {'is' if len(missed) == 1 else 'are'} not backed up"
        return Headline("bad", text, f"Neither saved nor confirmed within {hours}: {names}{more}.")
    return Headline(
        "bad", "Something is in the way", "The backups that are known are fresh, but not everything could be seen."
    )


def render(snapshot: Snapshot | None, query: str = "", zone: tzinfo | None = None) -> str:
    """The page. `snapshot` is None before the first look is done; `query` filters the sources by name and number."""
    if snapshot is None:
        return _environment.get_template("starting.html").render(style=Markup(STYLE))  # noqa: S704 - our own file
    query = printable(query, LONGEST_QUERY)
    words = query.casefold().split()
    total = sum(len(server.sources) for server in snapshot.servers)
    tonight = snapshot.tonight
    judged = [view for server, source, view in snapshot.views if server.judged and view.state != "unasked"]
    values: dict[str, Any] = {
        "style": Markup(STYLE),  # noqa: S704
        "snapshot": snapshot,
        "headline": headline(snapshot),
        "servers": [_group(server, words) for server in snapshot.servers if server.sources],
        "query": query,
        "filter": total >= FILTER_FROM,
        "titles": total <= MOST_TITLES,
        "refresh_seconds": 60 if total <= OPEN_ROWS else 300,
        "has_two": any(view.content == "annotations" for view in judged),
        "columns": columns([view.strip for view in judged], tonight) if judged else [],
        "legend": [(letter, WORDS[letter]) for letter in (GOOD, UNCHANGED, FAILED, MISSING)],
        "first_day": day(tonight - 29),
        "last_day": day(tonight),
        "plot": disk_plot(snapshot.samples, zone),
        "growth": growth_bytes_per_day(snapshot.samples),
        "full_on": full_on(snapshot.samples),
        "newest": max((view.good_at for view in judged if view.good_at), default=None),
        "next": min((job.next_at for job in _jobs(snapshot) if job.next_at), default=None),
        "jobs": _jobs(snapshot),
        "version": VERSION,
        "sizes": {"strip": (len(columns([], tonight)) * STEP - 2, HEIGHT), "plot": (WIDTH, TALL)},
        "dashes": dashes,
        "strip_words": strip_words,
        "troubles": troubles,
    }
    return _environment.get_template("page.html").render(values, **_words_about(snapshot.at, zone))


def troubles(item: SourceView) -> list[tuple[str, str]]:
    """What is wrong with a source, said once where its backup and its annotations suffer from the same."""
    found: dict[str, list[str]] = {}
    for view in item.contents:
        if view.why:
            found.setdefault(view.why, []).append(view.content)
    return [(" and ".join(contents).capitalize(), why) for why, contents in found.items()]


def _jobs(snapshot: Snapshot) -> Sequence[Any]:
    return snapshot.scheduler.jobs if snapshot.scheduler else ()


@dataclass(frozen=True, slots=True)
class Group:
    """One server's rows: those that stand open, those that are folded, and what nothing asks for any more."""

    server: ServerView
    open: tuple[SourceView, ...]
    folded: tuple[SourceView, ...]
    unasked: tuple[SourceView, ...]
    size_bytes: int


def _group(server: ServerView, words: list[str]) -> Group:
    rows = [
        source
        for source in server.sources
        if all(word in f"{source.source} {source.source.name}".casefold() for word in words)
    ]
    asked = tuple(source for source in rows if source.state != "unasked")
    unasked = tuple(source for source in rows if source.state == "unasked")
    used = sum(source.size_bytes for source in server.sources)
    return Group(server, asked[:OPEN_ROWS], asked[OPEN_ROWS:], unasked, used)


def _words_about(now: datetime, zone: tzinfo | None) -> dict[str, Any]:
    """How moments are named on the page, as seen from `now`."""

    def ago(at: datetime) -> str:
        seconds = (now - at).total_seconds()
        if seconds < 0:
            return f"in {duration(-seconds)}" if seconds < -90 else "now"
        return f"{_short(seconds)} ago" if seconds >= 60 else "just now"

    def until(at: datetime) -> str:
        seconds = (at - now).total_seconds()
        return f"in {_short(seconds)}" if seconds >= 1 else "now"

    def clock(at: datetime) -> str:
        local = at.astimezone(zone)
        return f"{local:%a} {local.day} {local:%b %Y, %H:%M} {local:%Z}".strip()

    def made(newest: Newest, good_at: datetime | None) -> str:
        text = f"made {ago(newest.at)}"
        if good_at is not None and (good_at - newest.at).total_seconds() > 5400:
            text += f", confirmed {ago(good_at)}"
        return text

    def for_how_long(since: datetime) -> str:
        return _short(max(0.0, (now - since).total_seconds()))

    return {"ago": ago, "until": until, "clock": clock, "made": made, "for_how_long": for_how_long}


def _short(seconds: float) -> str:
    """One unit is enough to judge an age: "5 h", "3 d"."""
    for length, unit in ((86400 * 2, "d"), (3600, "h"), (60, "min")):
        if seconds >= length:
            return f"{seconds // (86400 if unit == 'd' else length):.0f} {unit}"
    return f"{seconds:.0f} s"


def contents(newest: Newest) -> str:
    """What is in a backup, in a few words."""
    counts = newest.counts
    numbers = ((counts.shapes, "shape"), (counts.tracks, "track"), (counts.tags, "tag"))
    parts = [plural(number, word) for number, word in numbers if number] or ["no annotations"]
    return ", ".join([plural(newest.tasks, "task"), *parts])


def _name(text: str) -> str:
    return printable(text, LONGEST_NAME) or "(no name)"


def _sentence(text: str) -> str:
    """A reason as a sentence; a script's name keeps its small letter."""
    first = text.partition(" ")[0]
    return f"{text if '.' in first else text[:1].upper() + text[1:]}."


# Everything that is put into a template is escaped: names of projects and messages of servers are strangers' texts.
_environment = Environment(
    loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)
_environment.filters |= {
    "size": size,
    "short": _short,
    "sentence": _sentence,
    "plural": plural,
    "contents": contents,
    "name": _name,
    "iso": lambda at: iso(at.astimezone(UTC).replace(microsecond=0)),
}
