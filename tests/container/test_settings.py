"""Settings on their way into a container: literally, and without being seen by those who may look at containers."""

from __future__ import annotations

import pytest

from tests.container.engine import Project

# Everything that a shell, compose, YAML or an env file could do something with.
PASSWORD = r"""a$HOME ${PATH} $$ $1 `id` $(id) 'single' "double" \n \\ # ; & | < > ( ) * ? ! ~ % ^ = + - { } [ ] , : @ / ä€ z"""


def test_a_password_with_every_special_character_arrives_as_it_is(project: Project):
    project.add_server("--samples", "many:1", "--password", PASSWORD.replace("$", "$$"))
    project.configure(CVAT_PASSWORD=PASSWORD)
    assert "1 saved" in project.once("backup.py", "--mode", "p")
    project.configure(CVAT_PASSWORD=PASSWORD.replace("$1", ""))
    assert "1 saved" not in project.once("backup.py", "--mode", "p", "--force", check=False)


@pytest.mark.parametrize("from_file", [False, True], ids=["in .env.local", "in a file secret"])
def test_a_secret_is_not_seen_in_docker_inspect(project: Project, from_file: bool):
    project.add_server("--samples", "many:1", "--password", PASSWORD.replace("$", "$$"))
    if from_file:
        (project.folder / "secrets").mkdir()
        secret = project.folder / "secrets" / "cvat_password"
        secret.write_text(PASSWORD + "\n")
        project.add_secret("cvat_password", "./secrets/cvat_password")
        project.configure(CVAT_PASSWORD="", CVAT_PASSWORD_FILE="/run/secrets/cvat_password")
    else:
        project.configure(CVAT_PASSWORD=PASSWORD)
    started = ("run", "-d", "--name", project.container, "cvat-backups", "python", "-c", "import time; time.sleep(600)")
    project.compose(*started)
    try:
        assert "1 saved" in project.inside("backup.py", "--mode", "p")
        seen = project.engine.docker("inspect", project.container)
        assert "CVAT_ENV_DIR" in seen
        assert "single" not in seen and "$(id)" not in seen
    finally:
        project.engine.docker("rm", "-f", project.container)


def test_a_secret_that_only_root_may_read_is_named(project: Project):
    (project.folder / "token").write_text("x")
    (project.folder / "token").chmod(0o600)
    project.add_secret("cvat_access_token", "./token")
    project.configure(CVAT_URL="http://cvat:8080", CVAT_ACCESS_TOKEN_FILE="/run/secrets/cvat_access_token")
    said = project.once("backup.py", "--mode", "p", check=False)
    assert "CVAT_ACCESS_TOKEN_FILE='/run/secrets/cvat_access_token' cannot be read: Permission denied" in said


def test_the_places_of_the_container_win_over_those_in_the_files(project: Project):
    project.configure(CVAT_URL="http://cvat:8080", CVAT_ACCESS_TOKEN="t", CVAT_BACKUP_DIR="/srv/of-the-host")
    shown = project.once("backup.py", "--print-config")
    assert "CVAT_BACKUP_DIR=/backups" in shown
    assert "CVAT_URL=http://cvat:8080" in shown
