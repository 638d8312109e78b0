#!/usr/bin/env bash
# Builds the curb binary once and prints its path. "release" as the argument builds what users get; "debug" also builds
# the stand-in for Ray that the end-to-end tests start, ray-standin, into the same directory.
. "$(dirname "$0")/common.sh"

profile=${1:-debug}
case $profile in
  release) flags=(--release) ;;
  debug) flags=(--package curb-standin) ;;
  *) die "the argument is release or debug, not $profile" ;;
esac
# The messages of cargo are its progress; json on stdout tells where the binary is, wherever the target directory is.
cargo build --package curb-cli "${flags[@]}" --message-format json-render-diagnostics |
  "${PYTHON_FOR_JSON:-python3}" -c '
import json, sys
paths = [m["executable"] for m in map(json.loads, sys.stdin)
         if m.get("reason") == "compiler-artifact" and m.get("executable") and m["target"]["name"] == "curb"]
print(paths[-1]) if paths else sys.exit(1)'
