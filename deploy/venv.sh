# Sourced by the wrappers: ensure_venv FOLDER REQUIREMENTS sets up FOLDER/.venv from pinned requirements, once, and
# again only when the pins (or the version of the Python beneath) changed. All messages go to standard error.
# shellcheck shell=bash

ensure_venv() {
    local folder=$1 requirements=$1/$2 venv=$1/.venv stamp=$1/.venv/installed-$2 wanted python
    wanted=$(cat "$folder/requirements.txt" "$requirements" | cksum)
    if [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] && is_of_its_python "$venv"; then
        return 0
    fi
    python=$(find_python) || return 2
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        echo "The Python module venv is missing: install it with  sudo apt install python3-venv  and run this again." >&2
        return 2
    fi
    # Two wrappers started at once: the second waits, and then finds everything in place.
    if [ -z "${VENV_LOCKED:-}" ] && command -v flock >/dev/null; then
        exec 9>"$folder/.venv.lock" || return 2
        flock 9
        VENV_LOCKED=1
        ensure_venv "$@"
        local code=$?
        exec 9>&-
        unset VENV_LOCKED
        return $code
    fi
    echo "Setting up .venv from $2 (once; takes about a minute) ..." >&2
    if ! is_of_its_python "$venv"; then
        rm -rf "$venv"
        "$python" -m venv "$venv" >&2 || return 2
    elif ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then # interrupted while it was made
        "$venv/bin/python" -m ensurepip >/dev/null || return 2
    fi
    if ! "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$requirements" >&2; then
        echo "Installing the packages failed (see above). Is the package index reachable? Nothing else was done." >&2
        return 2
    fi
    echo "$wanted" >"$stamp"
}

# Whether the Python of an environment starts and is of the version that its packages lie there for: the Python beneath
# may have been upgraded since.
is_of_its_python() {
    local version
    version=$("$1/bin/python" -c 'import sys; print(*sys.version_info[:2], sep=".")' 2>/dev/null) && [ -d "$1/lib/python$version" ]
}

find_python() {
    local candidate
    for candidate in ${PYTHON:+"$PYTHON"} python3 python3.14 python3.13 python3.12 python3.11; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return 0
        fi
    done
    echo "Python 3.11 or later is needed: install it with  sudo apt install python3 python3-venv  (or name one in PYTHON)." >&2
    return 1
}
