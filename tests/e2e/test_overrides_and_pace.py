"""What changes a limit for a time, and what keeps Ray's head alive: overrides, and the pace of starts."""

from __future__ import annotations

import json
import time

import pytest
from conftest import Maker
from curbserver import CurbServer, User, eventually
from standin import Standin

POLICY = """\
version: 1
default_request: {cpu: 1}
quotas:
  - name: each-user
    for: {user: "*"}
    limits: {gpu: 1}
"""
OPEN = "version: 1\ndefault_request: {cpu: 1}\n"
BURST = 5  # so many may start at once before the rate counts


@pytest.fixture(scope="module")
def server(shared: Maker) -> CurbServer:
    """One GPU for each user; eight are there."""
    return shared.server(POLICY, "--start-rate", "0", ray=shared.standin("--num-gpus", "8").address)


def _add(server: CurbServer, user: User, change: str, span: str, why: str) -> int:
    added = server.admin().curb(
        "override", "add", "--user", user.name, "--gpu", change, "--for", span, "--why", why, "--json"
    )
    return int(json.loads(added.must().stdout)["id"])


def _limit(user: User) -> str:
    return " ".join(user.curb("quota").must().stdout.split())


def test_an_override_starts_what_waits_and_its_end_takes_effect(server: CurbServer) -> None:
    ana = server.user("ana")
    ana.submit("holder", gpu="1").must()
    ana.submit("waiter", gpu="2").must(422)
    ana.submit("waiter", gpu="1").must()
    assert ana.state("waiter") == "queued"
    _add(server, ana, "+2", "5s", "camera-ready")
    ana.until("waiter", "running", 4)
    ana.submit("while-it-lasts", gpu="1").must()
    assert ana.state("while-it-lasts") == "running"
    listed = server.admin().curb("override", "list").must().stdout
    assert "camera-ready" in listed
    # Its time is over: what runs goes on, nothing new starts above the limit.
    eventually(lambda: "camera-ready" not in server.admin().curb("override", "list").output, 10, "it has expired")
    for job in ("holder", "waiter"):
        ana.ask("POST", f"/api/jobs/{job}/stop").must()
        ana.until(job, "stopped")
    ana.submit("too-late", gpu="1").must()
    assert (ana.state("while-it-lasts"), ana.state("too-late")) == ("running", "queued")
    ana.ask("POST", "/api/jobs/while-it-lasts/stop").must()
    ana.until("too-late", "running")


def test_one_that_is_taken_back_ends_at_once(server: CurbServer) -> None:
    li = server.user("li")
    li.submit("li-1", gpu="1").must()
    number = _add(server, li, "+1", "48h", "a favour")
    assert li.curb("explain", "--gpu", "1", "--json").must().stdout.count('"now"')
    server.admin().curb("override", "remove", str(number)).must()
    assert '"later"' in li.curb("explain", "--gpu", "1", "--json").must().stdout
    li.submit("li-2", gpu="1").must()
    assert li.state("li-2") == "queued"


def test_an_override_may_also_take_away_for_a_while(server: CurbServer) -> None:
    kim = server.user("kim")
    number = _add(server, kim, "-1", "1h", "a runaway script")
    kim.submit("kim-1", gpu="1").must()
    assert kim.state("kim-1") == "queued"
    waits = " ".join(kim.curb("explain", "--gpu", "1").stdout.split())
    assert "limit 0 GPU" in waits
    assert "override" in waits
    server.admin().curb("override", "remove", str(number)).must()
    kim.until("kim-1", "running")


def _flood(server: CurbServer, ray: Standin, count: int, prefix: str) -> None:
    user = server.user("ana")
    for number in range(count):
        user.submit(f"{prefix}-{number}").must()
    eventually(lambda: len(_ats(ray, prefix)) == count, 30, f"all {count} have started", every=0.05)


def _ats(ray: Standin, prefix: str) -> list[float]:
    """When they started, in seconds, by the clock of the stand-in."""
    return sorted(start["at_ms"] / 1000 for start in ray.starts() if start["id"].startswith(prefix))


def _most_in(ats: list[float], seconds: float) -> int:
    """The most starts that any span of so many seconds saw."""
    return max(sum(1 for at in ats if first <= at < first + seconds) for first in ats)


def _assert_paced(ats: list[float]) -> None:
    """20 starts at 5 a second after the burst take 3 s; unpaced a tenth of one. Room for busy cores on both sides."""
    assert 1.5 < ats[-1] - ats[0] < 15, ats
    assert _most_in(ats, 1.0) <= BURST + 2 * 5, ats


def test_a_flood_is_started_no_faster_than_the_rate_after_a_burst(own: Maker) -> None:
    ray = own.standin("--num-cpus", "64")
    server = own.server(OPEN, "--start-rate", "5", ray=ray.address)
    _flood(server, ray, 20, "flood")
    ats = _ats(ray, "flood")
    _assert_paced(ats)
    assert len(set(ray.started())) == 20


def test_a_job_that_is_paced_says_so(own: Maker) -> None:
    ray = own.standin("--num-cpus", "64")
    server = own.server(OPEN, "--start-rate", "0.1", ray=ray.address)
    ana = server.user("ana")
    for number in range(BURST + 1):
        ana.submit(f"p-{number}").must()
    [last] = [f"p-{n}" for n in range(BURST + 1) if ana.state(f"p-{n}") == "queued"]
    assert "starts are paced" in ana.ask("GET", f"/api/jobs/{last}").must().json["message"]
    assert "one start in 10s" in " ".join(ana.curb("status").must().stdout.split())
    assert len(ray.started()) == BURST


def test_a_rate_of_zero_paces_nothing(own: Maker) -> None:
    ray = own.standin("--num-cpus", "64")
    server = own.server(OPEN, "--start-rate", "0", ray=ray.address)
    ray.fault("any", "drop-before", times=1_000_000)
    eventually(lambda: not server.clusters()["main"]["reachable"], 20, "Ray is seen to be away")
    user = server.user("ana")
    for number in range(40):
        user.submit(f"all-{number}").must()
    ray.clear()
    eventually(lambda: len(_ats(ray, "all")) == 40, 20, "all have started")
    ats = _ats(ray, "all")
    assert ats[-1] - ats[0] < 8, "as they come; at the default rate it were 70 s"


def test_what_waited_for_ray_is_started_at_the_rate_as_well(own: Maker) -> None:
    ray = own.standin("--num-cpus", "64")
    server = own.server(OPEN, "--start-rate", "5", ray=ray.address)
    ray.fault("any", "drop-before", times=1_000_000)
    eventually(lambda: not server.clusters()["main"]["reachable"], 20, "Ray is seen to be away")
    user = server.user("ana")
    for number in range(20):
        user.submit(f"late-{number}").must()
    time.sleep(1.5)  # a pace that counts the outage would let more than a burst go now
    ray.clear()
    eventually(lambda: len(_ats(ray, "late")) == 20, 30, "all have started", every=0.05)
    ats = _ats(ray, "late")
    _assert_paced(ats)
    assert len(set(ray.started())) == 20, "once each"
