"""The objects of a bucket, page by page, with patience."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from difflib import get_close_matches
from operator import itemgetter

from common import log
from common.exits import Exit, RunEnds
from common.images.pace import Pace
from common.s3.bucket import Bucket, Listed, Page, pages
from common.s3.errors import CredentialsRefused, Denied, OtherRegion, S3Error, Transient
from common.text import duration, plural, printable
from common.waiting import Deadline, StopSignal

# What 64 bits with a sign hold, as SQLite and files do.
LARGEST_BYTES = (1 << 63) - 1
_SIZE_OF = itemgetter(1)
PAGES_OF_FOLDERS = 8


def listed(
    bucket: Bucket,
    prefix: str,
    stop: StopSignal,
    patience_seconds: float = 120.0,
    every: Callable[[], None] = lambda: None,
) -> Iterator[list[Listed]]:
    """All pages of the listing; the next one is asked for while the last one is looked at. Raises RunEnds, Stopped.

    A page is tried again for so long after transient errors. `every` is called several times a second while one is awaited.
    """
    pace = Pace(1)

    def ask(prefix: str, *, token: str | None, after: str) -> Page:
        deadline, attempt = Deadline(patience_seconds), 0
        while True:
            try:
                page = bucket.page(prefix, token=token, after=after)
                if page.objects and max(map(_SIZE_OF, page.objects)) > LARGEST_BYTES:
                    raise Transient("an object in the server's listing has a size that none can have")
                return page
            except Transient as error:
                attempt += 1
                pause = pace.trouble(attempt, throttled=error.throttled)
                if pause > deadline.left_seconds:
                    what = f"The bucket could not be listed: {error} ({plural(attempt, 'attempt')} at {bucket.where})."
                    raise RunEnds(what, "Run the same command again later, or check --endpoint-url.") from None
                sentence = (
                    f"{bucket.where} does not list the bucket {bucket.name} ({error}). "
                    f"Trying for {duration(patience_seconds)}; Ctrl+C stops."
                )
                log.get().warning(
                    "listing_retried",
                    where=bucket.where,
                    reason=str(error),
                    attempt=attempt,
                    sentence=sentence if attempt == 1 else "",
                )
                stop.sleep(pause)
            except Denied as error:
                what = f"The bucket {bucket.name} may not be listed: {error}."
                raise CredentialsRefused(what, "The credentials need s3:ListBucket (and s3:GetObject) on it.") from None
            except OtherRegion as error:
                what = f"The bucket {bucket.name} cannot be listed at {bucket.where}: {error}."
                remedy = f"Set --region {error.region}, or check --endpoint-url."
                raise RunEnds(what, remedy, Exit.BAD_CONFIGURATION) from None
            except S3Error as error:
                what = f"{bucket.where} does not list the bucket {bucket.name} as an S3 server does ({error.code or error})."
                raise RunEnds(what, "Check --endpoint-url and --bucket.", Exit.BAD_CONFIGURATION) from None

    pages_in_order = pages(ask, prefix)
    ahead = ThreadPoolExecutor(1, thread_name_prefix="listing")
    is_complete = False
    try:
        coming = ahead.submit(next, pages_in_order, None)
        while (objects := _result(coming, stop, every)) is not None:
            coming = ahead.submit(next, pages_in_order, None)
            yield objects
        is_complete = True
    except ValueError as error:
        raise RunEnds(f"The bucket could not be listed: {error}.") from None
    finally:
        # After a stop it may sit for a minute before a server that says nothing. Else it must be gone when we return:
        # a program with a second thread cannot fork.
        ahead.shutdown(wait=is_complete, cancel_futures=True)


def nothing_listed(bucket: Bucket, prefix: str, stop: StopSignal) -> RunEnds:
    """What to say of a folder of the bucket, or of a bucket, that holds nothing."""
    if not prefix:
        what, remedy = f"The bucket {bucket.name} at {bucket.where} is empty.", "Check --bucket and --endpoint-url."
        return RunEnds(what, remedy, Exit.BAD_CONFIGURATION)
    with stop.breaking_off():
        near = ", ".join(printable(folder, 200) for folder in folders_near(bucket, prefix))
    remedy = f"Check --s3-prefix. These are there: {near}" if near else "Check --s3-prefix and --bucket."
    return RunEnds(f"Nothing lies under {prefix} in {bucket.name}.", remedy, Exit.BAD_CONFIGURATION)


def folders_near(bucket: Bucket, prefix: str, most: int = 5) -> list[str]:
    """Folders that are there, where nothing lies under `prefix`: those most like it, in the deepest folder above it.

    Asks for a page of a listing for each folder, a few of them; it is a hint only: [] also where the server has had enough.
    """
    parent = prefix
    while parent:
        parent = parent.rstrip("/").rpartition("/")[0]
        parent += "/" if parent else ""
        found: dict[str, None] = {}
        after = ""
        for _ in range(PAGES_OF_FOLDERS):
            try:
                page = bucket.page(parent, after=after)
            except (S3Error, RunEnds):
                return []
            keys = [each.key for each in page.objects if each.key > after]
            found |= dict.fromkeys(key[len(parent) :].partition("/")[0] for key in keys if "/" in key[len(parent) :])
            if not keys or not page.is_truncated:
                break
            folder, slash, _ = keys[-1][len(parent) :].partition("/")
            after = f"{parent}{folder}0" if slash else keys[-1]  # "0" stands behind "/"
        if found:
            asked = prefix[len(parent) :].partition("/")[0]
            return [f"{parent}{folder}/" for folder in get_close_matches(asked, found, most, 0)]
    return []


def _result(coming: Future[list[Listed] | None], stop: StopSignal, every: Callable[[], None]) -> list[Listed] | None:
    while True:
        try:
            return coming.result(timeout=0.1)
        except TimeoutError:
            if coming.done():
                raise
            stop.check()
            every()
