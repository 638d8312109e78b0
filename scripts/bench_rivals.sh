#!/usr/bin/env bash
# What others reach on this machine at the core of an admission: five quotas checked and charged, durably, in one step.
# PostgreSQL from the system's packages, in a cluster of its own on a socket in a temporary directory; and SQLite.
. "$(dirname "$0")/common.sh"

CLIENTS=64 SECONDS_EACH=${SECONDS_EACH:-8} BUCKETS=10000

# PostgreSQL's server is not on the path of Debian.
pg_bin() {
  local dir found=''
  for dir in "$(dirname "$(command -v initdb || echo /none/initdb)")" /usr/lib/postgresql/*/bin; do
    if [ -x "$dir/initdb" ] && [ -x "$dir/pg_ctl" ]; then
      found=$dir
    fi
  done
  [ -n "$found" ] && echo "$found"
}

# The server refuses to run as root: then as nobody.
unprivileged() {
  if [ "$(id -u)" -eq 0 ]; then
    setpriv --reuid=65534 --regid=65534 --clear-groups env HOME="$scratch" "$@"
  else
    "$@"
  fi
}

cleanup() {
  if [ -e "$scratch/db/postmaster.pid" ]; then
    unprivileged "$bin/pg_ctl" -D "$scratch/db" -m immediate -w stop >/dev/null 2>&1 || say 'the PostgreSQL of this benchmark did not stop'
  fi
  rm -rf "$scratch"
}

start_postgres() {
  # fsync and synchronous_commit stay on: an answer is durable, as Curb's is.
  unprivileged "$bin/initdb" -D "$scratch/db" -U bench -A trust --no-instructions >"$scratch/log" 2>&1 &&
    unprivileged "$bin/pg_ctl" -D "$scratch/db" -w -l "$scratch/server.log" \
      -o "-c listen_addresses='' -c unix_socket_directories='$scratch' -c max_connections=100 -c shared_buffers=128MB" \
      start >>"$scratch/log" 2>&1
}

schema() {
  cat <<SQL
CREATE TABLE quota (id int PRIMARY KEY, ceiling bigint NOT NULL, used bigint NOT NULL DEFAULT 0);
INSERT INTO quota SELECT n, 1000000000 FROM generate_series(1, $BUCKETS) n;
CREATE TABLE granted (id bigserial PRIMARY KEY, quotas int[] NOT NULL, amount bigint NOT NULL, at timestamptz DEFAULT now());
VACUUM ANALYZE quota;
SQL
}

# Five rows: everybody, one of 7 orgs, one of 480 teams, a user, and a user within a job type; locked in the order of ids.
# The function is one round trip, as a careful user of PostgreSQL would write it.
reservation() {
  cat <<'SQL'
CREATE FUNCTION reserve(wanted int[], amount bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE free bigint; found bigint;
BEGIN
  SELECT min(ceiling - used) INTO free FROM
    (SELECT ceiling, used FROM quota WHERE id = ANY(wanted) ORDER BY id FOR UPDATE) locked;
  IF free < amount THEN RETURN NULL; END IF;
  UPDATE quota SET used = used + amount WHERE id = ANY(wanted);
  INSERT INTO granted (quotas, amount) VALUES (wanted, amount) RETURNING id INTO found;
  RETURN found;
END $$;
SQL
}

one_call() {
  cat <<'SQL'
\set u random(1, 4800)
SELECT reserve(ARRAY[1, 2 + :u % 7, 10 + :u / 10, 500 + :u, 5300 + :u % 4700], 1);
SQL
}

# Kinder to it than a policy is: no quota that covers everybody, so that transactions rarely wait for each other's locks.
nothing_shared() {
  cat <<'SQL'
\set a random(1, 2000)
\set b random(2001, 4000)
\set c random(4001, 6000)
\set d random(6001, 8000)
\set e random(8001, 10000)
SELECT reserve(ARRAY[:a, :b, :c, :d, :e]::int[], 1);
SQL
}

statements() {
  cat <<'SQL'
\set u random(1, 4800)
BEGIN;
SELECT ceiling - used FROM quota WHERE id IN (1, 2 + :u % 7, 10 + :u / 10, 500 + :u, 5300 + :u % 4700) ORDER BY id FOR UPDATE;
UPDATE quota SET used = used + 1 WHERE id IN (1, 2 + :u % 7, 10 + :u / 10, 500 + :u, 5300 + :u % 4700);
INSERT INTO granted (quotas, amount) VALUES (ARRAY[1, 2 + :u % 7, 10 + :u / 10, 500 + :u, 5300 + :u % 4700], 1);
COMMIT;
SQL
}

# bench TITLE SCRIPT: what pgbench says of it, in one line; how many rows were written is checked against it.
bench() {
  local out rate latency before after
  before=$(sql 'SELECT count(*) FROM granted')
  out=$(unprivileged pgbench -h "$scratch" -U bench -n -M prepared -c "$CLIENTS" -j 2 -T "$SECONDS_EACH" \
    --log --log-prefix="$scratch/tx" -f "$2" postgres 2>&1) || die "pgbench failed: ${out:0:600}"
  after=$(sql 'SELECT count(*) FROM granted')
  [ "$after" -gt "$before" ] || die 'PostgreSQL granted nothing: this is no measurement'
  rate=$(sed -n 's/^tps = \([0-9]*\).*/\1/p' <<<"$out")
  # The third word of each line of the log is the latency in microseconds.
  latency=$(cat "$scratch"/tx.* | awk '{print $3}' | sort -n | awk '{t[NR]=$1} END {printf "p50 %.1f ms, p99 %.1f ms", t[int(NR*.5)+1]/1000, t[int(NR*.99)+1]/1000}')
  rm -f "$scratch"/tx.*
  printf '%s: %s/s with %s clients, %s\n' "$1" "$rate" "$CLIENTS" "$latency"
}

sql() { unprivileged psql -h "$scratch" -U bench -qAt -v ON_ERROR_STOP=1 -c "$1" postgres; }

postgres() {
  if ! bin=$(pg_bin) || ! command -v pgbench >/dev/null || ! command -v psql >/dev/null; then
    echo 'PostgreSQL: DID NOT RUN: it is not installed (on Debian: apt-get install postgresql)'
    return
  fi
  trap cleanup EXIT
  scratch=$(mktemp -d "${TMPDIR:-/tmp}/curb-rivals.XXXXXX")
  [ "$(id -u)" -ne 0 ] || chown 65534:65534 "$scratch"
  if ! start_postgres; then
    echo 'PostgreSQL: DID NOT RUN: a cluster could not be started:'
    tail -n 5 "$scratch/log" "$scratch/server.log" 2>/dev/null || true
    return
  fi
  { schema && reservation; } | unprivileged psql -h "$scratch" -U bench -q -v ON_ERROR_STOP=1 postgres
  one_call >"$scratch/one.sql"
  statements >"$scratch/five.sql"
  nothing_shared >"$scratch/apart.sql"
  printf '%s, fsync on, through a unix socket\n' "$("$bin/postgres" --version)"
  bench 'five-row reservation, statement by statement' "$scratch/five.sql"
  bench 'five-row reservation, one call of a function' "$scratch/one.sql"
  bench 'the same, without a quota that covers everybody' "$scratch/apart.sql"
}

sqlite() {
  python3 - "$SECONDS_EACH" <<'PY'
import os, sqlite3, sys, tempfile, time

seconds, rows = float(sys.argv[1]) / 2, 0
with tempfile.TemporaryDirectory(prefix="curb-rivals-") as scratch:
    db = sqlite3.connect(os.path.join(scratch, "rows.db"), isolation_level=None)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    db.execute("CREATE TABLE event (seq INTEGER PRIMARY KEY, at INTEGER, kind TEXT, payload BLOB, hash BLOB)")
    batch = [(1_795_000_000_000, "admitted", b"x" * 400, b"h" * 32)] * 64
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        db.execute("BEGIN IMMEDIATE")
        db.executemany("INSERT INTO event (at, kind, payload, hash) VALUES (?, ?, ?, ?)", batch)
        db.execute("COMMIT")
        rows += len(batch)
    took = time.monotonic() - began
    print(f"SQLite {sqlite3.sqlite_version}, WAL, full sync, 64 rows of 400 bytes a commit: {rows / took:.0f} rows/s")
PY
}

postgres
sqlite
