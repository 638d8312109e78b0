"""The drop-in client against a server in this process that records what it is asked."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import traceback
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from curb import (
    BadRequest,
    Conflict,
    CurbError,
    JobSubmissionClient,
    NotAllowed,
    NotFound,
    NotSignedIn,
    QuotaExceeded,
    Unavailable,
    Verdict,
)
from ray.job_submission import JobSubmissionClient as RayClient

REFUSAL = """refused: a job may ask for at most 3 CPU (quota each-user)
  asked    4 CPU
  try      --entrypoint-num-cpus 3"""


@dataclass
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: Any


@dataclass
class Answer:
    status: int
    body: str
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Server:
    """Answers as told, and keeps every request."""

    address: str
    answers: dict[tuple[str, str], Answer] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    open: threading.Event = field(default_factory=threading.Event)
    """While it is not set, requests are taken and wait for their answer."""

    def says(
        self, method: str, path: str, status: int, body: object, content_type: str = "application/json", **headers: str
    ) -> None:
        text = body if isinstance(body, str) else json.dumps(body)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answers[method, path] = Answer(status, text, content_type, named)

    def last(self, method: str, path: str) -> Request:
        return [r for r in self.requests if (r.method, r.path) == (method, path)][-1]


@contextmanager
def serving() -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            raw = self.rfile.read(int(self.headers.get("content-length", 0)))
            body = json.loads(raw) if raw else None
            lower = {k.lower(): v for k, v in self.headers.items()}
            recorder.requests.append(Request(self.command, self.path, lower, body))
            recorder.open.wait(20)
            answer = recorder.answers.get((self.command, self.path), Answer(404, "404: Not Found", "text/plain"))
            self.send_response(answer.status)
            for name, value in {"content-type": answer.content_type, **answer.headers}.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(answer.body.encode())))
            self.end_headers()
            self.wfile.write(answer.body.encode())

        do_GET = do_POST = do_DELETE = _answer

        def log_message(self, *_args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        recorder = Server(f"http://127.0.0.1:{http.server_port}")
        recorder.open.set()
        recorder.says("GET", "/api/version", 200, {"version": "4", "ray_version": "2.60.0", "ray_commit": "c"})
        recorder.says("POST", "/api/jobs/", 200, {"job_id": "j1", "submission_id": "j1"})
        recorder.says("POST", "/curb/v1/explain", 200, {"verdict": "now", "violations": [], "text": "would start now"})
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield recorder
        finally:
            recorder.open.set()
            http.shutdown()
            thread.join(timeout=5)


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as recorder:
        yield recorder


@pytest.fixture(autouse=True)
def no_settings_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CURB_ADDRESS", "CURB_TOKEN", "CURB_TOKEN_FILE", "RAY_ADDRESS", "RAY_API_SERVER_ADDRESS",
                 "RAY_AUTH_TOKEN", "RAY_AUTH_MODE", "RAY_JOB_HEADERS"):  # fmt: skip
        monkeypatch.delenv(name, raising=False)


def cpus(number: int) -> dict[str, object]:
    return {"amount": {"resource": "cpu", "amount": number * 1000}}


JOB: dict[str, Any] = {
    "entrypoint": "python train.py",
    "metadata": {"curb.job_type": "training"},
    "entrypoint_num_cpus": 1,
    "entrypoint_memory": 1024,
    "entrypoint_resources": {"ssd": 1},
    "runtime_env": {"env_vars": {"A": "b"}},
    "submission_id": "mine-1",
}


def test_it_is_rays_client() -> None:
    assert issubclass(JobSubmissionClient, RayClient)


def test_an_admitted_job_gives_its_id_as_rays_client_does(server: Server) -> None:
    assert JobSubmissionClient(server.address, token="t").submit_job(**JOB) == "j1"


def test_check_sends_the_body_that_submit_job_would(server: Server) -> None:
    client = JobSubmissionClient(server.address, token="t", metadata={"team": "vision"})
    client.check(**JOB)
    client.submit_job(**{**JOB, "metadata": dict(JOB["metadata"])})
    checked, submitted = (server.last("POST", path).body for path in ("/curb/v1/explain", "/api/jobs/"))
    assert checked == submitted
    assert checked["metadata"] == {"curb.job_type": "training", "team": "vision"}


def test_check_uploads_nothing_and_leaves_local_directories_out(server: Server, tmp_path: Any) -> None:
    client = JobSubmissionClient(server.address, token="t")
    env = {"working_dir": str(tmp_path), "py_modules": [str(tmp_path), "gcs://_ray_pkg_a.zip"], "pip": ["six"]}
    client.check(entrypoint="true", runtime_env=env)
    assert server.last("POST", "/curb/v1/explain").body["runtime_env"] == {
        "py_modules": ["gcs://_ray_pkg_a.zip"],
        "pip": ["six"],
    }
    assert not [r for r in server.requests if "packages" in r.path]
    assert set(env) == {"working_dir", "py_modules", "pip"}, "the caller's own value is untouched"


def test_check_tells_what_is_in_the_way(server: Server) -> None:
    violation = {
        "code": "per-job-limit",
        "quota": "each-user",
        "bucket": "user ana",
        "limit": cpus(3),
        "asked": cpus(4),
    }
    answer = {"verdict": "after-policy-change", "violations": [violation], "text": REFUSAL}
    server.says("POST", "/curb/v1/explain", 200, answer)
    found = JobSubmissionClient(server.address, token="t").check(entrypoint="true", entrypoint_num_cpus=4)
    assert not found
    assert found.verdict is Verdict.AFTER_POLICY_CHANGE
    assert (str(found.violations[0].limit), str(found.violations[0].asked)) == ("3 CPU", "4 CPU")
    assert str(found) == REFUSAL


@pytest.mark.parametrize("status", [422, 429])
def test_a_refusal_in_plain_text_is_quota_exceeded_with_that_text(server: Server, status: int) -> None:
    server.says("POST", "/api/jobs/", status, REFUSAL + "\n", "text/plain; charset=utf-8")
    with pytest.raises(QuotaExceeded) as caught:
        JobSubmissionClient(server.address, token="t").submit_job(**JOB)
    assert str(caught.value) == REFUSAL
    assert caught.value.status == status
    assert caught.value.violations == ()


def test_a_refusal_as_a_problem_has_the_violations_too(server: Server) -> None:
    problem = {"status": 429, "code": "concurrent-limit", "title": "t", "detail": REFUSAL,
               "violations": [{"code": "concurrent-limit", "bucket": "user ana", "over": cpus(1)}]}  # fmt: skip
    server.says("POST", "/api/jobs/", 429, problem, "application/problem+json")
    with pytest.raises(QuotaExceeded) as caught:
        JobSubmissionClient(server.address, token="t").submit_job(**JOB)
    assert str(caught.value) == REFUSAL
    assert caught.value.code == "concurrent-limit"
    assert [str(v.over) for v in caught.value.violations] == ["1 CPU"]
    assert "application/problem+json" in server.last("POST", "/api/jobs/").headers["accept"]


def test_a_refusal_that_is_not_well_formed_is_still_a_refusal(server: Server) -> None:
    for body in ("{", "[]", '{"violations": 3, "detail": "no"}'):
        server.says("POST", "/api/jobs/", 422, body, "application/problem+json")
        with pytest.raises(QuotaExceeded) as caught:
            JobSubmissionClient(server.address, token="t").submit_job(**JOB)
        assert str(caught.value) == body


def test_other_errors_are_rays_own(server: Server) -> None:
    server.says("POST", "/api/jobs/", 409, "that id is taken", "text/plain")
    with pytest.raises(RuntimeError, match="status code 409: that id is taken") as caught:
        JobSubmissionClient(server.address, token="t").submit_job(**JOB)
    assert not isinstance(caught.value, QuotaExceeded)


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, BadRequest), (401, NotSignedIn), (403, NotAllowed), (404, NotFound), (409, Conflict), (503, Unavailable)],
)
def test_an_error_is_curbs_words_and_not_its_json(server: Server, status: int, kind: type[CurbError]) -> None:
    problem = {"type": "/curb/v1/reasons/x", "status": status, "code": "x", "title": "t", "request_id": "r-1",
               "detail": "curb: metadata `curb.gpu`: `lots` is not an amount"}  # fmt: skip
    server.says("POST", "/api/jobs/", status, problem, "application/problem+json")
    with pytest.raises(kind) as caught:
        JobSubmissionClient(server.address, token="t").submit_job(**JOB)
    assert isinstance(caught.value, RuntimeError), "as Ray's client raises"
    assert str(caught.value).startswith("metadata `curb.gpu`: `lots` is not an amount")
    assert "{" not in str(caught.value)
    assert (caught.value.status, caught.value.code, caught.value.request_id) == (status, "x", "r-1")
    assert ("CURB_TOKEN" in str(caught.value)) == (status == 401)
    assert ("request r-1" in str(caught.value)) == (status >= 500)


def test_an_error_in_plain_text_is_of_its_kind_too(server: Server) -> None:
    server.says("GET", "/api/jobs/mine-1", 404, "Job mine-1 does not exist\n", "text/plain")
    with pytest.raises(NotFound, match="status code 404: Job mine-1 does not exist"):
        JobSubmissionClient(server.address, token="t").get_job_info("mine-1")


def test_a_wrong_token_is_told_in_curbs_words_wherever_it_is_met(server: Server) -> None:
    client = JobSubmissionClient(server.address, token="t")
    server.says("GET", "/api/jobs/", 401, "curb: this token was revoked. Set CURB_TOKEN to a new one.\n", "text/plain")
    with pytest.raises(NotSignedIn) as caught:
        client.list_jobs()
    assert str(caught.value) == "this token was revoked. Set CURB_TOKEN to a new one."


def test_a_422_without_limits_is_no_quota(server: Server) -> None:
    problem = {"status": 422, "code": "not-started", "detail": "the job was not started"}
    server.says("POST", "/api/jobs/", 422, problem, "application/problem+json")
    with pytest.raises(CurbError, match="the job was not started") as caught:
        JobSubmissionClient(server.address, token="t").submit_job(**JOB)
    assert not isinstance(caught.value, QuotaExceeded)


def test_check_tells_errors_in_words_too(server: Server) -> None:
    problem = {"status": 400, "code": "bad-request", "detail": "curb: metadata `curb.x`: is not known to Curb"}
    server.says("POST", "/curb/v1/explain", 400, problem, "application/problem+json")
    with pytest.raises(BadRequest) as caught:
        JobSubmissionClient(server.address, token="t").check(entrypoint="true")
    assert str(caught.value) == "metadata `curb.x`: is not known to Curb"


def test_check_against_something_that_is_not_curb_says_so(server: Server) -> None:
    client = JobSubmissionClient(server.address, token="t")
    server.says("POST", "/curb/v1/explain", 200, "<html>", "text/html")
    with pytest.raises(RuntimeError, match="did not answer as Curb does"):
        client.check(entrypoint="true")
    del server.answers["POST", "/curb/v1/explain"]
    with pytest.raises(RuntimeError, match="could not check this job: 404: Not Found"):
        client.check(entrypoint="true")


def test_the_address_and_token_come_from_curbs_environment(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CURB_ADDRESS", server.address)
    monkeypatch.setenv("CURB_TOKEN", "from-curb")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "from-ray")
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:1")
    JobSubmissionClient().submit_job(**JOB)
    assert {r.headers["authorization"] for r in server.requests} == {"Bearer from-curb"}


def test_the_address_falls_back_to_rays_environment(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", server.address)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "from-ray")
    JobSubmissionClient().submit_job(**JOB)
    assert server.last("POST", "/api/jobs/").headers["authorization"] == "Bearer from-ray"


def test_headers_for_rays_command_line_work_here_too(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_JOB_HEADERS", '{"authorization": "Bearer from-headers"}')
    monkeypatch.setenv("RAY_AUTH_TOKEN", "from-ray")
    JobSubmissionClient(server.address).check(entrypoint="true")
    assert server.last("POST", "/curb/v1/explain").headers["authorization"] == "Bearer from-headers"


def test_headers_that_are_not_json_are_named(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_JOB_HEADERS", "Bearer x")
    with pytest.raises(ValueError, match="RAY_JOB_HEADERS must be JSON"):
        JobSubmissionClient(server.address)


def test_an_argument_wins_over_the_environment(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CURB_ADDRESS", "http://127.0.0.1:1")
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://127.0.0.1:1")
    monkeypatch.setenv("CURB_TOKEN", "from-environment")
    JobSubmissionClient(server.address, headers={"Authorization": "Bearer mine"}).submit_job(**JOB)
    assert server.last("POST", "/api/jobs/").headers["authorization"] == "Bearer mine"
    JobSubmissionClient(server.address, token="argument", headers={"authorization": "Bearer old"}).submit_job(**JOB)
    assert server.last("POST", "/api/jobs/").headers["authorization"] == "Bearer argument"


def test_the_environment_is_as_it_was_afterwards(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    JobSubmissionClient(server.address, token="t")
    assert "RAY_API_SERVER_ADDRESS" not in os.environ
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://127.0.0.1:1")
    JobSubmissionClient(server.address, token="t")
    assert os.environ["RAY_API_SERVER_ADDRESS"] == "http://127.0.0.1:1"
    with pytest.raises(ConnectionError):
        JobSubmissionClient("http://127.0.0.1:1", token="t")
    assert os.environ["RAY_API_SERVER_ADDRESS"] == "http://127.0.0.1:1"


def test_the_header_for_one_request_does_not_stay(server: Server) -> None:
    server.says("GET", "/api/jobs/", 200, [])
    client = JobSubmissionClient(server.address, token="t")
    client.submit_job(**JOB)
    assert client.list_jobs() == []
    assert "problem" not in server.last("GET", "/api/jobs/").headers["accept"]


def made(address: str) -> threading.Thread:
    """A client that is being made in another thread."""
    thread = threading.Thread(target=JobSubmissionClient, args=(address,), kwargs={"token": "of-curb"})
    thread.start()
    return thread


def wait_until_asked(server: Server) -> None:
    for _ in range(1000):
        if server.requests:
            return
        threading.Event().wait(0.01)
    raise AssertionError("nobody asked within 10 s")


def test_a_client_that_waits_for_its_server_changes_nothing_for_the_rest_of_the_process(server: Server) -> None:
    with serving() as ray:
        server.open.clear()
        before = dict(os.environ)
        waiting = made(server.address)
        try:
            wait_until_asked(server)
            assert dict(os.environ) == before
            RayClient(ray.address, headers={"Authorization": "Bearer of-ray"})
            second = made(ray.address)
            second.join(timeout=10)
            assert not second.is_alive(), "a second client waits for the first one's server"
            assert {r.headers["authorization"] for r in ray.requests} == {"Bearer of-ray", "Bearer of-curb"}
            assert len(server.requests) == 1
        finally:
            server.open.set()
            waiting.join(timeout=10)
        assert {r.headers["authorization"] for r in server.requests} == {"Bearer of-curb"}


def test_it_holds_all_that_rays_constructor_makes(server: Server) -> None:
    rays = vars(RayClient(server.address, metadata={"a": "b"}, cookies={"c": "d"}))
    ours = vars(JobSubmissionClient(server.address + "/", metadata={"a": "b"}, cookies={"c": "d"}))
    assert ours == rays


@pytest.mark.parametrize("wrong", [{"cookies": []}, {"metadata": "team"}, {"verify": 1}, {"address": 8266}])
def test_an_argument_of_a_wrong_type_is_named(server: Server, wrong: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=next(iter(wrong))):
        JobSubmissionClient(**{"address": server.address, **wrong})


SECRET = "curb_kjq83hf0qj"


@pytest.mark.parametrize("name", ["CURB_TOKEN", "RAY_AUTH_TOKEN", "argument"])
def test_a_line_end_after_the_token_is_not_part_of_it(
    server: Server, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, f" {SECRET}\r\n")
    JobSubmissionClient(server.address, token=f"{SECRET}\n" if name == "argument" else None)
    assert server.requests[-1].headers["authorization"] == f"Bearer {SECRET}"


@pytest.mark.parametrize("name", ["CURB_TOKEN", "CURB_TOKEN_FILE", "RAY_AUTH_TOKEN", "RAY_JOB_HEADERS", "token",
                                  "header", "bytes", "list"])  # fmt: skip
@pytest.mark.parametrize("broken", [f"{SECRET}\nX-More: 1", f"{SECRET}\x00", f"{SECRET}\u2026"])
def test_a_token_that_cannot_be_sent_is_named_and_shown_nowhere(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, broken: str
) -> None:
    given: dict[str, Any] = {}
    if name in ("token", "header", "bytes", "list"):
        header: object = {"bytes": f"{broken}\n.".encode(), "list": [SECRET]}.get(name, broken)
        given = {"token": broken} if name == "token" else {"headers": {"Authorization": header}}
        name = name if name == "token" else "Authorization"
    elif name == "CURB_TOKEN_FILE":
        (tmp_path / "token").write_text(broken, encoding="utf-8")
        monkeypatch.setenv(name, str(tmp_path / "token"))
    elif "\x00" in broken and name != "RAY_JOB_HEADERS":
        monkeypatch.setitem(os.environ, name, broken.replace("\x00", "\x7f"))  # no variable can hold a zero byte
    else:
        monkeypatch.setenv(name, json.dumps({"Authorization": broken}) if name == "RAY_JOB_HEADERS" else broken)
    with pytest.raises(ValueError, match=name) as caught:
        JobSubmissionClient(server.address, **given)
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    assert not server.requests


def test_headers_that_are_not_json_are_not_shown(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for raw in (f"Bearer {SECRET}", f'["{SECRET}"]', "{" + SECRET):
        monkeypatch.setenv("RAY_JOB_HEADERS", raw)
        with pytest.raises(ValueError, match="RAY_JOB_HEADERS must be JSON") as caught:
            JobSubmissionClient(server.address)
        assert SECRET not in "".join(traceback.format_exception(caught.value))
        assert SECRET not in str(vars(caught.value.__context__ or caught.value))


def test_the_token_may_be_in_a_file_as_for_the_command_line(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("from-file\n", encoding="utf-8")
    monkeypatch.setenv("CURB_TOKEN_FILE", str(tmp_path / "token"))
    for token, headers, sent in (
        (None, None, "from-file"),
        (None, {"x-team": "vision"}, "from-file"),
        ("argument", None, "argument"),
        (None, {"Authorization": "Bearer header"}, "header"),
    ):
        monkeypatch.setenv("CURB_TOKEN", "from-curb")
        JobSubmissionClient(server.address, token=token, headers=headers)
        assert server.requests[-1].headers["authorization"] == f"Bearer {sent}"


@pytest.mark.parametrize(
    ("content", "why"), [(None, "cannot read the token file"), (" \n", "is empty"), ("x" * 70_000, "more than")]
)
def test_a_token_file_without_a_token_is_an_error_and_nobody_else_is_asked(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str | None, why: str
) -> None:
    if content is not None:
        (tmp_path / "token").write_text(content, encoding="utf-8")
    monkeypatch.setenv("CURB_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("CURB_TOKEN", "from-curb")
    with pytest.raises(ValueError, match=f"CURB_TOKEN_FILE.*{why}"):
        JobSubmissionClient(server.address)
    assert not server.requests


def test_a_variable_of_blanks_says_nothing(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CURB_ADDRESS", "CURB_TOKEN", "CURB_TOKEN_FILE", "RAY_JOB_HEADERS"):
        monkeypatch.setenv(name, " ")
    monkeypatch.setenv("RAY_ADDRESS", server.address)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "from-ray")
    JobSubmissionClient()
    assert server.requests[-1].headers["authorization"] == "Bearer from-ray"


async def all_of(client: JobSubmissionClient, job: str) -> list[str]:
    return [piece async for piece in client.tail_job_logs(job)]


EVERY_CALL: dict[str, tuple[str, str, Any]] = {
    "status": ("GET", "/api/jobs/j9", lambda c: c.get_job_status("j9")),
    "logs": ("GET", "/api/jobs/j9/logs", lambda c: c.get_job_logs("j9")),
    "stop": ("POST", "/api/jobs/j9/stop", lambda c: c.stop_job("j9")),
    "delete": ("DELETE", "/api/jobs/j9", lambda c: c.delete_job("j9")),
    "list": ("GET", "/api/jobs/", lambda c: c.list_jobs()),
    "submit": ("POST", "/api/jobs/", lambda c: c.submit_job(**JOB)),
    "check": ("POST", "/curb/v1/explain", lambda c: c.check(entrypoint="true")),
    "tail": ("GET", "/api/jobs/j9/logs/tail", lambda c: asyncio.run(all_of(c, "j9"))),
}


@pytest.mark.parametrize("call", EVERY_CALL)
@pytest.mark.parametrize(
    ("status", "kind"), [(400, BadRequest), (401, NotSignedIn), (403, NotAllowed), (404, NotFound), (503, Unavailable)]
)
def test_every_call_tells_kind_code_and_request(server: Server, call: str, status: int, kind: type[CurbError]) -> None:
    method, path, make = EVERY_CALL[call]
    client = JobSubmissionClient(server.address, token="t")
    problem = {"status": status, "code": "no-such-job", "detail": "curb: Job j9 is not yours", "request_id": "r-1"}
    text = "curb: Job j9 is not yours\n  more: curb help reason no-such-job, or /curb/v1/reasons/no-such-job\n"
    for body, content_type in ((problem, "application/problem+json"), (text, "text/plain; charset=utf-8")):
        server.says(method, path, status, body, content_type, x_request_id="r-1", retry_after="7")
        with pytest.raises(kind, match=r"^Job j9 is not yours") as caught:
            make(client)
        assert (caught.value.status, caught.value.code, caught.value.request_id) == (status, "no-such-job", "r-1")
        assert getattr(caught.value, "retry_after", 7) == 7
        accept = server.last(method, path).headers["accept"]
        assert "application/json" in accept or "application/problem+json" in accept, "so that Curb says the code"


@pytest.mark.parametrize("status", [401, 403, 500, 503])
def test_a_client_that_is_turned_away_when_it_is_made_says_so_in_curbs_words(server: Server, status: int) -> None:
    problem = {"status": status, "code": "x", "detail": "curb: not now", "request_id": "r-2"}
    server.says("GET", "/api/version", status, problem, "application/problem+json")
    with pytest.raises(CurbError, match=r"^not now") as caught:
        JobSubmissionClient(server.address, token="t")
    assert (caught.value.status, caught.value.code, caught.value.request_id) == (status, "x", "r-2")


def test_a_log_that_may_be_followed_after_all_is_still_an_error_of_its_kind(server: Server) -> None:
    client = JobSubmissionClient(server.address, token="t")
    path = "/api/jobs/j9/logs/tail"
    server.says("GET", path, 503, "busy", "text/plain", x_request_id="r-3")
    once = server.answers["GET", path]
    server.answers = OnceThen(server.answers, ("GET", path), once, Answer(200, "{}"))
    with pytest.raises(Unavailable, match="could not be followed; try again") as caught:
        asyncio.run(all_of(client, "j9"))
    assert caught.value.request_id == "r-3"


class OnceThen(dict[tuple[str, str], Answer]):
    """One answer for the first request of a path, another for all that follow."""

    def __init__(self, others: dict[tuple[str, str], Answer], key: tuple[str, str], first: Answer, then: Answer):
        super().__init__(others)
        self.key, self.left = key, [first]
        self[key] = then

    def get(self, key: Any, default: Any = None) -> Any:
        return self.left.pop() if key == self.key and self.left else super().get(key, default)


@pytest.mark.parametrize("form", ["text/plain", "application/problem+json"])
def test_a_refusal_names_its_request(server: Server, form: str) -> None:
    body: object = REFUSAL if form == "text/plain" else {"detail": REFUSAL, "violations": []}
    server.says("POST", "/api/jobs/", 429, body, form, x_request_id="r-4")
    with pytest.raises(QuotaExceeded) as caught:
        JobSubmissionClient(server.address, token="t").submit_job(**JOB)
    assert caught.value.request_id == "r-4"


def test_who_stops_following_a_log_ends_rays_connection_at_once(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = []

    async def rays(_client: RayClient, job_id: str) -> AsyncIterator[str]:
        try:
            yield f"first of {job_id}"
            yield "second"
        finally:
            ended.append(job_id)

    async def one_piece(client: JobSubmissionClient) -> str:
        pieces = client.tail_job_logs("j9")
        first = await anext(pieces)
        await pieces.aclose()
        assert ended == ["j9"]
        return first

    monkeypatch.setattr(RayClient, "tail_job_logs", rays)
    assert asyncio.run(one_piece(JobSubmissionClient(server.address, token="t"))) == "first of j9"


@pytest.mark.parametrize("token", [5, b"x", ["t"]])
def test_a_token_that_is_no_text_is_named(server: Server, token: Any) -> None:
    with pytest.raises(ValueError, match=f"the argument `token`: must be text, not a {type(token).__name__}"):
        JobSubmissionClient(server.address, token=token)
    assert server.requests == []


@pytest.mark.parametrize("form", ["text", "problem"])
def test_an_address_below_curbs_own_is_told_in_curbs_words(server: Server, form: str) -> None:
    text = "curb: there is nothing at /api/api/version"
    answers = {
        "text": Answer(404, text, "text/plain"),
        "problem": Answer(
            404, json.dumps({"status": 404, "code": "not-found", "detail": text}), "application/problem+json"
        ),
    }
    server.answers["GET", "/api/version"] = answers[form]
    with pytest.raises(NotFound, match="there is nothing at /api/api/version"):
        JobSubmissionClient(server.address, token="t")


def test_a_404_of_something_else_says_that_it_is_not_curb(server: Server) -> None:
    server.answers["GET", "/api/version"] = Answer(404, "404: Not Found", "text/plain")
    with pytest.raises(RuntimeError, match="is not Curb"):
        JobSubmissionClient(server.address, token="t")
