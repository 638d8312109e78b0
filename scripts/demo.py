"""The tour: a real Ray on loopback, Curb in front of it, and Ray's own client. Started by scripts/demo.sh."""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY / "tests" / "e2e"))
from curbserver import CurbError, CurbServer, User  # noqa: E402
from raycluster import RayCluster, RayError  # noqa: E402

POLICY = REPOSITORY / "examples" / "policy.yaml"
WIDTH = 80


class StepFailed(Exception):
    """A step of the tour did not do what it promises. The text says what was expected."""


def say(text: str = "") -> None:
    """Everything that the demo itself says."""
    print(text, flush=True)


def heading(number: int, text: str) -> None:
    """Of a step."""
    say()
    title = f"-- {number}. {text} "
    say(title + "-" * max(0, WIDTH - len(title)))


@contextlib.contextmanager
def progress(what: str) -> Iterator[None]:
    """Tells that something long is going on, and how long it has taken: each second in a terminal, else every ten."""
    began, done = time.monotonic(), threading.Event()
    terminal = sys.stdout.isatty()
    back = "\r" if terminal else ""

    def tick() -> None:
        while not done.wait(1 if terminal else 10):
            elapsed = f"{back}{what} ... {time.monotonic() - began:.0f} s"
            print(elapsed, end="" if terminal else "\n", flush=True)

    ticker = threading.Thread(target=tick, daemon=True)
    ticker.start()
    try:
        yield
    except BaseException:
        done.set()
        ticker.join()
        say(f"{back}{what} ... failed after {time.monotonic() - began:.1f} s")
        raise
    done.set()
    ticker.join()
    say(f"{back}{what} ... done in {time.monotonic() - began:.1f} s")


class Echo:
    """Runs one of a user's commands, shows it as typed, and what it prints while it runs."""

    def __init__(self, user: User, *arguments: str) -> None:
        say(f"{user.name}$ ray job submit " + " ".join(shlex.quote(a) for a in arguments))
        self._stream = user.ray_job_stream("submit", "--log-color", "false", *arguments)
        self._reader = _Reader()
        self._stop = threading.Event()
        self._printer = threading.Thread(target=self._print, daemon=True)
        self._from = 0

    def __enter__(self) -> Echo:
        self._printer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.stop()
        self._finish()

    @property
    def output(self) -> str:
        """Everything that it has printed."""
        return self._stream.output

    def wait_for(self, pattern: str, seconds: float) -> None:
        """Until the output has `pattern`."""
        self._stream.wait_for(pattern, seconds)

    def ends_with(self, status: int, seconds: float = 120) -> None:
        """Until it ends, as it should."""
        found = self._stream.wait(seconds)
        self._finish()
        if found != status:
            raise StepFailed(f"`ray job submit` should have exited with {status}, and did with {found}")
        say(f"  (exit status {found})")

    def _finish(self) -> None:
        self._stop.set()
        if self._printer.is_alive():
            self._printer.join(timeout=5)

    def _print(self) -> None:
        while True:
            last = self._stop.wait(0.1)
            text = self._stream.output
            end = len(text) if last else text.rfind("\n") + 1
            for line in text[self._from : end].splitlines():
                if (shown := self._reader.readable(line)) is not None:
                    say(f"  | {shown}")
            self._from = max(end, self._from)
            if last:
                return


_NEXT_STEPS = ("Next steps", "Query the", "Request the", "ray job", "Job submission server", "WebSocket closed")


class _Reader:
    """Leaves out what is the same each time: Ray's time stamps and hints, rules, and the traceback of its client."""

    def __init__(self) -> None:
        self._traceback = 0

    def readable(self, line: str) -> str | None:
        """The line to show, None to leave it out."""
        if line.startswith("20") and " -- " in line:
            line = line.split(" -- ", 1)[1]
        if line.startswith("Traceback") or (self._traceback and line.startswith(" ")):
            self._traceback += 1
            return None
        if self._traceback:
            say(f"  | (Ray's client prints {self._traceback} lines of its own traceback here)")
            self._traceback = 0
        if not line.strip("- ") or line.lstrip().startswith(_NEXT_STEPS):
            return None
        return line


def expect(output: str, *wanted: str) -> None:
    """Fails the step unless each of these is in the output, in this order. Line breaks count as blanks."""
    rest = " ".join(output.split())
    for text in wanted:
        _, found, rest = rest.partition(text)
        if not found:
            raise StepFailed(f"the output should have had, in this order, {wanted}: {text!r} is missing")


def declare(**amounts: str) -> list[str]:
    """What a job says about itself, as `ray job submit` takes it."""
    pairs = ", ".join(f'"curb.{key}": "{value}"' for key, value in amounts.items())
    return ["--metadata-json", "{" + pairs + "}"]


def admitted(user: User) -> None:
    """One job that fits: it passes, and its log is streamed to the end."""
    heading(1, "A job that fits is admitted, and its log is streamed to the end")
    script = "for step in 1 2 3; do echo step $step of 3; sleep 0.5; done"
    with Echo(user, *declare(job_type="training", cpu="1", duration="10m"), "--", "sh", "-c", script) as job:
        job.ends_with(0)
        expect(job.output, "submitted successfully", "step 1 of 3", "step 3 of 3", "succeeded")


def refused(user: User) -> None:
    """One job that can never fit: it is refused, with the numbers."""
    heading(2, "A job that can never fit is refused at once, with the numbers")
    with Echo(user, *declare(job_type="training", cpu="4", duration="10m"), "--", "sh", "-c", "true") as job:
        job.ends_with(1)
        expect(job.output, "status code 422", "4 CPU")
        expect(job.output, "status code 422", "3 CPU")
        if "submitted successfully" in job.output:
            raise StepFailed("the job was submitted, and should have been refused")


def queued(user: User) -> None:
    """One job that fits later: it waits, says where it stands, and starts by itself."""
    heading(3, "A job that fits later waits, says where it stands, and starts by itself")
    say(f"A job of {user.name}'s that takes both of her CPUs for a while, in the background:")
    first = user.client().submit_job(
        entrypoint="sleep 12",
        metadata={"curb.job_type": "training", "curb.cpu": "2", "curb.duration": "5m"},
    )
    say(f"  {first}")
    with Echo(user, *declare(job_type="training", cpu="1", duration="10m"), "--", "echo", "it is my turn") as job:
        job.wait_for(r"(?m)^curb: .*position 1", 30)
        if (status := user.status(first)) not in ("PENDING", "RUNNING"):
            raise StepFailed(f"the first job should still hold the CPUs, and is {status}")
        job.ends_with(0)
        expect(job.output, "submitted successfully", "position 1", "it is my turn", "succeeded")
    if (status := user.status(first)) != "SUCCEEDED":
        raise StepFailed(f"the first job should have succeeded, and is {status}")


def tour(server: CurbServer, ray: RayCluster, users: dict[str, User]) -> bool:
    """All steps; True if each did what it promises."""
    failed = []
    for step in (admitted, refused, queued):
        try:
            step(users["ana"])
            say("  ok")
        except (StepFailed, AssertionError, RuntimeError) as error:
            failed.append(step.__name__)
            say(f"  WRONG: {error}")
    ray.check_loopback()
    if not server.running:
        failed.append("curb serve")
    if failed:
        say(f"\nThe tour went wrong in: {', '.join(failed)}. The end of Curb's log:\n{server.log_tail(20)}")
    return not failed


def commands_to_try(server: CurbServer, users: dict[str, User]) -> None:
    """For the shell beside this one."""
    curb = os.path.relpath(server.binary)
    bin_directory = os.path.relpath(Path(sys.executable).parent)
    python = """\
import curb
print(curb.JobSubmissionClient().check(entrypoint="true", metadata={"curb.cpu": "4"}))"""
    say(f"""
Try it yourself, in another terminal, in this directory. First become somebody:

  . {bin_directory}/activate
  export CURB_ADDRESS={server.address} RAY_ADDRESS={server.address} RAY_AUTH_MODE=token""")
    for name, user in users.items():
        say(f"  export CURB_TOKEN={user.token} RAY_AUTH_TOKEN={user.token}  # {name}")
    say(f"""
  ray job submit -- python -c 'print("hello")'
  {curb} explain --cpu 4 --job-type training
  {curb} submit --cpu 1 --duration 10m -- sleep 30
  {curb} jobs
  {curb} quota
  {curb} status
  python -c {shlex.quote(python)}

Ray itself, without Curb: {server.ray}   Curb's log: {os.path.relpath(server.log)}
""")


def stay(server: CurbServer, ray: RayCluster) -> int:
    """Until Ctrl-C, or until one of the two ends by itself."""
    say("Running. Ctrl-C stops all of it.")
    while True:
        time.sleep(1)
        if not server.running:
            say(f"curb serve has ended by itself. The end of its log:\n{server.log_tail()}")
            return 1
        if not ray.processes():
            say("Ray has ended by itself.")
            return 1


def demo(args: argparse.Namespace, data: Path) -> int:
    """Starts everything, walks, and ends everything."""
    with contextlib.ExitStack() as running:
        ray = RayCluster(num_cpus=4)
        with progress("Starting a one-node Ray, on loopback only (about 10 s)"):
            running.enter_context(ray)
        server = CurbServer(args.curb, ray.address, POLICY, data / "journal", port=args.port)
        say(
            f"$ curb serve --policy {os.path.relpath(POLICY)} --ray {ray.address} --listen 127.0.0.1:{args.port} "
            f"--data {os.path.relpath(server.data)}"
        )
        with progress("Starting Curb on an empty journal"):
            running.enter_context(server)
            server.wait_ready()
        users = {}
        for name in ("ana", "li", "kim"):
            say(f"$ curb token create --user {name}")
            users[name] = server.user(name)
        began = time.monotonic()
        good = tour(server, ray, users)
        say(f"\nThe tour {'is done' if good else 'FAILED'} after {time.monotonic() - began:.0f} s.")
        if args.once:
            return 0 if good else 1
        commands_to_try(server, users)
        try:
            return stay(server, ray)
        except KeyboardInterrupt:
            return 0 if good else 1
        finally:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not leave half of it behind
            say("\nStopping Curb and Ray ...")


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(
        description="The tour. `make demo` builds what it needs first. Exits with 1 if a step went wrong."
    )
    parser.add_argument("--curb", type=Path, required=True, help="the curb binary")
    parser.add_argument("--port", type=int, default=8266, help="where Curb listens on 127.0.0.1")
    parser.add_argument("--once", action="store_true", help="end after the tour")
    args = parser.parse_args()
    for signum in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, lambda number, _frame: sys.exit(128 + number))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs start with it ignored
    place = REPOSITORY / ".cache" / "demo"
    place.mkdir(parents=True, exist_ok=True)
    data = Path(tempfile.mkdtemp(dir=place))
    try:
        return demo(args, data)
    except KeyboardInterrupt:
        say("Stopped.")
        return 130
    except (RayError, CurbError, AssertionError) as error:
        say(f"demo: {error}")
        return 1
    finally:
        shutil.rmtree(data, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
