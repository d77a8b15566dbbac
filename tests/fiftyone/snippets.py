"""Executes snippets in one process that has imported FiftyOne, which takes it 5 to 14 seconds.

`python snippets.py DESCRIPTOR`: one JSON line {"code", "values"} on stdin, one JSON line on the descriptor for each:
{"result": …}, or {"error": type, "text": …, "traceback": …}. What a snippet leaves in `result` is its answer.
Stdlib and FiftyOne only.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import sys
import textwrap
import traceback
from typing import Any


def main(descriptor: int) -> None:
    import fiftyone as fo

    heard = io.StringIO()
    handler = logging.StreamHandler(heard)
    logging.getLogger("fiftyone").addHandler(handler)
    with open(descriptor, "w") as answers:
        print(json.dumps({"result": fo.__version__}), file=answers, flush=True)
        for line in sys.stdin:
            heard.seek(0)
            heard.truncate()
            answer = carried_out(json.loads(line), heard)
            print(json.dumps(answer | {"said": heard.getvalue()}, default=str), file=answers, flush=True)


def carried_out(order: dict[str, Any], heard: io.StringIO) -> dict[str, Any]:
    space: dict[str, Any] = {"__name__": "snippet", **order["values"]}
    try:
        with contextlib.redirect_stdout(heard):
            exec(compile(textwrap.dedent(order["code"]), "<snippet>", "exec"), space)
    except BaseException as error:  # noqa: BLE001 SystemExit too: the process goes on with the next snippet
        return {"error": type(error).__name__, "text": str(error), "traceback": traceback.format_exc()}
    return {"result": space.get("result")}


if __name__ == "__main__":
    main(int(sys.argv[1]))
