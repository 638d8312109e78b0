"""Who takes more than it was granted is warned where its owner is looking, and stopped; who does not is left alone.
With a real Ray, by what its scheduler says."""

from __future__ import annotations

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

# Each escapes what a placement group with captured children would hold it to; the last one outlives its job.
HOLD = {
    "an actor": "keep = Big.remote(); ray.get(keep.ping.remote())",
    "tasks anywhere": "keep = [hold.options(scheduling_strategy='SPREAD').remote() for _ in range(3)]",
    "a placement group": "from ray.util import placement_group as pg; keep = pg([{'CPU': 3}]); ray.get(keep.ready())",
    "a detached actor": "keep = Big.options(lifetime='detached', name='stays').remote(); ray.get(keep.ping.remote())",
}

PROGRAM = """
    import ray, time
    ray.init(namespace="ladder")
    @ray.remote(num_cpus=3)
    class Big:
        def ping(self): return 1
    @ray.remote(num_cpus=1)
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


def _program(directory: Path, hold: str) -> str:
    path = directory / "program.py"
    path.write_text(textwrap.dedent(PROGRAM).format(hold=hold))
    return f"{sys.executable} {path}"


@pytest.mark.parametrize("escape", HOLD, ids=lambda e: e.replace(" ", "-"))
def test_a_job_that_holds_more_than_it_was_granted_is_warned_in_its_log_and_stopped(
    ana: User, strict: CurbServer, tmp_path: Path, escape: str
) -> None:
    job = f"greedy-{list(HOLD).index(escape)}"
    ana.submit(job, _program(tmp_path, HOLD[escape]), cpu="1").must()
    with ana.ray_job_stream("logs", "--follow", job) as log:
        log.wait_for("curb: warning: it holds more in Ray than it was granted: 3 CPU, granted 1", 60)
        log.wait_for(r"it is stopped in \d+s unless that ends", 5)
        assert "holds more in Ray" in str(ana.client().get_job_info(job).message)
        log.wait_for("curb: stopped by curb: it holds more in Ray .*: 3 CPU, granted 1 for ([89]|1[0-9])s", 30)
    ana.until(job, "stopped", 20)
    admin = strict.admin()

    def cluster_is_empty() -> bool:
        watched = admin.ask("GET", "/curb/v1/status").must().json["clusters"][0]["watched"]
        return not watched["taken"] and not [u for u in watched.get("unmanaged", []) if u.get("of") == job]

    eventually(cluster_is_empty, 30, "nothing of it is left")
    kinds = [r["event"] for r in admin.ask("GET", "/curb/v1/journal?limit=200").must().json["records"]]
    told = [next(iter(e)) for e in kinds if job in str(e)]
    assert [k for k in told if k in ("exceeded", "stepped", "stop_requested", "ended")] == [
        "exceeded",
        "stepped",
        "stepped",
        "stop_requested",
        "ended",
    ]


def test_a_job_that_runs_longer_than_it_was_granted_is_stopped_and_one_that_does_not_is_left_alone(
    ana: User, tmp_path: Path
) -> None:
    ana.submit("within", "sleep 20", cpu="1", duration="1h").must()
    ana.submit("too-long", "sleep 600", cpu="1", duration="3s").must()
    ana.until("too-long", "stopped", 40)
    stop = ana.ask("GET", "/curb/v1/jobs/too-long").must().json["stop"]
    assert stop["by"] == "curb"
    assert "it runs longer than the 3s that it was granted" in stop["why"]
    ana.until("within", "succeeded", 40)


def test_an_audited_ladder_stops_nobody_and_says_what_it_would_have_done(strict: CurbServer, tmp_path: Path) -> None:
    # The other quota of kim's would stop it: this one alone counts, for a job that is within what each user may hold.
    kim = strict.user("kim")
    kim.submit("audited", _program(tmp_path, "keep = hold.remote()"), cpu="0.5").must()
    records = strict.admin()

    def would() -> bool:
        text = records.ask("GET", "/curb/v1/journal?limit=50").must().text
        return '"only_recorded":true' in text.replace(" ", "")

    eventually(would, 40, "it is recorded")
    assert kim.state("audited") == "running"
    kim.stop_all()
