"""Ray's own dashboard through Curb, at a port of its own: operators read it, nobody writes."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from conftest import Gate
from curbserver import CurbServer, User, ask, eventually


@pytest.fixture(scope="module")
def dashboard(server: CurbServer) -> str:
    """Where the shared server shows the dashboard of the shared Ray."""
    assert server.dashboard
    return server.dashboard


@pytest.fixture(scope="module")
def operator(server: CurbServer) -> User:
    """Who may read it."""
    return server.user("dashboard-operator", role="operator")


def test_an_operator_reads_rays_page_and_what_it_loads(dashboard: str, operator: User) -> None:
    page = ask(dashboard, "GET", "/", operator.token, headers={"Accept": "text/html"}).must()
    assert page.headers["content-type"].startswith("text/html")
    scripts = re.findall(r'(?:src|href)="(?:\./|/)?(static/[^"]+)"', page.text)
    assert scripts, page.text
    for script in scripts:
        got = ask(dashboard, "GET", f"/{script}", operator.token).must()
        assert len(got.text) > 100
    for path in ("/api/version", "/nodes?view=summary", "/api/v0/nodes", "/api/cluster_status", "/api/jobs/"):
        assert isinstance(ask(dashboard, "GET", path, operator.token).must().json, (dict, list)), path
    assert ask(dashboard, "HEAD", "/api/version", operator.token).must().text == ""


def test_the_page_shows_the_jobs_that_curb_started(dashboard: str, operator: User, user: User, gate: Gate) -> None:
    job = user.client().submit_job(entrypoint=gate.entrypoint("a"))
    eventually(lambda: gate.starts("a"), 60, "the job runs")
    assert job in {j["submission_id"] for j in ask(dashboard, "GET", "/api/jobs/", operator.token).must().json}


def test_a_user_and_somebody_without_a_token_are_refused(dashboard: str, user: User) -> None:
    for path in ("/", "/api/version", "/nodes?view=summary", "/api/jobs/"):
        assert "operators" in ask(dashboard, "GET", path, user.token).must(403).text
        assert "Authorization" in ask(dashboard, "GET", path).must(401).text
    to_sign_in = ask(dashboard, "GET", "/", headers={"Accept": "text/html"}).must(303)
    assert to_sign_in.headers["location"] == "/curb/sign-in"


def test_nothing_but_reading_passes_and_not_everything_is_read(
    dashboard: str, operator: User, ray_jobs: Callable[[], set[str]]
) -> None:
    before = ray_jobs()
    body = {"entrypoint": "true", "submission_id": "past-the-gate"}
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        for path in ("/api/jobs/", "/api/jobs/x", "/api/packages/gcs/x.zip", "/api/serve/applications/"):
            assert ask(dashboard, method, path, operator.token, body).status in (400, 404, 405), (method, path)
    for path in ("/api/v0/logs", "/api/v0/logs/file?filename=x", "/worker/cpu_profile", "/api/jobs/x/logs", "/%2e%2e/"):
        assert ask(dashboard, "GET", path, operator.token).status in (400, 404), path
    assert ray_jobs() == before


def test_the_two_ports_do_not_serve_each_other(dashboard: str, operator: User, server: CurbServer) -> None:
    assert ask(dashboard, "GET", "/curb/v1/status", operator.token).status == 404
    assert ask(server.address, "GET", "/nodes", operator.token).status == 404
