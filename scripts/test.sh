#!/usr/bin/env bash
# Installs what the tests need and runs all of them. Goes on after a failure, so that one run tells all; the last lines
# say what failed and what did not run.
. "$(dirname "$0")/common.sh"

profile=${NEXTEST_PROFILE:-default}
reports=target/test-reports
failed=()
check() { step "$@" || failed+=("$1"); }

nextest() {
  local report=$1 status=0
  shift
  cargo nextest run --workspace --profile "$profile" --no-tests fail "$@" || status=$?
  cp "target/nextest/$profile/junit.xml" "$reports/$report.xml" || status=1
  return "$status"
}

# The same contract is checked against the stand-in and against a real Ray; here it must be the real one too.
nextest_with_ray() {
  CURB_TEST_REQUIRE_RAY=1 "$PYTHON" tests/e2e/raycluster.py with -- \
    cargo nextest run --workspace --profile "$profile" --no-tests fail -E 'package(curb-ray)' || return
  cp "target/nextest/$profile/junit.xml" "$reports/rust-with-ray.xml"
}

python_tests() {
  local report=$1
  shift
  "$PYTHON" -m pytest --junit-xml "$reports/$report.xml" -o junit_logging=all "$@"
}

rm -rf "$reports"
mkdir -p "$reports"
scripts/env.sh
# What `curb limits render` writes is shown to the tools that it is for; none of them has to run anything.
need_command systemd-analyze systemd
need_command docker docker.io
need_command runc runc
need_command docker-compose docker-compose
need_cargo_tool cargo-nextest "$NEXTEST_VERSION"
# shellcheck disable=SC2310
step 'build' scripts/build.sh debug >"$reports/binary" || die 'the build failed: nothing was tested'
CURB_BIN=$(cat "$reports/binary")
export CURB_BIN

check 'tests in Rust' nextest rust -E 'not package(curb-ray)'
check 'tests of the client of Ray, with a real Ray' nextest_with_ray
check 'tests of limits, on control groups of version 2' scripts/test_cgroup2.sh "$reports/cgroup2.xml"
check 'examples in the documentation of the code' cargo test --workspace --doc --quiet
check 'generated files' scripts/docs-check.sh
check 'tests of the Python package and the scripts' python_tests python python/tests tests/tools
check 'end-to-end tests with a real Ray' python_tests e2e tests/e2e

echo
"$PYTHON" scripts/test_summary.py "$reports"/*.xml
if [ "${#failed[@]}" -gt 0 ]; then
  die "failed after ${SECONDS} s: $(printf '%s; ' "${failed[@]}")"
fi
say "all tests passed after ${SECONDS} s"
