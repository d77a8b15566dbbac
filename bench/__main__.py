"""`python -m bench backup`, `sweep` and `sc`: measures and prints one table per scenario."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from bench import backup, downloader, sc, sweep
from bench.tables import markdown, show


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    what = parser.add_subparsers(dest="what", required=True)
    one = what.add_parser("backup", help="backup.py beside cvat-cli, cvat-sdk, curl and sha256sum")
    one.add_argument("--quick", action="store_true", help="small figures: shows that it works, says little of speed")
    one.add_argument("--only", action="append", choices=sorted(backup.SCENARIOS), help="this scenario; may be repeated")
    one.add_argument("--work", type=Path, default=Path("/var/tmp"), help="where the files go meanwhile (15 GB)")
    one.add_argument("--write", type=Path, help="also writes the tables to this file, as Markdown")
    two = what.add_parser("sweep", help="sweeper.py over 1,000,000 backups, beside find -mtime -delete")
    two.add_argument("--quick", action="store_true", help="20,000 backups")
    two.add_argument("--work", type=Path, default=Path("/var/tmp"), help="where the files go meanwhile (9 GB)")
    three = what.add_parser(
        "downloader", help="downloader.py --mode images beside s5cmd, rclone, aws s3 cp, boto3, obstore"
    )
    three.add_argument("--quick", action="store_true", help="small figures: shows that it works, says little of speed")
    three.add_argument("--only", action="append", choices=downloader.SCENARIOS, help="this one; may be repeated")
    three.add_argument("--rounds", type=int, default=3, help="how often each is measured; medians count")
    three.add_argument("--work", type=Path, default=downloader.TMPFS, help="where the files go meanwhile (4 GB)")
    three.add_argument("--write", type=Path, help="also writes the tables to this file, as Markdown")
    four = what.add_parser("sc", help="sc_migrate.py beside geti-sdk and bare requests, and with a 2 GB video")
    four.add_argument("--quick", action="store_true", help="40 images and a 200 MB video")
    four.add_argument("--images", type=int, action="append", metavar="N", help="so many; default: 400 and 5000")
    four.add_argument("--without-geti-sdk", action="store_true", help="leave the peer out: it takes many minutes")
    four.add_argument("--without-video", action="store_true", help="leave the large video out")
    four.add_argument("--work", type=Path, default=Path("/var/tmp"), help="where the files go meanwhile (7 GB)")
    four.add_argument("--write", type=Path, help="also writes the tables to this file, as Markdown")
    chosen = parser.parse_args()
    chosen.work.mkdir(parents=True, exist_ok=True)
    if chosen.what == "downloader":
        with tempfile.TemporaryDirectory(prefix="bench-", dir=chosen.work) as work:
            only = chosen.only or downloader.SCENARIOS
            results = downloader.scenarios(Path(work), quick=chosen.quick, rounds=chosen.rounds, only=only)
        for result in results:
            show(result)
        if chosen.write:
            chosen.write.write_text(
                markdown("python -m bench downloader", results, quick=chosen.quick), encoding="utf-8"
            )
        return 0 if all(goal.met for result in results for goal in result.goals) else 1
    if chosen.what == "sweep":
        with tempfile.TemporaryDirectory(prefix="bench-", dir=chosen.work) as work:
            table = sweep.sweeping(Path(work), chosen.quick)
        show(table)
        return 0 if all(goal.met for goal in table.goals) else 1
    tables = []
    if chosen.what == "sc":
        with tempfile.TemporaryDirectory(prefix="bench-", dir=chosen.work) as work:
            for count in chosen.images or ([40] if chosen.quick else [400, 5000]):
                tables.append(sc.side_by_side(Path(work) / str(count), count, with_peer=not chosen.without_geti_sdk))
                show(tables[-1])
            if not chosen.without_video:
                tables.append(sc.large_video(Path(work), chosen.quick))
                show(tables[-1])
        if chosen.write:
            chosen.write.write_text(markdown("python -m bench sc", tables, quick=chosen.quick), encoding="utf-8")
        return 0 if all(goal.met for table in tables for goal in table.goals) else 1
    with tempfile.TemporaryDirectory(prefix="bench-", dir=chosen.work) as work:
        for name in chosen.only or sorted(backup.SCENARIOS):
            table = backup.SCENARIOS[name](Path(work) / name, chosen.quick)
            show(table)
            tables.append(table)
    if chosen.write:
        chosen.write.write_text(markdown("python -m bench backup", tables, quick=chosen.quick), encoding="utf-8")
    return 0 if all(goal.met for table in tables for goal in table.goals) else 1


if __name__ == "__main__":
    sys.exit(main())
