"""The manifests in deploy/kubernetes: what the API server would say about them, and what the program would."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from cronsim import CronSim

from common.envfile import read_env_file
from common.exits import Exit
from common.text import now

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "deploy" / "kubernetes"
FILES = [path for path in sorted(FOLDER.glob("*.yaml")) if path.name != "kustomization.yaml"]
DOCUMENTS = [(path.name, document) for path in FILES for document in yaml.safe_load_all(path.read_text())]
CRONJOBS = [document for _, document in DOCUMENTS if document["kind"] == "CronJob"]
[CONFIG] = [document["data"] for _, document in DOCUMENTS if document["kind"] == "ConfigMap"]
each_cronjob = pytest.mark.parametrize("cronjob", CRONJOBS, ids=lambda each: each["metadata"]["name"])
# The first version in which nothing of this is behind a feature gate, and the newest that the schemas know.
VERSIONS = ("1.33", kubernetes_validate.latest_version())


def pod(cronjob: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = cronjob["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    return found


def container(cronjob: dict[str, Any]) -> dict[str, Any]:
    [found] = pod(cronjob)["containers"]
    return dict(found)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("name", "document"), DOCUMENTS)
def test_every_manifest_is_strictly_valid(name: str, document: dict[str, Any], version: str):
    kubernetes_validate.validate(document, version, strict=True)


def test_the_kustomization_names_files_that_exist_and_not_both_ways_of_saving_projects():
    named = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())["resources"]
    assert all((FOLDER / name).is_file() for name in named)
    assert "sharded.yaml" not in named


@each_cronjob
def test_every_pod_is_powerless(cronjob: dict[str, Any]):
    whole, security = pod(cronjob)["securityContext"], container(cronjob)["securityContext"]
    assert whole["runAsNonRoot"] and whole["runAsUser"] >= 1000
    assert security["readOnlyRootFilesystem"] and not security["allowPrivilegeEscalation"]
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert not pod(cronjob)["automountServiceAccountToken"]


@each_cronjob
def test_a_run_is_never_started_beside_itself_and_never_forgotten(cronjob: dict[str, Any]):
    spec = cronjob["spec"]
    assert spec["concurrencyPolicy"] == "Forbid" and spec["timeZone"] and spec["startingDeadlineSeconds"]
    assert next(CronSim(spec["schedule"], now())) > now()
    assert pod(cronjob)["restartPolicy"] == "Never", "podFailurePolicy asks for it"


@each_cronjob
def test_exit_codes_that_no_repetition_mends_end_the_job(cronjob: dict[str, Any]):
    rules = cronjob["spec"]["jobTemplate"]["spec"]["podFailurePolicy"]["rules"]
    [codes] = [rule["onExitCodes"] for rule in rules if "onExitCodes" in rule]
    assert set(codes["values"]) == {Exit.BAD_CONFIGURATION, Exit.CREDENTIALS_REFUSED}
    assert codes["containerName"] == container(cronjob)["name"]


@each_cronjob
def test_the_program_understands_its_arguments_and_settings(cronjob: dict[str, Any], tmp_path: Path):
    (tmp_path / "token").write_text("a-token")
    given = {each["name"]: each["value"] for each in container(cronjob).get("env", ())}
    environment = {"PATH": os.environ["PATH"], "CVAT_ENV_DIR": str(tmp_path), **CONFIG, **given}
    environment["CVAT_ACCESS_TOKEN_FILE"] = str(tmp_path / "token")
    if "JOB_COMPLETION_COUNT" in given:
        environment["JOB_COMPLETION_INDEX"] = str(cronjob["spec"]["jobTemplate"]["spec"]["completions"] - 1)
    script, *arguments = container(cronjob)["args"]
    command = [sys.executable, str(ROOT / script), *arguments, "--print-config"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "unknown_setting" not in done.stderr
    if "JOB_COMPLETION_COUNT" in given:
        assert "CVAT_BACKUP_SHARD=3/4" in done.stdout


def test_every_shard_of_the_example_has_a_pod():
    [sharded] = [each for name, each in DOCUMENTS if name == "sharded.yaml"]
    job = sharded["spec"]["jobTemplate"]["spec"]
    [count] = [each["value"] for each in container(sharded)["env"] if each["name"] == "JOB_COMPLETION_COUNT"]
    assert job["completionMode"] == "Indexed" and job["completions"] == job["parallelism"] == int(count)


def test_the_retention_is_the_one_of_the_manual():
    manual = read_env_file(ROOT / ".env")
    named = {name: value for name, value in CONFIG.items() if name.startswith("CVAT_KEEP_") or "NUM_BACKUPS" in name}
    assert named == {name: manual[name] for name in named} and len(named) == 5
    assert CONFIG["CVAT_BACKUP_TTL"] == manual["CVAT_BACKUP_TTL"]
