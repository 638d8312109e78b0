#!/usr/bin/env bash
# Fuzzes each target for FUZZ_SECONDS (60), one after another; arguments choose targets. What was found to be interesting
# is kept in fuzz/corpus for the next run, an input that fails in fuzz/artifacts.
. "$(dirname "$0")/common.sh"

seconds=${FUZZ_SECONDS:-60}
[[ $seconds =~ ^[1-9][0-9]*$ ]] || die "FUZZ_SECONDS is '$seconds' and should be a whole number of seconds, for each target"
need_cargo_tool cargo-fuzz "$FUZZ_VERSION"
# The sanitizers' options are for nightly compilers only; this lets the pinned one have them.
export RUSTC_BOOTSTRAP=1
# SQLite, linked in with the server, has two static tables of one name, which the sanitizer takes for one defined twice.
export ASAN_OPTIONS=detect_odr_violation=0

targets=("$@")
if [ "${#targets[@]}" -eq 0 ]; then
  mapfile -t targets < <(cargo fuzz list)
fi
# Inputs to begin with beside what earlier runs found.
seeds() {
  [ ! -d "fuzz/seeds/$1" ] || echo "fuzz/seeds/$1"
  [[ $1 != policy && $1 != limits ]] || echo examples
}

# Built before, so that the time that is told is the time of fuzzing.
step 'build the fuzz targets' cargo fuzz build
failed=()
for target in "${targets[@]}"; do
  mkdir -p "fuzz/corpus/$target"
  mapfile -t given < <(seeds "$target")
  step "fuzz $target for $seconds s" cargo fuzz run "$target" "fuzz/corpus/$target" "${given[@]}" -- \
    "-max_total_time=$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=16384 -verbosity=0 -print_final_stats=1 || failed+=("$target")
done
[ "${#failed[@]}" -eq 0 ] || die "failed: ${failed[*]}; the inputs are in fuzz/artifacts"
say "nothing found in $seconds s each: ${targets[*]}"
