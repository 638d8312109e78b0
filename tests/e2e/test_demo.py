"""The tour that newcomers walk is itself a test."""

from __future__ import annotations

import signal
import socket
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import procs
import pytest
from conftest import REPOSITORY
from curbserver import Stream, clean_environment, eventually, free_port, run

pytestmark = pytest.mark.timeout(300)

SCRIPTS = REPOSITORY / "scripts"

# The demo itself, its signals and its Curb, in front of the stand-in and with the one step that needs no real job: a
# tour of seconds. Before it: where the demo's scripts are, the stand-in, and the policy to show.
WITHOUT_RAY = """
import contextlib, sys
from pathlib import Path
scripts, standin, policy = sys.argv[1:4]
sys.argv[1:4] = []
sys.path.insert(0, scripts)
import demo
from standin import Standin

class Ray(Standin):
    def __init__(self, num_cpus):
        super().__init__(Path(standin), ["--num-cpus", str(num_cpus)])
    def processes(self):
        return [self] if self._process is not None and self._process.poll() is None else []
    def check_loopback(self):
        pass

demo.RayCluster, demo.POLICY = Ray, Path(policy)
for step in ("admitted", "queued"):
    left_out = lambda user: None
    left_out.__name__ = step
    setattr(demo, step, left_out)
sys.exit(demo.main())
"""


@contextmanager
def _leaves_nothing(command: Sequence[str]) -> Iterator[Stream]:
    """Runs a demo; when it has ended by itself, nothing that it started or made may be left."""
    before = _left_behind()
    mark = f"DEMO_TEST_MARK={uuid.uuid4().hex}"
    name, _, value = mark.partition("=")
    with Stream(command, clean_environment() | {name: value}) as demo:
        demo.wait_for(r"\$ curb token create --user kim")  # Ray and Curb are up
        started = procs.descendants(demo.pid)
        listening = procs.listeners(started)
        assert any(s.protocol == "tcp" for s in listening), "what is looked for is found while it is there"
        yield demo
        demo.wait()
        eventually(lambda: not _alive(started, mark), 5, f"no process of the demo lives (of {len(started)})")
    for port in {s.port for s in listening if s.protocol == "tcp"}:
        with socket.socket() as probe:
            probe.settimeout(5)
            assert probe.connect_ex(("127.0.0.1", port)) != 0, f"port {port} is still open"
    assert _left_behind() == before


def _alive(started: list[procs.Process], mark: str) -> list[procs.Process]:
    return [p for p in started if p.alive()] + procs.marked(mark)


def test_the_tour_does_what_it_promises_and_leaves_nothing_behind(curb_binary: Path) -> None:
    demo = [sys.executable, str(SCRIPTS / "demo.py"), "--once", "--curb", str(curb_binary)]
    with _leaves_nothing([*demo, "--port", str(free_port())]) as tour:
        assert tour.wait(240) == 0, tour.output
    assert tour.output.count("\n  ok\n") == 3, tour.output
    assert "The tour is done" in tour.output


@pytest.fixture
def without_ray(curb_binary: Path, standin_binary: Path, tmp_path: Path) -> list[str]:
    """The command of a demo of one step; what it shows to be refused is what the policy refuses."""
    policy = (REPOSITORY / "examples" / "policy.yaml").read_text()
    (tmp_path / "policy.yaml").write_text(policy)
    before = [sys.executable, "-c", WITHOUT_RAY, str(SCRIPTS), str(standin_binary), str(tmp_path / "policy.yaml")]
    return [*before, "--curb", str(curb_binary), "--port", str(free_port())]


def test_ctrl_c_ends_a_demo_that_stays_up_and_all_that_it_started(without_ray: list[str]) -> None:
    with _leaves_nothing(without_ray) as demo:
        demo.wait_for(r"Running\. Ctrl-C stops all of it\.")
        assert "The tour is done" in demo.output, demo.output
        assert "export CURB_TOKEN=" in demo.output
        demo.send(signal.SIGINT)
        assert demo.wait(30) == 0, demo.output
    assert demo.output.endswith("Stopping Curb and Ray ...\n"), demo.output


@pytest.mark.parametrize("once", [True, False], ids=["once", "staying until Ctrl-C"])
def test_a_step_that_goes_wrong_is_named_and_is_the_exit_status(
    without_ray: list[str], tmp_path: Path, once: bool
) -> None:
    (tmp_path / "policy.yaml").write_text("version: 1\n")  # refuses nothing
    with _leaves_nothing([*without_ray, *(["--once"] if once else [])]) as demo:
        if not once:
            demo.wait_for(r"Running\. Ctrl-C stops all of it\.")
            demo.send(signal.SIGINT)
        assert demo.wait(60) == 1, demo.output
    assert "WRONG: `ray job submit` should have exited with 1, and did with 0" in demo.output
    assert "The tour went wrong in: refused." in demo.output
    assert "The tour FAILED" in demo.output


def test_a_port_that_is_taken_is_named_with_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        found = run(["bash", str(SCRIPTS / "demo.sh")], clean_environment() | {"PORT": str(port)}, 30)
    assert found.must(1).stderr.startswith(f"demo: port {port} is taken.")
    assert "PORT=" in found.stderr
    assert found.stdout == "", "nothing was built or started"


def _left_behind() -> set[Path]:
    return {*Path("/tmp").glob("cr-*"), *(REPOSITORY / ".cache" / "demo").glob("*")}
