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
  name=$(basename "$bench" .rs)
  printf '\n## %s: %s\n' "$package" "$name" | tee -a "$out"
  cargo bench --quiet --package "$package" --bench "$name" 2>&1 | tee -a "$out" || status=1
done
say "figures are in $out"
exit "$status"
