"""The settings of backup.py: safe defaults, and the old names with their old meaning."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.saving.settings import BackupSettings


def test_the_defaults_are_gentle():
    settings = BackupSettings.model_validate({})
    assert (settings.concurrency, settings.request_timeout_hours, settings.full_every_days) == (2, 5, 7)
    assert settings.format == "CVAT for images 1.1"
    assert settings.health_gate and settings.standalone_tasks and settings.verify_tls
    assert not settings.save_images and not settings.max_gb_per_day
    assert settings.dir.is_absolute()


@pytest.mark.parametrize(
    ("name", "value", "field", "meant"),
    [
        ("CVAT_BACKUP_DIR", "/data/x", "dir", Path("/data/x")),
        ("CVAT_BACKUP_SAVE_IMAGES", "True", "save_images", True),
        ("CVAT_BACKUP_REQUEST_TIMEOUT_HOURS", "0.5", "request_timeout_hours", 0.5),
        ("LOG_LEVEL", "warn", "log_level", "WARNING"),
        ("CVAT_URL", "https://x.example/projects", "url", "https://x.example"),
    ],
)
def test_the_predecessors_settings_keep_their_names_and_meaning(name, value, field, meant):
    assert getattr(BackupSettings.model_validate({name: value}), field) == meant


def test_a_relative_folder_and_a_home_become_absolute(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for given in ("~/b", "b", "./b"):
        assert BackupSettings.model_validate({"CVAT_BACKUP_DIR": given}).dir == tmp_path / "b"
