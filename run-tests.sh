#!/usr/bin/env bash
# Runs the tests:  ./run-tests.sh          under ten minutes, touches nothing outside this folder
#                  ./run-tests.sh --all    also the long kill tests, and the real geti-sdk, datumaro and FiftyOne,
#                                         each installed once into .venvs
# Further arguments go to pytest:  ./run-tests.sh -k retention
set -u
self=${BASH_SOURCE[0]}
while [ -L "$self" ]; do # a link to this file may lie anywhere
    link=$(readlink -- "$self")
    case $link in /*) self=$link ;; *) self=$(dirname -- "$self")/$link ;; esac
done
here=$(CDPATH='' cd -- "$(dirname -- "$self")" && pwd) || exit 2
cd "$here" || exit 2
# shellcheck source=deploy/venv.sh
. deploy/venv.sh
ensure_venv "$here" requirements-dev.txt || exit 2

arguments=()
for argument in "$@"; do
    if [ "$argument" = --all ]; then export CVAT_TESTS_ALL=1; else arguments+=("$argument"); fi
done
# The developer's own settings must not reach the tests; neither must temporary files leave this folder.
for name in $(compgen -e); do
    case $name in CVAT_TESTS_ALL | CVAT_TESTS_WRITE) ;; CVAT_* | SC_* | LOG_* | FIFTYONE_*) unset "$name" ;; esac
done
mkdir -p .pytest_cache/tmp
exec .venv/bin/python -m pytest -q -n 3 --basetemp .pytest_cache/tmp/run ${arguments[@]+"${arguments[@]}"}
