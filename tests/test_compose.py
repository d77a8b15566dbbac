"""The compose file as text: what both compose versions take, and what no service may do. tests/container starts it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
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
    assert service["user"] == ("999:999" if name == "mongo" else "${PUID:-1000}:${PGID:-1000}")
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


def test_fiftyone_starts_only_when_it_is_asked_for_and_comes_back_by_itself():
    named = {name for name, service in SERVICES.items() if service.get("profiles") == ["fiftyone"]}
    assert named == {"mongo", "fiftyone"}
    for name in named:
        assert SERVICES[name]["restart"] == "unless-stopped"
    assert SERVICES["fiftyone"]["depends_on"] == {"mongo": {"condition": "service_healthy"}}


def test_the_database_of_fiftyone_is_kept_and_reached_by_nobody_else():
    mongo = SERVICES["mongo"]
    assert mongo["image"] == "mongo:7" and mongo["command"] == ["mongod", "--quiet"]
    assert "ports" not in mongo, "it asks for no password"
    assert mongo["volumes"] == ["fiftyone-db:/data/db"] and "fiftyone-db" in COMPOSE["volumes"]
    assert "mongosh" in mongo["healthcheck"]["test"]
    for name in ("fiftyone", "cvat-backups"):
        assert SERVICES[name]["environment"]["FIFTYONE_DATABASE_URI"] == "mongodb://mongo:27017"


def test_the_app_sees_media_under_the_same_path_and_keeps_its_home():
    app = SERVICES["fiftyone"]
    media = "${FIFTYONE_MEDIA:-/srv/fiftyone-media}"
    assert f"{media}:{media}:ro" in app["volumes"]
    assert f"fiftyone-home:{app['environment']['HOME']}" in app["volumes"] and "fiftyone-home" in COMPOSE["volumes"]
    assert "/fiftyone" in app["healthcheck"]["test"][-1] and "5151" in app["healthcheck"]["test"][-1]
    assert app["command"] == ["python", "/app/fiftyone_app.py"]
    assert (ROOT / "fiftyone_app.py").exists()


def test_nothing_of_cvat_reaches_the_app_but_through_its_own_settings():
    environment = SERVICES["fiftyone"]["environment"]
    assert {name for name in environment if "CVAT" in name} == {"CVAT_ENV_DIR"}
    assert "./:/config:ro" in SERVICES["fiftyone"]["volumes"]


def test_every_target_is_a_stage_of_the_dockerfile():
    stages = set(re.findall(r"^FROM \S+ AS (\S+)$", DOCKERFILE, flags=re.M))
    targets = {service["build"]["target"] for service in SERVICES.values() if "build" in service}
    assert targets == {"${IMAGE_TARGET:-product}", "demo", "fiftyone"}
    assert {"product", "demo", "fiftyone"} <= stages


def test_what_the_dockerfile_copies_is_not_ignored():
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, flags=re.M)
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    for name in " ".join(copied).split():
        assert f"!/{name}" in lines, name
        assert any(ROOT.glob(name)), name


@pytest.mark.skipif(shutil.which("docker-compose") is None, reason="docker-compose is not installed")
@pytest.mark.parametrize("profile", ["demo", "fiftyone"])
def test_the_compose_that_is_here_takes_it(profile: str):
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}
    done = subprocess.run(
        ["docker-compose", "--profile", profile, "config"],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    started = {name for name, each in SERVICES.items() if each.get("profiles", [profile]) == [profile]}
    assert started <= set(yaml.safe_load(done.stdout)["services"])


def test_the_secret_that_is_shown_can_be_uncommented():
    text = re.sub(
        r"^(\s*)# (secrets:|  - cvat_access_token$|  cvat_access_token:|    file: )", r"\1\2", TEXT, flags=re.M
    )
    found = yaml.safe_load(text)
    assert found["secrets"] == {"cvat_access_token": {"file": "./secrets/cvat_access_token"}}
    assert found["services"]["cvat-backups"]["secrets"] == ["cvat_access_token"]
