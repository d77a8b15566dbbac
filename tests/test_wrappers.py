"""The shell wrappers, run as a person runs them, in a copy of the repository."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox.cvat import CvatSandbox

ROOT = Path(__file__).resolve().parent.parent
# Everything that a shell, a dotenv reader or a YAML parser might trip over.
PASSWORD = """ p;touch hacked;$HOME ${HOME} `id` $(id) "double" 'single' #hash \\n %s & | > x*? ü """


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the repository's files, with the virtual environment of these tests in place of a fresh one."""
    folder = tmp_path / "a folder with blanks"
    folder.mkdir()
    for name in ("common", "sandbox", "deploy"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in (
        "backup.py",
        "sweeper.py",
        ".env",
        "requirements.txt",
        "run-locally-backup.sh",
        "run-locally-sweeper.sh",
    ):
        shutil.copy2(ROOT / name, folder / name)
    os.symlink(Path(sys.prefix), folder / ".venv")
    return folder


def call(copy: Path, *arguments: str, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    # PYTHON: the one these tests were set up with, by name, is not what the wrapper is to find.
    clean = {n: value for n, value in os.environ.items() if n != "PYTHON" and not n.startswith(("CVAT_", "LOG_"))}
    return subprocess.run(
        arguments,
        cwd=cwd or copy,
        env=clean | environment,
        capture_output=True,
        text=True,
        timeout=120,
        stdin=subprocess.DEVNULL,
    )


def fake_installation(copy: Path) -> None:
    """Marks the environment as installed from the present pins, in a stamp beside and not inside the real one."""
    sums = subprocess.run(
        "cat requirements.txt requirements.txt | cksum", shell=True, cwd=copy, capture_output=True, text=True
    )
    version = ".".join(str(part) for part in sys.version_info[:2])
    (copy / ".venv").unlink()
    (copy / ".venv" / "bin").mkdir(parents=True)
    # A wrapper around the real interpreter: a symlink would lose the packages of its virtual environment.
    python = copy / ".venv" / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n', encoding="utf-8")
    python.chmod(0o755)
    (copy / ".venv" / "installed-requirements.txt").write_text(sums.stdout, encoding="utf-8")
    (copy / ".venv" / "lib" / f"python{version}").mkdir(parents=True)


@pytest.mark.parametrize("way", ["wrapper", "python"])
@pytest.mark.parametrize("form", ["plain", "quoted", "secret file"])
def test_one_env_local_with_a_password_of_special_characters_works_through_every_way_in(
    copy: Path, way: str, form: str
):
    fake_installation(copy)
    password = PASSWORD.strip() if form == "plain" else PASSWORD
    with CvatSandbox(samples="none", password=password) as server:
        server.world.add_project("only one")
        lines = [
            f"CVAT_URL={server.url}/projects?page=1",
            f"CVAT_USERNAME={server.username}",
            "CVAT_BACKUP_MIN_FREE_GB=0",
        ]
        if form == "plain":
            lines.append(f"CVAT_PASSWORD={password}")
        elif form == "quoted":
            lines.append(f"CVAT_PASSWORD='{password}'")
        else:
            (copy / "secret").write_text(password + "\n", encoding="utf-8")
            lines.append("CVAT_PASSWORD_FILE=secret")
        (copy / ".env.local").write_text("\n".join(lines) + "\n", encoding="utf-8")
        command = ["./run-locally-backup.sh"] if way == "wrapper" else [str(copy / ".venv/bin/python"), "backup.py"]
        done = call(copy, *command, "--mode", "p")
    assert done.returncode == 0, done.stderr + done.stdout
    assert "1 on the server = 1 saved" in done.stdout
    assert not list(copy.rglob("hacked"))
    assert "touch hacked" not in done.stdout + done.stderr
    saved = [json.loads(path.read_text()) for path in copy.glob("backups/*/*/*.zip.json")]
    assert [record["source"]["name"] for record in saved] == ["only one"]


def test_the_wrapper_passes_arguments_with_blanks_and_the_exit_code_through(copy: Path):
    fake_installation(copy)
    done = call(copy, "./run-locally-backup.sh", "--list", "--dir", "no such folder")
    assert done.returncode == 1
    assert "no such folder" in done.stdout
    assert call(copy, "./run-locally-backup.sh", "--mode", "p q").returncode == 2


def test_the_wrapper_works_from_another_folder_and_takes_relative_paths_from_there(copy: Path, tmp_path: Path):
    fake_installation(copy)
    done = call(copy, str(copy / "run-locally-backup.sh"), "--list", "--dir", "mine", cwd=tmp_path)
    assert str(tmp_path / "mine") in done.stdout


def test_without_a_server_the_wrapper_names_the_variable_and_the_demo(copy: Path):
    fake_installation(copy)
    done = call(copy, "./run-locally-backup.sh", "--mode", "p")
    assert done.returncode == 2
    assert "CVAT_URL is not set" in done.stderr
    assert "--demo" in done.stderr
    assert not (copy / "backups").exists()


def test_the_demo_backs_up_sample_projects_in_a_folder_of_its_own_whatever_env_local_says(copy: Path):
    fake_installation(copy)
    text = "CVAT_URL=https://cvat.invalid\nCVAT_ACCESS_TOKEN=x\nCVAT_BACKUP_INCLUDE=nothing\n"
    (copy / ".env.local").write_text(text, encoding="utf-8")
    done = call(copy, "./run-locally-backup.sh", "--demo", CVAT_BACKUP_EXCLUDE="*")
    assert done.returncode == 0, done.stderr
    assert "All good" in done.stdout
    assert str(copy / "demo" / "backups") in done.stdout
    assert len(list((copy / "demo").rglob("*_backup_*.zip"))) >= 28
    assert not (copy / "backups").exists()


def test_a_missing_venv_module_gets_one_clear_line(copy: Path, tmp_path: Path):
    (copy / ".venv").unlink()
    folder = tmp_path / "bin"
    folder.mkdir()
    fake = folder / "python3"
    fake.write_text(
        f'#!/bin/sh\ncase "$2" in *ensurepip*) exit 1;; esac\nexec "{sys.executable}" "$@"\n', encoding="utf-8"
    )
    fake.chmod(0o755)
    done = call(copy, "./run-locally-backup.sh", "--mode", "p", PATH=f"{folder}:/usr/bin:/bin")
    assert done.returncode == 2
    assert done.stderr.strip().splitlines() == [
        "The Python module venv is missing: install it with  sudo apt install python3-venv  and run this again."
    ]


def test_an_old_python_gets_one_clear_line(copy: Path, tmp_path: Path):
    (copy / ".venv").unlink()
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("python3", "python3.11", "python3.12", "python3.13", "python3.14"):
        (folder / name).write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
        (folder / name).chmod(0o755)
    done = call(copy, "./run-locally-backup.sh", PATH=f"{folder}:/usr/bin:/bin")
    assert done.returncode == 2
    assert "Python 3.11 or later is needed" in done.stderr


def test_changed_pins_are_installed_again_and_unchanged_ones_are_not(copy: Path):
    fake_installation(copy)
    calls = copy / "calls"
    python = copy / ".venv" / "bin" / "python"
    text = f'#!/bin/sh\n[ "$2" = pip ] && echo "$@" >> "{calls}" && exit 0\nexec "{sys.executable}" "$@"\n'
    python.write_text(text, encoding="utf-8")
    call(copy, "./run-locally-backup.sh", "--list")
    assert not calls.exists()
    (copy / "requirements.txt").write_text("requests==2.34.2\n", encoding="utf-8")
    first = call(copy, "./run-locally-backup.sh", "--list")
    assert "Setting up .venv" in first.stderr
    assert "install" in (asked := calls.read_text())
    second = call(copy, "./run-locally-backup.sh", "--list")
    assert "Setting up" not in second.stderr
    assert calls.read_text() == asked


def doing_first(python: str, first: str) -> str:
    """This played Python, which does something else first."""
    return f"#!/bin/sh\n{first}\n" + python.split("\n", 1)[1]


def test_an_environment_whose_python_was_upgraded_is_made_anew(copy: Path, tmp_path: Path):
    """For the new version its packages are none."""
    fake_installation(copy)
    [packages] = (copy / ".venv" / "lib").iterdir()
    packages.rename(packages.with_name("python3.10"))
    good = (copy / ".venv" / "bin" / "python").read_text()
    (tmp_path / "new").write_text(doing_first(good, '[ "$2" = pip ] && exit 0'))
    (tmp_path / "new").chmod(0o755)
    making = f'mkdir -p "$3/bin" "$3/lib/{packages.name}" && exec cp "{tmp_path}/new" "$3/bin/python"'
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "python3").write_text(doing_first(good, f'[ "$2" = venv ] && {making}'))
    (folder / "python3").chmod(0o755)
    done = call(copy, "./run-locally-sweeper.sh", "--print-config", PATH=f"{folder}:/usr/bin:/bin")
    assert done.returncode == 0 and "Setting up" in done.stderr, done.stderr
    assert not packages.with_name("python3.10").exists()
    again = call(copy, "./run-locally-sweeper.sh", "--print-config")
    assert again.returncode == 0 and "Setting up" not in again.stderr


def test_an_environment_that_was_interrupted_before_it_had_pip_gets_it(copy: Path):
    fake_installation(copy)
    (copy / ".venv" / "installed-requirements.txt").unlink()
    python = copy / ".venv" / "bin" / "python"
    pip = '[ "$2" = pip ] && { [ -e .venv/pip ] && exit 0; echo "No module named pip" >&2; exit 1; }'
    python.write_text(doing_first(python.read_text(), f'{pip}\n[ "$2" = ensurepip ] && exec touch .venv/pip'))
    done = call(copy, "./run-locally-sweeper.sh", "--print-config")
    assert done.returncode == 0 and "Setting up" in done.stderr, done.stderr
    assert (copy / ".venv" / "pip").exists()
    assert "Setting up" not in call(copy, "./run-locally-sweeper.sh", "--print-config").stderr


@pytest.mark.parametrize("wrapper", ["run-locally-backup.sh", "run-locally-sweeper.sh"])
def test_a_wrapper_is_found_through_links_and_whatever_cdpath_says(copy: Path, tmp_path: Path, wrapper: str):
    fake_installation(copy)
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "it").symlink_to(copy / wrapper)
    assert "CVAT_" in call(copy, str(tmp_path / "links" / "it"), "--print-config").stdout
    near = call(copy, f"{copy.name}/{wrapper}", "--print-config", cwd=tmp_path, CDPATH=f".:{tmp_path}")
    assert near.returncode == 0 and "CVAT_" in near.stdout, near.stderr


def test_the_sweepers_wrapper_adds_nothing_to_the_users_settings(copy: Path):
    fake_installation(copy)
    (copy / ".env.local").write_text("CVAT_BACKUP_TTL_HOURS=99\nCVAT_MIN_NUM_BACKUPS=7\n", encoding="utf-8")
    done = call(copy, "./run-locally-sweeper.sh", "--print-config")
    plain = call(copy, str(copy / ".venv/bin/python"), "sweeper.py", "--print-config")
    assert done.returncode == 0, done.stderr
    assert done.stdout == plain.stdout
    assert "CVAT_BACKUP_TTL=99.0" in done.stdout and "CVAT_MIN_NUM_BACKUPS=7" in done.stdout
    assert call(copy, "./run-locally-sweeper.sh", "--min-num-backups", "0").returncode == 2
