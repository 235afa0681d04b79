#!/bin/sh
# Pins every dependency anew, by hash, into requirements.lock (to run) and requirements-dev.lock (to test and check).
# The second keeps to the first. No addresses are written: where packages come from is the business of whoever installs.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$1/bin/python" -m venv "$work/env"
"$work/env/bin/python" -m pip install -q pip-tools
# pip-compile walks the project as a build would; a copy of what the metadata needs keeps the tree out of it.
cp pyproject.toml README.md LICENSE "$work/"
cd "$work"
compile() {
    env/bin/pip-compile -q --generate-hashes --allow-unsafe --strip-extras --all-build-deps --no-header --no-annotate \
        --no-emit-index-url --no-emit-find-links --no-emit-trusted-host "$@" pyproject.toml
}
compile -o requirements.lock
compile --extra test --extra check -c requirements.lock -o requirements-dev.lock
cd - >/dev/null
cp "$work/requirements.lock" "$work/requirements-dev.lock" .
