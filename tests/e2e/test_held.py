"""What jobs really hold, beside what they were granted, and what came past the gate: seen in a real Ray."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from curbserver import CurbServer, User, clean_environment, eventually
from raycluster import RayCluster

# Granted one CPU, holds three: an actor of two, and a task of one.
GREEDY = """
    import ray, time
    ray.init()
    @ray.remote(num_cpus=2)
    class Big:
        def ping(self): return 1
    @ray.remote(num_cpus=1)
    def hold(): time.sleep(600)
    big = Big.remote()
    ray.get(big.ping.remote())
    task = hold.remote()
    print("holding", flush=True)
    time.sleep(600)
"""

# Leaves an actor behind.
LEAVES = """
    import ray
    ray.init(namespace="left")
    @ray.remote(num_cpus=0.5)
    class Stays:
        def ping(self): return 1
    stays = Stays.options(name="stays", lifetime="detached").remote()
    ray.get(stays.ping.remote())
"""

# Comes past the gate: by the address of the control store.
STRANGER = """
    import sys, ray, time
    ray.init(address=sys.argv[1])
    @ray.remote(num_cpus=1)
    class Own:
        def ping(self): return 1
    own = Own.remote()
    ray.get(own.ping.remote())
    print("joined", flush=True)
    sys.stdin.read()
"""


def _script(directory: Path, name: str, text: str) -> Path:
    path = directory / f"{name}.py"
    path.write_text(textwrap.dedent(text))
    return path


def _cluster(admin: User) -> Any:
    return json.loads(admin.curb("status", "--json").must().stdout)["clusters"][0]


def _job(user: User, job: str) -> Any:
    return user.ask("GET", f"/curb/v1/jobs/{job}").must().json


@pytest.fixture
def admin(server: CurbServer) -> User:
    """Sees everything."""
    return server.admin()


def test_a_job_that_holds_more_than_it_was_granted_is_seen(user: User, tmp_path: Path) -> None:
    greedy = _script(tmp_path, "greedy", GREEDY)
    user.submit("greedy", f"{sys.executable} {greedy}", cpu="1").must()

    def holds_three() -> bool:
        held = _job(user, "greedy").get("held")
        return bool(held) and held["least"].get("cpu") == 3000 and held["most"] == held["least"]

    eventually(holds_three, 40, "Curb sees three CPUs held")
    seen = _job(user, "greedy")
    assert seen["holds"] == {"cpu": 1000}
    assert (seen["held"]["drivers"], seen["held"]["actors"], seen["held"]["tasks"]) == (1, 1, 1)
    shown = user.curb("jobs", "show", "greedy").must().stdout
    assert "3 CPU in Ray, MORE THAN GRANTED" in " ".join(shown.split())
    listed = user.curb("jobs", "list").must().stdout
    assert "HELD" in listed
    assert "3cpu" in listed


def test_what_a_job_held_is_in_the_books_beside_what_it_was_granted(user: User, admin: User, tmp_path: Path) -> None:
    greedy = _script(tmp_path, "books", GREEDY)
    user.submit("books", f"{sys.executable} {greedy}", cpu="1").must()
    eventually(lambda: bool(_job(user, "books").get("held", {}).get("actors")), 40, "Curb sees what it holds")
    seen = _job(user, "books")["held"]["as_of"]
    eventually(lambda: _job(user, "books")["held"]["as_of"] > seen + 4000, 40, "it was seen some times")
    user.ask("POST", "/curb/v1/jobs/books/stop", {}).must()
    user.until("books", "stopped", 60)

    def used() -> Any:
        rows = json.loads(user.curb("usage", "--by", "job", "--json").must().stdout)["rows"]
        return next(row["sum"] for row in rows if row["name"] == "books")

    eventually(lambda: used()["held"].get("cpu", 0) > 0, 40, "what it held is written down")
    sums = used()
    assert 0 < sums["watched"]["cpu"] <= sums["granted"]["cpu"]
    assert sums["held"]["cpu"] > sums["watched"]["cpu"], "three CPUs of the one that it was granted"
    table = admin.curb("usage", "--by", "user", "--since", "1h").must().stdout
    assert f"{user.name}" in table
    target = tmp_path / "use.parquet"
    admin.curb("usage", "--by", "team", "--parquet", str(target)).must()
    assert target.read_bytes()[:4] == b"PAR1"
    again = admin.curb("usage", "--parquet", str(target))
    assert again.status != 0, "what is there is not overwritten"


def test_what_a_job_leaves_behind_is_shown_as_nobodys_with_its_name(
    user: User, admin: User, ray: RayCluster, tmp_path: Path
) -> None:
    leaves = _script(tmp_path, "leaves", LEAVES)
    user.submit("leaves", f"{sys.executable} {leaves}", cpu="1").must()
    user.until("leaves", "succeeded", 60)

    def leftover() -> Any:
        return [u for u in _cluster(admin)["watched"].get("unmanaged", []) if u.get("of") == "leaves"]

    eventually(leftover, 20, "the actor that stayed is seen")
    found = leftover()[0]
    assert (found["kind"], found["held"]["most"]) == ("leftover", {"cpu": 500})
    assert any("that Curb did not grant" in w for w in json.loads(admin.curb("status", "--json").stdout)["warnings"])
    _python(
        ray,
        tmp_path,
        "end",
        "import ray, sys; ray.init(address=sys.argv[1], namespace='left')\nray.kill(ray.get_actor('stays'))",
    ).must_end()
    eventually(lambda: not leftover(), 20, "it is gone")


def test_a_program_that_comes_past_the_gate_is_seen_and_an_operator_alone_is_told_which(
    user: User, admin: User, ray: RayCluster, tmp_path: Path
) -> None:
    with _python(ray, tmp_path, "stranger", STRANGER) as stranger:
        stranger.wait_for("joined")

        def found() -> Any:
            all_of = _cluster(admin)["watched"].get("unmanaged", [])
            return [u for u in all_of if u["process"].endswith(f" pid {stranger.pid}")]

        eventually(
            lambda: found() and found()[0]["held"]["least"] == {"cpu": 1000}, 20, "it is seen with what it holds"
        )
        assert found()[0]["kind"] == "driver"
        assert "stranger.py" in found()[0]["entrypoint"]
        mine = json.loads(user.curb("status", "--json").must().stdout)["clusters"][0]["watched"]
        assert mine["unmanaged_count"] >= 1
        assert "unmanaged" not in mine
    eventually(lambda: not found(), 20, "it has left")


class _Program:
    """A Python program beside the cluster; it ends with its block."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.pid = process.pid

    def __enter__(self) -> _Program:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate(timeout=30)

    def wait_for(self, word: str) -> None:
        """Its next line that says `word`; it ends if there is none, and so does the wait."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if word in line:
                return
        raise AssertionError(f"it ended without {word!r}")

    def must_end(self) -> None:
        """Waits until it ends by itself."""
        out, _ = self._process.communicate(timeout=60)
        assert self._process.returncode == 0, out


def _python(ray: RayCluster, directory: Path, name: str, text: str) -> _Program:
    path = _script(directory, name, text)
    return _Program(
        subprocess.Popen(
            [sys.executable, str(path), ray.gcs_address],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # As the cluster's: else Ray takes 127.0.0.1 for the machine's own address, where nobody listens.
            env=clean_environment() | {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"},
        )
    )
