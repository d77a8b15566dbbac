"""Which media on the target are surely what this upload sent: a name alone is no proof."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from common.hashing import sha256_of
from common.migrating.folder import Entry
from common.migrating.upload_job import UploadJob
from common.sc.media import Media, hash_of
from common.sc.scenes import image_scene, video_ranges, video_scenes
from common.text import parse_time

# Kinds of images that a Geti server turns into JPEG when it takes them.
CONVERTED = frozenset((".tif", ".tiff", ".jfif"))
# So much later than the last sending a server may call a file uploaded: it may have queued the request.
LATE = timedelta(minutes=10)


def is_ours(job: UploadJob, entry: Entry, media: Media) -> bool:
    """Whether a medium on the target is this entry's file, sent without our hearing of it: equal bytes (pixels, where the
    server encodes anew), and no annotations, which somebody else must have drawn. Raises WebError, OSError.
    """
    if (media.kind, media.name) != (entry.kind, entry.name) or not _same_size(entry, media):
        return False
    if job.client.generation.keeps_bytes and Path(entry.file).suffix.lower() not in CONVERTED:
        wanted = entry.sha256 or sha256_of(job.source.folder.inside(entry.file), job.client.stop.check)
        if hash_of(job.client, job.project_id, media) != wanted:
            return False
    return not is_annotated(job, media)


def is_double(job: UploadJob, entry: Entry, sent: Media, media: Media) -> bool | None:
    """Whether a medium is the other arrival of a file that was sent twice, of which `sent` is the one that we know.

    None: it has the same bytes, and yet somebody else may have put it there, or annotated it. Raises WebError.
    """
    if (media.kind, media.name) != (sent.kind, sent.name) or not _same_size(entry, media):
        return False
    if hash_of(job.client, job.project_id, media) != hash_of(job.client, job.project_id, sent):
        return False
    return None if is_annotated(job, media) or not _came_between(job, entry, sent, media) else True


def is_annotated(job: UploadJob, media: Media) -> bool:
    """Whether anybody has annotated it. Raises WebError."""
    if media.kind == "image":
        scene = image_scene(job.client, job.project_id, media)
        return bool(scene and scene["annotations"])
    if any(scene.get("annotations") for _, scene in video_scenes(job.client, job.project_id, media)):
        return True
    return bool(video_ranges(job.client, job.project_id, media))


def _same_size(entry: Entry, media: Media) -> bool:
    if entry.width and media.width and {entry.width, entry.height} != {media.width, media.height}:
        return False
    return not entry.frame_count or not media.frame_count or entry.frame_count == media.frame_count


def _came_between(job: UploadJob, entry: Entry, sent: Media, media: Media) -> bool:
    """Whether both came as close to each other, by the server's clock, as the first and last sending by ours."""
    moments = job.journal.sent_at.get(entry.id, [])
    try:
        apart = abs(parse_time(media.uploaded_at) - parse_time(sent.uploaded_at))
        return apart <= parse_time(moments[-1]) - parse_time(moments[0]) + LATE
    except (ValueError, IndexError):
        return False  # a journal of an earlier version, or a server that does not tell
