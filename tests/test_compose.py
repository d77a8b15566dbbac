"""The compose file as text: what both compose versions take, and what no service may do. tests/container starts it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
each_service = pytest.mark.parametrize("name", sorted(SERVICES))


def test_nothing_at_the_top_is_unknown_to_compose_1_29_or_obsolete_in_v2():
    assert set(COMPOSE) == {"services", "volumes"}


def test_every_variable_has_a_default_so_that_the_file_is_valid_without_env():
    assert re.findall(r"\$\{[A-Z_]+\}", TEXT) == [] and re.findall(r"\$[A-Z_]", TEXT) == []


@each_service
def test_no_service_may_do_anything_it_need_not(name: str):
    service = SERVICES[name]
    assert service["read_only"] and service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["user"] == "${PUID:-1000}:${PGID:-1000}"
    assert not {"privileged", "network_mode", "pid", "cap_add", "devices"} & set(service)
    assert service["logging"]["options"]["max-size"]


@each_service
def test_ports_are_open_on_this_machine_only(name: str):
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", ()))


def test_settings_do_not_pass_through_compose():
    assert not any("env_file" in service for service in SERVICES.values())
    named = {name for name in SERVICES["cvat-backups"]["environment"] if name.startswith("CVAT_")}
    assert named == {"CVAT_ENV_DIR", "CVAT_CRONTAB", "CVAT_STOP_GRACE_SECONDS"}
    assert "./:/config:ro" in SERVICES["cvat-backups"]["volumes"]


def test_the_demo_touches_nothing_of_the_users():
    for service in (each for each in SERVICES.values() if each.get("profiles") == ["demo"]):
        sources = {volume.split(":")[0] for volume in service.get("volumes", ())}
        assert all(source.startswith("demo-") for source in sources)
        assert "CVAT_ENV_DIR" not in service.get("environment", {})
    assert "profiles" not in SERVICES["cvat-backups"]


def test_the_secret_that_is_shown_can_be_uncommented():
    text = re.sub(
        r"^(\s*)# (secrets:|  - cvat_access_token$|  cvat_access_token:|    file: )", r"\1\2", TEXT, flags=re.M
    )
    found = yaml.safe_load(text)
    assert found["secrets"] == {"cvat_access_token": {"file": "./secrets/cvat_access_token"}}
    assert found["services"]["cvat-backups"]["secrets"] == ["cvat_access_token"]
