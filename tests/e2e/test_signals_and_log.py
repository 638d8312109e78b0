"""The server as a process: it drains on SIGTERM, reads its policy again on SIGHUP, and logs without secrets."""

from __future__ import annotations

import asyncio
import http.client
import json
import re
import signal
import time
from concurrent.futures import Future, ThreadPoolExecutor

import aiohttp
from conftest import Maker
from curbserver import CurbServer, User, ask, eventually
from standin import Standin

POLICY = """\
version: 1
default_request: {cpu: 1}
quotas:
  - name: each-user
    for: {user: "*"}
    limits: {cpu: 2}
"""
GOING_AWAY = 1001
NORMAL = 1000


def _follow(user: User, job: str) -> tuple[str, int | None]:
    """What a log tail said until the server closed it, and with which code."""

    async def follow() -> tuple[str, int | None]:
        said = ""
        headers = {"Authorization": f"Bearer {user.token}"}
        url = f"{user.server.address}/api/jobs/{job}/logs/tail"
        async with aiohttp.ClientSession() as session, session.ws_connect(url, headers=headers) as socket:
            async for message in socket:
                said += message.data
        return said, socket.close_code

    return asyncio.run(asyncio.wait_for(follow(), 30))


def _in_flight(server: CurbServer, ray: Standin, pool: ThreadPoolExecutor, kind: str, **more: int) -> Future[int]:
    """A submission that Ray has got and does not answer yet."""
    user = server.user("li")

    def submit() -> int:
        return user.submit("in-flight").status

    ray.fault("submit", kind, **more)
    answer = pool.submit(submit)
    eventually(lambda: ray.faults() == 0, 10, "Ray has got the submission", every=0.02)
    return answer


def test_sigterm_answers_what_is_open_turns_away_what_is_new_and_ends_followed_logs(own: Maker) -> None:
    ray = own.standin()
    server = own.server(POLICY, "--start-rate", "0", ray=ray.address)
    ana = server.user("ana")
    ana.submit("runs", "echo here I am; sleep 600", cpu="2").must()
    ana.submit("waits", cpu="1").must()
    with ThreadPoolExecutor() as pool:
        tails = {job: pool.submit(_follow, ana, job) for job in ("runs", "waits")}
        in_flight = _in_flight(server, ray, pool, "delay", ms=3000)
        began = time.monotonic()
        server.signal(signal.SIGTERM)
        eventually(lambda: server.probe("/readyz") == 503, 2.5, "/readyz turns 503", every=0.05)
        refused = ask(server.address, "GET", "/readyz").must(503)
        assert "stopping" in refused.text
        assert int(refused.headers["retry-after"]) > 0
        assert not in_flight.done(), "it still waits for Ray"
        assert in_flight.result(20) == 200
        assert server.wait(20) == 0
        assert time.monotonic() - began < 9
        said, code = tails["runs"].result(20)
        assert ("here I am" in said, code) == (True, GOING_AWAY)
        said, code = tails["waits"].result(20)
        assert ("position 1 of 1" in said, code) == (True, GOING_AWAY)
    assert "SIGTERM" in server.log.read_text()
    server.start()
    server.wait_reachable()
    ana.until("waits", "queued")
    assert server.admin().state("in-flight") == "running"
    assert ray.started().count("in-flight") == 1


def test_sigterm_ends_in_bounded_time_though_ray_never_answers_and_a_client_stalls(own: Maker) -> None:
    ray = own.standin()
    server = own.server(POLICY, "--start-rate", "0", ray=ray.address)
    with ThreadPoolExecutor() as pool:
        in_flight = _in_flight(server, ray, pool, "hang-after")
        began = time.monotonic()
        server.signal(signal.SIGTERM)
        assert server.wait(30) == 0
        assert time.monotonic() - began < 25, "10 s for connections, 5 s for what they left"
        assert isinstance(in_flight.exception(5), OSError), "cut: it may be asked again, and learns what became of it"
    server.start()
    server.admin().until("in-flight", "running")
    assert ray.started().count("in-flight") == 1, "it was found to have landed, and was not sent again"


def test_a_second_sigterm_changes_nothing_and_sigint_drains_too(own: Maker) -> None:
    ray = own.standin()
    server = own.server(POLICY, "--start-rate", "0", ray=ray.address)
    with ThreadPoolExecutor() as pool:
        in_flight = _in_flight(server, ray, pool, "delay", ms=1000)
        server.signal(signal.SIGINT)
        time.sleep(0.1)
        server.signal(signal.SIGTERM)
        assert in_flight.result(20) == 200
        assert server.wait(20) == 0


def test_sighup_puts_a_good_policy_in_force_and_keeps_the_old_one_against_a_broken_one(own: Maker) -> None:
    server = own.server(POLICY, "--start-rate", "0", ray=own.standin().address)
    root, ana = server.admin(), server.user("ana")
    ana.submit("three", cpu="3").must(422)
    wider = POLICY.replace("cpu: 2", "cpu: 3")
    server.apply_policy(wider)
    assert root.curb("policy", "show", "--server").must().stdout == wider
    ana.submit("three", cpu="3").must()

    assert server.policy is not None
    server.policy.write_text(wider.replace("limits: {cpu: 3}", "limits: {cpu: lots}"))
    server.signal(signal.SIGHUP)
    eventually(lambda: "lots" in server.log.read_text(), 10, "the log says what is wrong")
    log = server.log.read_text()
    assert re.search(r":6:19: error: .*`lots`", log), log
    assert "the policy in force stays" in log
    assert root.curb("policy", "show", "--server").must().stdout == wider
    assert "policy file is not right" in " ".join(root.curb("status").must().stdout.split())
    assert server.probe("/readyz") == 200
    ana.submit("four", cpu="4").must(422)

    server.apply_policy(POLICY)
    assert "policy file is not right" not in " ".join(root.curb("status").must().stdout.split())
    assert [p["version"] for p in _applied(root)] == [1, 2, 3]


def _applied(root: User) -> list[dict[str, int]]:
    lines = root.curb("journal", "tail", "--kind", "policy_applied", "--json").must().stdout.splitlines()
    return [json.loads(line)["event"]["policy_applied"] for line in lines]


def test_a_json_log_is_one_object_a_line_with_request_ids_and_never_a_token(own: Maker) -> None:
    rays_own = "cluster-secret-0123456789abcdef"
    ray = own.standin("--token", rays_own)
    server = own.server(
        POLICY, "--log", "json", "--start-rate", "0", ray=ray.address, dashboard=True,
        environment={"CURB_RAY_TOKEN": rays_own, "CURB_LOG": "trace"},
    )  # fmt: skip
    assert server.dashboard
    ana, operator = server.user("ana"), server.user("op", role="operator")
    wrong = "curb_" + "w" * 43
    for token in (wrong, ana.token[:-1], "x"):
        ask(server.address, "GET", "/api/jobs/", token).must(401)
    ask(server.address, "GET", f"/api/jobs/?token={ana.token}").must(401)
    ana.submit("talks", "echo hello; sleep 0.3").must()
    answered = ana.ask("GET", "/api/jobs/talks").must()
    assert _follow(ana, "talks")[1] == NORMAL
    assert "hello" in ana.ask("GET", "/api/jobs/talks/logs").must().text
    sign_in = {"Content-Type": "application/x-www-form-urlencoded"}
    assert _post_form(server.dashboard, f"token={operator.token}", sign_in) == 303
    assert _post_form(server.dashboard, f"token={wrong}", sign_in) == 401
    server.terminate()

    text = server.log.read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert len(lines) > 50
    assert all({"timestamp", "level", "target", "fields"} <= line.keys() for line in lines)
    requests = [line["fields"] for line in lines if line["fields"].get("message") == "request"]
    assert answered.headers["x-request-id"] in {fields["request"] for fields in requests}
    assert all(re.fullmatch(r"[0-9a-f]{32}", fields["request"]) for fields in requests)
    root = server.admin()
    for secret in (ana.token, operator.token, root.token, wrong, rays_own):
        where = [line["target"] for line in lines if secret in json.dumps(line)]
        assert not where, f"a token is in a log line of {where}"


def _post_form(address: str, form: str, headers: dict[str, str]) -> int:
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=10)
    try:
        connection.request("POST", "/curb/sign-in", form, headers)
        return connection.getresponse().status
    finally:
        connection.close()
