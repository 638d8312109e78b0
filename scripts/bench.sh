#!/usr/bin/env bash
# Runs every benchmark and keeps what they print in target/bench/, under the machine that they ran on.
. "$(dirname "$0")/common.sh"

mkdir -p target/bench
out="target/bench/$(date -u +%Y-%m-%dT%H%M%SZ).txt"
{
  echo "# $(date -u +%Y-%m-%d), commit $(git rev-parse --short HEAD 2>/dev/null || echo none)"
  echo "# $(nproc) cores of $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $(awk '/MemTotal/{printf "%.0f GiB", $2/1048576}' /proc/meminfo), Linux $(uname -r)"
  echo "# $(rustc --version); load before the start: $(cut -d' ' -f1 /proc/loadavg)"
} | tee "$out"
status=0
for bench in crates/*/benches/*.rs; do
  [ -e "$bench" ] || die 'no benchmark found under crates/*/benches/'
  package=$(basename "$(dirname "$(dirname "$bench")")")
  # It measures the release binary: scripts/bench-host.sh.
  [ "$package" != curb-host ] || continue
  name=$(basename "$bench" .rs)
  printf '\n## %s: %s\n' "$package" "$name" | tee -a "$out"
  cargo bench --quiet --package "$package" --bench "$name" 2>&1 | tee -a "$out" || status=1
done
printf '\n## the whole server with 50,000 waiting jobs\n' | tee -a "$out"
{ cargo build --quiet --release -p curb-cli -p curb-standin && python3 scripts/bench_memory.py; } 2>&1 | tee -a "$out" || status=1
printf '\n## a Ray with 50,000 jobs in its list\n' | tee -a "$out"
python3 scripts/bench_history.py 2>&1 | tee -a "$out" || status=1
printf '\n## rivals\n' | tee -a "$out"
scripts/bench_rivals.sh 2>&1 | tee -a "$out" || status=1
if grep -q 'NOT MET' "$out"; then
  say "$(grep -c 'NOT MET' "$out") aims were not met"
fi
if grep -q 'DID NOT RUN' "$out"; then
  say "$(grep 'DID NOT RUN' "$out")"
fi
say "figures are in $out"
exit "$status"
