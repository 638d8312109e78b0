#!/usr/bin/env bash
# What it costs to run a program within limits, and how fast a limit is acted on: with the machine it was measured on.
. "$(dirname "$0")/common.sh"

mkdir -p target/bench
out="target/bench/host-$(date -u +%Y-%m-%dT%H%M%SZ).txt"
# What curb run is compared with; bench_agent.py says what it needs by itself.
need_command runc runc
cargo build --quiet --release -p curb-cli
{
  echo "# $(date -u +%Y-%m-%d), commit $(git rev-parse --short HEAD 2>/dev/null || echo none)"
  echo "# $(nproc) cores of $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $(awk '/MemTotal/{printf "%.0f GiB", $2/1048576}' /proc/meminfo), Linux $(uname -r)"
  echo "# load before the start: $(cut -d' ' -f1 /proc/loadavg)"
} | tee "$out"
printf '\n## curb run\n' | tee -a "$out"
CURB="$PWD/target/release/curb" cargo bench --quiet --package curb-host --bench supervise 2>&1 | tee -a "$out"
printf '\n## curb agent, beside process-exporter and earlyoom\n' | tee -a "$out"
CURB="$PWD/target/release/curb" python3 scripts/bench_agent.py 2>&1 | tee -a "$out"
