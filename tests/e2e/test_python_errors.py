"""The `curb` package's errors, from the server itself: each has its kind, its code and its request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from conftest import Maker
from curb import BadRequest, Conflict, CurbError, JobSubmissionClient, NotFound, NotSignedIn, QuotaExceeded
from curbserver import CurbServer

POLICY = """\
version: 1
default_request: {cpu: 1}
refusal: http
quotas:
  - {name: each-user, for: {user: "*"}, per_job: {cpu: 2}}
"""


@pytest.fixture(scope="module")
def server(shared: Maker) -> CurbServer:
    """With a stand-in whose jobs never end."""
    return shared.server(POLICY, "--start-rate", "0", ray=shared.standin("--job-seconds", "never").address)


def refused(call: Callable[[], Any], kind: type[CurbError]) -> str | None:
    """The code."""
    with pytest.raises(kind) as caught:
        call()
    assert type(caught.value) is kind
    assert caught.value.request_id, "under which the log tells more"
    assert "{" not in str(caught.value)
    return caught.value.code


def follow(client: JobSubmissionClient, job: str) -> str:
    async def all_of_it() -> str:
        return "".join([piece async for piece in client.tail_job_logs(job)])

    return asyncio.run(asyncio.wait_for(all_of_it(), 30))


def test_a_job_that_is_not_there_and_one_of_somebody_else_are_not_found_by_any_call(server: CurbServer) -> None:
    ana = JobSubmissionClient(server.address, token=server.user("ana").token)
    li = JobSubmissionClient(server.address, token=server.user("li").token)
    for job in ("no-such-job", ana.submit_job(entrypoint="sleep 1")):
        calls = [partial(call, job) for call in (li.get_job_status, li.get_job_logs, li.stop_job, li.delete_job)]
        calls.append(partial(follow, li, job))
        assert {refused(call, NotFound) for call in calls} == {"not-found"}


def test_what_is_wrong_taken_or_too_much_has_its_code(server: CurbServer) -> None:
    kim = JobSubmissionClient(server.address, token=server.user("kim").token)
    kim.submit_job(entrypoint="sleep 1", submission_id="kims")
    wrong = {"curb.gpu": "lots"}
    assert refused(lambda: kim.submit_job(entrypoint="true", metadata=wrong), BadRequest) == "bad-request"
    assert refused(lambda: kim.check(entrypoint="true", metadata=wrong), BadRequest) == "bad-request"
    assert refused(lambda: kim.submit_job(entrypoint="true", submission_id="kims"), Conflict) == "conflict"
    assert refused(lambda: kim.submit_job(entrypoint="true", entrypoint_num_cpus=3), QuotaExceeded) == "per-job-limit"


def test_a_wrong_token_is_told_by_the_constructor_and_a_file_with_a_good_one_is_read(
    server: CurbServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = server.user("ada")
    assert refused(lambda: JobSubmissionClient(server.address, token="curb_wrong"), NotSignedIn) == "not-signed-in"
    (tmp_path / "token").write_text(f"{user.token}\n")
    monkeypatch.setenv("CURB_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("CURB_TOKEN", "curb_wrong")
    assert JobSubmissionClient(server.address).list_jobs() == []
