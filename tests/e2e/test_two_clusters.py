"""Two clusters behind one server: who is sent where, what counts over both, and one that is away."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from conftest import Maker
from curbserver import CurbServer, User, eventually
from standin import Standin

POLICY = """\
version: 1
default_request: {cpu: 1}
teams:
  vision:  {members: [ana, li]}
  serving: {members: [kim]}
clusters:
  west: {allowed: {team: vision}}
quotas:
  - name: each-user
    for: {user: "*"}
    limits: {cpu: 3}
"""


@dataclass
class Two:
    """East is the default; only the team vision may use west. Four CPUs each."""

    server: CurbServer
    east: Standin
    west: Standin


@pytest.fixture(scope="module")
def two(shared: Maker) -> Two:
    """Both, behind one server that was started from a configuration file."""
    east, west = shared.standin(), shared.standin()
    config = shared.directory / "curb-serve.yaml"
    config.write_text(
        "start_rate: 0\nclusters:\n"
        f"  east: {{ray: {east.address}, default: true, poll: 200ms}}\n"
        f"  west: {{ray: {west.address}, poll: 200ms}}\n"
    )
    return Two(shared.server(POLICY, "--config", str(config)), east, west)


def _gone(user: User) -> None:
    user.stop_all()
    eventually(
        lambda: user.ask("GET", "/curb/v1/jobs").must().json["jobs"] == [],
        20,
        f"all jobs of {user.name} have ended",
    )


@pytest.fixture
def ana(two: Two) -> Iterator[User]:
    """May use both clusters."""
    user = two.server.user("ana")
    yield user
    _gone(user)


@pytest.fixture
def kim(two: Two) -> Iterator[User]:
    """May use the default cluster only."""
    user = two.server.user("kim")
    yield user
    _gone(user)


def test_a_job_goes_to_the_cluster_that_it_names_and_else_to_the_default(two: Two, ana: User) -> None:
    ana.submit("named-west", cluster="west").must()
    ana.submit("named-east", cluster="east").must()
    ana.submit("named-none").must()
    assert "named-west" in two.west.started()
    assert "named-west" not in two.east.started()
    assert {"named-east", "named-none"} <= set(two.east.started())
    assert {"named-east", "named-none"}.isdisjoint(two.west.started())


def test_an_unknown_cluster_is_a_400_that_names_those_that_there_are(two: Two, ana: User) -> None:
    refused = ana.submit("nowhere", cluster="north").must(400)
    for told in ("curb.cluster", "no cluster north", "east, west"):
        assert told in refused.text
    explained = ana.curb("explain", "--cpu", "1", "--cluster", "north").must(8)
    assert "east, west" in explained.stderr
    assert "nowhere" not in two.east.started() + two.west.started()


def test_logs_status_list_and_stop_go_to_the_jobs_own_cluster(two: Two, ana: User) -> None:
    ana.submit("talks-west", "echo hello from the west; sleep 600", cluster="west").must()
    ana.submit("talks-east", "echo hello from the east; sleep 600", cluster="east").must()
    client = ana.client()
    for side in ("west", "east"):
        assert f"hello from the {side}\n" in ana.ray_job("logs", f"talks-{side}").must().stdout
    assert {j.submission_id: j.status.value for j in client.list_jobs() if j.submission_id.startswith("talks")} == {
        "talks-west": "RUNNING",
        "talks-east": "RUNNING",
    }
    listed = ana.curb("jobs", "list", "--cluster", "west", "--json").must().stdout
    assert "talks-west" in listed
    assert "talks-east" not in listed
    running = {name: cluster["running"] for name, cluster in two.server.clusters().items()}
    assert running == {"east": 1, "west": 1}
    assert client.stop_job("talks-west") is True
    ana.until("talks-west", "stopped")
    assert two.server.clusters()["west"]["running"] == 0
    assert ana.status("talks-east") == "RUNNING"


def test_a_quota_counts_what_runs_on_both(two: Two, ana: User) -> None:
    ana.submit("two-east", cpu="2", cluster="east").must()
    ana.submit("one-west", cpu="1", cluster="west").must()
    for cluster in ("east", "west"):
        ana.submit(f"more-{cluster}", cpu="1", cluster=cluster).must()
        assert ana.state(f"more-{cluster}") == "queued"
        said = ana.client().get_job_info(f"more-{cluster}").message
        assert "each-user (user ana) allows 3 CPU at once; 3 CPU in use" in said
    ana.ask("POST", "/api/jobs/two-east/stop").must()
    for cluster in ("east", "west"):
        ana.until(f"more-{cluster}", "running")


def test_what_one_cluster_lacks_is_not_taken_from_the_other(ana: User) -> None:
    refused = ana.submit("too-big", cpu="5", cluster="west").must(422)
    assert "cluster west has 4 CPU in all" in " ".join(refused.text.split())


def test_a_team_that_may_use_one_cluster_only_is_refused_at_the_other(two: Two, kim: User) -> None:
    refused = " ".join(kim.submit("not-there", cluster="west").must(422).text.split())
    assert "cluster-access" in refused
    assert "west" in refused
    kim.submit("but-here").must()
    assert "but-here" in two.east.started()
    assert "not-there" not in two.west.started()


def test_while_one_cluster_is_away_its_jobs_wait_and_the_other_works(two: Two, ana: User) -> None:
    two.west.fault("any", "drop-before", times=1_000_000)
    try:
        eventually(lambda: not two.server.clusters()["west"]["reachable"], 20, "west is seen to be away")
        assert two.server.clusters()["east"]["reachable"]
        assert two.server.probe("/readyz") == 200
        ana.submit("waits-for-west", cluster="west").must()
        ana.submit("runs-meanwhile", cluster="east").must()
        assert (ana.state("waits-for-west"), ana.state("runs-meanwhile")) == ("queued", "running")
        assert "cluster west cannot be reached" in ana.client().get_job_info("waits-for-west").message
        assert "cluster west does not answer" in " ".join(ana.curb("status").must().stdout.split())
        two.server.apply_policy(POLICY + "when_ray_is_down: refuse\n")
        refused = ana.submit("not-taken", cluster="west").must(503)
        assert int(refused.headers["retry-after"]) > 0
        ana.submit("taken", cluster="east").must()
        assert ana.state("taken") == "running"
    finally:
        two.west.clear()
        two.server.apply_policy(POLICY)
    ana.until("waits-for-west", "running")
    assert two.west.started().count("waits-for-west") == 1
