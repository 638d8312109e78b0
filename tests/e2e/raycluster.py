"""A one-node Ray that nobody outside this machine can reach, for the tests and the demo.

Ray rewrites 127.0.0.1 to the machine's own address and then listens on all interfaces, its unauthenticated job agent
included. It stays on loopback only if told that it never becomes a cluster of several nodes. After each start every
listening socket is looked at, and a Ray that can be reached from outside is stopped at once.

Nothing outlives its user: a supervisor holds Ray in a session of its own as the subreaper of all that Ray starts, and
ends it when asked to, when its parent ends, and when Ray itself ends. `ray stop` is never used: it stops other
people's Ray too.

From a shell: `raycluster.py start | stop | status | run | with -- COMMAND` (see `--help`).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from pathlib import Path
from types import TracebackType
from typing import Any

import procs

_MARK = "CURB_RAY_INSTANCE"
_PORTS = {
    # name: how Ray is told. What is not named here Ray takes from the kernel.
    "gcs": "--port",
    "dashboard": "--dashboard-port",
    "agent": "--dashboard-agent-listen-port",
    "agent_grpc": "--dashboard-agent-grpc-port",
    "runtime_env": "--runtime-env-agent-port",
    "object_manager": "--object-manager-port",
    "node_manager": "--node-manager-port",
    "client": "--ray-client-server-port",
    "metrics": "--metrics-export-port",
    "autoscaler_metrics": "AUTOSCALER_METRIC_PORT",
    "dashboard_metrics": "DASHBOARD_METRIC_PORT",
}


class RayError(RuntimeError):
    """Ray did not do what it was asked to. The text says what, and where its logs are."""


class RayCluster:
    """A head node with `num_cpus` logical CPUs. Use it in a `with` statement, or call `start` and `stop`.

    The ports stay the same over `restart`, as an operator's would.
    """

    def __init__(
        self,
        num_cpus: int = 4,
        num_gpus: int = 0,
        resources: dict[str, float] | None = None,
        auth_token: str | None = None,
        start_seconds: float = 120,
    ) -> None:
        self._cpus, self._gpus, self._resources = num_cpus, num_gpus, dict(resources or {})
        self._auth_token = auth_token
        self._start_seconds = start_seconds
        self._ports = _free_ports(list(_PORTS))
        self._mark = uuid.uuid4().hex
        self._supervisor: subprocess.Popen[bytes] | None = None
        self._lifeline: int | None = None
        self._process: procs.Process | None = None
        self.temp_dir: Path | None = None

    @property
    def address(self) -> str:
        """Of the dashboard and its Jobs API: what `curb serve --ray` takes."""
        return f"http://127.0.0.1:{self._ports['dashboard']}"

    @property
    def gcs_address(self) -> str:
        """What `ray.init(address=...)` takes."""
        return f"127.0.0.1:{self._ports['gcs']}"

    @property
    def pid(self) -> int | None:
        """Of the supervisor while Ray runs."""
        return self._process.pid if self._process else None

    def __enter__(self) -> RayCluster:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, daemon: bool = False) -> RayCluster:
        """Returns when jobs can be submitted. With `daemon`, Ray outlives the caller: end it by its state file."""
        if self._process and self._process.alive():
            raise RayError(f"Ray is already running at {self.address}")
        if self.temp_dir is None:
            # Short: the sockets' paths below it must fit into the 107 bytes of an AF_UNIX address.
            self.temp_dir = Path(tempfile.mkdtemp(prefix="cr-", dir="/tmp"))
        reader = None
        if not daemon:
            reader, self._lifeline = os.pipe()
        spec = {"command": self._command(), "lifeline": reader}
        try:
            with open(self.temp_dir / "supervisor.log", "ab") as log:
                self._supervisor = subprocess.Popen(
                    [sys.executable, __file__, "supervise", json.dumps(spec)],
                    env=self._environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    pass_fds=[reader] if reader is not None else [],
                )
        finally:
            if reader is not None:
                os.close(reader)
        self._process = procs.identify(self._supervisor.pid)
        try:
            self._wait_until_ready()
            self.check_loopback()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Ends every process of this Ray and removes its directory. Doing it twice is harmless."""
        self._end(signal.SIGTERM)
        if self.temp_dir is not None:
            shutil.rmtree(self.temp_dir, ignore_errors=True)
            self.temp_dir = None

    def kill_head(self) -> None:
        """Ray is gone in an instant, as when its machine loses power: no process gets to say goodbye."""
        self._end(signal.SIGUSR1)

    def restart(self) -> None:
        """A new Ray at the same address, with a new session that knows none of the old jobs."""
        self._end(signal.SIGTERM)
        self.start()

    def processes(self) -> list[procs.Process]:
        """Everything that belongs to this Ray now, its jobs included."""
        if self._process is None or not self._process.alive():
            return []
        return [self._process, *procs.descendants(self._process.pid)]

    def check_loopback(self) -> list[procs.Listener]:
        """Stops Ray and fails if any socket of it can be reached from outside; else returns them."""
        found = procs.listeners(self.processes())
        if open_to_all := [f"{s.protocol} {s.host}:{s.port} (pid {s.pid})" for s in found if not s.loopback]:
            self.stop()
            raise RayError("Ray listened outside loopback, so it was stopped: " + ", ".join(open_to_all))
        if not any(s.port == self._ports["dashboard"] for s in found):
            raise RayError(f"looked for the sockets of Ray and did not find its dashboard at {self.address}")
        return found

    def session_name(self) -> str:
        """Of Ray's present incarnation: it changes with each start."""
        return str(_get_json(self.address + "/api/version", self._auth_token)["session_name"])

    def state(self) -> dict[str, Any]:
        """What another process needs to stop this Ray."""
        assert self._process is not None
        return {
            "address": self.address,
            "gcs_address": self.gcs_address,
            "pid": self._process.pid,
            "start_ticks": self._process.start_ticks,
            "mark": self._mark,
            "temp_dir": str(self.temp_dir),
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> RayCluster:
        """The cluster that wrote `state`, to be stopped or looked at."""
        cluster = cls()
        cluster._mark = state["mark"]
        cluster._process = procs.Process(state["pid"], state["start_ticks"])
        cluster._ports["dashboard"] = int(state["address"].rsplit(":", 1)[1])
        cluster._ports["gcs"] = int(state["gcs_address"].rsplit(":", 1)[1])
        cluster.temp_dir = Path(state["temp_dir"])
        return cluster

    def _end(self, signum: signal.Signals) -> None:
        if self._lifeline is not None:
            # Kept open until the signal is sent: its end means "my parent is gone" and would win the race.
            lifeline, self._lifeline = self._lifeline, None
        else:
            lifeline = None
        try:
            if self._process is not None and self._process.send(signum):
                if self._supervisor is not None:
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        self._supervisor.wait(timeout=25)
                else:
                    _wait(lambda: not self._process.alive(), 25)
        finally:
            if lifeline is not None:
                os.close(lifeline)
        left = procs.kill_until_none(lambda: procs.marked(f"{_MARK}={self._mark}"))
        if self._supervisor is not None:
            self._supervisor.wait(timeout=5)
        self._process = self._supervisor = None
        if left:
            raise RayError(f"these processes of Ray could not be ended: {[p.pid for p in left]}")

    def _command(self) -> list[str]:
        command = [
            str(Path(sys.executable).parent / "ray"), "start", "--head", "--block",
            "--node-ip-address=127.0.0.1", "--dashboard-host=127.0.0.1", "--include-dashboard=true",
            "--disable-usage-stats", f"--temp-dir={self.temp_dir}", "--object-store-memory=100000000",
            "--min-worker-port=0", "--max-worker-port=0", "--log-color=false",
            f"--num-cpus={self._cpus}", f"--num-gpus={self._gpus}",
        ]  # fmt: skip
        if self._resources:
            command.append(f"--resources={json.dumps(self._resources)}")
        return command + [f"{flag}={self._ports[name]}" for name, flag in _PORTS.items() if flag.startswith("--")]

    def _environment(self) -> dict[str, str]:
        env = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "CURB_"))}
        env |= {flag: str(self._ports[name]) for name, flag in _PORTS.items() if not flag.startswith("--")}
        env |= {
            _MARK: self._mark,
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_DISABLE_IMPORT_WARNING": "1",
            # Jobs call `python` and `ray`: they get this environment's.
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{env.get('PATH', os.defpath)}",
        }
        if self._auth_token is not None:
            env |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self._auth_token}
        return env

    def _wait_until_ready(self) -> None:
        def ready() -> bool:
            if self._supervisor is not None and self._supervisor.poll() is not None:
                raise RayError(f"Ray ended while it was starting.\n{self._log_tail()}")
            # Jobs are started by the node's agent, which comes up after the dashboard.
            agent = f"http://127.0.0.1:{self._ports['agent']}/api/local_raylet_healthz"
            return all(_answers(url, self._auth_token) for url in (agent, self.address + "/api/jobs/"))

        if not _wait(ready, self._start_seconds):
            raise RayError(f"Ray did not get ready in {self._start_seconds:.0f} s.\n{self._log_tail()}")

    def _log_tail(self) -> str:
        assert self.temp_dir is not None
        return "\n".join((self.temp_dir / "supervisor.log").read_text(errors="replace").splitlines()[-30:])


def _wait(condition: Any, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.1)
    return False


def _get_json(url: str, token: str | None) -> Any:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    with urllib.request.urlopen(request, timeout=5) as response:
        return json.load(response)


def _answers(url: str, token: str | None) -> bool:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    try:
        with urllib.request.urlopen(request, timeout=5) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def _free_ports(names: list[str]) -> dict[str, int]:
    """Free ports below the kernel's own range, which any outgoing connection may take one of at any moment."""
    found: dict[str, int] = {}
    with contextlib.ExitStack() as held:
        for candidate in random.sample(range(12_000, 32_000), 500):
            if len(found) == len(names):
                break
            probe = held.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", candidate))
                found[names[len(found)]] = candidate
    if len(found) < len(names):
        raise RayError("found no free ports between 12000 and 32000 on 127.0.0.1")
    return found


# ---- the supervisor: a process of its own ------------------------------------------------------------------------


def _supervise(spec: dict[str, Any]) -> int:
    """Holds one Ray. SIGTERM, SIGINT and the end of the lifeline stop it; SIGUSR1 kills it without a goodbye."""
    procs.become_subreaper()
    wake, wake_writer = os.pipe()
    os.set_blocking(wake_writer, False)
    signal.set_wakeup_fd(wake_writer, warn_on_full_buffer=False)
    asked: list[int] = []
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(signum, lambda number, _frame: asked.append(number))
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)  # only to wake up

    ray = subprocess.Popen(spec["command"], stdin=subprocess.DEVNULL, preexec_fn=procs.die_with_parent)
    watched = [wake] + ([spec["lifeline"]] if spec["lifeline"] is not None else [])
    code: int | None = None
    while not asked and code is None:
        readable, _, _ = select.select(watched, [], [])
        if spec["lifeline"] in readable:
            asked.append(signal.SIGTERM)
        if wake in readable:
            os.read(wake, 4096)
        code = _reap(ray.pid)
    if code is None and signal.SIGUSR1 not in asked:
        ray.send_signal(signal.SIGTERM)
        _wait(lambda: _reap(ray.pid) is not None, 5)
    left = procs.kill_until_none(lambda: procs.descendants(os.getpid()))
    _wait(lambda: _reap(0) is None and not _has_children(), 2)
    print(f"supervisor: Ray ended ({'asked to' if asked else f'by itself, status {code}'}); {len(left)} processes left")
    return 0 if asked and not left else 1


def _reap(wanted: int) -> int | None:
    """Buries every child that ended; the exit status of `wanted` if it was among them."""
    found = None
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return found
            if pid == wanted:
                found = os.waitstatus_to_exitcode(status)
    return found


def _has_children() -> bool:
    """Zombies count: whoever waits for nothing more has none."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


# ---- for the shell -----------------------------------------------------------------------------------------------


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _start(cluster: RayCluster, daemon: bool) -> None:
    _say("ray: starting a one-node Ray on 127.0.0.1 (about 10 s)")
    began = time.monotonic()
    cluster.start(daemon=daemon)
    count = len(cluster.check_loopback())
    _say(f"ray: ready after {time.monotonic() - began:.0f} s; all of its {count} sockets are on loopback")


def _cli_start(args: argparse.Namespace) -> int:
    if args.state.exists():
        old = RayCluster.from_state(json.loads(args.state.read_text()))
        if old.processes():
            _say(f"ray: already running at {old.address} (pid {old.pid}, {args.state})")
            _say("ray: to end it: scripts/ray-loopback.sh stop")
            return 1
    cluster = RayCluster(num_cpus=args.cpus)
    _start(cluster, daemon=True)
    args.state.parent.mkdir(parents=True, exist_ok=True)
    args.state.write_text(json.dumps(cluster.state(), indent=2) + "\n")
    _say(f"ray: supervisor pid {cluster.pid}, recorded in {args.state}")
    print(cluster.address)
    return 0


def _cli_stop(args: argparse.Namespace) -> int:
    if not args.state.exists():
        _say(f"ray: nothing to stop: {args.state} does not exist")
        return 0
    RayCluster.from_state(json.loads(args.state.read_text())).stop()
    args.state.unlink()
    _say("ray: stopped")
    return 0


def _cli_status(args: argparse.Namespace) -> int:
    cluster = RayCluster.from_state(json.loads(args.state.read_text())) if args.state.exists() else None
    if cluster is None or not cluster.processes():
        _say("ray: not running")
        return 1
    print(cluster.address)
    for socket_ in cluster.check_loopback():
        _say(f"  {socket_.protocol:5} {socket_.host}:{socket_.port}  pid {socket_.pid}")
    return 0


def _cli_run(args: argparse.Namespace) -> int:
    """In the foreground, until a signal or the end of Ray."""
    for signum in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, lambda number, _frame: sys.exit(128 + number))
    with RayCluster(num_cpus=args.cpus) as cluster:
        try:
            _say(f"ray: running at {cluster.address}; Ctrl-C stops it")
            print(cluster.address, flush=True)
            while cluster.processes():
                time.sleep(1)
            _say("ray: ended by itself")
            return 1
        except KeyboardInterrupt:
            _say("ray: stopping")
            return 0


def _cli_with(args: argparse.Namespace) -> int:
    """Runs COMMAND with CURB_TEST_RAY set to the address of a Ray that lives as long as it."""
    for signum in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, lambda number, _frame: sys.exit(128 + number))
    cluster = RayCluster(num_cpus=args.cpus)
    try:
        _start(cluster, daemon=False)
        env = os.environ | {"CURB_TEST_RAY": cluster.address}
        return subprocess.run(args.command, env=env, check=False).returncode
    finally:
        cluster.stop()


def main() -> int:
    """Entry point of the command line."""
    if sys.argv[1:2] == ["supervise"]:  # internal: started by RayCluster
        return _supervise(json.loads(sys.argv[2]))
    default_state = Path(__file__).resolve().parents[2] / ".cache" / "ray.json"
    parser = argparse.ArgumentParser(description="A one-node Ray that listens on loopback only.")
    verbs = parser.add_subparsers(required=True)
    for name, action, text in (
        ("start", _cli_start, "start one in the background; prints its address"),
        ("stop", _cli_stop, "end what `start` started, and nothing else"),
        ("status", _cli_status, "print the address and all sockets; exit 1 if it does not run"),
        ("run", _cli_run, "run one in the foreground; Ctrl-C ends it"),
        ("with", _cli_with, "run a command with CURB_TEST_RAY=<address>, then end Ray; exits as the command did"),
    ):
        verb = verbs.add_parser(name, help=text)
        verb.set_defaults(action=action)
        verb.add_argument("--cpus", type=int, default=4, help="logical CPUs (default 4)")
        verb.add_argument("--state", type=Path, default=default_state, help="the file that records what runs")
        if name == "with":
            verb.add_argument("command", nargs="+")
    args = parser.parse_args()
    try:
        return int(args.action(args))
    except RayError as error:
        _say(f"ray: {error}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
