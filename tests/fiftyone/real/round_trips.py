"""Round trips through the real FiftyOne: `python -m tests.fiftyone.real.round_trips` runs every case in one process.

Writes one JSON object {case: null or what went wrong} as its last line.
"""

from __future__ import annotations

import importlib
import json
import sys
import traceback

MODULES = ["cases_images", "cases_videos", "cases_loads"]


def main() -> int:
    outcome = {}
    for module in MODULES:
        found = importlib.import_module(f"tests.fiftyone.real.{module}")
        for name, case in vars(found).items():
            if name.startswith("case_") and (len(sys.argv) < 2 or any(word in name for word in sys.argv[1:])):
                try:
                    case()
                    outcome[name] = None
                except Exception:  # noqa: BLE001 - told as the outcome of the case
                    outcome[name] = traceback.format_exc()
    print("\n" + json.dumps(outcome))
    return 0


if __name__ == "__main__":
    sys.exit(main())
