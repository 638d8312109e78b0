#!/usr/bin/env bash
# Makes .venv with the versions in requirements.lock, each checked against its hash. A second run costs nothing.
. "$(dirname "$0")/common.sh"

find_python() {
  local candidate
  for candidate in python3.11 python3.12 python3.13 python3; do
    if command -v "$candidate" >/dev/null &&
      "$candidate" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  return 1
}

key() { sha256sum <"$1" | cut -d' ' -f1; }
up_to_date() { [ "$(cat ".venv/.key-$(basename "$1")" 2>/dev/null)" = "$(key "$1")" ]; }
done_with() { key "$1" >".venv/.key-$(basename "$1")"; }

make_venv() {
  local python=$1 packages
  packages=$(grep -c '^[a-z]' requirements.lock)
  say "making .venv with $("$python" --version), Ray and what the tests need: $packages pinned packages (some 150 MB)"
  rm -rf .venv
  "$python" -m venv .venv
  # pip names each package as it comes: a line every five seconds is enough to see that it moves.
  local began=$SECONDS
  .venv/bin/pip install --require-hashes --no-deps --disable-pip-version-check --no-input -r requirements.lock \
    >.venv/install.log 2>&1 </dev/null &
  local pip=$! told=0 seen
  while kill -0 "$pip" 2>/dev/null; do
    sleep 1
    seen=$(grep -c '^Collecting' .venv/install.log || true)
    if [ $((SECONDS - began - told)) -ge 5 ]; then
      told=$((SECONDS - began))
      if grep -q '^Installing collected' .venv/install.log; then
        say "  all found; installing them, ${told} s"
      else
        say "  $seen of $packages found, ${told} s"
      fi
    fi
  done
  if ! wait "$pip"; then
    tail -n 15 .venv/install.log >&2
    die "pip could not install requirements.lock (the end of .venv/install.log is above); run this again"
  fi
  say "  done after $((SECONDS - began)) s"
}

main() {
  local python
  if ! up_to_date requirements.lock; then
    if ! python=$(find_python); then
      need_command 'Python 3.11 or newer, with venv' python3-venv
      python=$(find_python) || die 'python3-venv is installed, and still no Python 3.11 to 3.13 can make an environment'
    fi
    make_venv "$python"
    done_with requirements.lock
  fi
  if ! up_to_date python/pyproject.toml; then
    .venv/bin/pip install --quiet --no-deps --no-build-isolation --disable-pip-version-check --editable python/ </dev/null
    done_with python/pyproject.toml
  fi
}

main
