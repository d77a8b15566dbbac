"""Becomes a script whose life ends with the daemon's: `launch.py PARENT_PID python script …`, without imports of ours.

Linux sends SIGTERM when the parent dies, however it dies; that survives exec. A preexec_fn would run our code in a
fork of a process with threads, where it may hang.
"""

import contextlib
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    parent = int(sys.argv[1])
    if sys.platform == "linux":
        import ctypes

        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
        if os.getppid() != parent:  # it died before we asked for the signal
            sys.exit(128 + signal.SIGTERM)
    os.execv(sys.argv[2], sys.argv[2:])  # noqa: S606


if __name__ == "__main__":
    main()
