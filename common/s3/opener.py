"""Opens a bucket. botocore, which that takes, is loaded by another process while this one loads the rest of the program.

Half of the time until the first request went by before botocore was ready. The other process finds the address, and keys
where these lie open; in every other case (somebody may be asked, keys change, boto3 is to fetch) all is done here.
"""

from __future__ import annotations

import contextlib
import gc
import select
import socket
from typing import TYPE_CHECKING

# No more than this up here: until all of it is loaded the other process cannot begin.
from common.forked import Forked, can_fork
from common.waiting import Deadline

if TYPE_CHECKING:
    from common.s3.bucket import Bucket
    from common.s3.fast import Place
    from common.s3.reach import Found, Reach

PATIENCE_SECONDS = 10.0


class Opener:
    """To be made as soon as it is clear that a bucket will be opened, while there is one thread."""

    def __init__(self) -> None:
        self._forked: Forked | None = None
        self._asked: Reach | None = None
        with contextlib.suppress(OSError):  # no process more, no memory: then all is done here
            self._forked = Forked(_find_for) if can_fork() else None

    def begin(self, reach: Reach) -> None:
        """Asks the other process, which answers while the caller does something else. The bucket is then opened as this one."""
        import pickle

        if self._forked is not None:
            self._asked = reach
            self._forked.link.settimeout(PATIENCE_SECONDS)
            with contextlib.suppress(OSError):  # it is gone: then there is no answer either
                self._forked.link.sendall(pickle.dumps(reach))

    def __call__(self, reach: Reach) -> Bucket:
        """Raises RunEnds: no credentials, an unknown profile, settings that contradict each other."""
        found = self._ask(reach)
        if found is None:
            from common.s3.client import open_bucket

            return open_bucket(reach)
        from common import log
        from common.s3.fast import FastBucket

        keys = found.keys
        for secret in (keys.secret_key, keys.token) if keys else ():
            log.hide(secret)
        return FastBucket(reach.bucket, found.door.place(), lambda: keys, lambda region: _moved(reach, region))

    def _ask(self, reach: Reach) -> Found | None:
        """What the other process has found; None when it is up to us."""
        import pickle

        from common.exits import Exit, RunEnds
        from common.s3.reach import Found

        if self._asked is None:
            self.begin(reach)
        forked, self._forked = self._forked, None
        if forked is None:
            return None
        answer: Found | tuple[str, str, int] | None = None
        with contextlib.suppress(OSError, EOFError, pickle.UnpicklingError), forked.link.makefile("rb") as words:
            answer = pickle.load(words)  # noqa: S301 - from our own fork
        forked.link.close()
        forked.end(Deadline(0.0))
        if reach != self._asked:
            return None
        if isinstance(answer, tuple) and not isinstance(answer, Found):
            why, remedy, code = answer
            raise RunEnds(why, remedy, Exit(code))
        return answer


def _find_for(link: socket.socket) -> None:
    """The other process: loads botocore, hears what is to be found, tells it, ends."""
    import pickle

    gc.disable()  # nothing of this process gets old
    from common.exits import RunEnds
    from common.s3.resolve import find, warm_up

    if not select.select([link], [], [], 0)[0]:  # else there is no time left for that: we are waited for
        warm_up()
    with link.makefile("rwb") as words:
        reach: Reach = pickle.load(words)  # noqa: S301 - from the process that forked us
        answer: Found | tuple[str, str, int] | None
        try:
            answer = find(reach)
        except RunEnds as error:
            answer = (error.why, error.remedy, int(error.exit_code))
        pickle.dump(answer, words)


def _moved(reach: Reach, region: str) -> Place | None:
    from common.s3.client import mover

    return mover(reach)(region)
