"""The crontab: text in, entries or all of its problems out.

No shell ever sees a line. What a line may hold is explained in the file `crontab` itself and in docs/scheduling.md.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from common.scheduling.cron import Schedule, schedule, time_zone

NAMED_TIMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
AT_STARTUP = ("@startup", "@reboot")
# After a run that ended all good; after one of which at least a part was good.
AFTER = {"@after": False, "@after-partly": True}


class Refused(ValueError):
    """One line that cannot be used, and why."""


@dataclass(frozen=True)
class Entry:
    """One line. It is due by the clock, or at the start of the daemon, or after another command."""

    number: int
    line: str
    command: tuple[str, ...]
    schedule: Schedule | None = None
    at_startup: bool = False
    after: tuple[str, ...] | None = None
    also_partly: bool = False

    @property
    def job(self) -> str:
        return job_name(self.command)


@dataclass(frozen=True)
class Problem:
    """What is wrong with a line; number 0 means the file as a whole."""

    number: int
    text: str

    def __str__(self) -> str:
        return f"line {self.number}: {self.text}" if self.number else self.text


@dataclass(frozen=True)
class Crontab:
    """What was read: `problems` is empty or `entries` must not be used."""

    entries: tuple[Entry, ...]
    problems: tuple[Problem, ...]

    def jobs(self) -> dict[str, list[Entry]]:
        """The lines of each job, by its name. Lines with the same command are the same job."""
        found: dict[str, list[Entry]] = {}
        for entry in self.entries:
            found.setdefault(entry.job, []).append(entry)
        return found


def job_name(command: Sequence[str]) -> str:
    """What a command is called in logs, files and pings: "backup p", "restore verify all share 1/4"."""
    words = [word.lstrip("-").replace("=", " ") for word in command[1:]]
    words = [re.sub(r"^mode( |$)", "", word) for word in words]
    return " ".join([command[0].removesuffix(".py"), *(word for word in words if word)])


def parse(text: str, scripts: Collection[str], zone: ZoneInfo) -> Crontab:
    """All entries of a crontab, and all of its problems with their line numbers.

    `scripts` are the names a command may begin with; `zone` counts until a CRON_TZ= or TZ= line names another.
    """
    entries: list[Entry] = []
    problems: list[Problem] = []
    # Commands of lines that have another problem: a dependency on them is not one more.
    known: set[tuple[str, ...]] = set()
    for number, raw in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        try:
            if assigned := re.match(r"([A-Za-z_]\w*)\s*=\s*(.*)$", line):
                zone = _assignment(assigned[1], assigned[2])
                continue
            when, rest = _split(line, scripts)
            predecessor, words = _words(when, rest)
            command = _command(words, rest, scripts)
            known.add(command)
            entries.append(_entry(number, line, when, command, predecessor, scripts, zone))
        except ValueError as error:
            problems.append(Problem(number, str(error)))
    problems += _bad_dependencies(entries, known)
    if not entries and not problems:
        problems.append(Problem(0, "there is no job in it: nothing would ever be backed up"))
    return Crontab(tuple(entries), tuple(sorted(problems, key=lambda problem: problem.number)))


def _assignment(name: str, value: str) -> ZoneInfo:
    if name not in ("CRON_TZ", "TZ"):
        raise Refused(
            f"{name}= has no meaning here, only CRON_TZ= and TZ= have: settings belong into .env.local or the environment"
        )
    return time_zone(value.strip().strip("\"'"))


def _split(line: str, scripts: Collection[str]) -> tuple[str, str]:
    """The time of a line ("@daily", "0 0 * * *") and the rest of it."""
    first = line.split(None, 1)[0]
    if first.startswith("@"):
        if first not in (*NAMED_TIMES, *AT_STARTUP, *AFTER):
            names = ", ".join((*NAMED_TIMES, AT_STARTUP[0], *AFTER))
            raise Refused(f"{first} is not known: {names}, or five time fields")
        rest = line[len(first) :].strip()
        if not rest:
            raise Refused(f"a command is missing behind {first}")
        return first, rest
    if first in scripts or first.endswith((".py", ".sh")):
        raise Refused(f"the time is missing in front of {first}, for example: 0 0 * * * {line}")
    parts = line.split(None, 5)
    early = next((at for at, word in enumerate(parts[:5]) if word in scripts or word.endswith((".py", ".sh"))), None)
    if early is not None:
        raise Refused(f"five time fields are expected in front of {parts[early]}, there are {early}")
    if len(parts) < 6:
        raise Refused("expected five time fields (minute hour day-of-month month day-of-week) and a command")
    if re.fullmatch(r"[\d*/,\-?]+", parts[5].split()[0]):
        raise Refused("there are six time fields: there is no field for seconds, five are expected")
    return " ".join(parts[:5]), parts[5]


def _words(when: str, text: str) -> tuple[tuple[str, ...] | None, list[str]]:
    """The words of the rest of a line; for @after the first of them is the command it waits for."""
    if re.search(r"[$`]", re.sub(r"'[^']*'", "", text)):
        raise Refused(
            "$ and ` mean nothing here: there is no shell, nothing is expanded (settings stand in .env.local)"
        )
    lexer = shlex.shlex(text, posix=True, punctuation_chars=True)
    lexer.whitespace_split, lexer.commenters = True, ""
    try:
        words = list(lexer)
    except ValueError as error:
        raise Refused(f"the quotes do not match: {error}".lower()) from None
    if when not in AFTER:
        return None, words
    if len(words) < 2:
        raise Refused(f'expected: {when} "backup.py --mode p" sweeper.py')
    return tuple(shlex.split(words[0])), words[1:]


def _command(words: list[str], text: str, scripts: Collection[str]) -> tuple[str, ...]:
    if words[0] not in scripts:
        raise Refused(_not_ours(words, scripts))
    for word in words:
        if "\0" in word:  # no process can be started with it
            raise Refused(f"{word!r} holds a NUL character")
        if word and not word.strip("();<>|&"):
            raise Refused(
                f"{word} means nothing here: there is no shell. One command a line, without redirections; all output "
                "goes to the daemon's own" + (f". Write: {_suggestion(words, scripts)}" if words else "")
            )
        if word.startswith("#"):
            raise Refused("a comment stands on a line of its own")
    return tuple(words)


def _not_ours(words: list[str], scripts: Collection[str]) -> str:
    offered = ", ".join(sorted(scripts)) or "none was found"
    suggestion = _suggestion(words, scripts)
    if suggestion:
        return f"a command begins with a script's name. Write: {suggestion}"
    return f"{words[0]!r} is no script of this program: {offered}"


def _suggestion(words: list[str], scripts: Collection[str]) -> str:
    """What somebody meant who wrote `root /backup.sh --mode p >> /var/log/cron.log`; empty when that is not clear."""
    for index, word in enumerate(words):
        stem = re.sub(r"\.(sh|py)$", "", word.rsplit("/", 1)[-1]).removeprefix("run-locally-")
        if f"{stem}.py" in scripts:
            arguments: list[str] = []
            for argument in words[index + 1 :]:
                if argument.startswith("#") or not argument.strip("();<>|&0123456789"):
                    break
                arguments.append(argument)
            return shlex.join([f"{stem}.py", *arguments])
    return ""


def _entry(
    number: int,
    line: str,
    when: str,
    command: tuple[str, ...],
    predecessor: tuple[str, ...] | None,
    scripts: Collection[str],
    zone: ZoneInfo,
) -> Entry:
    if when in AT_STARTUP:
        return Entry(number, line, command, at_startup=True)
    if predecessor is not None:
        if not predecessor or predecessor[0] not in scripts:
            raise Refused(f'{when} is followed by another line\'s command in quotes: {when} "backup.py --mode p" …')
        return Entry(number, line, command, after=predecessor, also_partly=AFTER[when])
    return Entry(number, line, command, schedule(NAMED_TIMES.get(when, when), zone))


def _bad_dependencies(entries: Sequence[Entry], known: Collection[tuple[str, ...]]) -> list[Problem]:
    problems = []
    follows: dict[tuple[str, ...], set[tuple[str, ...]]] = {}
    for entry in entries:
        if entry.after is not None:
            follows.setdefault(entry.command, set()).add(entry.after)
    for entry in entries:
        if entry.after is None:
            continue
        if entry.after not in known:
            problems.append(
                Problem(entry.number, f'no line runs "{shlex.join(entry.after)}", which this one waits for')
            )
        elif _leads_back(entry.after, entry.command, follows):
            problems.append(Problem(entry.number, f'"{shlex.join(entry.command)}" waits in a circle for itself'))
    return problems


def _leads_back(
    start: tuple[str, ...], goal: tuple[str, ...], follows: Mapping[tuple[str, ...], set[tuple[str, ...]]]
) -> bool:
    seen: set[tuple[str, ...]] = set()
    left = [start]
    while left:
        command = left.pop()
        if command == goal:
            return True
        if command not in seen:
            seen.add(command)
            left.extend(follows.get(command, ()))
    return False
