"""What the image is, and what a container of it may do: looked at in real containers."""

from __future__ import annotations

import json
from pathlib import Path

from tests.container.engine import DEMO, ROOT, Engine, Project

LOOK = """
import json, os, pathlib
status = dict(line.split(":", 1) for line in pathlib.Path("/proc/self/status").read_text().splitlines())
def writes(folder):
    try:
        pathlib.Path(folder, "probe").write_text("x")
        os.unlink(pathlib.Path(folder, "probe"))
        return True
    except OSError:
        return False
print(json.dumps({
    "ids": [os.getuid(), os.getgid()], "capabilities": status["CapEff"].strip() + status["CapPrm"].strip(),
    "no_new_privileges": status["NoNewPrivs"].strip(),
    "writable": [each for each in "/ /app /opt/venv /etc /config /usr /tmp /backups /downloads /state".split() if writes(each)],
}))
"""


def test_a_container_runs_as_the_given_user_without_rights_on_a_read_only_root(project: Project):
    seen = json.loads(project.once("python", "-c", LOOK).splitlines()[-1])
    assert seen["ids"] == [1000, 1000]
    assert set(seen["capabilities"]) == {"0"} and seen["no_new_privileges"] == "1"
    assert seen["writable"] == ["/tmp", "/backups", "/downloads", "/state"]
    project.set(PUID="4321", PGID="54321")
    seen = json.loads(project.once("python", "-c", LOOK).splitlines()[-1])
    assert seen["ids"] == [4321, 54321]
    assert seen["writable"] == ["/tmp"], "the volumes belong to somebody else"


def test_new_volumes_belong_to_the_user_that_the_image_was_built_for(any_engine: Engine, image: str):
    ids = ["--build-arg", "UID=4321", "--build-arg", "GID=54321"]
    any_engine.build("other-user", "--target", "product", *ids)
    volumes = ["-v", "/backups", "-v", "/downloads", "-v", "/state"]
    said = any_engine.docker("run", "--rm", "--read-only", *volumes, "other-user", "python", "-c", LOOK)
    seen = json.loads(said.splitlines()[-1])
    assert seen["ids"] == [4321, 54321] and seen["writable"] == ["/backups", "/downloads", "/state"]


def test_the_image_holds_the_program_and_nothing_else_of_this_folder(engine: Engine, image: str):
    names = engine.docker("run", "--rm", image, "find", "/app", "-maxdepth", "1", "-printf", "%f ").split()
    scripts = {path.name for path in ROOT.glob("*.py")}
    assert set(names) - {"__pycache__"} == {"app", "common", "crontab", "LICENSE", *scripts}
    compiled = engine.docker(
        "run",
        "--rm",
        image,
        "sh",
        "-c",
        "find /app/common -name '*.py' | wc -l; find /app/common -name '*.pyc' | wc -l",
    )
    assert len(set(compiled.split())) == 1
    loose = "find / -xdev \\( -name '.env*' -o -path '*/root/.cache/*' -o -name 'ca_bundle*' \\) -not -path '/proc/*' 2>/dev/null"
    assert engine.docker("run", "--rm", "--user", "0", image, "sh", "-c", loose).split() in ([], ["/.dockerenv"])
    assert "/app/sandbox" in engine.docker("run", "--rm", DEMO, "find", "/app", "-maxdepth", "1").split()


def test_the_image_tells_what_it_is(engine: Engine, image: str):
    about = engine.inspect(image)["Config"]
    labels = {name.removeprefix("org.opencontainers.image."): text for name, text in about["Labels"].items()}
    assert labels["version"] == "under-test" and labels["title"] == "cvat-backups" and labels["licenses"] == "MIT"
    assert about["User"] == "1000:1000"
    assert about["Healthcheck"]["Test"][0] == "CMD"
    layers = engine.docker("history", "--no-trunc", image)
    assert "BEGIN CERTIFICATE" not in layers


def test_the_packages_in_the_image_are_the_pinned_ones_and_fit_together(engine: Engine, image: str):
    code = "import importlib.metadata as m; print(*sorted(f'{d.name.lower()}=={d.version}' for d in m.distributions()))"
    found = set(engine.docker("run", "--rm", image, "python", "-c", code).replace("_", "-").split())
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    pinned = {line.lower().replace("_", "-") for line in lines if line and not line.startswith("#")}
    assert found == pinned


def test_a_python_before_3_11_ends_the_build_with_a_sentence(any_engine: Engine, tmp_path: Path):
    """The base of this name is the usual one that says that it is older: what counts is what our Dockerfile does."""
    base = f"python:{any_engine.python_version}-slim-trixie"
    (tmp_path / "Dockerfile").write_text(
        f'FROM {base}\nRUN python -c "import site, pathlib; '
        "pathlib.Path(site.getsitepackages()[0], 'older.pth').write_text('import sys; sys.version_info = (3, 9, 19)\\n')\"\n"
    )
    any_engine.docker("build", "-t", "python:3.9.19-slim-trixie", str(tmp_path))
    said = any_engine.build("never", "--build-arg", "PYTHON_VERSION=3.9.19", check=False)
    assert "PYTHON_VERSION must be 3.11 or later; this one is 3.9.19" in said
    assert "Successfully" not in said and "naming to" not in said
