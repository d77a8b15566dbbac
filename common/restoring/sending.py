"""What is sent for one backup: its pieces under marker names, each within the limit of an upload."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from common.backups.compose import Composed
from common.restoring.journal import Journal, Piece
from common.restoring.parts import Parts, description_name, plan_parts, project_with, renamed, sizes_in, task_alone
from common.restoring.soundness import Sound, TooLarge
from common.text import printable, size

_TOO_LARGE = (
    "is {size}, more than the server accepts as one upload ({limit}), and a task cannot be divided: raise "
    "TUS_MAX_FILE_SIZE in the CVAT server's settings, and CVAT_RESTORE_UPLOAD_LIMIT_GB with it"
)


def parts_of(sound: Sound, limit_bytes: int) -> Parts:
    """In which parts it travels. Raises TooLarge when a task alone is over the limit."""
    if sound.kind == "task":
        if sound.size_bytes > limit_bytes:
            raise TooLarge(
                f"{sound.path.name}: {_TOO_LARGE.format(size=size(sound.size_bytes), limit=size(limit_bytes))}"
            )
        return Parts(())
    own, tasks = sizes_in(sound.path, sound.kept)
    parts = plan_parts(own, tasks, limit_bytes)
    if parts.too_large:
        index = parts.too_large[0]
        name = printable(str(sound.contents.tasks[index].raw.get("name", "")), 60)
        raise TooLarge(
            f"{sound.path.name}: task {name!r} {_TOO_LARGE.format(size=size(tasks[index]), limit=size(limit_bytes))}"
        )
    return parts


@contextmanager
def archive_of(sound: Sound, journal: Journal, piece: Piece) -> Iterator[Composed]:
    """What is sent for a piece: the same bytes at every call, under the piece's marker name."""
    described = description_name(piece.kind, piece.index)
    if sound.kind == "project" and piece.index is None:
        travelling = {other.index for other in journal.pieces}
        rename = project_with([index for index in sound.kept if index not in travelling])
    else:
        rename = (lambda name: name) if piece.index is None else task_alone(piece.index)
    content = renamed(sound.path, described, piece.marked_name)
    skeleton = journal.folder / f".{piece.marker}.skeleton"
    replaced = {described.rsplit("/", 1)[-1]: content}
    with Composed(sound.path, skeleton, rename, replaced) as composed:
        yield composed
