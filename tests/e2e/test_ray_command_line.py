"""What somebody sees who only knows `ray job`: submit, status, list, logs and stop, through Curb to a real Ray."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Gate
from curbserver import User, eventually


def test_an_admitted_jobs_log_is_streamed_to_its_end(user: User, gate: Gate) -> None:
    with user.ray_job_stream("submit", "--", *gate.shell("a")) as job:
        job.wait_for("a has started")
        gate.let_go("a")
        job.wait_for("a has ended")
        assert job.wait() == 0, job.output
        assert "succeeded" in job.output
    assert gate.starts("a") == 1


def test_a_job_that_fails_exits_with_1_and_shows_rays_reason(user: User) -> None:
    found = user.ray_job("submit", "--", "sh", "-c", "echo about to fail; exit 3").must(1)
    assert "about to fail" in found.output
    assert "exit code 3" in found.output


def test_a_refusal_can_be_read_at_the_end_of_the_terminal_and_nothing_reaches_ray(
    user: User, ray_jobs: Callable[[], set[str]]
) -> None:
    before = ray_jobs()
    found = user.ray_job("submit", "--entrypoint-num-cpus", "4", "--", "true").must(1)
    text = found.stderr.split("status code 422: ")[-1].rstrip(".\n")
    assert "status code 422: " in found.stderr
    # what was asked, the limit and whose it is, in lines that a terminal of 80 columns does not break
    words = " ".join(text.split())
    assert f"each-user (user {user.name}) allows one job 3 CPU; 4 CPU asked, over by 1 CPU." in words
    assert max(map(len, text.splitlines())) <= 80, text
    assert len(text.splitlines()) <= 12, text
    assert ray_jobs() == before


def test_every_limit_in_the_way_is_told_at_once(user: User) -> None:
    metadata = '{"curb.cpu": "4", "curb.duration": "2h", "curb.job_type": "training"}'
    text = " ".join(user.ray_job("submit", "--metadata-json", metadata, "--", "true").must(1).stderr.split())
    for told in ("allows one job 3 CPU; 4 CPU asked", "lets one job run for 1h; 2h asked", "training"):
        assert told in text, text


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("curb.cpu", "-1"), ("curb.cpu", "NaN"), ("curb.cpu", "1e400"), ("curb.cpu", "lots"), ("curb.memory", "4GBit"),
        ("curb.duration", "soon"), ("curb.priority", "1.5"), ("curb.cpus", "1"), ("curb.resources", "[1]"),
    ],
)  # fmt: skip
def test_a_malformed_declaration_is_refused_by_its_name(user: User, key: str, value: str) -> None:
    with pytest.raises(RuntimeError, match="status code 400") as caught:
        user.client().submit_job(entrypoint="true", metadata={key: value})
    assert key in str(caught.value)


def test_a_queued_job_streams_its_place_and_starts_by_itself(user: User, gate: Gate) -> None:
    client = user.client()
    client.submit_job(entrypoint=gate.entrypoint("first"), entrypoint_num_cpus=2, submission_id=f"first-{user.name}")
    eventually(lambda: gate.starts("first"), 60, "the first job runs")
    with user.ray_job_stream("submit", "--entrypoint-num-cpus", "1", "--", *gate.shell("second")) as job:
        job.wait_for(r"(?m)^curb: .*position 1 of 1")
        assert "submitted successfully" in job.output
        assert gate.starts("second") == 0
        gate.let_go("first")
        job.wait_for("second has started")
        gate.let_go("second")
        assert job.wait() == 0, job.output
        assert "succeeded" in job.output
    assert (gate.starts("first"), gate.starts("second")) == (1, 1)


def test_status_list_and_logs_of_a_queued_job_look_like_rays_own(user: User, gate: Gate) -> None:
    holder, waiter = _holder_and_waiter(user, gate)
    status = user.ray_job("status", waiter).must()
    assert "PENDING" in status.output
    assert re.search(r"Status message: .*position 1 of 1", status.output), status.output
    assert "RUNNING" in user.ray_job("status", holder).must().output
    listed = user.ray_job("list").must().output
    assert holder in listed
    assert waiter in listed
    assert "position 1 of 1" in user.ray_job("logs", waiter).must().output
    assert "holder has started" in user.ray_job("logs", holder).must().output


def test_a_queued_job_that_is_stopped_never_starts(user: User, gate: Gate) -> None:
    holder, waiter = _holder_and_waiter(user, gate)
    user.ray_job("stop", waiter).must()
    assert user.status(waiter) == "STOPPED"
    gate.let_go("holder")
    eventually(lambda: user.status(holder) == "SUCCEEDED", 60, "the holder has ended")
    assert user.status(waiter) == "STOPPED"
    assert gate.starts("waiter") == 0


def test_a_running_job_that_is_stopped_gives_its_place_to_the_next(user: User, gate: Gate) -> None:
    holder, waiter = _holder_and_waiter(user, gate)
    user.ray_job("stop", holder).must()
    eventually(lambda: gate.starts("waiter"), 60, "the next job runs")
    assert user.status(holder) == "STOPPED"
    gate.let_go("waiter")
    eventually(lambda: user.status(waiter) == "SUCCEEDED", 60, "the next job has ended")


def test_a_directory_goes_with_a_job_that_waited(user: User, gate: Gate, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "hello.py").write_text("import helper; print(helper.WORD)\n")
    (source / "helper.py").write_text("WORD = 'from the uploaded directory'\n")
    holder = _holder(user, gate)
    with user.ray_job_stream(
        "submit", "--entrypoint-num-cpus", "1", "--working-dir", str(source), "--", "python", "hello.py"
    ) as job:
        job.wait_for("position 1 of 1")
        gate.let_go("holder")
        job.wait_for("from the uploaded directory")
        assert job.wait() == 0, job.output
    assert user.status(holder) == "SUCCEEDED"


def _holder(user: User, gate: Gate) -> str:
    job: str = user.client().submit_job(entrypoint=gate.entrypoint("holder"), entrypoint_num_cpus=2)
    eventually(lambda: gate.starts("holder"), 60, "the job that holds both CPUs runs")
    return job


def _holder_and_waiter(user: User, gate: Gate) -> tuple[str, str]:
    holder = _holder(user, gate)
    waiter = user.client().submit_job(entrypoint=gate.entrypoint("waiter"), entrypoint_num_cpus=1)
    assert user.status(waiter) == "PENDING"
    return holder, waiter
