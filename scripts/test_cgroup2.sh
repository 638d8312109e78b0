#!/usr/bin/env bash
# The tests of what runs on a host once more, on control groups of version 2: in user-mode Linux, whose root is this machine's
# file system, read only. It is a process like any other: it needs no privilege and nothing of it stays. Two such machines run
# side by side, each with every second test. Each test is a process of its own with a bound of its own, so that one that hangs is
# named.
#   test_cgroup2.sh [REPORT [FILTER...]]   REPORT: a file of JUnit's form; FILTER: as the tests' own runner takes it
. "$(dirname "$0")/common.sh"

# Left to the real machine: how far the watchdog is behind; thousands of forks, which take minutes here; what processes share
# and which number the next process gets, which this kernel does not tell (no smaps_rollup, no ns_last_pid). Of the profiles: a
# server in four scenarios takes a minute and a half here, one is by the time that a shell takes, one makes no group. What has
# nothing to do with groups (front, top, audit of files, the unit), and the agent's tests with real MLX, of which `ladder::` and
# `agent::life` tell what is other on version 2.
readonly LEFT_OUT=(--skip steady_growth --skip thousands_of --skip processes_share --skip a_number_that_another_process_has
  --skip a_real_server_in_four --skip a_program_that_ends_by_itself_is_measured --skip without_a_group_its)
readonly MEMORY=1024M ALL_SECONDS=900 TEST_SECONDS=100 MACHINES=2
report=${1:-}
tests=("${@:2}")
[ "${#tests[@]}" -gt 0 ] || tests=(run:: supervise:: ladder:: thrashing:: keys:: watchdog:: attach:: limits:: audit::live::
  drill:: profile:: agent::life:: agent::hostile:: raises:: apply_times:: leavings::)
need_command linux.uml user-mode-linux

binary=$(cargo test --package curb-cli --test host --no-run 2>&1 | sed -n 's/^ *Executable .*(\(.*\))$/\1/p')
[ -x "$binary" ] || die 'the tests of curb-cli were not built'

work=$(mktemp -d "$PWD/target/cgroup2.XXXXXX")
trap 'rm -rf "$work"' EXIT
"$binary" --list --format terse "${LEFT_OUT[@]}" "${tests[@]}" | sed -n 's/: test$//p' >"$work/tests"
[ -s "$work/tests" ] || die "no test has a name like: ${tests[*]}"

# machine NUMBER: runs its tests; its console is what we read. It ends by itself, or is ended.
machine() {
  local own=$work/$1
  mkdir "$own"
  awk -v n="$1" -v all="$MACHINES" 'NR % all == n % all' "$work/tests" >"$own/tests"
  # Killing -1 ends every process of that machine but its first: none of this one's.
  cat >"$own/init" <<INIT
#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs tmpfs /mnt
export PATH=/usr/bin:/bin:/usr/sbin:/sbin HOME=/ TMPDIR=/mnt RUST_BACKTRACE=0
ip link set lo up
echo "controllers: \$(cat /sys/fs/cgroup/cgroup.controllers)"
cd '$PWD'
while read -r name; do
  began=\$(cut -d. -f1 /proc/uptime)
  timeout -k 5 $TEST_SECONDS '$PWD/$binary' --exact "\$name" --test-threads 1 --color never >/mnt/said 2>&1 </dev/null
  status=\$?
  took=\$((\$(cut -d. -f1 /proc/uptime) - began))
  if [ \$status -ne 0 ]; then
    cat /mnt/said
    kill -9 -1
    rm -rf /mnt/.tmp*
  fi
  echo "@ \$status \$took \$name"
done <'$own/tests'
echo '@ done'
echo o >/proc/sysrq-trigger
sleep 10
INIT
  chmod +x "$own/init"
  timeout --kill-after 5 "$ALL_SECONDS" linux.uml mem="$MEMORY" root=/dev/root rootfstype=hostfs rootflags=/ ro \
    init="$own/init" con=null con0=fd:0,fd:1 quiet uml_dir="$own" </dev/null 2>&1 | tr -d '\r' |
    grep -vE '^(SELinux|mmapper_init|Failed to initialize ubd|sysrq|reboot)' >"$own/console" || true
}

for n in $(seq "$MACHINES"); do
  machine "$n" &
done
wait
for n in $(seq "$MACHINES"); do
  grep -q '^controllers: .*memory.*pids' "$work/$n/console" || die "version 2 was not there: $(tail -n 5 "$work/$n/console")"
done

# A test that was not come to failed as well.
awk -v tests="$work/tests" -v report="${report:-/dev/null}" '
  $1 == "@" && NF == 4 { status[$4] = $2; took[$4] = $3; next }
  $1 != "@" { print }
  END {
    print "<testsuites><testsuite name=\"cgroup2\">" >report
    while ((getline name <tests) > 0) {
      all++
      why = ""
      if (!(name in status)) why = "not come to within the time of all"
      else if (status[name] == 124) why = "ended after " took[name] " s"
      else if (status[name] != 0) why = "failed"
      if (why == "") passed++
      printf "%s %s (%s s)\n", why == "" ? "ok" : "FAILED", name, name in took ? took[name] : "-"
      printf "<testcase classname=\"cgroup2\" name=\"%s\" time=\"%s\">%s</testcase>\n", name, took[name] + 0,
        why == "" ? "" : "<failure message=\"" why "\"/>" >report
    }
    print "</testsuite></testsuites>" >report
    printf "%d of %d passed\n", passed, all
    exit passed != all
  }' "$work"/*/console || die 'tests failed on version 2 (above)'
