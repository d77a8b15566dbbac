"""The scenarios of `python -m bench backup`. Each starts sandboxes of its own and leaves nothing behind."""

from __future__ import annotations

import json
import multiprocessing
import shutil
import statistics
import zipfile
from collections.abc import Callable
from pathlib import Path

import requests

from bench.measure import Failed, Ran, Sandbox, run
from bench.peers import backup_py, cvat_cli, in_a_loop
from bench.tables import Result
from common.text import size

FLOOR_GOAL, PEER_GOAL, POLLER_GOAL = 1.2, 3.0, 10.0
THROUGHPUT_GOAL, MEMORY_GOAL_BYTES = 0.9, 150e6
LISTING_REQUESTS_GOAL = 20
FLAT_GOAL_BYTES = 40e6


def _seconds(value: float) -> str:
    return f"{value:.1f} s"


def small_projects(folder: Path, quick: bool) -> Result:
    """Every program meets a server of its own whose cache is empty."""
    count, export_seconds, workers = (20 if quick else 200), 1.0, 2
    subset, few = (5, 2) if quick else (20, 5)
    floor = count * export_seconds / workers
    result = Result(
        f"1. {count} small projects, an export takes {export_seconds:g} s, {workers} workers",
        f"The floor is {count} × {export_seconds:g} s ÷ {workers} = {floor:g} s: the server cannot be done sooner. "
        "Peers save one project after the other; where fewer are measured, the time is scaled to all of them.",
        ("program", "measured", "time for all", "of the floor", "backup.py is faster by", "peak memory"),
    )

    def measured(action: Callable[[Sandbox], Ran], projects: int) -> tuple[float, Ran]:
        try:
            with Sandbox(folder, f"many:{count}", export_seconds=export_seconds, workers=workers) as server:
                ran = action(server)
                return ran.seconds * count / projects, ran
        finally:
            shutil.rmtree(folder)

    ids = list(range(1, count + 1))
    out = folder / "out"
    ours, ran = measured(lambda server: backup_py(server, out), count)
    result.rows.append(
        ("backup.py --mode p", f"{count}", _seconds(ours), f"{ours / floor:.2f} ×", "", size(ran.peak_bytes))
    )
    ratios: dict[str, float] = {}
    for name, projects, action in (
        ("cvat-cli project backup", subset, lambda server: cvat_cli(server, out, ids[:subset])),
        ("cvat-sdk download_backup", subset, lambda server: in_a_loop("sdk", server, out, ids[:subset])),
        ("cvat-sdk, asking every 0.1 s", subset, lambda server: in_a_loop("sdk", server, out, ids[:subset], 0.1)),
        ("a loop asking every 10 s", few, lambda server: in_a_loop("poller", server, out, ids[:few], 10)),
    ):
        seconds, ran = measured(action, projects)
        ratios[name] = seconds / ours
        result.rows.append(
            (
                name,
                f"{projects} of {count}",
                _seconds(seconds),
                f"{seconds / floor:.2f} ×",
                f"{ratios[name]:.1f} ×",
                size(ran.peak_bytes),
            )
        )
    result.goal(f"at most {FLOOR_GOAL} × the floor", f"{ours / floor:.2f} ×", ours <= FLOOR_GOAL * floor)
    for name, least in (
        ("cvat-cli project backup", PEER_GOAL),
        ("cvat-sdk download_backup", PEER_GOAL),
        ("a loop asking every 10 s", POLLER_GOAL),
    ):
        result.goal(f"{least:g} × faster than {name}", f"{ratios[name]:.1f} ×", ratios[name] >= least)
    return result


def large_projects(folder: Path, quick: bool) -> Result:
    """The exports lie finished on the server: what is measured is fetching, checking and storing them."""
    count, megabytes, rounds = (3, 100, 2) if quick else (5, 1000, 3)
    total = count * megabytes * 1e6
    result = Result(
        f"2. {count} projects of {size(megabytes * 1e6)}",
        f"The exports lie finished on the server. {rounds} rounds, each program in each; medians. Before each "
        "program everything is written back to the disk. backup.py and curl with sync end with the bytes on the disk, "
        "the others leave them to the operating system; backup.py alone also checks what it fetched. openssl (which "
        "uses the processor's SHA instructions; sha256sum often does not), curl with sync and cvat-sdk are for information.",
        ("program", "time", "throughput", "backup.py has", "peak memory"),
    )
    with Sandbox(folder, f"big:{count}x{megabytes}", export_seconds=0) as server:
        ids, out = server.project_ids, folder / "out"
        cold = backup_py(server, out)
        shutil.rmtree(out)
        config, urls = folder / "curl", _result_urls(server)
        quoted = [f'url = "{url}"\noutput = "{out / f"{number}.zip"}"' for number, url in enumerate(urls)]
        config.write_text("\n".join(['header = "Accept: */*"', f'header = "{_authorization(server)}"', *quoted]))
        curl = f"curl -fsS -K '{config}'"
        files = folder / "files"
        files.mkdir()
        run(["sh", "-c", f"cd '{folder}' && mkdir out && {curl} && mv out/*.zip files && rmdir out"])

        def made(command: str) -> Ran:
            out.mkdir()
            return run(["sh", "-c", command])

        programs: dict[str, Callable[[], Ran]] = {
            "backup.py --mode p": lambda: backup_py(server, out),
            "curl": lambda: made(curl),
            "sha256sum": lambda: made(f"sha256sum '{files}'/*.zip"),
            "openssl sha256": lambda: made(f"openssl dgst -sha256 '{files}'/*.zip"),
            "curl, then sync": lambda: made(f"{curl} && sync '{out}'/*.zip"),
            "cvat-sdk download_backup": lambda: in_a_loop("sdk", server, out, ids),
        }
        if shutil.which("openssl") is None:
            del programs["openssl sha256"]
        runs: dict[str, list[Ran]] = {name: [] for name in programs}
        for turn in range(rounds):
            order = list(programs)
            for name in order[turn % len(order) :] + order[: turn % len(order)]:
                runs[name].append(programs[name]())
                shutil.rmtree(out)
    shutil.rmtree(folder)
    seconds = {name: statistics.median(one.seconds for one in them) for name, them in runs.items()}
    ours = seconds["backup.py --mode p"]
    for name, took in seconds.items():
        peak = max(one.peak_bytes for one in runs[name])
        result.rows.append(
            (
                name,
                _seconds(took),
                f"{total / took / 1e6:,.0f} MB/s",
                "" if took == ours else f"{took / ours:.2f} × its throughput",
                size(peak) if name.startswith(("backup", "cvat")) else "",
            )
        )
    throughput = f"{total / cold.seconds / 1e6:,.0f} MB/s"
    result.rows.append(
        ("backup.py, exports not yet made", _seconds(cold.seconds), throughput, "", size(cold.peak_bytes))
    )
    slower = max(seconds["curl"], seconds["sha256sum"]) / ours
    peak = max(cold.peak_bytes, *(one.peak_bytes for one in runs["backup.py --mode p"]))
    result.goal(
        f"at least {THROUGHPUT_GOAL} × the throughput of the slower of curl and sha256sum",
        f"{slower:.2f} ×",
        slower >= THROUGHPUT_GOAL,
    )
    result.goal(f"peak memory under {size(MEMORY_GOAL_BYTES)}", size(peak), peak < MEMORY_GOAL_BYTES)
    return result


def nothing_changed(folder: Path, quick: bool) -> Result:
    """The second and third run over the same server."""
    count, changed, subset = (100, 10, 2) if quick else (1000, 10, 5)
    result = Result(
        f"3. {count:,} projects of which none, then {changed} changed since the last run",
        f"An export takes no time here. cvat-cli knows no unchanged projects: {subset} measured, scaled to {count:,}.",
        ("program", "time", "requests", "peak memory"),
    )
    with Sandbox(folder, f"many:{count}", export_seconds=0) as server:
        out = folder / "out"
        first, first_requests = server.counting(lambda: backup_py(server, out))
        none, none_requests = server.counting(lambda: backup_py(server, out))
        for job in server.job_ids[:changed]:
            server.do("add_shape", job, "car")
        some, some_requests = server.counting(lambda: backup_py(server, out))
        cli, cli_requests = server.counting(lambda: cvat_cli(server, folder / "cli", server.project_ids[-subset:]))
    records = len(list(out.glob("*/*/*.zip.json")))
    shutil.rmtree(folder)
    if records != count + changed:
        raise Failed(f"{records} backups instead of {count + changed}")
    for name, ran, requested in (
        ("backup.py, first run", first, first_requests),
        ("backup.py, nothing changed", none, none_requests),
        (f"backup.py, {changed} changed", some, some_requests),
    ):
        result.rows.append((name, _seconds(ran.seconds), f"{requested:,}", size(ran.peak_bytes)))
    scale = count / subset
    result.rows.append(
        ("cvat-cli project backup", _seconds(cli.seconds * scale), f"{cli_requests * scale:,.0f}", size(cli.peak_bytes))
    )
    result.goal(
        f"nothing changed costs a few listings (at most {LISTING_REQUESTS_GOAL} requests in all)",
        f"{none_requests} requests in {_seconds(none.seconds)}",
        none_requests <= LISTING_REQUESTS_GOAL,
    )
    return result


def flat_memory(folder: Path, quick: bool) -> Result:
    """Memory of one project with few or very many files, and with few or very many annotations."""
    few, many, small, large = (1_000, 20_000, 1, 10) if quick else (10_000, 300_000, 1, 100)
    result = Result(
        "4. Flat memory",
        "One project each; the finished export on the server is given the members, or its job the annotations.",
        ("one project with", "time", "peak memory of backup.py"),
    )
    sorts: tuple[tuple[str, Callable[[Sandbox, int], None], tuple[int, int]], ...] = (
        ("members", _add_members, (few, many)),
        ("MB of annotations", _add_annotations, (small, large)),
    )
    for what, prepare, numbers in sorts:
        peaks = []
        for number in numbers:
            with Sandbox(folder, "many:1", export_seconds=0) as server:
                prepare(server, number)
                ran = backup_py(server, folder / "out")
            shutil.rmtree(folder)
            peaks.append(ran.peak_bytes)
            result.rows.append((f"{number:,} {what}", _seconds(ran.seconds), size(ran.peak_bytes)))
        more = max(0, peaks[1] - peaks[0])
        result.goal(
            f"{what}: at most {size(FLAT_GOAL_BYTES)} more memory", f"{size(more)} more", more <= FLAT_GOAL_BYTES
        )
    return result


SCENARIOS: dict[str, Callable[[Path, bool], Result]] = {
    "1": small_projects,
    "2": large_projects,
    "3": nothing_changed,
    "4": flat_memory,
}


def _authorization(server: Sandbox) -> str:
    key = requests.post(
        f"{server.url}/api/auth/login", json={"username": server.username, "password": server.password}, timeout=60
    )
    return f"Authorization: Token {key.json()['key']}"


def _result_urls(server: Sandbox) -> list[str]:
    """Where the finished exports of the last run lie."""
    name, _, value = _authorization(server).partition(": ")
    answer = requests.get(f"{server.url}/api/requests", params={"page_size": 100}, headers={name: value}, timeout=60)
    return [request["result_url"] for request in answer.json()["results"] if request["result_url"]]


def _in_another_process(work: Callable[[Path, int], None], path: Path, number: int) -> None:
    # A program that is started inherits the high-water mark of whoever starts it: it must stay small.
    process = multiprocessing.get_context("spawn").Process(target=work, args=(path, number))
    process.start()
    process.join()
    if process.exitcode:
        raise Failed(f"{work.__name__} failed")


def _add_members(server: Sandbox, count: int) -> None:
    """Has the project exported once, then puts small files into the archive that the server keeps in its cache."""
    backup_py(server, server.folder / "first")
    (path,) = (server.folder / "server" / "cache").glob("*.zip")
    _in_another_process(_append, path, count)
    shutil.rmtree(server.folder / "first")


def _append(path: Path, count: int) -> None:
    with zipfile.ZipFile(path, "a") as archive:
        for number in range(count):
            archive.writestr(f"task_0/data/raw/more/{number:07d}.jpg", b"small %d" % number)


def _add_annotations(server: Sandbox, megabytes: int) -> None:
    path = server.folder / "annotations.json"
    _in_another_process(_write_annotations, path, megabytes)
    server.do_from(path)


def _write_annotations(path: Path, megabytes: int) -> None:
    shape = {"type": "polygon", "label_id": 1, "frame": 0, "points": [x + 0.25 for x in range(40)]}
    text = json.dumps(shape)
    with path.open("w") as file:
        file.write('{"call": "put_annotations", "args": [1, {"shapes": [')
        file.write(",".join([text] * (megabytes * 1_000_000 // len(text))))
        file.write("]}]}")
