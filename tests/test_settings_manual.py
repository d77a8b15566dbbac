"""`.env` is the manual of all settings: complete, true, harmless."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from common.annotating.app_settings import AppSettings
from common.annotating.settings import FiftyoneSettings
from common.datasets.settings import DatasetSettings
from common.envfile import read_env_file
from common.health.settings import HealthSettings
from common.images.settings import ImageSettings
from common.restoring.settings import RestoreSettings
from common.saving.settings import BackupSettings
from common.sc.settings import ScSettings
from common.settings import ELSEWHERE, is_secret, load, older_name, variables
from common.sweeping.settings import SweepSettings
from scheduler import SchedulerSettings

ENV = Path(__file__).resolve().parent.parent / ".env"
SCRIPTS = (
    BackupSettings,
    SweepSettings,
    RestoreSettings,
    DatasetSettings,
    ImageSettings,
    HealthSettings,
    SchedulerSettings,
    ScSettings,
    FiftyoneSettings,
    AppSettings,
)
SETTINGS = {name: field for script in SCRIPTS for name, field in variables(script).items()}


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_every_setting_stands_in_the_manual_with_a_comment_above_it(name: str):
    lines = ENV.read_text(encoding="utf-8").splitlines()
    at = [number for number, line in enumerate(lines) if line.startswith(f"{name}=")]
    assert len(at) == 1, f"{name} must stand in .env exactly once"
    assert lines[at[0] - 1].startswith("# ") or lines[at[0] - 1].startswith("# (")


def compose_variables() -> set[str]:
    """What docker-compose.yml takes from .env, and what compose itself does."""
    text = (ENV.parent / "docker-compose.yml").read_text(encoding="utf-8")
    return set(re.findall(r"\$\{([A-Z_]+)", text)) | {"COMPOSE_PROJECT_NAME"}


def test_the_manual_holds_no_setting_that_nothing_reads():
    assert set(read_env_file(ENV)) == set(SETTINGS) | compose_variables()


def test_the_defaults_of_compose_in_the_manual_are_those_of_the_compose_file():
    values = read_env_file(ENV)
    text = (ENV.parent / "docker-compose.yml").read_text(encoding="utf-8")
    for name, default in set(re.findall(r"\$\{([A-Z_]+):-([^}]*)\}", text)) - {("VERSION", "latest")}:
        assert values[name] == default, name


def test_the_manual_holds_no_secret():
    values = read_env_file(ENV)
    assert all(not values[name] for name, field in SETTINGS.items() if is_secret(field))


def test_the_defaults_in_the_manual_are_the_defaults_of_the_code(tmp_path: Path):
    server = {"CVAT_URL": "https://cvat.example.com"}
    with_manual = (
        load(BackupSettings, environ=server, folder=ENV.parent) if not (ENV.parent / ".env.local").exists() else None
    )
    if with_manual is None:
        (tmp_path / ".env").write_text(ENV.read_text(encoding="utf-8"), encoding="utf-8")
        with_manual = load(BackupSettings, environ=server, folder=tmp_path)
    without = load(BackupSettings, environ=server, folder=tmp_path / "nowhere")
    assert with_manual.settings == without.settings
    assert not with_manual.warnings


def test_every_setting_with_a_number_names_its_unit():
    text = ENV.read_text(encoding="utf-8")
    for name, field in SETTINGS.items():
        if field.annotation in (int, float):
            comment = text[: text.index(f"\n{name}=")].rsplit("\n\n", 1)[-1]
            assert re.search(r"seconds|minutes|hours|days|GB|\d to \d", comment, re.IGNORECASE), (
                f"{name}: no unit in {comment!r}"
            )


def test_what_is_shipped_for_the_sweeper_is_safe_and_the_code_alone_deletes_nothing(tmp_path: Path):
    (tmp_path / ".env").write_text(ENV.read_text(encoding="utf-8"), encoding="utf-8")
    shipped = load(SweepSettings, environ={}, folder=tmp_path)
    rules = shipped.settings.rules
    assert not shipped.warnings
    assert rules.let_anything_go
    assert rules.minimum >= 3
    assert rules.ttl is not None and rules.ttl.days >= 7
    assert rules.daily >= 30 and rules.monthly >= 12
    assert rules.orphan_after is None and not shipped.settings.sweep_legacy and not shipped.settings.max_size_gb
    alone = load(SweepSettings, environ={}, folder=tmp_path / "nowhere").settings
    assert not alone.rules.let_anything_go


def test_no_script_takes_the_setting_of_another_for_a_typing_error():
    for script in SCRIPTS:
        named = [
            name
            for name, field in variables(script).items()
            if name.startswith(("CVAT_", "SC_")) and not is_secret(field)
        ]
        assert set(named) <= ELSEWHERE
        assert {older for field in variables(script).values() if (older := older_name(field))} <= ELSEWHERE
