"""Fetching the file of a finished export from CVAT, in pieces that can be resumed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from common.cvat import errors
from common.cvat.client import Client
from common.cvat.exports import ReadyExport, ResultExpired
from common.transfer import Body, Changed, Interrupted, Opener
from common.web.answers import is_page
from common.web.bodies import AnswerBody, FinishedBody, position


def opener(client: Client, ready: ReadyExport) -> Opener:
    """How `transfer.fetch` opens this export's file. HEAD is never used: CVAT answers it with 500 (measured)."""

    @contextmanager
    def open_at(offset: int, validator: str) -> Iterator[Body]:
        # The address of an export's file is the same every night: a cache on the way could answer with an old one.
        headers = {"Accept-Encoding": "identity", "Cache-Control": "no-cache"}
        if offset:
            # An ETag is good within one export request only (measured); If-Range makes the server decide.
            headers |= {"Range": f"bytes={offset}-", "If-Range": validator}
        try:
            with client.streaming(ready.path, accept="*/*", headers=headers) as response:
                if is_page(response):
                    raise Interrupted("a web page came instead of the file", errors.NotJson.remedy)
                yield AnswerBody(response, *position(response, offset))
        except errors.NotFound as error:
            raise ResultExpired(f"the server no longer has the exported file ({error})") from None
        except errors.Refused as error:
            # 400: somebody signed in as the same user asked for this export again, and it is not finished yet.
            raise ResultExpired(f"the exported file cannot be fetched any more ({error})") from None
        except errors.PastTheEnd as error:
            # Nothing behind our offset: either all of it has arrived, or what we hold is of something else.
            if error.total_bytes != offset:
                raise Changed from None
            yield FinishedBody(offset, validator)

    return open_at
