"""What goes through the wall between the product and the interpreter that has FiftyOne. Standard library only.

    product -> worker   one line of JSON on standard input: the request, with `do` and its fields. Standard input stays
                        open; its end means that the product is gone, and the worker ends at once.
    worker -> product   lines of JSON on the file descriptor named in FIFTYONE_WORKER_FD: any number of
                        {"event": …}, and last {"event": "result", "result": {…}} or
                        {"event": "failed", "kind": …, "reason": …, "status": …}

What FiftyOne itself prints goes to standard output and standard error and is not part of it.
"""

from __future__ import annotations

from typing import Any

FD_VARIABLE = "FIFTYONE_WORKER_FD"
# The version whose inside is wrapped: another one may name or order things differently.
SUPPORTED_VERSION = "1.22.1"
# How things fail: what the product makes of each stands in common/fiftyone/process.py.
BAD_REQUEST = "bad_request"  # settings that FiftyOne cannot carry out, a dataset or field that is not there
CREDENTIALS = "credentials"
SERVER = "server"  # CVAT said no, with a reason
UNREACHABLE = "unreachable"
DATA = "data"  # CVAT could not make frames of the files
DEADLINE = "deadline"
DATABASE = "database"
DISK = "disk"  # no room left on a disk of ours
STATE = "state"  # a file of a round, or a folder, that cannot be read or written
VERSION = "version"
UNEXPECTED = "unexpected"
LONGEST_REASON = 400


class Failed(Exception):
    """The request cannot be carried out: `kind` is one of the words above, `reason` one sentence for people."""

    def __init__(self, kind: str, reason: str, status: int | None = None) -> None:
        super().__init__(reason)
        self.kind = kind
        self.reason = reason
        self.status = status

    def message(self) -> dict[str, Any]:
        return {"event": "failed", "kind": self.kind, "reason": self.reason, "status": self.status}


def one_line(text: str, longest: int = LONGEST_REASON) -> str:
    """A stranger's text as one harmless line: no control characters, no bytes of files, length limited."""
    clean = " ".join("".join(c if c.isprintable() and c != "\ufffd" else " " for c in text).split())
    return clean if len(clean) <= longest else clean[: longest - 1] + "…"
