"""The question of an image's HEALTHCHECK, asked without the port: is everything backed up?

Imports as little as possible: it runs every minute, in a process of its own. It believes `health.json` only while that
is fresh and the scheduler shows signs of life.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from common.envfile import EnvFileError, read_env_file, without_quotes

ROOT = Path(__file__).resolve().parents[2]
HEALTH_FILE = "health.json"
_SCHEDULER_FILE = "scheduler.json"
# A look is due every minute; on a slow disk it may take some.
FRESH_FOR = timedelta(minutes=10)
BEAT_WITHIN = timedelta(minutes=3)
MOST_SHOWN = 10


def state_dir(environ: Mapping[str, str], folder: Path = ROOT) -> Path:
    """CVAT_STATE_DIR as scheduler.py reads it: from the environment, then .env.local, then .env; else its default."""
    folder = Path(environ.get("CVAT_ENV_DIR") or folder)
    if found := environ.get("CVAT_STATE_DIR"):
        return Path(without_quotes(found.strip())).expanduser().absolute()
    for name in (".env.local", ".env"):
        with contextlib.suppress(EnvFileError, OSError):
            if found := read_env_file(folder / name).get("CVAT_STATE_DIR"):
                return (folder / Path(found).expanduser()).absolute()
    return ROOT / "state"


def health_check(state_dir: Path, now: datetime | None = None) -> int:
    """Prints the verdict, and why; the exit code is 0 when healthy, 1 when not."""
    reasons = why_unhealthy(state_dir, now or datetime.now(UTC))
    lines = [f"unhealthy: {reasons[0]}"] if reasons else ["healthy: everything is backed up"]
    lines += [f"           {reason}" for reason in reasons[1:MOST_SHOWN]]
    if len(reasons) > MOST_SHOWN:
        lines.append(f"           and {len(reasons) - MOST_SHOWN:,} more")
    try:
        print("\n".join(lines), flush=True)
    except OSError:  # nobody takes the words: the exit code tells it, too
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return 1 if reasons else 0


def why_unhealthy(state_dir: Path, now: datetime) -> list[str]:
    """Empty when healthy."""
    try:
        scheduler = _read(state_dir / _SCHEDULER_FILE)
        verdict = _read(state_dir / HEALTH_FILE)
        beat_at, looked_at = _moment(scheduler["beat_at"]), _moment(verdict["at"])
        healthy, reasons = bool(verdict["healthy"]), [str(reason) for reason in verdict["reasons"]]
    except FileNotFoundError as error:
        return [f"the scheduler has not begun to work here: there is no {error.filename}"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        return [f"the scheduler's state in {state_dir} cannot be read: {error}"]
    stale = []
    if scheduler.get("stopping"):
        stale.append("the scheduler has been stopped, or is just stopping")
    elif abs(now - beat_at) > BEAT_WITHIN:
        stale.append(f"the scheduler does not live: its last sign of life is of {scheduler['beat_at']}")
    if abs(now - looked_at) > FRESH_FOR:
        stale.append(f"nobody has looked at the backups since {verdict['at']}")
    more = int(verdict.get("more_reasons") or 0)
    reasons += [f"and {more:,} more"] if more else []
    return stale + ([] if healthy else reasons or ["no reason was written down"])


def _read(path: Path) -> dict[str, Any]:
    value = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(value, dict):
        raise ValueError(f"{path.name} is no JSON object")
    return value


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
