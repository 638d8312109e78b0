#!/usr/bin/env bash
# Everything that is checked without running the code. Goes on after a failure, so that one run tells all.
. "$(dirname "$0")/common.sh"

failed=()
check() { step "$@" || failed+=("$1"); }

# The advisories' database is the one thing here that comes from outside the package registries.
advisories() {
  local log status=0
  log=$(mktemp)
  timeout 120 cargo deny --color never check advisories >"$log" 2>&1 </dev/null || status=$?
  if [ "$status" -eq 0 ]; then
    say "advisories: none"
  elif grep -qiE 'failed to (fetch|clone|open|acquire)|unable to (fetch|clone)|could not (fetch|resolve)|network|timed? ?out' "$log" ||
    [ "$status" -eq 124 ]; then
    say "advisories: did not run: the database could not be fetched from here"
    status=0
  else
    cat "$log" >&2
  fi
  rm -f "$log"
  return "$status"
}

python_lint() {
  .venv/bin/python -m compileall -q python/src python/tests tests scripts examples &&
    .venv/bin/ruff check --quiet python tests scripts examples &&
    .venv/bin/ruff format --quiet --check python tests scripts examples &&
    .venv/bin/mypy --no-error-summary python/src scripts/*.py tests/e2e/*.py examples/host/*.py
}

# The fuzz targets are no part of the workspace, so that nothing else here compiles them. They need a nightly compiler only to
# be run; and libFuzzer, which is C++, only to be linked: any file stands in for it.
fuzz_targets() {
  cp Cargo.lock fuzz/Cargo.lock && # the workspace's own versions
    CUSTOM_LIBFUZZER_PATH=$PWD/fuzz/Cargo.toml \
      cargo clippy --manifest-path fuzz/Cargo.toml --target-dir target --quiet -- -D warnings
}

# What is for macOS is type-checked, since no Mac is at hand. Parts in C (SQLite, the allocator) would need Apple's headers to
# be compiled, and a type check reads nothing of them: a compiler that writes empty files stands in.
readonly MAC=aarch64-apple-darwin
for_macos() {
  if ! command -v rustup >/dev/null; then
    say "needs 'rustup' to add the standard library of $MAC: https://rustup.rs"
    return 1
  fi
  if ! rustup target list --installed | grep -qx "$MAC"; then
    say "adding the standard library of $MAC, once (about 30 MB)"
    rustup target add "$MAC" || return
  fi
  local tools status=0
  tools=$(mktemp -d)
  cat >"$tools/cc" <<'SH'
#!/bin/sh
while [ $# -gt 0 ]; do
  if [ "$1" = -o ]; then : >"$2"; fi
  shift
done
SH
  cat >"$tools/ar" <<'SH'
#!/bin/sh
for word; do
  case $word in *.a) : >"$word" ;; esac
done
SH
  chmod +x "$tools/cc" "$tools/ar"
  SDKROOT=/ CC_aarch64_apple_darwin=$tools/cc AR_aarch64_apple_darwin=$tools/ar \
    cargo clippy --target "$MAC" --package curb-host --package curb-cli --quiet -- -D warnings || status=$?
  rm -rf "$tools"
  return "$status"
}

scripts/env.sh
need_command shellcheck shellcheck
need_cargo_tool cargo-deny "$DENY_VERSION"

check 'rustfmt' cargo fmt --all --check
check 'shellcheck' shellcheck -x scripts/*.sh .ci/run
check 'python: compiles, ruff, mypy' python_lint
check 'dependencies: bans, licences, sources' cargo deny --color never check --hide-inclusion-graph bans licenses sources
check 'dependencies: advisories' advisories
check 'clippy' cargo clippy --workspace --all-targets --quiet -- -D warnings
check 'macOS: type check, clippy' for_macos
check 'fuzz targets: compile, clippy' fuzz_targets

if [ "${#failed[@]}" -gt 0 ]; then
  die "failed: $(printf '%s; ' "${failed[@]}")"
fi
say 'all clean'
