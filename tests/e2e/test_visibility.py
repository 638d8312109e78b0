"""`visibility` through the server: who sees whose jobs, what that allows, and how holders are named in answers."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest
from conftest import Maker
from curbserver import CurbServer, User

POLICY = """\
version: 1
default_request: {cpu: 1}
teams:
  vision:  {members: [ana, li]}
  serving: {members: [kim]}
quotas:
  - name: all
    for: everybody
    limits: {cpu: 3}
    per_job: {duration: 24h}
"""


@dataclass
class People:
    """Ana and li are in one team, kim is in another; the operator is in none. A job of ana's holds all three CPUs."""

    server: CurbServer
    ana: User
    li: User
    kim: User
    operator: User

    def see(self, job: str) -> set[str]:
        """The names of those for whom a job is there, by every way to ask for it, which must agree."""
        found = set()
        for who in (self.ana, self.li, self.kim, self.operator):
            listed = {j["submission_id"] for j in who.ask("GET", "/api/jobs/").must().json}
            in_curbs = {j["id"] for j in who.ask("GET", "/curb/v1/jobs?state=all").must().json["jobs"]}
            paths = (f"/api/jobs/{job}", f"/api/jobs/{job}/logs", f"/curb/v1/jobs/{job}")
            answers = {who.ask("GET", path).status for path in paths}
            answers |= {200 if job in listed else 404, 200 if job in in_curbs else 404}
            assert answers in ({200}, {404}), (who.name, answers)
            if answers == {200}:
                found.add(who.name)
        return found

    def policy(self, visibility: str) -> None:
        """Puts the policy with this `visibility` in force."""
        self.server.apply_policy(f"{POLICY}visibility: {visibility}\n")


@pytest.fixture(scope="module")
def people(shared: Maker) -> People:
    """One server for all tests here; nothing ends by itself."""
    server = shared.server(POLICY, "--start-rate", "0", ray=shared.standin().address)
    ana, li, kim = (server.user(name) for name in ("ana", "li", "kim"))
    ana.submit("holder", "echo secret of ana; sleep 9000", cpu="3", duration="9000s").must()
    return People(server, ana, li, kim, server.user("op", role="operator"))


@pytest.mark.parametrize(
    ("setting", "seen_by"),
    [("own", {"ana", "op"}), ("team", {"ana", "li", "op"}), ("all", {"ana", "li", "kim", "op"})],
)
def test_a_job_is_there_for_those_whom_the_policy_lets_see_it(people: People, setting: str, seen_by: set[str]) -> None:
    people.policy(f"{{jobs: {setting}}}")
    assert people.see("holder") == seen_by


def test_without_a_setting_everybody_sees_their_own(people: People) -> None:
    people.server.apply_policy(POLICY)
    assert people.see("holder") == {"ana", "op"}


def test_who_sees_a_teammates_job_reads_its_log(people: People) -> None:
    people.policy("{jobs: team}")
    assert "secret of ana" in people.li.ray_job("logs", "holder").must().output
    assert "secret of ana" not in people.kim.ray_job("logs", "holder").must(1).output


def test_seeing_is_neither_stopping_nor_deleting(people: People) -> None:
    people.policy("{jobs: all}")
    for who in (people.li, people.kim):
        for method, path in (("POST", "/api/jobs/holder/stop"), ("DELETE", "/api/jobs/holder")):
            assert "owner" in who.ask(method, path).must(403).text
        stopped = who.curb("jobs", "stop", "holder").must(4)
        assert "only its owner or an operator stops it" in stopped.stderr
    assert people.ana.status("holder") == "RUNNING"


@pytest.mark.parametrize(
    ("holders", "told", "hidden"),
    [
        ("names", ["ana (holder)"], []),
        ("teams", ["team vision"], ["ana", "holder"]),
        ("counts", ["1 job"], ["ana", "holder", "vision"]),
    ],
)
def test_holders_are_named_as_far_as_the_policy_says_wherever_they_are_told(
    people: People, holders: str, told: list[str], hidden: list[str]
) -> None:
    people.policy(f"{{jobs: own, holders: {holders}}}")
    kim, asked = people.kim, f"waits-{holders}"
    kim.submit(asked).must()
    try:
        texts = {
            "explain": kim.curb("explain", "--cpu", "1").must().stdout,
            "status": kim.ask("GET", f"/api/jobs/{asked}").must().json["message"],
            "log": kim.ask("GET", f"/api/jobs/{asked}/logs").must().json["logs"],
            "show": kim.curb("jobs", "show", asked).must().stdout,
        }
        for where, text in texts.items():
            words = " ".join(text.split())
            assert all(name in words for name in told), (where, words)
            assert not any(name in words for name in hidden), (where, words)
        for_programs = kim.ask("GET", f"/curb/v1/jobs/{asked}").must().text
        assert not any(f'"{name}"' in for_programs for name in hidden), for_programs
        assert "ana (holder)" in people.operator.ask("GET", f"/api/jobs/{asked}").must().json["message"]
    finally:
        kim.ask("POST", f"/api/jobs/{asked}/stop").must()


@pytest.mark.parametrize("accept", ["*/*", "application/json"])
def test_a_refusal_names_holders_no_further_either(people: People, accept: str) -> None:
    strict = POLICY.replace("per_job:", "above: reject\n    per_job:")
    for holders, named in (("names", {"ana", "holder"}), ("teams", {"vision"}), ("counts", set())):
        people.server.apply_policy(f"{strict}visibility: {{holders: {holders}}}\n")
        body = {"entrypoint": "true", "submission_id": "refused"}
        refused = people.kim.ask("POST", "/api/jobs/", body, headers={"Accept": accept}).must(429).text
        assert {name for name in ("ana", "holder", "vision") if re.search(rf"\b{name}\b", refused)} >= named
        hidden = {"ana", "holder", "vision"} - named if holders != "names" else set()
        assert not any(re.search(rf"\b{name}\b", refused) for name in hidden), refused
