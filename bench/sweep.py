"""`python -m bench sweep`: sweeper.py over a very large folder, beside `find -mtime -delete` over an equal one."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import sys
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench.measure import run
from bench.tables import Result
from common.backups.names import source_folder, stamp, stem
from common.backups.record import Export, Record, Server, StoredFile, Verified, to_json
from common.sources import Counts, Fingerprint, Source
from common.text import iso, size

MEMORY_GOAL_BYTES = 150e6
CONTENT = b"PK\x05\x06" + bytes(18)  # an empty zip: what counts here is the number of files
JOURNAL_LINES = 400  # for each source: as many as runs.jsonl and runs.1.jsonl hold for a thousand sources
TTL_HOURS = 168


def sweeping(folder: Path, quick: bool) -> Result:
    """Hourly backups of many sources; both programs meet the same files, made anew for each."""
    sources, each = (20, 1000) if quick else (1000, 1000)
    count = sources * each
    result = Result(
        f"{count:,} backups in {sources:,} sources: one sweep",
        f"Hourly backups of tiny size, each a zip and its record: {2 * count:,} files. sweeper.py reads the journal and "
        f"every record, compares it with its file, and keeps {TTL_HOURS} hours, 30 days and 12 weeks of each source; "
        "it writes a line with the reason for every file. find deletes what is older than that by the clock, without a "
        "look at anything; it is the floor, and no retention.",
        ("program", "time", "deleted", "left", "backups a second", "peak memory"),
    )
    tree = folder / "backups"
    timed: dict[str, float] = {}
    for name in ("find -mtime -delete", "sweeper.py"):
        make(tree, sources, each)
        if name == "sweeper.py":
            command = (
                f"exec '{sys.executable}' sweeper.py --dir '{tree}' --ttl {TTL_HOURS} --keep-daily 30 --keep-weekly 12 "
                f"--min-num-backups 3 --log-format json >'{folder}/report' 2>'{folder}/log'"
            )
        else:
            command = f"exec find '{tree}' -type f -name '*.zip*' -mtime +{TTL_HOURS // 24 - 1} -delete"
        ran = run(["sh", "-c", command], CVAT_ENV_DIR=str(folder))
        left = int(run(["sh", "-c", f"find '{tree}' -name '*.zip' | wc -l"]).output)
        timed[name] = ran.seconds
        rate = f"{count / ran.seconds:,.0f}"
        result.rows.append((name, f"{ran.seconds:.1f} s", f"{count - left:,}", f"{left:,}", rate, size(ran.peak_bytes)))
        peak = ran.peak_bytes
        shutil.rmtree(tree)
    result.goal(f"at most {size(MEMORY_GOAL_BYTES)}, however many backups", size(peak), peak <= MEMORY_GOAL_BYTES)
    result.how += f" sweeper.py takes {timed['sweeper.py'] / timed['find -mtime -delete']:.1f} times as long."
    return result


def make(tree: Path, sources: int, each: int) -> None:
    """The folder of one server."""
    server = tree / "cvat.example.com"
    server.mkdir(parents=True)
    newest = datetime.now(UTC) - timedelta(minutes=30)
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        parts = pool.starmap(_source, [(server, number, each, newest) for number in range(1, sources + 1)])
    for name, half in (("runs.1.jsonl", slice(0, JOURNAL_LINES // 2)), ("runs.jsonl", slice(JOURNAL_LINES // 2, None))):
        with open(server / name, "w", encoding="utf-8") as journal:
            for line in parts:
                journal.writelines(line.replace("@AT@", at) for at in _moments(newest)[half])


def _moments(newest: datetime) -> list[str]:
    return [iso(newest - timedelta(hours=JOURNAL_LINES - 1 - number)) for number in range(JOURNAL_LINES)]


def _source(server: Path, number: int, each: int, newest: datetime) -> str:
    """One source's folder; gives its line of the journal, with a mark for the moment."""
    source = Source("cvat.example.com", "project", number, "2026-01-02T03:04:05Z", f"project {number:04}")
    folder = server / source_folder(source)
    folder.mkdir()
    name = stem(source, "backup", "@STAMP@") + ".zip"
    record = Record(
        source=source, server=Server("https://cvat.example.com", "2.54.1"), content="backup", stamp="@STAMP@",
        files=(StoredFile("backup", name, len(CONTENT), "ab" * 32),), started_at="@AT@", finished_at="@AT@",
        fingerprint=Fingerprint("2026-01-02T03:04:05Z", 2, 3, "00" * 8), export=Export(),
        verified=Verified("good", 2, 3, 10, Counts(1, 20, 3), 9, 4, compared_with_server=True),
        tool_version="0.1.0", run_id="bench",
    )  # fmt: skip
    text = json.dumps(to_json(record), indent=2)
    for age in range(each):
        at = newest - timedelta(hours=age)
        stamped = stamp(at)
        content = text.replace("@STAMP@", stamped).replace("@AT@", iso(at)).encode()
        path = str(folder / name.replace("@STAMP@", stamped))
        for each_path, data in ((path, CONTENT), (f"{path}.json", content)):
            descriptor = os.open(each_path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
            os.write(descriptor, data)
            os.utime(descriptor, (at.timestamp(), at.timestamp()))
            os.close(descriptor)
    line = {
        "at": "@AT@", "run_id": "bench", "mode": "p", "source": asdict(source), "outcome": "saved", "reason": "",
        "file": name, "bytes": len(CONTENT), "seconds": 1.0, "version": 1,
    }  # fmt: skip
    return json.dumps(line) + "\n"
