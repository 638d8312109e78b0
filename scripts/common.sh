# shellcheck shell=bash
# What the scripts share. Source it; it changes to the root of the repository.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Pinned, so that a new machine and an old one run the same tools.
# shellcheck disable=SC2034 # read by the scripts that source this file
NEXTEST_VERSION=0.9.143 DENY_VERSION=0.20.2 FUZZ_VERSION=0.13.2 UV_VERSION=0.13.9

# Talk goes to stderr: stdout belongs to the tools.
say() { printf '%s: %s\n' "$(basename "$0" .sh)" "$*" >&2; }

die() {
  say "$*"
  exit 1
}

# Runs "$@" under the heading $1; its elapsed time is told when it took long enough to be noticed.
step() {
  local title=$1 began=$SECONDS status=0
  shift
  printf '\n== %s\n' "$title" >&2
  "$@" || status=$?
  local took=$((SECONDS - began))
  if [ "$status" -ne 0 ]; then
    say "FAILED (status $status, ${took} s): $title"
  elif [ "$took" -ge 2 ]; then
    say "ok (${took} s): $title"
  fi
  return "$status"
}

# need_command COMMAND PACKAGE: installs the Debian package that has COMMAND, only if COMMAND is missing.
need_command() {
  command -v "$1" >/dev/null && return
  if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    die "needs '$1', which is not installed. On Debian: sudo apt-get install $2"
  fi
  say "installing $2 (for '$1')"
  local log
  log=$(mktemp)
  if ! { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$2"; } \
    >"$log" 2>&1 </dev/null; then
    tail -n 20 "$log" >&2
    rm -f "$log"
    die "could not install $2 (the end of apt-get's own words is above)"
  fi
  rm -f "$log"
}

# need_cargo_tool COMMAND VERSION: builds a cargo subcommand from its locked sources, only if it is missing.
need_cargo_tool() {
  if command -v "$1" >/dev/null; then
    return
  fi
  say "$1 is missing: building version $2 from source, once (about 3 minutes on two cores)"
  cargo install --locked --quiet "$1@$2"
}

# Cargo's own tools may not be on PATH in a fresh shell.
export PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
PYTHON=.venv/bin/python
# shellcheck disable=SC2034 # read by the scripts that source this file
readonly PYTHON NEXTEST_VERSION DENY_VERSION FUZZ_VERSION UV_VERSION
