#!/usr/bin/env bash
# Runs sweeper.py on this machine:  ./run-locally-sweeper.sh --dry-run     (all flags: ./run-locally-sweeper.sh --help)
# What goes and what stays is decided by your settings (.env, .env.local, the environment) and by nothing else.
# Sets up .venv the first time.
set -u
self=${BASH_SOURCE[0]}
while [ -L "$self" ]; do # a link to this file may lie anywhere
    link=$(readlink -- "$self")
    case $link in /*) self=$link ;; *) self=$(dirname -- "$self")/$link ;; esac
done
here=$(CDPATH='' cd -- "$(dirname -- "$self")" && pwd) || exit 2
# shellcheck source=deploy/venv.sh
. "$here/deploy/venv.sh"
ensure_venv "$here" requirements.txt || exit 2
exec "$here/.venv/bin/python" "$here/sweeper.py" "$@"
