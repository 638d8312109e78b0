#!/usr/bin/env bash
# Formats Rust and Python.
. "$(dirname "$0")/common.sh"

scripts/env.sh
cargo fmt --all
.venv/bin/ruff format --quiet python scripts tests examples
.venv/bin/ruff check --quiet --fix python scripts tests examples
