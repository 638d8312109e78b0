#!/usr/bin/env bash
# Writes requirements.lock anew from requirements.in: every package that they need, exactly, with its hashes.
. "$(dirname "$0")/common.sh"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check "uv==$UV_VERSION"
"$work/venv/bin/uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --upgrade --system-certs \
  --no-emit-index-url --custom-compile-command scripts/lock-python.sh requirements.in --output-file requirements.lock
say "requirements.lock: $(grep -c '^[a-z]' requirements.lock) packages. Next: scripts/env.sh, then make test"
