"""After an upload: what arrived twice is deleted, and what the target lists and counts is compared with what was sent."""

from __future__ import annotations

from collections import Counter

from common import log
from common.migrating.claiming import is_double
from common.migrating.folder import Entry
from common.migrating.upload_job import UploadJob
from common.sc.media import delete, list_media
from common.sc.projects import statistics
from common.text import plural


def remove_doubles(job: UploadJob) -> None:
    """Deletes what arrived twice: a file whose answer was lost, sent again, and taken both times. What may be somebody
    else's is listed in its place. A doubt that is settled never comes up again: what comes later is not ours.
    """
    # Of what has not arrived yet the doubt stays open.
    doubted = [each for each in job.source.entries if each.id in job.journal.doubted and each.id in job.journal.media]
    for dataset in dict.fromkeys(job.journal.datasets[each.dataset] for each in doubted):
        there = {each.id: each for each in list_media(job.client, job.project_id, dataset)}
        foreign = set(job.journal.media.values()) | set(job.journal.already.get(dataset, []))
        for entry in (each for each in doubted if job.journal.datasets[each.dataset] == dataset):
            sent, unsure = there.get(job.journal.media[entry.id]), False
            if sent is None:
                continue
            for media in [each for each in there.values() if each.id not in foreign]:
                verdict = is_double(job, entry, sent, media)
                if verdict:
                    log.get().warning("double_deleted", media=media.id, name=media.name)
                    delete(job.client, job.project_id, media)
                    del there[media.id]
                elif verdict is None:
                    unsure = True
                    job.report.gaps.append(
                        f"{entry.kind} {entry.name!r} may be there twice; its second one ({media.id}) may also be somebody "
                        "else's and was left alone: look at it, and delete one of them"
                    )
            if not unsure:
                job.journal.write(settled=entry.id)


def compare(job: UploadJob) -> None:
    """What the target lists and counts, against what was sent to it."""
    sent = job.journal.media
    scenes_of = Counter(source for source, frame in job.journal.scenes if frame != "ranges")
    for dataset in dict.fromkeys(job.journal.datasets.values()):
        there = {each.id: each for each in list_media(job.client, job.project_id, dataset)}
        own = [each for each in job.source.entries if job.journal.datasets[each.dataset] == dataset and each.id in sent]
        for entry in own:
            media = there.get(sent[entry.id])
            if media is None:
                job.report.gaps.append(f"{entry.kind} {entry.name!r} was sent and is not listed by the target")
            elif entry.width and media.width and {entry.width, entry.height} != {media.width, media.height}:
                job.report.gaps.append(
                    f"{entry.kind} {entry.name!r}: {entry.width} x {entry.height} here, {media.width} x {media.height} there"
                )
            elif entry.name != media.name:
                job.report.notes.append(f"{entry.kind} {entry.name!r} is called {media.name!r} there")
        if job.journal.created and (extra := len(there.keys() - set(sent.values()))):
            job.report.gaps.append(f"the target holds {plural(extra, 'file')} that this upload did not send")
        ours = {sent[each.id] for each in own}
        if gone := len((there.keys() & set(sent.values())) - ours):
            job.report.notes.append(
                f"{plural(gone, 'file')} of an earlier upload, gone in the source since, stay there"
            )
        if left := sum(_left_behind(job, each) for each in own):
            job.report.notes.append(
                f"{plural(left, 'scene')} of an earlier upload, deleted in the source since, stay there"
            )
        said = statistics(job.client, job.project_id, dataset)
        if said is None:
            continue
        frames = sum(scenes_of[each.id] for each in own if each.kind == "video")
        images = sum(scenes_of[each.id] for each in own if each.kind == "image")
        for what, count in (("annotated_images", images), ("annotated_frames", frames)):
            if said.get(what, count) < count:
                job.report.gaps.append(
                    f"the target counts {said[what]:,} {what.replace('_', ' ')}, {count:,} were sent"
                )


def _left_behind(job: UploadJob, entry: Entry) -> int:
    """How many scenes and stretches of labels an earlier upload sent that the source no longer has. They stay: nobody
    could tell whether somebody has changed them there since.
    """
    there = {frame for source, frame in job.journal.scenes if source == entry.id}
    return len(there - set(entry.scenes or {}) - ({"ranges"} if entry.ranges else set()))
