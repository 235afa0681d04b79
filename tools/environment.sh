#!/bin/sh
# Makes a Python environment of its own: environment.sh DIRECTORY LOCK edit|copy
# Everything but this project comes from LOCK, by hash. `edit` runs the program from this tree, `copy` installs a copy.
# Where python3 lacks `venv` and this is root on Debian, python3-venv is installed; otherwise two lines say what to do.
set -eu
directory=$1 lock=$2 way=$3
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PIP_NO_INPUT=1

usable() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }
complete() { "$1" -c 'import ensurepip, venv' 2>/dev/null; }

found=
for candidate in ${PYTHON:-} python3 python3.14 python3.13 python3.12 python3.11 /usr/bin/python3; do
    usable "$candidate" || continue
    test -n "$found" || found=$candidate
    if complete "$candidate"; then found=$candidate; break; fi
done
if test -z "$found"; then
    echo "No Python 3.11 or newer was found." >&2
    echo "Install one (Debian 12: apt-get install python3 python3-venv), or name it: make PYTHON=/path/to/python3" >&2
    exit 1
fi
if ! complete "$found"; then
    if test "$(id -u)" = 0 && command -v apt-get >/dev/null; then
        echo "Installing python3-venv ..." >&2
        { apt-get -qq update || true; DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install python3-venv; } >/dev/null </dev/null
        complete "$found" || found=/usr/bin/python3
    fi
    if ! complete "$found"; then
        echo "$found cannot make environments: its modules venv and ensurepip are missing." >&2
        echo "Install them (Debian: apt-get install python3-venv), then run this again." >&2
        exit 1
    fi
fi

# An environment whose interpreter has gone, or is of another version, is made anew.
if ! test -x "$directory/bin/python" || ! usable "$directory/bin/python" || ! "$directory/bin/python" -m pip --version >/dev/null 2>&1; then
    echo "Making the environment $directory ..." >&2
    rm -rf "$directory"
    "$found" -m venv "$directory"
fi
echo "Installing what $lock names ..." >&2
"$directory/bin/python" -m pip install -qq --require-hashes -r "$lock"
if test "$way" = edit; then
    "$directory/bin/python" -m pip install -qq --no-deps --no-build-isolation -e .
else
    rm -rf build
    "$directory/bin/python" -m pip install -qq --no-deps --no-build-isolation --force-reinstall .
    rm -rf build
fi
