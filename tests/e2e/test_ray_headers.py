"""Signing in with what Ray's own command line offers besides RAY_AUTH_TOKEN: --headers and RAY_JOB_HEADERS."""

from __future__ import annotations

import json

import pytest
from curbserver import RAY, CurbServer, User, clean_environment, eventually, run


def _unsigned(server: CurbServer) -> dict[str, str]:
    return clean_environment() | {"RAY_ADDRESS": server.address}


def _bearer(token: str) -> str:
    return json.dumps({"Authorization": f"Bearer {token}"})


def test_a_job_is_submitted_and_followed_with_the_headers_option(user: User) -> None:
    option = ["--headers", _bearer(user.token)]
    done = run([str(RAY), "job", "submit", *option, "--", "echo", "signed in by an option"], _unsigned(user.server))
    assert "signed in by an option" in done.must().output
    assert user.token not in done.output


def test_a_job_is_submitted_with_headers_from_the_environment(user: User) -> None:
    env = _unsigned(user.server) | {"RAY_JOB_HEADERS": _bearer(user.token)}
    job = f"{user.name}-env"
    run([str(RAY), "job", "submit", "--no-wait", "--submission-id", job, "--", "true"], env).must()
    eventually(lambda: user.status(job) == "SUCCEEDED", 60, "the job has ended")
    assert "succeeded" in run([str(RAY), "job", "status", job], env).must().output


@pytest.mark.parametrize(
    ("option", "why"),
    [([], "no token was sent"), (["--headers", _bearer("wrong")], "the token is not known here")],
    ids=["none", "wrong"],
)
def test_without_a_good_header_the_answer_says_which_one_to_set(
    server: CurbServer, option: list[str], why: str
) -> None:
    failed = run([str(RAY), "job", "submit", *option, "--", "true"], _unsigned(server)).must(1)
    assert f"curb: {why}" in failed.stderr
    words = " ".join(failed.stderr.split())
    assert "next: send `Authorization: Bearer TOKEN`. For Ray's clients set RAY_AUTH_MODE=token" in words
    assert "more: curb help reason not-signed-in, or /curb/v1/reasons/not-signed-in" in words
