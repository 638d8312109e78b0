#!/usr/bin/env bash
# A one-node Ray that listens on loopback only: start | stop | status | run | with -- COMMAND. See --help.
. "$(dirname "$0")/common.sh"

scripts/env.sh
exec "$PYTHON" tests/e2e/raycluster.py "$@"
