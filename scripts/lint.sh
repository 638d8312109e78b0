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

scripts/env.sh
need_command shellcheck shellcheck
need_cargo_tool cargo-deny "$DENY_VERSION"

check 'rustfmt' cargo fmt --all --check
check 'shellcheck' shellcheck -x scripts/*.sh .ci/run
check 'python: compiles, ruff, mypy' python_lint
check 'dependencies: bans, licences, sources' cargo deny --color never check --hide-inclusion-graph bans licenses sources
check 'dependencies: advisories' advisories
check 'clippy' cargo clippy --workspace --all-targets --quiet -- -D warnings
check 'fuzz targets: compile, clippy' fuzz_targets

if [ "${#failed[@]}" -gt 0 ]; then
  die "failed: $(printf '%s; ' "${failed[@]}")"
fi
say 'all clean'
