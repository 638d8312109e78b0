"""Who may do what: tokens, other people's jobs, and what a job says about itself."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Gate
from curbserver import CurbServer, User, eventually

NOT_ALLOWED = 4  # exit code of `curb`
JOB_VERBS = [("GET", ""), ("POST", "/stop"), ("DELETE", ""), ("GET", "/logs")]


def _ask(server: CurbServer, method: str, path: str, token: str | None, body: bytes | None = None) -> tuple[int, str]:
    request = urllib.request.Request(server.address + path, data=body, method=method)
    if token is not None:
        request.add_header("Authorization", f"Bearer {token}")
    if body is not None:
        request.add_header("Content-Type", "application/json")
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_without_a_valid_token_nothing_reaches_ray_and_the_answer_names_the_header(
    server: CurbServer, user: User, ray_jobs: Callable[[], set[str]]
) -> None:
    before = ray_jobs()
    revoked = server.user("gone")
    listed = json.loads(server.admin().curb("token", "list", "--json").must().stdout)
    [its_id] = [t["id"] for t in listed["tokens"] if t["user"] == "gone"]
    server.admin().curb("token", "revoke", its_id).must()
    body = json.dumps({"entrypoint": "true", "submission_id": "no-token"}).encode()
    almost = user.token[:-1] + ("a" if user.token[-1] != "a" else "b")
    for token in (None, "", "wrong", almost, user.token + "x", revoked.token):
        for method, path, sent in (
            ("POST", "/api/jobs/", body),
            ("GET", "/api/jobs/", None),
            ("GET", "/api/version", None),
        ):
            status, text = _ask(server, method, path, token, sent)
            assert status == 401, (token, path)
            assert "Authorization" in text
            assert not token or len(token) < 8 or token not in text
    assert ray_jobs() == before


def test_a_token_that_has_expired_is_refused(server: CurbServer) -> None:
    made = server.admin().curb("token", "create", "--user", "brief", "--expires", "1s").must().stdout.strip()
    eventually(lambda: _ask(server, "GET", "/api/jobs/", made)[0] == 401, 10, "the token has expired")


def test_no_token_is_ever_written_to_the_log(server: CurbServer, user: User) -> None:
    _ask(server, "GET", "/api/jobs/", user.token)
    _ask(server, "GET", "/api/jobs/", "curb_wrong_but_secret")
    log = server.log.read_text(errors="replace")
    assert user.token not in log
    assert "curb_wrong_but_secret" not in log


def test_token_create_prints_the_token_alone_on_stdout(server: CurbServer) -> None:
    made = server.admin().curb("token", "create", "--user", "alone").must()
    assert len(made.stdout.split()) == 1
    assert made.stdout.strip() not in made.stderr


def test_somebody_elses_job_is_as_if_it_were_not_there(new_user: Callable[[], User], gate: Gate) -> None:
    owner, other = new_user(), new_user()
    job = owner.client().submit_job(entrypoint=gate.entrypoint("a"))
    eventually(lambda: gate.starts("a"), 60, "the job runs")
    server = owner.server
    for method, suffix in JOB_VERBS:
        theirs = _ask(server, method, f"/api/jobs/{job}{suffix}", other.token)
        none = _ask(server, method, f"/api/jobs/no-such-job{suffix}", other.token)
        assert theirs[0] == none[0] == 404, (method, suffix)
        assert theirs[1].replace(job, "ID") == none[1].replace("no-such-job", "ID")
    assert other.client().list_jobs() == []
    assert owner.status(job) == "RUNNING"
    assert other.ray_job("stop", job).status == 1
    assert owner.status(job) == "RUNNING"


def test_an_operator_sees_all_jobs_and_stops_any(server: CurbServer, user: User, gate: Gate) -> None:
    operator = server.user("operator", role="operator")
    job = user.client().submit_job(entrypoint=gate.entrypoint("a"))
    eventually(lambda: gate.starts("a"), 60, "the job runs")
    assert job in {j.submission_id for j in operator.client().list_jobs()}
    assert operator.client().stop_job(job) is True
    eventually(lambda: user.status(job) == "STOPPED", 30, "the job was stopped")


def test_rays_own_ids_are_no_way_to_a_job(user: User, gate: Gate) -> None:
    """Ray's routes take hexadecimal job ids too; only ids of Curb's own ledger are forwarded."""
    job = user.client().submit_job(entrypoint=f'python -c "import ray; ray.init()"; {gate.entrypoint("a")}')
    eventually(lambda: gate.starts("a"), 90, "the job runs")
    for number in range(1, 12):
        assert _ask(user.server, "GET", f"/api/jobs/{number:02x}000000", user.token)[0] == 404
    assert user.status(job) == "RUNNING"


def test_metadata_does_not_decide_who_somebody_is(
    new_user: Callable[[], User], gate: Gate, ray_jobs: Callable[[], set[str]]
) -> None:
    honest, liar = new_user(), new_user()
    job = liar.client().submit_job(
        entrypoint=gate.entrypoint("a"),
        entrypoint_num_cpus=2,
        metadata={"user": honest.name, "job_submission_id": "victim", "job_name": "victim", "curb.user": honest.name},
    )
    eventually(lambda: gate.starts("a"), 60, "the job runs")
    assert job in ray_jobs()
    metadata = liar.client().get_job_info(job).metadata
    assert metadata.get("job_submission_id", job) == job
    assert metadata.get("job_name", job) == job
    assert metadata["curb.user"] == liar.name
    assert honest.client().list_jobs() == []
    quotas = liar.curb("quota").must().stdout
    assert liar.name in quotas
    assert honest.name not in quotas


@pytest.mark.parametrize("key", ["curb.team_of", "curb.cluster_token", "curb.grant"])
def test_keys_that_curb_does_not_know_are_refused_by_name(user: User, key: str) -> None:
    with pytest.raises(RuntimeError, match="status code 400") as caught:
        user.client().submit_job(entrypoint="true", metadata={key: "root"})
    assert key in str(caught.value)


def test_a_user_may_not_change_what_only_an_admin_may(user: User, policy: Path) -> None:
    for arguments in (
        ["token", "create", "--user", "me", "--role", "admin"],
        ["token", "list"],
        ["policy", "apply", str(policy)],
        ["enforce", "--observe", "--why", "I want to"],
        ["override", "add", "--user", user.name, "--cpu", "+2", "--for", "1h", "--why", "I want to"],
    ):
        refused = user.curb(*arguments).must(NOT_ALLOWED)
        assert refused.stdout == ""
        assert refused.stderr
