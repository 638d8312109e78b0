"""A `curb serve` of the binary under test, its users, and watching what a command prints while it runs."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import procs

RAY = Path(sys.executable).parent / "ray"


class CurbError(RuntimeError):
    """Curb did not do what it was asked to. The text has the end of its log."""


def free_port() -> int:
    """A port that was free on loopback a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def clean_environment() -> dict[str, str]:
    """This process's, less whatever points clients or servers somewhere; with this Python's `ray` on the path."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "CURB_"))}
    env["PATH"] = f"{RAY.parent}{os.pathsep}{env.get('PATH', os.defpath)}"
    env["NO_COLOR"] = "1"
    env["COLUMNS"] = "80"
    return env


def eventually(condition: Callable[[], Any], seconds: float, what: str, every: float = 0.1) -> Any:
    """The first true value of `condition`; fails with `what` and the last value after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        if found := condition():
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"after {seconds:.0f} s still not: {what} (last: {found!r})")
        time.sleep(every)


class Stream:
    """A running command whose output can be waited for, line by line. End it with `stop`, or use `with`."""

    def __init__(self, command: Sequence[str], env: dict[str, str], cwd: Path | None = None) -> None:
        self.command = list(command)
        self._process = subprocess.Popen(
            self.command,
            env=env | {"PYTHONUNBUFFERED": "1"},
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
            preexec_fn=procs.die_with_parent,
        )
        self._lines: list[str] = []
        self._changed = threading.Condition()
        self._ended = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def output(self) -> str:
        """Everything so far."""
        with self._changed:
            return "".join(self._lines)

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def wait_for(self, pattern: str, seconds: float = 60) -> re.Match[str]:
        """The first match of `pattern` in the output."""
        deadline = time.monotonic() + seconds
        with self._changed:
            while True:
                text = "".join(self._lines)
                if found := re.search(pattern, text):
                    return found
                left = deadline - time.monotonic()
                if left <= 0 or self._ended:
                    why = "it ended" if self._ended else f"after {seconds:.0f} s"
                    raise AssertionError(f"{why} without /{pattern}/:\n$ {' '.join(self.command)}\n{text}")
                self._changed.wait(left)

    def wait(self, seconds: float = 90) -> int:
        """The exit status, once all output has been read."""
        try:
            status = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still runs after {seconds:.0f} s: {' '.join(self.command)}\n{self.output}") from None
        self._reader.join(timeout=5)
        return status

    def send(self, signum: signal.Signals) -> None:
        """Sends it a signal."""
        self._process.send_signal(signum)

    def stop(self) -> None:
        """Ends it if it still runs."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(5)
        self._reader.join(timeout=5)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._changed:
                self._lines.append(line)
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()


@dataclass(frozen=True)
class Result:
    """What a command that has ended said."""

    command: str
    status: int
    stdout: str
    stderr: str

    @property
    def output(self) -> str:
        """Both streams."""
        return self.stdout + self.stderr

    def must(self, status: int = 0) -> Result:
        """Itself if it exited with `status`."""
        if self.status != status:
            raise AssertionError(f"$ {self.command}\nexited with {self.status}, not {status}:\n{self.output}")
        return self


def run(command: Sequence[str], env: dict[str, str], seconds: float = 90, cwd: Path | None = None) -> Result:
    """Runs a command to its end."""
    shown = " ".join(str(part) for part in command)
    try:
        done = subprocess.run(
            command,
            env=env,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        raise AssertionError(f"$ {shown}\nstill ran after {seconds:.0f} s: {late.stdout!r} {late.stderr!r}") from None
    return Result(shown, done.returncode, done.stdout, done.stderr)


class CurbServer:
    """One `curb serve` on a data directory of its own. The port stays the same over restarts."""

    def __init__(
        self,
        binary: Path,
        ray: str | None,
        policy: Path | None,
        data: Path,
        port: int | None = None,
        arguments: Sequence[str] = (),
        environment: dict[str, str] | None = None,
        dashboard: bool = False,
    ) -> None:
        self.binary, self.ray, self.policy, self.data = Path(binary), ray, policy, data
        self.port = port or free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self.log = data.parent / f"{data.name}.log"
        self._arguments = list(arguments)
        self.dashboard: str | None = None
        if dashboard:
            shown = f"127.0.0.1:{free_port()}"
            self.dashboard = f"http://{shown}"
            self._arguments += ["--dashboard-listen", shown]
        self._environment = environment or {}
        self._process: subprocess.Popen[bytes] | None = None
        self._admin: str | None = None

    def __enter__(self) -> CurbServer:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.terminate()

    def start(self, seconds: float = 20) -> CurbServer:
        """Returns when it answers. The first start makes an admin's token straight in the journal before."""
        self.data.mkdir(parents=True, exist_ok=True)
        if self._admin is None:
            self._admin = self.offline("token", "create", "--user", "root", "--role", "admin").must().stdout.strip()
        with open(self.log, "ab") as log:
            self._process = subprocess.Popen(
                self.command(),
                env=clean_environment() | self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=procs.die_with_parent,
            )

        def answers() -> bool:
            assert self._process is not None
            if self._process.poll() is not None:
                raise CurbError(f"curb serve exited with {self._process.returncode}:\n{self.log_tail()}")
            return self.probe("/healthz") == 200

        try:
            eventually(answers, seconds, "curb serve answers /healthz", every=0.05)
        except BaseException:
            self.kill()
            raise
        return self

    def command(self) -> list[str]:
        """What is started; without --ray and --policy where the arguments name a configuration file that has them."""
        ray = ["--ray", self.ray] if self.ray else []
        policy = ["--policy", str(self.policy)] if self.policy else []
        where = ["--listen", f"127.0.0.1:{self.port}", "--data", str(self.data)]
        return [str(self.binary), "serve", *policy, *ray, *where, *self._arguments]

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Of the process."""
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """SIGKILL, as an out-of-memory killer would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def signal(self, signum: signal.Signals) -> None:
        """Sends the process a signal."""
        assert self._process is not None
        self._process.send_signal(signum)

    def wait(self, seconds: float = 20) -> int:
        """The exit status, once it ends by itself."""
        assert self._process is not None
        return self._process.wait(seconds)

    def resident_kib(self) -> int:
        """Memory that the process has at present (VmRSS), in KiB."""
        [line] = [x for x in Path(f"/proc/{self.pid}/status").read_text().splitlines() if x.startswith("VmRSS:")]
        return int(line.split()[1])

    def terminate(self, seconds: float = 20) -> int | None:
        """SIGTERM; the exit status. Killed, and an error, if it does not drain in time."""
        if self._process is None:
            return None
        self._process.terminate()
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise CurbError(f"curb serve did not end {seconds:.0f} s after SIGTERM:\n{self.log_tail()}") from None
        finally:
            self.kill()

    def probe(self, path: str, token: str | None = None) -> int | None:
        """The status of a GET; None where nobody answers."""
        request = urllib.request.Request(self.address + path)
        if token:
            request.add_header("Authorization", f"Bearer {token}")
        try:
            with urllib.request.urlopen(request, timeout=5) as response:
                return int(response.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return None

    def wait_ready(self, seconds: float = 30) -> None:
        """Until /readyz says that admissions are taken."""
        eventually(lambda: self.probe("/readyz") == 200, seconds, "curb is ready (/readyz)")

    def clusters(self) -> dict[str, Any]:
        """What the server says of each cluster, by name."""
        status = self.admin().ask("GET", "/curb/v1/status").must().json
        return {cluster["name"]: cluster for cluster in status["clusters"]}

    def wait_reachable(self, seconds: float = 20) -> None:
        """Until it has seen every cluster."""
        eventually(
            lambda: all(c["reachable"] and c.get("capacity") for c in self.clusters().values()),
            seconds,
            "every cluster was reached",
            every=0.05,
        )

    def apply_policy(self, text: str, seconds: float = 10) -> None:
        """Changes the policy file, sends SIGHUP, and returns when the new policy is in force."""
        assert self.policy is not None
        self.policy.write_text(text)
        self.signal(signal.SIGHUP)
        wanted = hashlib.sha256(text.encode()).hexdigest()

        def in_force() -> bool:
            return bool(self.admin().ask("GET", "/curb/v1/status").must().json["policy_sha256"] == wanted)

        eventually(in_force, seconds, "the changed policy is in force", every=0.05)

    def log_tail(self, lines: int = 40) -> str:
        """The end of what the server said."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def offline(self, *arguments: str) -> Result:
        """A `curb` command on the data directory, while no server has it."""
        command = [str(self.binary), *arguments, "--data", str(self.data)]
        return run(command, clean_environment(), 30)

    def admin(self) -> User:
        """Who may do everything."""
        assert self._admin is not None
        return User(self, "root", self._admin)

    def user(self, name: str, role: str = "user") -> User:
        """A user with a new token."""
        made = self.admin().curb("token", "create", "--user", name, "--role", role).must()
        return User(self, name, made.stdout.strip())


@dataclass(frozen=True)
class Answer:
    """Of HTTP. The names of headers are in lower case."""

    status: int
    headers: dict[str, str]
    text: str

    @property
    def json(self) -> Any:
        """The body, read as JSON."""
        return json.loads(self.text)

    def must(self, status: int = 200) -> Answer:
        """Itself if it has this status."""
        if self.status != status:
            raise AssertionError(f"{self.status}, not {status}: {self.text}")
        return self


def ask(
    address: str,
    method: str,
    path: str,
    token: str | None = None,
    body: Any = None,
    headers: dict[str, str] | None = None,
    seconds: float = 20,
) -> Answer:
    """One request to `http://HOST:PORT`; the path goes out as it is, a body as JSON."""
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=seconds)
    sent = dict(headers or {})
    if token is not None:
        sent["Authorization"] = f"Bearer {token}"
    if body is not None:
        sent.setdefault("Content-Type", "application/json")
    try:
        connection.request(method, path, None if body is None else json.dumps(body), sent)
        got = connection.getresponse()
        return Answer(got.status, {k.lower(): v for k, v in got.getheaders()}, got.read().decode(errors="replace"))
    finally:
        connection.close()


class User:
    """Somebody with a token: Ray's client, in Python and on the command line, and curb's own."""

    def __init__(self, server: CurbServer, name: str, token: str) -> None:
        self.server, self.name, self.token = server, name, token

    def env(self) -> dict[str, str]:
        """What this user has in the shell."""
        return clean_environment() | {
            "RAY_ADDRESS": self.server.address,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": self.token,
            "CURB_ADDRESS": self.server.address,
            "CURB_TOKEN": self.token,
        }

    def ray_job(self, *arguments: str, seconds: float = 90) -> Result:
        """`ray job ARGUMENTS` to its end."""
        return run([str(RAY), "job", *arguments], self.env(), seconds)

    def ray_job_stream(self, *arguments: str) -> Stream:
        """`ray job ARGUMENTS`, watched while it runs."""
        return Stream([str(RAY), "job", *arguments], self.env())

    def curb(self, *arguments: str, seconds: float = 30) -> Result:
        """`curb ARGUMENTS` to its end."""
        return run([str(self.server.binary), *arguments], self.env(), seconds)

    def ask(self, method: str, path: str, body: Any = None, **more: Any) -> Answer:
        """One request to the server."""
        return ask(self.server.address, method, path, self.token, body, **more)

    def submit(self, job: str, entrypoint: str = "sleep 600", **metadata: str) -> Answer:
        """Submits a job; `cpu="2"` declares `curb.cpu`."""
        declared = {f"curb.{key}": value for key, value in metadata.items()}
        return self.ask("POST", "/api/jobs/", {"entrypoint": entrypoint, "submission_id": job, "metadata": declared})

    def state(self, job: str) -> str:
        """Of one job, in Curb's words: queued, starting, running, succeeded, failed, stopped, quarantined."""
        return str(self.ask("GET", f"/curb/v1/jobs/{job}").must().json["state"])

    def until(self, job: str, state: str, seconds: float = 20) -> None:
        """Waits until the job is in this state."""
        eventually(lambda: self.state(job) == state, seconds, f"{job} is {state}", every=0.05)

    def client(self) -> Any:
        """Ray's own Python client, unmodified."""
        from ray.job_submission import JobSubmissionClient

        # Ray reads its address from the environment first, and this process may have one.
        for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
            os.environ.pop(name, None)
        return JobSubmissionClient(self.server.address, headers={"Authorization": f"Bearer {self.token}"})

    def status(self, job: str) -> str:
        """Of one job, through Ray's API."""
        return str(self.client().get_job_status(job).value)

    def stop_all(self) -> None:
        """Stops whatever of this user's still lives."""
        client = self.client()
        for job in client.list_jobs():
            if not job.status.is_terminal():
                client.stop_job(job.submission_id)
