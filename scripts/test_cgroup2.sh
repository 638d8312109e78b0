#!/usr/bin/env bash
# The tests of `curb run` and of `curb audit` on running processes once more, on control groups of version 2: in a user-mode
# Linux, whose root is this machine's file system, read only. It is a process like any other: it needs no privilege and
# nothing of it stays.
. "$(dirname "$0")/common.sh"

# Left to the real machine: how far the watchdog is behind; thousands of forks, which take minutes here; and what processes
# share, which this kernel does not tell (no smaps_rollup).
readonly TESTS='run:: supervise:: ladder:: keys:: watchdog:: attach:: limits:: audit::live:: --skip steady_growth --skip thousands_of_children --skip processes_share'
readonly MEMORY=1024M PATIENCE=600
need_command linux.uml user-mode-linux

binary=$(cargo test --package curb-cli --test host --no-run 2>&1 | sed -n 's/^ *Executable .*(\(.*\))$/\1/p')
[ -x "$binary" ] || die 'the tests of curb-cli were not built'

work=$(mktemp -d "$PWD/target/cgroup2.XXXXXX")
trap 'rm -rf "$work"' EXIT
cat >"$work/init" <<INIT
#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs tmpfs /mnt
export PATH=/usr/bin:/bin:/usr/sbin:/sbin HOME=/ TMPDIR=/mnt RUST_BACKTRACE=0
echo "controllers: \$(cat /sys/fs/cgroup/cgroup.controllers)"
cd '$PWD' && '$PWD/$binary' $TESTS --test-threads 1 --color never 2>&1
echo o >/proc/sysrq-trigger
sleep 10
INIT
chmod +x "$work/init"

# Its console is what we read; it ends by itself, or is ended.
timeout --kill-after 5 "$PATIENCE" linux.uml mem="$MEMORY" root=/dev/root rootfstype=hostfs rootflags=/ ro \
  init="$work/init" con=null con0=fd:0,fd:1 quiet uml_dir="$work" </dev/null >"$work/console" 2>&1 || true
tr -d '\r' <"$work/console" | grep -E '^(controllers|test |thread|assertion| *(left|right):|running)' || true
grep -q '^controllers: .*memory.*pids' "$work/console" || die "version 2 was not there: $(tail -n 5 "$work/console")"
grep -q '^test result: ok\. [1-9]' "$work/console" || die 'tests failed on version 2 (above)'
