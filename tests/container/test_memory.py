"""The memory limit of the compose file holds while a project is saved that is many times larger."""

from __future__ import annotations

import os

from tests.container.engine import Project

MEGABYTES = int(os.environ.get("TEST_BIG_MEGABYTES") or 1000)
PEAK = """
import pathlib, subprocess, sys
code = subprocess.run(["backup.py", "--mode", "p"]).returncode
for name in ("memory.peak", "memory/memory.max_usage_in_bytes"):
    path = pathlib.Path("/sys/fs/cgroup", name)
    if path.exists():
        print("peak", path.read_text().strip())
import resource
print("largest process", resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)
sys.exit(code)
"""


def test_a_project_larger_than_the_memory_limit_is_saved(project: Project):
    project.set(BACKUPS_VOLUME="backups", MEMORY_LIMIT="256m")
    project.add_server("--samples", f"big:1x{MEGABYTES}", memory="4g")
    said = project.once("python", "-c", PEAK, seconds=1500)
    print(said)
    assert "1 saved" in said
    [largest] = [int(line.split()[-1]) for line in said.splitlines() if line.startswith("largest process")]
    assert largest < 200_000_000
