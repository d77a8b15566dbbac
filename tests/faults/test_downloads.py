"""What arrives is cut off, damaged or of the wrong length: only what is whole gets a name, and it is fetched again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from running import (
    Finished,
    add_project,
    assert_all_saved,
    assert_equals_server,
    assert_sound,
    record_headers,
    record_of,
    run_backup,
    when_asked,
)

from sandbox.cvat import CvatSandbox, Fault

DOWNLOAD = "GET /api/projects/2/backup/download"
ONCE = [
    [Fault(DOWNLOAD, "cut")],
    [Fault(DOWNLOAD, "cut", after_bytes=1)],
    [Fault(DOWNLOAD, "cut", after_bytes=2_000)],
    [Fault(DOWNLOAD, "cut", after_bytes=2_000, rst=True)],
    [Fault(DOWNLOAD, "no_length")],
    [Fault(DOWNLOAD, "no_length"), Fault(DOWNLOAD, "cut", after_bytes=2_000)],
    [Fault(DOWNLOAD, "wrong_length", delta=1)],
    [Fault(DOWNLOAD, "wrong_length", delta=100_000)],
    [Fault(DOWNLOAD, "wrong_length", delta=7, times=None)],
    [Fault(DOWNLOAD, "wrong_length", delta=-1)],
    [Fault(DOWNLOAD, "wrong_length", delta=-1_000)],
    [Fault(DOWNLOAD, "corrupt", offset=500)],
    [Fault(DOWNLOAD, "corrupt", offset=0, count=4)],
    [Fault(DOWNLOAD, "corrupt", offset=10**9), Fault(DOWNLOAD, "corrupt", offset=2_500, count=40)],
    [Fault(DOWNLOAD, "cut", after_bytes=2_000), Fault(DOWNLOAD, "drop_range", times=None)],
    [Fault(DOWNLOAD, "stall", after_bytes=100, seconds=1.5)],
    [Fault(DOWNLOAD, "status", status=400, body="The export process is not finished")],
    [Fault(DOWNLOAD, "status", status=404, body='"The exported file has expired, please retry exporting"')],
    [Fault(DOWNLOAD, "status", status=416)],
    [Fault(DOWNLOAD, "header", name="ETag", value='W/"weak"'), Fault(DOWNLOAD, "cut", after_bytes=2_000)],
    [Fault(DOWNLOAD, "header", name="Content-Encoding", value="gzip")],
]


def names(faults: list[Fault]) -> str:
    said = [
        f"{fault.kind} {fault.status if fault.kind == 'status' else fault.after_bytes or fault.delta or fault.offset}"
        for fault in faults
    ]
    return " and ".join(said)


@pytest.mark.parametrize("faults", ONCE, ids=names)
def test_one_bad_download_is_fetched_again(server: CvatSandbox, tmp_path: Path, faults: list[Fault]) -> None:
    for fault in faults:
        server.faults.add(fault)
    assert_all_saved(run_backup(server, tmp_path, CVAT_HTTP_TIMEOUT_SECONDS="1"), server)


ALWAYS = [
    Fault(DOWNLOAD, "corrupt", times=None, offset=2_500),
    Fault(DOWNLOAD, "wrong_length", times=None, delta=-1),
    Fault(DOWNLOAD, "cut", times=None, after_bytes=0),
    Fault(DOWNLOAD, "status", times=None, status=404, body='"The exported file has expired, please retry exporting"'),
]


def only_project_2_failed(done: Finished, server: CvatSandbox) -> None:
    assert done.code == 3, done.said
    assert done.outcomes() == {"project 1": "saved", "project 2": "failed", "project 3": "saved"}
    assert {record.source.id for record in assert_sound(done.folder, parts=True)} == {1, 3}
    for number in (1, 3):
        assert_equals_server(server, done.folder, record_of(done.folder, "project", number))
    [failure] = done.last_run()["failures"]
    assert failure["source"]["id"] == 2
    assert failure["reason"]


@pytest.mark.parametrize("fault", ALWAYS, ids=lambda fault: names([fault]))
def test_a_download_that_is_always_bad_fails_only_its_project(
    server: CvatSandbox, tmp_path: Path, fault: Fault
) -> None:
    server.faults.add(fault)
    done = run_backup(server, tmp_path, CVAT_SERVER_WAIT_SECONDS="1")
    only_project_2_failed(done, server)
    server.faults.clear()
    assert_all_saved(run_backup(server, tmp_path), server)


def test_an_archive_that_is_broken_on_the_server_is_made_anew(server: CvatSandbox, tmp_path: Path) -> None:
    def break_the_cached_file() -> None:
        for path in server.exports.cache_directory.glob("*.zip"):
            if path.stat().st_size:
                path.write_bytes(path.read_bytes()[:-30] + b"\0" * 30)
        # CVAT's cache would give it out again: what helps is a change, or its end of life.
        server.exports._cache.clear()

    when_asked(server, DOWNLOAD, break_the_cached_file)
    assert_all_saved(run_backup(server, tmp_path, CVAT_BACKUP_CONCURRENCY="1"), server)


@pytest.mark.parametrize("fault", [Fault("dataset/download", "corrupt", offset=300), Fault("dataset/download", "cut")])
def test_a_bad_dataset_is_fetched_again(server: CvatSandbox, tmp_path: Path, fault: Fault) -> None:
    server.faults.add(fault)
    done = run_backup(server, tmp_path, "--mode", "a")
    assert done.code == 0, done.said
    assert len(assert_sound(done.folder)) == 3


def test_an_empty_dataset_is_not_taken_for_a_backup(server: CvatSandbox, tmp_path: Path) -> None:
    """COCO of a project without annotated images is a "finished" zip of 22 bytes."""
    from sandbox.cvat import datasets

    whole = datasets.write_dataset
    try:
        datasets.write_dataset = lambda *args: args[-1].write_bytes(b"PK\x05\x06" + bytes(18))  # type: ignore[assignment]
        done = run_backup(server, tmp_path, "--mode", "a")
    finally:
        datasets.write_dataset = whole
    assert done.code == 3
    assert "empty" in done.last_run("a")["failures"][0]["reason"]
    assert {file.role for record in assert_sound(done.folder, parts=True) for file in record.files} == {"api"}


def test_a_broken_download_goes_on_where_it_broke_off(server: CvatSandbox, tmp_path: Path) -> None:
    project, _task = add_project(server, "large", megabytes=8)
    for times in range(3):
        server.faults.add(
            Fault(f"GET /api/projects/{project.id}/backup/download", "cut", skip=times, after_bytes=2_000_000)
        )
    seen = record_headers(server)
    done = run_backup(server, tmp_path)
    assert_all_saved(done, server)
    ranges = [headers.get("range") for line, headers in seen if f"/projects/{project.id}/backup/download" in line]
    assert ranges == [None, "bytes=2000000-", "bytes=4000000-", "bytes=6000000-"]


def test_a_restart_in_the_middle_of_a_download_is_survived(server: CvatSandbox, tmp_path: Path) -> None:
    project, _task = add_project(server, "large", megabytes=8)
    download = f"GET /api/projects/{project.id}/backup/download"
    server.faults.add(Fault(download, "cut", after_bytes=3_000_000))
    server.faults.add(Fault(download, "status", skip=1, times=2, status=502))
    seen = record_headers(server)
    assert_all_saved(run_backup(server, tmp_path), server)
    assert [headers.get("range") for line, headers in seen if download in line][1:] == ["bytes=3000000-"] * 3


def test_a_file_that_was_made_anew_meanwhile_is_begun_again(server: CvatSandbox, tmp_path: Path) -> None:
    """After the break another file with another ETag waits: its end must not be put behind the old beginning."""
    project, _task = add_project(server, "large", megabytes=8)
    download = f"/api/projects/{project.id}/backup/download"
    server.faults.add(Fault(download, "cut", after_bytes=3_000_000))
    server.faults.add(Fault(download, "status", skip=1, status=502))

    def make_anew() -> None:
        path = next(one.path for key, one in server.exports.requests.items() if f"target_id={project.id}&" in key)
        assert path is not None
        os.utime(path, (1, 1))

    when_asked(server, download, lambda: when_asked(server, download, make_anew))
    seen = record_headers(server)
    assert_all_saved(run_backup(server, tmp_path), server)
    assert [headers.get("range") for line, headers in seen if download in line][1:] == ["bytes=3000000-"] * 2


# --- other hosts --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["result_url", "redirect of the download", "redirect of the sign-in"])
def test_no_other_host_ever_hears_from_us(server: CvatSandbox, tmp_path: Path, kind: str) -> None:
    with CvatSandbox(samples="many:3") as stranger:
        headers = {"Location": f"{stranger.url}/api/projects/2/backup/download"}
        fault = {
            "result_url": Fault("POST .*/export", "result_host", times=None, host=stranger.url),
            "redirect of the download": Fault(DOWNLOAD, "status", times=None, status=302, headers=headers),
            "redirect of the sign-in": Fault("/api/auth/login", "status", times=None, status=307, headers=headers),
        }[kind]
        server.faults.add(fault)
        done = run_backup(server, tmp_path)
        assert list(stranger.log) == []
    if kind == "result_url":
        assert_all_saved(done, server)
    else:
        assert done.code in (2, 3)
        assert "redirect" in done.said
        assert stranger.url in done.said
