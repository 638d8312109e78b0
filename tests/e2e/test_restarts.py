"""Curb and Ray go away in the middle and come back: nothing is lost, nothing runs twice, nothing without a grant."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Gate
from curbserver import CurbServer, User, eventually
from raycluster import RayCluster


@pytest.fixture
def own_server(curb_binary: Path, ray: RayCluster, policy: Path, tmp_path: Path) -> Iterator[CurbServer]:
    """A Curb that the test may kill, in front of the Ray that all tests share."""
    with CurbServer(curb_binary, ray.address, policy, tmp_path / "data", arguments=["--start-rate", "0"]) as server:
        server.wait_ready()
        yield server


def test_a_killed_curb_comes_back_with_the_running_and_the_queued_job(own_server: CurbServer, gate: Gate) -> None:
    ana = own_server.user("ana")
    holder = ana.client().submit_job(entrypoint=gate.entrypoint("holder"), entrypoint_num_cpus=2)
    eventually(lambda: gate.starts("holder"), 60, "the first job runs")
    waiter = ana.client().submit_job(entrypoint=gate.entrypoint("waiter"), entrypoint_num_cpus=1)
    own_server.kill()
    own_server.start()
    own_server.wait_ready()
    assert (ana.status(holder), ana.status(waiter)) == ("RUNNING", "PENDING"), "and the token still holds"
    own_server.kill()
    gate.let_go("holder")  # it ends while nobody looks
    own_server.start()
    eventually(lambda: gate.starts("waiter"), 60, "the queued job started by itself")
    gate.let_go("waiter")
    eventually(lambda: ana.status(waiter) == "SUCCEEDED", 60, "it ended")
    assert ana.status(holder) == "SUCCEEDED"
    assert (gate.starts("holder"), gate.starts("waiter")) == (1, 1)
    _journal_is_whole(own_server)


def test_jobs_acknowledged_while_curb_is_killed_again_and_again_start_once_each(
    own_server: CurbServer, gate: Gate
) -> None:
    users = [own_server.user(name) for name in ("ana", "li", "kim")]
    acknowledged: dict[str, tuple[str, int]] = {}
    done = threading.Event()

    def submit(number: int) -> None:
        from curb import JobSubmissionClient

        user, count = users[number], 0
        while not done.is_set() and count < 4:
            name = f"{user.name}-{count}"
            with contextlib.suppress(Exception):  # refused connections are what this test is about
                client = JobSubmissionClient(own_server.address, token=user.token)
                # With a key, asking again after a lost answer is harmless: it is one job.
                client.submit_job(
                    entrypoint=f"echo {name} >> {gate.directory}/starts",
                    submission_id=f"k-{name}",
                    metadata={"curb.key": name},
                )
                acknowledged[name] = (f"k-{name}", number)
                count += 1
            done.wait(0.3)

    threads = [threading.Thread(target=submit, args=(n,)) for n in range(len(users))]
    for thread in threads:
        thread.start()
    try:
        for pause in (1.0, 0.4, 1.7, 0.9, 2.3):
            done.wait(pause)
            own_server.kill()
            own_server.start()
        for thread in threads:
            thread.join(60)
    finally:
        done.set()
    assert len(acknowledged) == 12
    own_server.wait_ready()
    for name, (job, number) in acknowledged.items():
        _wait_until_succeeded(users[number], job)
        assert gate.starts(name) == 1
    for user in users:
        told = json.loads(user.curb("quota", "--json").must().stdout)["buckets"]
        assert [_in_use(bucket) for bucket in told if bucket["quota"] == "each-user"] == [(0, 0, {"cpu": 0})], told
        assert _held(user.curb("jobs", "list", "--json").must().stdout) == []
    _journal_is_whole(own_server)


def test_sigterm_drains_and_leaves_the_jobs_alone(own_server: CurbServer, gate: Gate) -> None:
    ana = own_server.user("ana")
    job = ana.client().submit_job(entrypoint=gate.entrypoint("a"))
    eventually(lambda: gate.starts("a"), 60, "the job runs")
    assert own_server.terminate() == 0
    own_server.start()
    own_server.wait_ready()
    assert ana.status(job) == "RUNNING"
    gate.let_go("a")
    eventually(lambda: ana.status(job) == "SUCCEEDED", 60, "it ended")


@pytest.mark.timeout(300)
def test_when_ray_starts_anew_its_jobs_are_quarantined_and_not_run_again(
    curb_binary: Path, policy: Path, gate: Gate, tmp_path: Path
) -> None:
    with (
        RayCluster(num_cpus=4) as own_ray,
        CurbServer(curb_binary, own_ray.address, policy, tmp_path / "data", arguments=["--start-rate", "0"]) as server,
    ):
        server.wait_ready()
        ana = server.user("ana")
        before = ana.client().submit_job(entrypoint=gate.entrypoint("before"), entrypoint_num_cpus=2)
        eventually(lambda: gate.starts("before"), 60, "the job runs")
        waiter = ana.client().submit_job(entrypoint=gate.entrypoint("waiter"), entrypoint_num_cpus=2)
        own_ray.kill_head()
        li = server.user("li")
        meanwhile = li.client().submit_job(entrypoint=gate.entrypoint("meanwhile"))
        assert li.status(meanwhile) == "PENDING", "no Ray: it waits"
        own_ray.start()
        eventually(lambda: gate.starts("meanwhile"), 90, "what waited for Ray starts")
        # What Ray forgot is neither running nor proven to have ended: its amounts stay held until somebody vouches.
        operator = server.user("operator", role="operator")
        eventually(lambda: "quarantin" in operator.curb("jobs", "show", before).output.lower(), 60, "quarantined")
        assert gate.starts("waiter") == 0
        assert ana.status(waiter) == "PENDING"
        operator.curb("jobs", "release", before, "--why", "the head node was rebuilt").must()
        eventually(lambda: gate.starts("waiter"), 60, "the released amounts serve the next job")
        for name in ("waiter", "meanwhile"):
            gate.let_go(name)
        eventually(lambda: ana.status(waiter) == "SUCCEEDED", 60, "it ended")
        assert gate.starts("before") == 1, "never submitted again"
        _journal_is_whole(server)


def test_rays_own_token_is_put_in_by_curb_and_never_reaches_a_user(
    curb_binary: Path, policy: Path, gate: Gate, tmp_path: Path
) -> None:
    secret = "cluster-secret-0123456789abcdef"
    with (
        RayCluster(num_cpus=2, auth_token=secret) as own_ray,
        CurbServer(
            curb_binary, own_ray.address, policy, tmp_path / "data",
            arguments=["--start-rate", "0"], environment={"CURB_RAY_TOKEN": secret},
        ) as server,
    ):  # fmt: skip
        server.wait_ready()
        ana = server.user("ana")
        found = ana.ray_job("submit", "--", "echo", "through two kinds of token").must()
        assert "through two kinds of token" in found.output
        job = ana.client().list_jobs()[0].submission_id
        refused = ana.ask("POST", "/api/jobs/", {"entrypoint": "true", "metadata": {"curb.cpu": "64"}})
        unpacked = {"entrypoint": "true", "submission_id": "no", "runtime_env": {"working_dir": "gcs://never.zip"}}
        broken = ana.ask("POST", "/api/jobs/", unpacked)
        assert [a.status for a in (refused, broken)] == [422, 400], (refused, broken)
        failed = ana.client().submit_job(entrypoint="echo it fails; exit 3")
        eventually(lambda: ana.status(failed) == "FAILED", 60, "the failing job has failed")
        root = server.admin()
        told = {
            "ray job submit": found.output,
            "the server's log": server.log.read_text(errors="replace"),
            "curb status": ana.curb("status").must().output,
            "an admin's status": root.ask("GET", "/curb/v1/status").must().text,
            "the journal": root.ask("GET", "/curb/v1/journal?after=0&limit=1000").must().text,
            "a refusal": f"{refused}{broken}",
        }
        for path in ("", job, f"{job}/logs", failed, f"{failed}/logs"):
            told[f"/api/jobs/{path}"] = str(ana.ask("GET", f"/api/jobs/{path}").must())
        for path in ("", f"/{job}", f"/{failed}"):
            told[f"/curb/v1/jobs{path}"] = str(ana.ask("GET", f"/curb/v1/jobs{path}").must())
        assert "through two kinds of token" in told[f"/api/jobs/{job}/logs"], "what is looked through is the whole"
        assert "it fails" in told[f"/api/jobs/{failed}/logs"]
        # Lost on its way: the failure is told, but not the request that was sent.
        own_ray.kill_head()
        told["no Ray"] = str(ana.ask("GET", f"/api/jobs/{job}/logs"))
        eventually(lambda: not server.clusters()["main"]["reachable"], 30, "that Ray is gone is seen")
        told["a status without Ray"] = root.ask("GET", "/curb/v1/status").must().text
        told["the log of it"] = server.log.read_text(errors="replace")
        for what, text in told.items():
            assert text, what
            assert secret not in text, f"Ray's own token is in {what}"


def _wait_until_succeeded(user: User, job: str) -> None:
    eventually(lambda: user.status(job) == "SUCCEEDED", 120, f"{job} has run", every=0.5)


def _journal_is_whole(server: CurbServer) -> None:
    server.terminate()
    server.offline("journal", "verify").must()


def _in_use(bucket: dict[str, Any]) -> tuple[int, int, dict[str, int]]:
    """Running and waiting jobs of a bucket, and the amounts that they hold."""
    held = {row["resource"]: row["used"] for row in bucket["resources"]}
    return bucket["jobs"]["used"], bucket["queued"]["used"], held


def _held(listed: str) -> list[str]:
    """Ids of the jobs that still hold something."""
    return [job["id"] for job in json.loads(listed)["jobs"] if job["holds"]]
