"""One Ray and one Curb for the whole run: starting them costs more than most tests. Each test has a user of its own,
so that no test's jobs are in another's bucket."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from curbserver import CurbServer, User
from raycluster import RayCluster
from standin import Standin

REPOSITORY = Path(__file__).resolve().parents[2]

# Whoever starts the tests in the background of a script has SIGINT ignored, and programs keep that from their parents:
# what Ctrl-C does could not be tried then.
signal.signal(signal.SIGINT, signal.default_int_handler)

POLICY = """\
version: 1
capacity: discover
teams:
  vision:  {org: research, members: [ana, li]}
  serving: {org: product, members: [kim]}
job_types:
  training:  {default_request: {cpu: 1}, allowed: {org: research}}
  inference: {default_request: {cpu: 1}}
  batch:     {default_request: {cpu: 1}}
default_job_type: batch
quotas:
  - name: each-user
    for: {user: "*"}
    limits: {cpu: 2, jobs: 4, queued: 3}
    per_job: {cpu: 3, duration: 1h}
    above: queue
"""


@pytest.fixture(scope="session")
def curb_binary() -> Path:
    """CURB_BIN if it is set, else built now."""
    if chosen := os.environ.get("CURB_BIN"):
        return Path(chosen).resolve(strict=True)
    built = subprocess.run(
        [REPOSITORY / "scripts" / "build.sh"], check=True, stdout=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL
    )
    return Path(built.stdout.strip())


@pytest.fixture(scope="session")
def standin_binary(curb_binary: Path) -> Path:
    """CURB_STANDIN_BIN if it is set, else the one that was built beside the `curb` under test."""
    chosen = os.environ.get("CURB_STANDIN_BIN") or curb_binary.with_name("ray-standin")
    return Path(chosen).resolve(strict=True)


@pytest.fixture(scope="session")
def ray() -> Iterator[RayCluster]:
    """A Ray with four logical CPUs and one GPU that no test restarts."""
    with RayCluster(num_cpus=4, num_gpus=1) as cluster:
        yield cluster
        cluster.check_loopback()  # the workers that came since the start, too


@pytest.fixture(scope="session")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two CPUs a user at once, more waits; three a job at most."""
    path = tmp_path_factory.mktemp("policy") / "policy.yaml"
    path.write_text(POLICY)
    return path


@pytest.fixture(scope="session")
def server(
    curb_binary: Path, ray: RayCluster, policy: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[CurbServer]:
    """A Curb that no test restarts, in front of that Ray."""
    data = tmp_path_factory.mktemp("curb") / "data"
    with CurbServer(
        curb_binary,
        ray.address,
        policy,
        data,
        arguments=["--start-rate", "0", "--gcs", ray.gcs_address],
        dashboard=True,
    ) as curb:
        curb.wait_ready()
        yield curb
    assert "panicked" not in curb.log.read_text(errors="replace")


@dataclass
class Maker:
    """Starts stand-ins for Ray, and servers in front of them. They end with the test or the module that asked."""

    curb: Path
    standin_binary: Path
    directory: Path
    stack: contextlib.ExitStack

    def standin(self, *arguments: str) -> Standin:
        """A stand-in for Ray that runs."""
        return self.stack.enter_context(Standin(self.standin_binary, arguments))

    def server(
        self,
        policy: str,
        *arguments: str,
        ray: str | None = None,
        environment: dict[str, str] | None = None,
        dashboard: bool = False,
    ) -> CurbServer:
        """A Curb that is ready. Without `ray`, the arguments name a configuration file that has the clusters."""
        number = next(_numbers)
        path = self.directory / f"policy{number}.yaml"
        path.write_text(policy)
        data = self.directory / f"data{number}"
        server = CurbServer(self.curb, ray, path, data, None, arguments, environment, dashboard)
        self.stack.callback(_check_log, server)
        self.stack.enter_context(server)
        server.wait_ready()
        server.wait_reachable()
        return server


def _check_log(server: CurbServer) -> None:
    assert "panicked" not in server.log.read_text(errors="replace")


def _maker(curb: Path, standin: Path, directory: Path) -> Iterator[Maker]:
    with contextlib.ExitStack() as stack:
        yield Maker(curb, standin, directory, stack)


@pytest.fixture(scope="module")
def shared(curb_binary: Path, standin_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Maker]:
    """Makes what the tests of one module share."""
    yield from _maker(curb_binary, standin_binary, tmp_path_factory.mktemp("shared"))


@pytest.fixture
def own(curb_binary: Path, standin_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Maker]:
    """Makes what one test has for itself."""
    yield from _maker(curb_binary, standin_binary, tmp_path_factory.mktemp("own"))


@pytest.fixture
def ray_jobs(ray: RayCluster) -> Callable[[], set[str]]:
    """The ids that Ray itself knows, asked without Curb."""

    def ask() -> set[str]:
        with urllib.request.urlopen(f"{ray.address}/api/jobs/", timeout=10) as answer:
            return {job["submission_id"] for job in json.load(answer) if job["submission_id"]}

    return ask


_numbers = itertools.count(1)


@pytest.fixture
def new_user(server: CurbServer) -> Iterator[Callable[[], User]]:
    """Makes users whose jobs are stopped when the test ends."""
    made: list[User] = []

    def make() -> User:
        made.append(server.user(f"user{next(_numbers)}"))
        return made[-1]

    yield make
    for user in made:
        user.stop_all()


@pytest.fixture
def user(new_user: Callable[[], User]) -> User:
    """Somebody with nothing running."""
    return new_user()


@dataclass(frozen=True)
class Gate:
    """A job that says it has started, counts its start in a file, and ends when it is let go."""

    directory: Path

    def entrypoint(self, name: str) -> str:
        """The command of the job called `name`."""
        return (
            f"echo {name} >> {self.directory}/starts; echo {name} has started; "
            f"while [ ! -e {self.directory}/{name}.go ]; do sleep 0.1; done; echo {name} has ended"
        )

    def shell(self, name: str) -> list[str]:
        """The same for `ray job submit -- ...`."""
        return ["sh", "-c", self.entrypoint(name)]

    def let_go(self, name: str) -> None:
        """Ends that job."""
        (self.directory / f"{name}.go").touch()

    def starts(self, name: str) -> int:
        """How often it was started."""
        path = self.directory / "starts"
        return path.read_text().splitlines().count(name) if path.exists() else 0


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    """Jobs that end when the test says so; at the test's end they all do."""
    made = Gate(tmp_path)
    yield made
    if (tmp_path / "starts").exists():
        for name in set((tmp_path / "starts").read_text().split()):
            made.let_go(name)
