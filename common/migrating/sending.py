"""Sending the media of a folder and their scenes: every file once, every scene compared with what was stored.

The journal says before each step what is about to be asked for. After a lost answer the server is looked at first: what
it took without our hearing of it is claimed, not sent again.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

from common import log
from common.exits import Trouble
from common.hashing import sha256_of
from common.migrating.claiming import is_ours
from common.migrating.crew import side_by_side
from common.migrating.folder import BadFolder, Entry
from common.migrating.upload_job import LOOKS, UploadJob
from common.progress import Display
from common.sc.media import Media, list_media, upload
from common.sc.scenes import differences, put_ranges, put_scene, same_ranges, translate, translate_ranges, video_ranges
from common.text import iso, now
from common.waiting import growing_pauses
from common.web import errors


def send_all(job: UploadJob) -> None:
    """Media of the same name one after another, all others side by side."""
    groups: dict[tuple[str, str], list[Entry]] = defaultdict(list)
    for entry in job.source.entries:
        groups[(job.journal.datasets[entry.dataset], entry.name)].append(entry)
    with Display(f"uploading {job.report.name}", len(job.source.entries)) as display:

        def work(group: list[Entry]) -> list[str]:
            gaps = []
            for entry in group:
                try:
                    gaps += _send(job, entry, display)
                except (Trouble, OSError) as error:
                    gaps.append(f"{entry.kind} {entry.name!r} ({entry.id}): {error}")
                display.advance()
            return gaps

        for done in side_by_side(groups.values(), work, job.client.server.connections, job.client.stop, display.tick):
            job.report.gaps += done.made or []
            if done.trouble is not None:
                job.report.gaps.append(f"{done.item[0].name!r}: {done.trouble}")


def _send(job: UploadJob, entry: Entry, display: Display) -> list[str]:
    """One image or video with its scenes; what did not get there. Raises Trouble, OSError."""
    if not entry.file:
        return [f"{entry.kind} {entry.name!r} ({entry.id}) has no file"]
    media = _sent_media(job, entry)
    with job.lock:
        job.report.images += entry.kind == "image"
        job.report.videos += entry.kind == "video"
        job.report.bytes += entry.size_bytes
    gaps: list[str] = []
    if entry.ranges:
        gaps += _send_ranges(job, entry, media)  # before the scenes: it may replace some
    for frame in entry.scenes or {}:
        gaps += _send_scene(job, entry, media, frame)
    return gaps


def _send_ranges(job: UploadJob, entry: Entry, media: Media) -> list[str]:
    """The labels of stretches of a video; what of them did not get there."""
    if job.journal.scenes.get((entry.id, "ranges")) == entry.ranges:
        return []
    where = f"labels of stretches of video {entry.name!r}"
    if job.client.generation.era == "SC":
        return [f"{where}: the target has none"]
    wanted, lost = translate_ranges(job.source.folder.read_json(entry.ranges_file), job.labels)
    gaps = [f"{where}: label {label} is not in the target" for label in lost]
    job.journal.write(again=entry.id)  # what it replaces is sent after it, in whatever run
    try:
        put_ranges(
            job.client, job.project_id, replace(media, frame_count=media.frame_count or entry.frame_count), wanted
        )
        stored = video_ranges(job.client, job.project_id, media) or []
    except errors.WebError as error:
        return [*gaps, f"{where}: {error}"]
    if not same_ranges(stored, wanted):
        gaps.append(f"{where}: they did not come back as they were sent")
    if not gaps:
        job.journal.write(scene=[entry.id, "ranges", entry.ranges])
    return gaps


def _sent_media(job: UploadJob, entry: Entry) -> Media:
    """The target's media of an entry: sent before, or sent now, once."""
    dataset = job.journal.datasets[entry.dataset]
    if target := job.journal.media.get(entry.id):
        return job.there[target]
    path = job.source.folder.inside(entry.file)
    # Read before it is sent: what a disk has spoilt since must not stand on a server as the original.
    size_is_right = path.stat().st_size == entry.size_bytes
    if not size_is_right or (entry.sha256 and sha256_of(path, job.client.stop.check) != entry.sha256):
        raise BadFolder(f"{entry.file} has changed since it was downloaded")
    for attempt in range(2):
        if entry.id in job.journal.doubted:
            job.journal.write(doubt=entry.id)  # an earlier run's: there may be two of it from now on
        job.journal.write(sending=entry.id, at=iso(now()))
        try:
            media = upload(job.client, job.project_id, dataset, entry.kind, path, entry.file_name)
        except errors.OutcomeUnknown as error:
            job.journal.write(doubt=entry.id)
            log.get().warning("answer_lost", what=entry.file_name, reason=str(error))
            found = _taken_all_the_same(job, entry, dataset)
            if found is None:
                if attempt:
                    raise
                continue
            media = found
        with job.lock:
            job.there[media.id] = media
        job.journal.write(media=[entry.id, media.id])
        return media
    raise AssertionError


def _taken_all_the_same(job: UploadJob, entry: Entry, dataset: str) -> Media | None:
    """Looks whether the target took a file although its answer did not reach us. Some take a while."""
    pauses = growing_pauses(0.5)
    strangers: set[str] = set()
    for look in range(LOOKS):
        claimed = set(job.journal.media.values()) | set(job.journal.already.get(dataset, []))
        for media in list_media(job.client, job.project_id, dataset):
            if media.id in claimed | strangers:
                continue
            if is_ours(job, entry, media):
                return media
            strangers.add(media.id)
        if look + 1 < LOOKS:
            job.client.stop.sleep(next(pauses))
    return None


def _send_scene(job: UploadJob, entry: Entry, media: Media, frame: str) -> list[str]:
    scene, sha256 = job.source.folder.read_json_and_hash(entry.scene_file(frame))
    where = f"{entry.kind} {entry.name!r}" + (f" frame {frame}" if frame else "")
    count = len(scene.get("annotations") or [])
    if not count:
        with job.lock:
            job.empty_scenes += 1
        return []
    if job.journal.scenes.get((entry.id, frame)) == sha256:
        with job.lock:
            job.report.scenes += 1
            job.report.shapes += count
        return []
    generation = job.client.generation
    size = (media.width or entry.width, media.height or entry.height)
    try:
        translated = translate(
            scene, job.labels, size, from_normalised=job.source.normalised, to_normalised=generation.normalised
        )
        gaps = [f"{where}: {each}" for each in translated.lost]
        if (recorded := (entry.scenes or {}).get(frame)) and recorded != sha256:
            gaps.append(f"{where}: its annotations have changed since they were downloaded; sent as they are now")
        if not translated.annotations:
            return gaps
        stored = put_scene(job.client, job.project_id, media, int(frame) if frame else None, translated)
    except (ValueError, errors.WebError) as error:
        return [f"annotations of {where}: {error}"]
    gaps += [
        f"{where}: {each}" for each in differences(translated.annotations, stored, normalised=generation.normalised)
    ]
    with job.lock:
        job.report.scenes += 1
        job.report.shapes += len(translated.annotations)
    if not gaps:
        job.journal.write(scene=[entry.id, frame, sha256])
    return gaps
