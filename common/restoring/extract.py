"""Media and annotations as plain files, without a server. Nothing is written outside the folder, nothing overwritten.

What is damaged in an archive is left out and named; everything else comes out: it may be the last copy there is.
"""

from __future__ import annotations

import contextlib
import errno
import json
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from common.backups.archive import Archive, BadArchive, Member, unsafe_name
from common.exits import Exit, Trouble
from common.files import disk_full_named, is_there, slug
from common.restoring.find import Chosen
from common.restoring.folder import refused
from common.restoring.soundness import Refused, require_modest
from common.run import say
from common.text import plural
from common.transfer import require_room

# Longer than the file system takes, or with characters that it does not.
_NO_NAME_HERE = (errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ)


class NotExtracted(Trouble):
    """The files could not be written."""

    remedy = "Choose an empty folder with enough room: --extract DIR."


@dataclass
class Extracted:
    """How many files were written to `folder`, and what is damaged and therefore missing."""

    folder: Path
    files: int = 0
    damaged: list[str] = field(default_factory=list)


def extract_all(
    chosen: Sequence[Chosen], folder: Path, reserve_bytes: int = 0, between: Callable[[], None] = lambda: None
) -> Exit:
    """One backup after the other, each with a line that says what came out; one that fails does not stop the others."""
    whole = some = 0
    for each in chosen:
        try:
            done = extract(each, folder, reserve_bytes, between)
        except Trouble as error:
            say(f"FAILED {each}: {str(error).rstrip('.')}. {error.remedy}")
            continue
        say(f"{each}: {plural(done.files, 'file')} in {done.folder}")
        for problem in done.damaged:
            say(f"  MISSING {problem}")
        if done.damaged:
            some += 1
            say(f"  {each} is damaged: what is readable is there. restore.py --list shows its other backups.")
        else:
            whole += 1
    if whole == len(chosen):
        return Exit.ALL_GOOD
    return Exit.SOME_FAILED if whole or some else Exit.NOTHING_WORKED


def extract(
    chosen: Chosen, folder: Path, reserve_bytes: int = 0, between: Callable[[], None] = lambda: None
) -> Extracted:
    """Writes the members of an archive below a new folder in `folder`, which gets its name when all is there.

    Raises Refused, NotExtracted, DiskFull, and RunEnds when the folder cannot be written; nothing is left of it then.
    """
    target = folder / chosen.path.name.removesuffix(".zip")
    unfinished = target.with_name(f"{target.name[:50]}.unfinished")  # a file name has at most 255 bytes
    try:
        with Archive(chosen.path) as archive:
            require_modest(chosen.path)
            for member in archive.members():
                if problem := unsafe_name(member.name):
                    raise BadArchive(f"member {member.name[:100]!r} {problem}")
            with _writable(folder):
                folder.mkdir(parents=True, exist_ok=True)
            require_room(folder, sum(member.size_bytes for member in archive.members()), reserve_bytes)
            with _writable(folder):
                if is_there(target):
                    raise NotExtracted(f"{target} exists already: nothing is overwritten")
                unfinished.mkdir()
            only = "" if chosen.index is None else f"task_{chosen.index}"
            done = Extracted(target)
            try:
                _write(archive, unfinished, _task_folders(archive), between, only, done)
                if not done.files:
                    raise BadArchive("; ".join(done.damaged[:3]) or "it holds no file")
                unfinished.rename(target)
            except BaseException:
                shutil.rmtree(unfinished, ignore_errors=True)
                raise
            return done
    except BadArchive as error:
        raise Refused(f"{chosen.path.name} is no sound archive: {error}") from None
    except FileExistsError as error:
        if error.filename == str(unfinished):
            raise NotExtracted(f"{unfinished} is there from a run that was killed: delete it") from None
        raise NotExtracted(f"{error.filename or target} exists already: nothing is overwritten") from None
    except (IsADirectoryError, NotADirectoryError) as error:
        raise NotExtracted(f"{error.filename}: the archive means a file and a folder by the same name") from None
    except OSError as error:
        if error.filename is not None and Path(error.filename) != chosen.path:
            raise NotExtracted(f"{error.filename} cannot be written ({error.strerror or error})") from None
        raise Refused(f"{chosen.path} cannot be read ({error.strerror or error})") from None


@contextlib.contextmanager
def _writable(folder: Path) -> Iterator[None]:
    """Another folder is what helps, not another backup: the run ends."""
    try:
        yield
    except FileExistsError as error:
        if error.filename != str(folder):
            raise
        raise refused(folder, error, "The folder of --extract", "(or choose another folder: --extract DIR)") from None
    except OSError as error:
        raise refused(folder, error, "The folder of --extract", "(or choose another folder: --extract DIR)") from None


def _write(
    archive: Archive, target: Path, folders: dict[str, str], between: Callable[[], None], only: str, done: Extracted
) -> None:
    """With `only`, the members of that one `task_N` of a project."""
    with disk_full_named(target):
        for member in archive.members():
            first, slash, rest = member.name.replace("\\", "/").partition("/")
            if only and first != only:
                continue
            path = target / (folders.get(first, first) + slash + rest)
            try:
                if member.name.endswith("/"):
                    path.mkdir(parents=True, exist_ok=True)
                    continue
                path.parent.mkdir(parents=True, exist_ok=True)
                file = open(path, "xb")  # noqa: SIM115 - closed below
            except OSError as error:
                if error.errno not in _NO_NAME_HERE:
                    raise
                done.damaged.append(
                    f"member {_shortened(member.name)}: no file can have this name here ({error.strerror})"
                )
                continue
            try:
                with file:
                    for piece in _pieces(archive, member):
                        between()
                        file.write(piece)
            except BadArchive as error:
                path.unlink()
                done.damaged.append(str(error))
            else:
                done.files += 1


def _pieces(archive: Archive, member: Member) -> Iterator[bytes]:
    """Its bytes; what the disk does not give of them counts as damaged. Raises BadArchive."""
    try:
        yield from archive.read(member)
    except OSError as error:
        raise BadArchive(f"member {_shortened(member.name)} cannot be read ({error.strerror or error})") from None


def _shortened(name: str) -> str:
    return repr(name if len(name) <= 120 else f"{name[:80]}…{name[-30:]}")


def _task_folders(archive: Archive) -> dict[str, str]:
    """`task_0` becomes `task_0-first-batch`, so that people find what they look for."""
    found = {}
    for member in archive.members():
        if match := re.fullmatch(r"(task_\d+)/task\.json", member.name):
            try:
                name = slug(str(json.loads(archive.read_small(member))["name"]))
            except (ValueError, KeyError, TypeError, BadArchive, OSError):
                name = ""
            found[match[1]] = f"{match[1]}-{name}" if name else match[1]
    return found
