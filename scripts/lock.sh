#!/bin/sh
# Write requirements.lock anew from pyproject.toml: every package the project and its tests need, with hashes,
# for every Python from 3.11 on. Needs .venv (scripts/install.sh); what resolves lives in an environment of its own.
set -eu
cd -- "$(dirname -- "$0")/.."

UV_REQUIREMENT='uv>=0.13,<0.14'

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
.venv/bin/python -m venv "$scratch/venv"
"$scratch/venv/bin/pip" install --quiet --disable-pip-version-check "$UV_REQUIREMENT"
"$scratch/venv/bin/uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes \
    --no-emit-index-url --no-emit-find-links --no-header --extra dev "$@" \
    pyproject.toml --output-file requirements.lock
echo "requirements.lock: $(grep -c '==' requirements.lock) packages"
