"""The whole server with 50,000 waiting jobs of 1,000 users: its memory, and how soon it answers then.

A release `curb serve` in front of the stand-in for Ray, both processes of their own; the jobs come over HTTP on
keep-alive connections. Started by scripts/bench.sh; the Python standard library is enough for it.
"""

from __future__ import annotations

import argparse
import json
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY / "tests" / "e2e"))
from curbserver import CurbServer, eventually  # noqa: E402
from standin import Standin  # noqa: E402

# One bucket a user. What runs fills the cluster, so that all others wait for it and for their own job.
POLICY = """version: 1
capacity: {cpu: %d}
quotas:
  - {name: each-user, for: {user: "*"}, limits: {cpu: 1, jobs: 1}}
  - {name: all, limits: {jobs: 100000}}
"""
RUNNING = 20
CONNECTIONS = 16
EXPLAINS = 200
EXPLAIN_PROCESSES = 30
COMPLETIONS = 20
PAGE = 1000
MIB_AIM, EXPLAIN_AIM_MS = 300.0, 100.0


def say(what: str, figure: str, aim: str = "", met: bool = True) -> None:
    """One line of the result; with the aim, if there is one, and whether it was met."""
    print(f"{what:<66} {figure:>22}", flush=True)
    if aim:
        print(f"    aim {aim}: {'met' if met else 'NOT MET'}", flush=True)


class Connection:
    """A keep-alive connection that sends requests as bytes: http.client would be the slowest part of this benchmark."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._host = f"127.0.0.1:{port}"

    def send(self, method: str, path: str, token: str, body: Any = None) -> bytes:
        """The body of the answer, which has to be a 200 with a Content-Length."""
        content = b"" if body is None else json.dumps(body).encode()
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: {self._host}\r\nAuthorization: Bearer {token}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        self._socket.sendall(head.encode() + content)
        found, _, rest = self._receive(b"").partition(b"\r\n\r\n")
        lines = found.decode().lower().split("\r\n")
        [length] = [int(line.split(":")[1]) for line in lines if line.startswith("content-length:")]
        pieces, missing = [rest], length - len(rest)
        while missing > 0:
            pieces.append(self._piece())
            missing -= len(pieces[-1])
        answer = b"".join(pieces)
        if " 200 " not in lines[0] + " ":
            raise RuntimeError(f"{method} {path} was answered by {lines[0]}: {answer[:500]!r}")
        return answer

    def close(self) -> None:
        """Ends it."""
        self._socket.close()

    def _receive(self, got: bytes) -> bytes:
        while b"\r\n\r\n" not in got:
            got += self._piece()
        return got

    def _piece(self) -> bytes:
        piece = self._socket.recv(1 << 18)
        if not piece:
            raise RuntimeError("the server closed a connection in the middle of an answer")
        return piece


def in_parallel(port: int, work: Callable[[Connection, int], None], count: int) -> float:
    """`work` with each number below `count`, over some connections; the seconds that it took."""
    numbers, lock = iter(range(count)), threading.Lock()
    failures: list[Exception] = []

    def run() -> None:
        connection = Connection(port)
        try:
            while not failures:
                with lock:
                    number = next(numbers, None)
                if number is None:
                    return
                work(connection, number)
        except (OSError, RuntimeError, ValueError) as error:
            failures.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run) for _ in range(CONNECTIONS)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return time.monotonic() - began


def memory(curb: CurbServer) -> tuple[float, float]:
    """What the server has now and had at most, in MiB."""
    status = Path(f"/proc/{curb.pid}/status").read_text()
    fields = dict(line.split(":", 1) for line in status.splitlines())
    now, most = (int(fields[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))
    return now, most


def tell_memory(curb: CurbServer, when: str) -> None:
    """A line of it."""
    now, most = memory(curb)
    say(f"memory {when}", f"{now:.0f} MiB, peak {most:.0f}", f"{MIB_AIM:.0f} MiB", most < MIB_AIM)


def fill(curb: CurbServer, jobs: int, users: int) -> None:
    """A token each, then the jobs: the first take the cluster, the others wait."""
    admin = curb.admin().token
    tokens: list[str] = [""] * users

    def token(connection: Connection, n: int) -> None:
        tokens[n] = json.loads(connection.send("POST", "/curb/v1/tokens", admin, {"user": f"user{n}"}))["token"]

    took = in_parallel(curb.port, token, users)
    say(f"{users:,} tokens made", f"{users / took:,.0f}/s")

    def submit(connection: Connection, n: int) -> None:
        # Two shapes a user, and no two commands alike: each is a record of its own in the journal.
        body = {
            "entrypoint": f"sleep 100000; python train.py --fold {n} --output results/{n}",
            "metadata": {"curb.cpu": "1" if n // users % 2 == 0 else "500m", "project": f"p{n % 17}"},
        }
        connection.send("POST", "/api/jobs/", tokens[n % users], body)

    took = in_parallel(curb.port, submit, jobs + RUNNING)
    say(f"{jobs:,} jobs of {users:,} users submitted, almost all of which wait", f"{jobs / took:,.0f}/s")


def waiting(curb: CurbServer) -> int:
    """How many jobs wait, as the server itself says."""
    return sum(int(cluster["queued"]) for cluster in curb.clusters().values())


def explains(curb: CurbServer, until: threading.Event | None = None) -> list[float]:
    """Milliseconds of each of some explanations one after another; with `until`, as many as there is time for."""
    connection, token = Connection(curb.port), curb.admin().token
    took: list[float] = []
    body = {"entrypoint": "true", "metadata": {"curb.cpu": "1"}}
    try:
        while (len(took) < EXPLAINS) if until is None else not until.is_set():
            began = time.monotonic()
            connection.send("POST", "/curb/v1/explain", token, body)
            took.append((time.monotonic() - began) * 1e3)
            time.sleep(0.002)
    finally:
        connection.close()
    return took


def tell_explains(when: str, took: list[float]) -> None:
    """The median and the worst."""
    worst = max(took)
    figure = f"{statistics.median(took):.1f} ms, worst {worst:.0f}"
    say(f"explain {when} ({len(took)})", figure, f"{EXPLAIN_AIM_MS:.0f} ms", worst < EXPLAIN_AIM_MS)


@contextmanager
def explaining(curb: CurbServer, when: str) -> Iterator[None]:
    """Asks for explanations all the while."""
    done, took = threading.Event(), [0.0]
    asker = threading.Thread(target=lambda: took.__setitem__(slice(None), explains(curb, done)))
    asker.start()
    try:
        yield
    finally:
        done.set()
        asker.join()
    tell_explains(when, took)


def lists(curb: CurbServer, jobs: int) -> None:
    """An operator's lists of everything: in Ray's words, which know no pages, and in Curb's."""
    token, connection = curb.admin().token, Connection(curb.port)
    try:
        for alone in (True, False):
            if alone:
                began = time.monotonic()
                body = connection.send("GET", "/api/jobs/", token)
                took = time.monotonic() - began
                told = len(json.loads(body))
                if told < jobs:
                    raise RuntimeError(f"only {told} of {jobs} jobs were in the list")
                say(f"GET /api/jobs/ of {told:,} jobs, {len(body) / 1e6:.0f} MB", f"{took:.2f} s")
                tell_memory(curb, "after it")
            else:
                with explaining(curb, "while that list is made"):
                    connection.send("GET", "/api/jobs/", token)
        began, told, query = time.monotonic(), 0, ""
        while True:
            page = json.loads(connection.send("GET", f"/curb/v1/jobs?limit={PAGE}{query}", token))
            told += len(page["jobs"])
            if not page.get("next"):
                break
            query = f"&after={page['next']}"
        took = time.monotonic() - began
        say(f"/curb/v1/jobs of {told:,} jobs, {PAGE:,} a page", f"{took:.2f} s")
        tell_memory(curb, "after it")
    finally:
        connection.close()


def processes(curb: CurbServer) -> None:
    """`curb explain` as its users call it: start, ask, print, end."""
    user, took = curb.admin(), []
    for _ in range(EXPLAIN_PROCESSES):
        began = time.monotonic()
        user.curb("explain", "--cpu", "1").must()
        took.append((time.monotonic() - began) * 1e3)
    tell_explains("as a process, `curb explain`", took)


def next_start(ray: Standin, known: int) -> int:
    """When the first job after the `known` ones was started, in ms since 1970; waits for it."""
    eventually(lambda: len(ray.starts()) > known, 30, "another job starts", every=0.02)
    return int(ray.starts()[known]["at_ms"])


def from_reading_to_start(ray: Standin, ended: str, before: int) -> float:
    """Milliseconds from when Curb last asked about `ended`, and was told that it is over, until it sent the
    next start; by the stand-in's clock, of its requests after the first `before`."""
    asked = ray.requests(before)
    starts = [r["at_us"] for r in asked if (r["method"], r["path"]) == ("POST", "/api/jobs/")]
    told = [r["at_us"] for r in asked if r["path"] == f"/api/jobs/{ended}" and r["at_us"] < starts[0]]
    return float(starts[0] - told[-1]) / 1e3


def completions(curb: CurbServer, ray: Standin) -> None:
    """Ends running jobs one by one: how soon, by the stand-in's clock, does the next start there?"""
    granted, started = [], []
    for n in range(COMPLETIONS):
        before, asked = ray.starts(), ray.request_count()
        ended, at = before[n]["id"], time.time() * 1e3
        ray.finish(ended)
        started.append(next_start(ray, len(before)) - at)
        granted.append(from_reading_to_start(ray, ended, asked))
    figure = f"{statistics.median(granted):.1f} ms, worst {max(granted):.1f}"
    say("from reading an end to the next POST, durable grant between", figure)
    figure = f"{statistics.median(started):.0f} ms, worst {max(started):.0f}"
    say("from an end in Ray to the next start there (polled at 1 s)", figure)


def measure(curb: CurbServer, ray: Standin, jobs: int, users: int) -> None:
    """Everything, in order."""
    curb.wait_ready()
    curb.wait_reachable()
    tell_memory(curb, "of the empty server")
    fill(curb, jobs, users)
    if waiting(curb) < jobs:
        raise RuntimeError(f"only {waiting(curb)} of {jobs} jobs wait: this is not what was to be measured")
    tell_memory(curb, f"with {jobs:,} waiting jobs")
    tell_explains("while they wait", explains(curb))
    processes(curb)
    lists(curb, jobs)
    completions(curb, ray)
    tell_memory(curb, "at the end")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--binaries", type=Path, default=REPOSITORY / "target" / "release", help="of curb and ray-standin"
    )
    parser.add_argument("--jobs", type=int, default=50_000)
    parser.add_argument("--users", type=int, default=1_000)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="curb-bench-") as scratch:
        policy = Path(scratch) / "policy.yaml"
        policy.write_text(POLICY % RUNNING)
        with (
            Standin(chosen.binaries / "ray-standin", ["--job-seconds", "never"]) as ray,
            CurbServer(
                chosen.binaries / "curb", ray.address, policy, Path(scratch) / "data", arguments=["--start-rate", "0"]
            ) as curb,
        ):
            measure(curb, ray, chosen.jobs, chosen.users)


if __name__ == "__main__":
    main()
