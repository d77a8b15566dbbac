"""A container engine and a compose project in it, as a user would drive them: by the command line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
DOCKER, COMPOSE = "/usr/bin/docker", "/usr/bin/docker-compose"
PATIENCE_SECONDS = 180.0
# What is handed to compose: everything a user has beside the compose file.
SHIPPED = ("docker-compose.yml", ".env", "crontab")
PRODUCT, DEMO = "local/cvat-backups:under-test", "local/cvat-backups-demo:under-test"


class Engine:
    """A dockerd whose files all lie in `folder` (see .ci/engine)."""

    def __init__(self, folder: Path, python_version: str) -> None:
        self.folder = folder
        self.python_version = python_version
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": os.environ.get("HOME", "/root"),
            "DOCKER_HOST": f"unix://{folder}/docker.sock",
            "DOCKER_BUILDKIT": "1",
            "COMPOSE_DOCKER_CLI_BUILD": "1",
        }

    def docker(self, *arguments: str, check: bool = True, seconds: float = PATIENCE_SECONDS) -> str:
        """What a docker command prints, on either stream."""
        return self.run([DOCKER, *arguments], self.folder, check=check, seconds=seconds)

    def run(
        self, command: list[str], cwd: Path, *, check: bool = True, seconds: float = PATIENCE_SECONDS, **more: str
    ) -> str:
        done = subprocess.run(
            command, cwd=cwd, env=self.environment | more, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, timeout=seconds, check=False,
        )  # fmt: skip
        if check and done.returncode:
            raise AssertionError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-6000:]}")
        return done.stdout

    def inspect(self, name: str) -> dict[str, Any]:
        found: list[dict[str, Any]] = json.loads(self.docker("inspect", name))
        return found[0]

    def restart(self) -> None:
        subprocess.run([str(ROOT / ".ci" / "engine"), "restart", str(self.folder)], check=True, timeout=300)

    def build(self, tag: str, *arguments: str, check: bool = True, folder: Path = ROOT) -> str:
        """The output of a build; behind a proxy pip needs this machine's certificates."""
        bundle = Path("/etc/ssl/certs/ca-certificates.crt")
        secret = ["--secret", f"id=ca_bundle,src={bundle}"] if bundle.exists() else []
        build = ["build", "--progress=plain", "--build-arg", f"PYTHON_VERSION={self.python_version}", *secret]
        return self.docker(*build, *arguments, "-t", tag, str(folder), check=check, seconds=900)


class Project:
    """One compose project in a folder of its own, with a server that plays CVAT beside it."""

    def __init__(self, engine: Engine, folder: Path, name: str) -> None:
        self.engine, self.folder, self.name = engine, folder, name
        self.container = f"{name}-local"
        folder.mkdir(parents=True)
        folder.chmod(0o755)  # whoever the container runs as must be able to read it
        for shipped in SHIPPED:
            shutil.copy(ROOT / shipped, folder)
        self.set(NAME=name, VERSION="under-test", PYTHON_VERSION=engine.python_version, STATUS_PORT="0", DEMO_PORT="0")
        self._override: dict[str, Any] = {"services": {}}
        self._settings: dict[str, str] = {}

    # --- its files ---

    def set(self, **values: str) -> None:
        """Changes .env, as a person would in an editor."""
        path = self.folder / ".env"
        lines = path.read_text().splitlines()
        for name, value in values.items():
            assert any(line.startswith(f"{name}=") for line in lines), name
            lines = [f"{name}={value}" if line.startswith(f"{name}=") else line for line in lines]
        path.write_text("\n".join(lines) + "\n")

    def configure(self, **settings: str) -> None:
        """Writes .env.local."""
        self._settings |= settings
        text = "".join(f"{name}={value}\n" for name, value in self._settings.items())
        (self.folder / ".env.local").write_text(text, encoding="utf-8")

    def schedule(self, *lines: str) -> None:
        (self.folder / "crontab").write_text("".join(f"{line}\n" for line in lines))

    def add_server(self, *arguments: str, memory: str = "1g") -> None:
        """A server that plays CVAT: reachable as http://cvat:8080, its password as it is born with."""
        command = ["python", "-m", "sandbox", "cvat", "--host", "0.0.0.0", "--port", "8080", "--control"]
        command += ["--anonymous-per-minute", "10000", *arguments]
        self._override["services"]["cvat"] = {
            "image": DEMO, "command": command, "user": "1000:1000", "mem_limit": memory, "ports": ["127.0.0.1:0:8080"],
            "stop_grace_period": "1s", "networks": {"default": {}},
        }  # fmt: skip
        self._write_override()
        self.configure(CVAT_URL="http://cvat:8080", CVAT_USERNAME="admin", CVAT_PASSWORD="sandbox-Pass-123")
        self.compose("up", "-d", "--no-build", "cvat")
        wait_until(lambda: self.control("GET", "/api/server/about"), "the played server answers")

    def change(self, **product: Any) -> None:
        """Changes the service in an override file."""
        self._override["services"].setdefault("cvat-backups", {}).update(product)
        self._write_override()

    def add_secret(self, name: str, path: str) -> None:
        """What the commented lines of docker-compose.yml do."""
        self._override["secrets"] = {name: {"file": path}}
        self.change(secrets=[name])

    def _write_override(self) -> None:
        (self.folder / "docker-compose.override.yml").write_text(yaml.safe_dump(self._override))

    # --- driving it ---

    def compose(self, *arguments: str, check: bool = True, seconds: float = PATIENCE_SECONDS) -> str:
        return self.engine.run([COMPOSE, *arguments], self.folder, check=check, seconds=seconds)

    def up(self) -> None:
        self.compose("up", "-d", "--no-build", "cvat-backups")

    def once(self, *command: str, check: bool = True, seconds: float = PATIENCE_SECONDS) -> str:
        """One run of a script in a container of its own, that is removed afterwards."""
        return self.compose("run", "--rm", "-T", "cvat-backups", *command, check=check, seconds=seconds)

    def inside(self, *command: str, check: bool = True) -> str:
        return self.engine.docker("exec", self.container, *command, check=check)

    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = self.engine.inspect(self.container)["State"]
        return found

    def logs(self) -> str:
        return self.engine.docker("logs", self.container)

    def control(self, method: str, path: str, body: Any = None) -> Any:
        """Asks the played server from outside; None while it does not answer."""
        address = self.compose("port", "cvat", "8080", check=False).strip().splitlines()
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        try:
            request = urllib.request.Request(f"http://{address[-1]}{path}", data, headers, method=method)
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.loads(answer.read() or b"{}")
        except (OSError, IndexError, ValueError):
            return None

    def backups(self) -> list[str]:
        """The records in the volume, as paths."""
        return sorted(self.inside("find", "/backups", "-name", "*.zip.json").split())

    def destroy(self) -> None:
        if os.environ.get("TEST_ENGINE_SHOW"):
            print(self.engine.docker("logs", self.container, check=False)[-20000:])
        self.compose("--profile", "demo", "down", "-v", "-t", "5", "--remove-orphans", check=False)


def wait_until(true: Callable[[], Any], what: str, seconds: float = PATIENCE_SECONDS) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := true()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds} s in vain: {what}")
        time.sleep(0.25)
    return found
