#!/usr/bin/env bash
# The tour: builds, makes the Python environment, then starts Ray and Curb and walks through it (scripts/demo.py).
# ONCE=1 exits after the tour. PORT=n has Curb listen there instead of at 8266.
. "$(dirname "$0")/common.sh"

command -v cargo >/dev/null || die 'needs Rust (cargo): https://rustup.rs'
"${PYTHON_FOR_JSON:-python3}" - "${PORT:-8266}" <<'PY' || exit 1
import socket, sys
try:
    socket.create_server(("127.0.0.1", int(sys.argv[1]))).close()
except OSError:
    sys.exit(f"demo: port {sys.argv[1]} is taken. See by what: ss -ltnp 'sport = :{sys.argv[1]}'. "
             f"End that, or choose another: make demo PORT=8277")
PY
say 'building the release binary (the first time takes some minutes on two cores)'
began=$SECONDS
curb=$(scripts/build.sh release)
say "built in $((SECONDS - began)) s: $curb"
scripts/env.sh
exec "$PYTHON" scripts/demo.py --curb "$curb" --port "${PORT:-8266}" ${ONCE:+--once}
