"""In what a restored source differs from the archive it was made of."""

from __future__ import annotations

import dataclasses

from common.backups.compare import compare
from common.cvat.address import server_key
from common.cvat.client import Client
from common.cvat.contents import task_contents
from common.cvat.listing import look_at, source_of
from common.restoring.soundness import Sound
from common.text import plural


def differences(client: Client, sound: Sound, result_id: int) -> list[str]:
    """In what the restored source differs from the archive: frames, jobs and the numbers of annotations, task by task."""
    raw = client.get(f"/api/{sound.kind}s/{result_id}")
    look = look_at(client, source_of(server_key(client.url), sound.kind, raw))
    archived = {number: sound.contents.tasks[index].contents() for number, index in enumerate(sound.kept)}
    there = {task.id: task_contents(client, task, look.jobs[task.id]) for task in look.tasks}
    if sound.kind == "task":
        archived = {0: dataclasses.replace(archived[0], name=next(iter(there.values())).name)} if there else archived
    if len(there) != len(archived):
        return [f"{plural(len(there), 'task')} instead of {len(archived)}"]
    return [str(difference) for difference in compare(there, list(there), archived)]
