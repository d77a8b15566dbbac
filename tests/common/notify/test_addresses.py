"""Which address is pinged for which job."""

from __future__ import annotations

import pytest

from common.notify.addresses import addresses_of, at_the_end, keys_of, slug_of, with_path, with_run
from common.notify.settings import NotifySettings, missing_for_alerts
from common.settings import SettingsError, load


@pytest.mark.parametrize(
    ("command", "keys"),
    [
        ("backup.py", ["BACKUP_P"]),
        ("backup.py --mode a", ["BACKUP_A"]),
        ("backup.py --mode=t --force", ["BACKUP_T"]),
        ("backup.py --force --mode p a --url x", ["BACKUP_P", "BACKUP_A"]),
        ("sweeper.py", ["SWEEPER"]),
        ("restore.py --verify all --share 1/4", ["RESTORE"]),
        ("restore.py --drill=rotate", ["DRILL"]),
        ("downloader.py x.csv", ["DOWNLOADER"]),
        ("something.py", []),
    ],
)
def test_a_command_has_its_own_settings(command, keys):
    assert keys_of(command.split()) == keys


def test_one_address_for_all_gets_the_name_of_the_job():
    command = ["backup.py", "--mode", "p"]
    assert addresses_of("backup p", command, {"": "https://hc.io/ping/key/?create=1"}) == [
        "https://hc.io/ping/key/backup-p?create=1"
    ]
    assert addresses_of("backup p", command, {"": "https://x/{job}/y"}) == ["https://x/backup-p/y"]
    assert addresses_of("backup p", command, {"": "https://x", "BACKUP_P": "https://own"}) == ["https://own"]
    assert addresses_of("backup p", command, {"BACKUP_A": "https://own"}) == []
    assert slug_of("restore verify all share 1/4") == "restore-verify-all-share-1-4"


def test_how_a_run_ended_stands_in_the_address():
    assert at_the_end("https://x/u", "good", 0) == "https://x/u"
    assert at_the_end("https://x/u?a=b", "some failed", 3) == "https://x/u/3?a=b"
    assert at_the_end("https://x/u", "failed", None) == "https://x/u/fail"
    assert at_the_end("https://x/u", "stopped", 143) == "https://x/u/log"
    assert with_run(with_path("https://x/u/?a=b", "start"), "id-1") == "https://x/u/start?a=b&rid=id-1"


@pytest.mark.parametrize(
    "bad", ["hc-ping.com/abc", "ftp://x/y", "https:///path", "https://x y", "http://[::1", "https://x:99999/"]
)
def test_what_is_no_address_is_refused_without_being_shown(bad, tmp_path):
    with pytest.raises(SettingsError) as caught:
        load(NotifySettings, environ={"CVAT_PING_URL_SWEEPER": bad}, folder=tmp_path)
    [problem] = caught.value.problems
    assert problem.startswith("CVAT_PING_URL_SWEEPER=******** is no address") and bad not in problem


def test_apprise_that_is_not_installed_is_said_before_anything_starts(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    [problem] = missing_for_alerts({"CVAT_ALERT_APPRISE_URLS": "json://x"})
    assert "requirements-apprise.txt" in problem
    assert missing_for_alerts({}) == []
