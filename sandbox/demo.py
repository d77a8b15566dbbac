"""`./run-locally-backup.sh --demo`: a CVAT with sample projects, backed up for real, in a folder of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from sandbox.cvat import CvatSandbox

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "demo"
MARK = FOLDER / "made-by-the-demo"
EXPORT_SECONDS = 0.3


def demo(arguments: list[str]) -> int:
    """Starts the sandbox, runs backup.py against it as a user would, and gives its exit code."""
    if FOLDER.exists() and not MARK.exists():
        print(f"{FOLDER} exists and was not made by the demo: move it away, then try again.", file=sys.stderr)
        return 2
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    MARK.write_text("This folder is made anew by every ./run-locally-backup.sh --demo.\n", encoding="utf-8")
    with CvatSandbox(samples="demo", export_seconds=EXPORT_SECONDS) as server:
        print(
            f"A CVAT server with sample projects is playing at {server.url} (a sandbox, nothing of yours).", flush=True
        )
        # Settings of the person who tries this must not reach the demo, nor may the demo's reach their server.
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("CVAT_", "LOG_"))}
        environment |= {
            "CVAT_ENV_DIR": str(FOLDER),
            "CVAT_URL": server.url,
            "CVAT_ACCESS_TOKEN": server.access_token,
            "CVAT_BACKUP_DIR": str(FOLDER / "backups"),
            "LOG_LEVEL": os.environ.get("LOG_LEVEL", "ERROR"),
        }
        child = subprocess.Popen([sys.executable, str(ROOT / "backup.py"), *arguments], env=environment)
        # Ctrl+C reaches the child by itself; forwarded, it would count as the second one, which ends a run at once.
        signal.signal(signal.SIGINT, lambda _received, _frame: None)
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda received, _frame: child.send_signal(received))
        code = child.wait()
    if code == 0:
        print()
        print("Every .zip in there can be restored by hand in CVAT: Projects, +, Create from backup.")
        print(
            "For your own server: put CVAT_URL and CVAT_ACCESS_TOKEN into .env.local, then ./run-locally-backup.sh --mode p"
        )
    return 128 - code if code < 0 else code
