#!/usr/bin/env python3
"""Sends samples of a FiftyOne dataset to CVAT for annotating, and brings the labels back.

A round has a dataset and a key: create sends it, load takes what changed (as often as wanted), cleanup ends it. What
nobody touched in CVAT comes back exactly as it was. docs/fiftyone.md tells the rest.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from common.annotating.check import check
from common.annotating.clearing import cleanup
from common.annotating.creating import create
from common.annotating.loading import load, undo
from common.annotating.settings import FiftyoneSettings, add_arguments, what_is_missing
from common.annotating.status import status
from common.exits import Exit
from common.run import Run, frame, leave, say

COMMANDS = {"create": create, "load": load, "cleanup": cleanup, "status": status, "check": check, "undo": undo}
# What CVAT_SYNC=false switches off.
SWITCHED = ("create", "load", "cleanup")
EXAMPLES = """
  fiftyone_sync.py check                        credentials, FiftyOne, the dataset; creates nothing
  fiftyone_sync.py create --dataset birds --anno-key round1 --label-field ground_truth --label-type detections
  fiftyone_sync.py status                       every round that is known here
  fiftyone_sync.py load --dataset birds --anno-key round1
  fiftyone_sync.py load --when completed        only tasks whose jobs are done: for the crontab
  fiftyone_sync.py undo                         takes the last load back
  fiftyone_sync.py cleanup                      removes the tasks, unless something was not loaded (--discard)
"""


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="fiftyone_sync.py", description=(__doc__ or "").split("\n")[0], allow_abbrev=False,
        epilog=f"examples:{EXAMPLES}", formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help=", ".join(COMMANDS))
    add_arguments(parser)
    return frame(FiftyoneSettings, parser, argv, run, also_check=what_is_missing)


def run(run: Run[FiftyoneSettings]) -> int:
    """One run of the script."""
    command = run.arguments.command
    if command in SWITCHED and not run.settings.cvat_sync:
        say(f"CVAT_SYNC=false: {command} was not carried out; nothing was asked of CVAT or FiftyOne.")
        return Exit.ALL_GOOD
    return Exit(COMMANDS[command](run))


if __name__ == "__main__":
    leave(main())
