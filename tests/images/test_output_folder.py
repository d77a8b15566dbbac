"""The output folder: one run at a time, folders and files that are not ours, and what a run that ends early leaves in it."""

from __future__ import annotations

from common.lock import locked
from tests.images.conftest import ended
from tests.images.fake_s3 import FakeS3

FEW = {f"p/{number:02}.jpg": bytes([number]) * 2000 for number in range(4)}
NAMES = [key[2:] for key in FEW]


def test_another_run_in_the_folder_is_waited_for_as_long_as_the_setting_says(start, tmp_path):
    (tmp_path / "out" / ".download").mkdir(parents=True)
    said: list[str] = []
    with FakeS3(FEW) as server:
        with locked(tmp_path / "out" / ".download" / "lock", "another run"):
            process = start(server.url, NAMES, "--s3-prefix", "p/", "--auto-confirm", "--lock-wait-minutes", "1")
            for line in process.stderr:
                said.append(line)
                if "waiting_for_lock" in line:
                    break
            assert process.poll() is None and "another run" in "".join(said), said
        run = ended(process, tmp_path / "out")
    assert run.code == 0 and len(run.files) == 4 and run.happened("lock_taken"), run.said


def test_another_run_in_the_folder_is_not_waited_for_unless_that_was_asked_for(download, tmp_path):
    (tmp_path / "out" / ".download").mkdir(parents=True)
    with FakeS3(FEW) as server, locked(tmp_path / "out" / ".download" / "lock", "another run"):
        run = download(server.url, NAMES, "--s3-prefix", "p/")
    assert run.code == 11 and "another run is already running here" in run.err, run.said
