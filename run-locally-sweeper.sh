#!/usr/bin/env bash
# Runs sweeper.py on this machine:  ./run-locally-sweeper.sh --dry-run     (all flags: ./run-locally-sweeper.sh --help)
# What goes and what stays is decided by your settings (.env, .env.local, the environment) and by nothing else.
# Sets up .venv the first time.
set -u
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd) || exit 2
# shellcheck source=deploy/venv.sh
. "$here/deploy/venv.sh"
ensure_venv "$here" requirements.txt || exit 2
exec "$here/.venv/bin/python" "$here/sweeper.py" "$@"
