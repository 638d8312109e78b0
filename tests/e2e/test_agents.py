"""The agent on a node of Ray: which processes are whose job's, what they use, and whose a driver is whatever it says.
With a real Ray."""

from __future__ import annotations

import contextlib
import signal
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Maker
from curbserver import CurbServer, Stream, User, ask, clean_environment, eventually
from raycluster import RayCluster

POLICY = """\
version: 1
capacity: discover
default_request: {cpu: 1}
quotas:
  - name: each-user
    for: {user: "*"}
    limits: {cpu: 3}
    ladder:
      - {when: held, after: 1s, do: warn}
      - {when: held, after: 6s, do: stop}
"""

# 150 MB and a busy loop in a worker, and the same in a process that the driver starts.
BUSY = """
    import ray, subprocess, sys, time
    ray.init()
    @ray.remote(num_cpus=0.1)
    class Works:
        def work(self):
            keep = b"x" * 150_000_000
            while True: sum(range(100_000))
    works = Works.remote()
    works.work.remote()
    child = "keep = b'x' * 150_000_000\\nwhile True: sum(range(100_000))"
    subprocess.Popen([sys.executable, "-c", child])
    time.sleep(600)
"""

# Says that it is another's, and holds 0.9 CPU. Its worker's own environment and title say so too.
FORGES = """
    import json, os, ray, time
    os.environ["RAY_JOB_CONFIG_JSON_ENV_VAR"] = json.dumps({{"metadata": {{"job_submission_id": "{victim}"}}}})
    ray.init()
    @ray.remote(num_cpus=0.9)
    class Big:
        def ping(self):
            os.environ["RAY_JOB_ID"] = "ffffffff"
            return 1
    big = Big.remote()
    ray.get(big.ping.remote())
    print("forged", flush=True)
    time.sleep(600)
"""


def _program(directory: Path, name: str, text: str, **fill: str) -> str:
    path = directory / f"{name}.py"
    text = textwrap.dedent(text)
    path.write_text(text.format(**fill) if fill else text)
    return f"{sys.executable} {path}"


def _token(server: CurbServer, node: str) -> str:
    made = server.admin().curb("token", "create", "--role", "agent", "--node", node).must()
    return made.stdout.strip()


@contextlib.contextmanager
def _agent(server: CurbServer, directory: Path, node: str = "here") -> Iterator[Stream]:
    token = directory / f"{node}.token"
    token.write_text(_token(server, node))
    command = [str(server.binary), "agent", "--server", server.address, "--token-file", str(token), "--node", node]
    with Stream(command, clean_environment()) as agent:
        agent.wait_for("found the raylet")
        agent.wait_for("the server takes what this node tells")
        yield agent


def _watched(server: CurbServer) -> Any:
    return server.admin().ask("GET", "/curb/v1/status").must().json["clusters"][0]["watched"]


def _job(user: User, job: str) -> Any:
    return user.ask("GET", f"/curb/v1/jobs/{job}").must().json


@pytest.fixture(scope="module")
def strict(shared: Maker, ray: RayCluster) -> CurbServer:
    """A Curb of its own in front of that Ray, whose quota has a ladder."""
    return shared.server(POLICY, "--start-rate", "0", "--gcs", ray.gcs_address, ray=ray.address)


@pytest.fixture
def agent(strict: CurbServer, tmp_path: Path) -> Iterator[Stream]:
    """The agent of the only node."""
    with _agent(strict, tmp_path) as agent:
        yield agent


@pytest.fixture
def ana(strict: CurbServer) -> Iterator[User]:
    """Somebody with a quota."""
    user = strict.user("ana")
    yield user
    user.stop_all()


@pytest.fixture
def kim(strict: CurbServer) -> Iterator[User]:
    """Somebody else."""
    user = strict.user("kim")
    yield user
    user.stop_all()


def test_what_a_jobs_processes_use_is_a_column_of_its_own(
    ana: User, strict: CurbServer, agent: Stream, tmp_path: Path
) -> None:
    ana.submit("busy", _program(tmp_path, "busy", BUSY), cpu="1").must()

    def seen() -> Any:
        used = _job(ana, "busy").get("used") or {}
        # The worker's and the child's 150 MB each.
        return used if used.get("memory", 0) > 300_000_000 and used.get("cpu", 0) > 0 else None

    used = eventually(seen, 90, "what it uses is seen, of workers and of the driver's children")
    assert used["nodes"] == 1
    assert used["processes"] >= 4
    assert used.get("unseen", 0) == 0
    assert used["memory_as"] == "private"
    assert "USED" in ana.curb("jobs", "list").must().stdout
    assert "of their own" in " ".join(ana.curb("jobs", "show", "busy").must().stdout.split())
    assert _watched(strict)["agents"] == 1
    assert "1 nodes with an agent" in strict.admin().curb("status").must().stdout.replace("\n", " ")


def test_who_says_that_it_is_anothers_is_stopped_itself_and_the_other_is_left_alone(
    ana: User, kim: User, strict: CurbServer, agent: Stream, tmp_path: Path
) -> None:
    ana.submit("victim", "sleep 600", cpu="0.4").must()
    ana.until("victim", "running", 60)
    kim.submit("forger", _program(tmp_path, "forger", FORGES, victim="victim"), cpu="0.1").must()

    def held() -> bool:
        found = _job(kim, "forger").get("held") or {}
        return bool(found) and found["least"].get("cpu", 0) >= 900

    eventually(held, 90, "what it holds is counted to it")
    assert _job(ana, "victim")["held"]["least"].get("cpu", 0) == 0
    kim.until("forger", "stopped", 60)
    assert "holds more in Ray" in _job(kim, "forger")["stop"]["why"]
    assert ana.state("victim") == "running"
    assert not _job(ana, "victim").get("exceedances")


def test_an_agent_that_is_killed_is_followed_by_another_and_what_came_before_it_is_refused(
    ana: User, strict: CurbServer, tmp_path: Path
) -> None:
    ana.submit("long", "sleep 600", cpu="0.1").must()
    with _agent(strict, tmp_path) as first:
        eventually(lambda: _job(ana, "long").get("used"), 60, "it is seen")
        first.send(signal.SIGKILL)
        first.wait()
    with _agent(strict, tmp_path):
        eventually(lambda: _job(ana, "long").get("used"), 60, "it is seen by the second")
        report = {"node": "here", "epoch": "before", "started": 1, "seq": 999}
        path, json = "/curb/v1/agent/report", {"Accept": "application/json"}
        old = ask(strict.address, "POST", path, _token(strict, "here"), report, json).must(409)
        assert old.json["code"] == "agent-old-report"
        other = ask(strict.address, "POST", path, _token(strict, "there"), report, json).must(403)
        assert other.json["code"] == "agent-other-node"


def test_an_agents_token_is_good_for_reports_alone_and_a_users_is_not_good_for_them(
    ana: User, strict: CurbServer
) -> None:
    report = {"node": "ana", "epoch": "x", "started": 1, "seq": 1}
    ana.ask("POST", "/curb/v1/agent/report", report).must(403)
    strict.admin().ask("POST", "/curb/v1/agent/report", report).must(403)
    token = _token(strict, "ana")
    for method, path in [("GET", "/curb/v1/jobs"), ("GET", "/api/jobs/"), ("GET", "/curb/v1/status")]:
        ask(strict.address, method, path, token).must(403)
