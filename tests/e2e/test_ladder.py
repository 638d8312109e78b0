"""Who takes more than it was granted is warned where its owner is looking, and stopped; who does not is left alone.
With a real Ray, by what its scheduler says."""

from __future__ import annotations

import contextlib
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Maker
from curbserver import CurbServer, User, eventually
from raycluster import RayCluster

POLICY = """\
version: 1
capacity: discover
default_request: {cpu: 1}
quotas:
  - name: each-user
    for: {user: "*"}
    limits: {cpu: 2}
    ladder:
      - {when: held, after: 2s, do: warn}
      - {when: held, after: 8s, do: stop}
      - {when: duration, do: warn}
      - {when: duration, after: 3s, do: stop}
  - name: watched-only
    for: {user: kim}
    ladder: {when: held, do: stop}
    mode: audit
"""

# Each holds 0.9 CPU, by an escape from what a placement group with captured children would hold it to; the last one
# outlives its job.
HOLD = {
    "actor": "keep = Big.remote(); ray.get(keep.ping.remote())",
    "tasks": "keep = [hold.options(scheduling_strategy='SPREAD').remote() for _ in range(3)]",
    "group": "from ray.util import placement_group as pg; keep = pg([{'CPU': 0.9}]); ray.get(keep.ready())",
    "detached": "keep = Big.options(lifetime='detached', name='stays').remote(); ray.get(keep.ping.remote())",
}

PROGRAM = """
    import ray, time
    ray.init(namespace="ladder")
    @ray.remote(num_cpus=0.9)
    class Big:
        def ping(self): return 1
    @ray.remote(num_cpus=0.3)
    def hold(): time.sleep(600)
    {hold}
    print("holding", flush=True)
    time.sleep(600)
"""


@pytest.fixture(scope="module")
def strict(shared: Maker, ray: RayCluster) -> CurbServer:
    """A Curb of its own in front of that Ray, whose quota has a ladder."""
    return shared.server(POLICY, "--start-rate", "0", "--gcs", ray.gcs_address, ray=ray.address)


@pytest.fixture
def ana(strict: CurbServer) -> Iterator[User]:
    """Two CPUs, with a ladder."""
    user = strict.user("ana")
    yield user
    user.stop_all()


def _program(directory: Path, name: str, hold: str) -> str:
    path = directory / f"{name}.py"
    path.write_text(textwrap.dedent(PROGRAM).format(hold=hold))
    return f"{sys.executable} {path}"


def test_jobs_that_hold_more_than_they_were_granted_are_warned_in_their_logs_and_stopped(
    ana: User, strict: CurbServer, tmp_path: Path
) -> None:
    with contextlib.ExitStack() as stack:
        logs = {}
        for job, hold in HOLD.items():
            ana.submit(job, _program(tmp_path, job, hold), cpu="0.4").must()
            logs[job] = stack.enter_context(ana.ray_job_stream("logs", "--follow", job))
        for job, log in logs.items():
            log.wait_for("curb: warning: it holds more in Ray than it was granted: 0.9 CPU, granted 0.4", 90)
            log.wait_for(r"it is stopped in \d+s unless that ends", 5)
            assert "holds more in Ray" in str(ana.client().get_job_info(job).message)
        for log in logs.values():
            log.wait_for(r"curb: stopped by curb: it holds more in Ray.*: 0.9 CPU, granted 0.4 for ([89]|[1-5]\d)s", 60)
    for job in HOLD:
        ana.until(job, "stopped", 20)
    admin = strict.admin()

    def nothing_is_left() -> bool:
        watched = admin.ask("GET", "/curb/v1/status").must().json["clusters"][0]["watched"]
        return not watched["taken"] and not [u for u in watched.get("unmanaged", []) if u.get("of") in HOLD]

    eventually(nothing_is_left, 30, "nothing of them is left")
    records = [r["event"] for r in admin.ask("GET", "/curb/v1/journal?limit=200").must().json["records"]]
    steps = ("exceeded", "stepped", "stop_requested", "ended")
    for job in HOLD:
        told = [next(iter(e)) for e in records if next(iter(e.values())).get("id") == job]
        assert [kind for kind in told if kind in steps] == ["exceeded", "stepped", "stepped", "stop_requested", "ended"]


def test_a_job_that_runs_longer_than_it_was_granted_is_stopped_and_one_that_does_not_is_left_alone(
    ana: User, tmp_path: Path
) -> None:
    ana.submit("within", "sleep 12", cpu="1", duration="1h").must()
    ana.submit("too-long", "sleep 600", cpu="1", duration="3s").must()
    ana.until("too-long", "stopped", 40)
    stop = ana.ask("GET", "/curb/v1/jobs/too-long").must().json["stop"]
    assert stop["by"] == "curb"
    assert "it runs longer than the 3s that it was granted" in stop["why"]
    ana.until("within", "succeeded", 40)


def test_an_audited_ladder_stops_nobody_and_says_what_it_would_have_done(strict: CurbServer, tmp_path: Path) -> None:
    # The other quota of kim's would stop it: this one alone counts, for a job that is within what each user may hold.
    kim = strict.user("kim")
    kim.submit("audited", _program(tmp_path, "audited", "keep = hold.remote()"), cpu="0.1").must()
    records = strict.admin()

    def would() -> bool:
        text = records.ask("GET", "/curb/v1/journal?limit=50").must().text
        return '"only_recorded":true' in text.replace(" ", "")

    eventually(would, 40, "it is recorded")
    assert kim.state("audited") == "running"
    kim.stop_all()
