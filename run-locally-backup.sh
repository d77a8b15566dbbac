#!/usr/bin/env bash
# Runs backup.py on this machine:  ./run-locally-backup.sh --mode p     (all flags: ./run-locally-backup.sh --help)
# Without a CVAT of your own:      ./run-locally-backup.sh --demo
# Sets up .venv the first time. Settings come from .env, .env.local and the environment; no shell ever reads them.
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

arguments=()
demo=
for argument in "$@"; do
    if [ "$argument" = --demo ]; then demo=1; else arguments+=("$argument"); fi
done
if [ -n "$demo" ]; then
    PYTHONPATH=$here exec "$here/.venv/bin/python" -m sandbox demo ${arguments[@]+"${arguments[@]}"}
fi
exec "$here/.venv/bin/python" "$here/backup.py" ${arguments[@]+"${arguments[@]}"}
