"""Ray's Python client, unmodified, and the `curb` package's drop-in for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from conftest import Gate
from curb import JobSubmissionClient, QuotaExceeded, Verdict
from curbserver import User, eventually


def test_list_get_tail_and_stop_work_on_a_running_job(user: User, gate: Gate) -> None:
    client = user.client()
    job = client.submit_job(entrypoint=gate.entrypoint("a"), metadata={"note": "mine"})
    eventually(lambda: gate.starts("a"), 60, "the job runs")
    [listed] = client.list_jobs()
    assert (listed.submission_id, listed.status.value) == (job, "RUNNING")
    info = client.get_job_info(job)
    assert info.metadata["note"] == "mine"
    assert info.entrypoint == gate.entrypoint("a")
    assert client.stop_job(job) is True
    text = asyncio.run(_tail(client, job))
    assert "a has started" in text
    eventually(lambda: user.status(job) == "STOPPED", 30, "the job was stopped")
    assert client.stop_job(job) is False, "as Ray says of a job that has ended"


def test_the_tail_of_a_queued_job_goes_over_into_its_own_output(user: User, gate: Gate) -> None:
    client = user.client()
    client.submit_job(entrypoint=gate.entrypoint("holder"), entrypoint_num_cpus=2)
    eventually(lambda: gate.starts("holder"), 60, "the holder runs")
    waiter = client.submit_job(entrypoint="echo my own output", entrypoint_num_cpus=1)

    async def watch() -> str:
        seen = ""
        async for chunk in client.tail_job_logs(waiter):
            seen += chunk
            if "position 1 of 1" in seen:
                gate.let_go("holder")
        return seen

    text = asyncio.run(asyncio.wait_for(watch(), 90))
    assert text.index("position 1 of 1") < text.index("my own output")
    assert user.status(waiter) == "SUCCEEDED"


def test_a_deleted_job_is_hidden_and_its_id_stays_taken(user: User, ray_jobs: Callable[[], set[str]]) -> None:
    client = user.client()
    job = client.submit_job(entrypoint="true")
    eventually(lambda: user.status(job) == "SUCCEEDED", 60, "the job has ended")
    assert client.delete_job(job) is True
    assert client.list_jobs() == []
    with pytest.raises(RuntimeError, match="status code 404"):
        client.get_job_info(job)
    assert job in ray_jobs(), "in Ray the record stays: it is what keeps the id from running twice"
    with pytest.raises(RuntimeError, match="status code 409"):
        client.submit_job(entrypoint="true", submission_id=job)


def test_a_running_job_is_not_deleted(user: User, gate: Gate) -> None:
    client = user.client()
    job = client.submit_job(entrypoint=gate.entrypoint("a"))
    eventually(lambda: gate.starts("a"), 60, "the job runs")
    with pytest.raises(RuntimeError) as caught:
        client.delete_job(job)
    assert "Traceback" not in str(caught.value)
    assert user.status(job) == "RUNNING"


def test_the_same_submission_again_gets_the_first_answer_and_another_gets_409(user: User, gate: Gate) -> None:
    client = user.client()
    mine = f"again-{user.name}"
    asked: dict[str, Any] = {"entrypoint": gate.entrypoint("a"), "submission_id": mine, "metadata": {"curb.key": "1"}}
    assert client.submit_job(**asked) == mine
    assert client.submit_job(**asked) == mine
    with pytest.raises(RuntimeError, match="status code 409"):
        client.submit_job(entrypoint="true", submission_id=mine)
    gate.let_go("a")
    eventually(lambda: user.status(mine) == "SUCCEEDED", 60, "the job has ended")
    assert gate.starts("a") == 1


def test_check_says_now_then_later_and_submits_nothing(user: User, gate: Gate) -> None:
    client = JobSubmissionClient(user.server.address, token=user.token)
    job: dict[str, Any] = {"entrypoint": gate.entrypoint("a"), "entrypoint_num_cpus": 2}
    assert client.check(**job).verdict is Verdict.NOW
    assert client.list_jobs() == []
    client.submit_job(**job)
    later = client.check(entrypoint="true", entrypoint_num_cpus=1)
    assert later.verdict is Verdict.LATER
    binding = later.violations[0]
    assert (binding.code, binding.quota, binding.bucket) == ("concurrent-limit", "each-user", f"user {user.name}")
    numbers = (binding.limit, binding.used, binding.asked, binding.over)
    assert [str(number) for number in numbers] == ["2 CPU", "2 CPU", "1 CPU", "1 CPU"]
    assert str(later)


def test_check_and_submit_job_say_the_same_of_what_can_never_fit(user: User) -> None:
    client = JobSubmissionClient(user.server.address, token=user.token)
    checked = client.check(entrypoint="true", entrypoint_num_cpus=4)
    assert checked.verdict is not Verdict.NOW
    with pytest.raises(QuotaExceeded) as caught:
        client.submit_job(entrypoint="true", entrypoint_num_cpus=4)
    assert caught.value.status == 422
    assert caught.value.violations == checked.violations
    assert {v.code for v in checked.violations} >= {"per-job-limit"}
    assert "Traceback" not in str(caught.value)
    assert max(map(len, str(caught.value).splitlines())) <= 80


def test_the_queue_itself_has_a_limit(user: User, gate: Gate) -> None:
    client = JobSubmissionClient(user.server.address, token=user.token)
    client.submit_job(entrypoint=gate.entrypoint("holder"), entrypoint_num_cpus=2)
    for _ in range(3):
        client.submit_job(entrypoint="true", entrypoint_num_cpus=1)
    with pytest.raises(QuotaExceeded) as caught:
        client.submit_job(entrypoint="true", entrypoint_num_cpus=1)
    assert caught.value.status == 429
    assert "queued-limit" in {v.code for v in caught.value.violations}


async def _tail(client: Any, job: str) -> str:
    async def read() -> str:
        return "".join([chunk async for chunk in client.tail_job_logs(job)])

    return await asyncio.wait_for(read(), 60)
