"""Getting in without breaking anything: from `curb init` over watching and the preview to enforcing, and back."""

from __future__ import annotations

import json
import re
from pathlib import Path

from conftest import Maker
from curbserver import CurbServer, User, clean_environment, eventually, run

POLICY = """\
version: 1
mode: observe
default_request: {cpu: 1}
quotas:
  - name: each-user
    for: {user: "*"}
    limits: {cpu: 2}
    per_job: {cpu: 3}
"""


def _mode(user: User) -> str:
    return str(json.loads(user.curb("status", "--json").must().stdout)["mode"])


def _preview(user: User) -> tuple[dict[str, int], dict[str, tuple[int, int]]]:
    """The numbers, and for each user how many jobs would have waited and been refused."""
    told = json.loads(user.curb("enforce", "--preview", "--json").must().stdout)
    by_user = {row["name"]: (row["would_wait"], row["would_refuse"]) for row in told["by_user"]}
    return {key: value for key, value in told.items() if isinstance(value, int)}, by_user


def test_watching_records_what_enforcing_then_does_and_watching_again_lets_pass(own: Maker) -> None:
    ray = own.standin("--num-cpus", "64")
    server = own.server(POLICY, "--start-rate", "0", ray=ray.address)
    ana, root = server.user("ana"), server.admin()
    assert _mode(root) == "observe"
    ana.submit("untouched", cpu="2").must()
    ana.submit("would-wait", cpu="1").must()
    ana.submit("would-be-refused", cpu="4").must()
    assert [ana.state(job) for job in ("untouched", "would-wait", "would-be-refused")] == ["running"] * 3

    counts, by_user = _preview(root)
    assert (counts["seen"], counts["untouched"], counts["would_wait"], counts["would_refuse"]) == (3, 1, 1, 1)
    assert by_user == {"ana": (1, 1)}
    shown = " ".join(root.curb("enforce", "--preview").must().output.split())
    assert "1 would have waited, 1 would have been refused" in shown
    assert re.search(r"would-be-refused ana 4cpu be refused per-job-limit each-user \(user ana\)", shown), shown
    assert _mode(root) == "observe", "looking changes nothing"

    root.curb("enforce", "--yes", "--why", "agreed on Monday").must()
    assert _mode(root) == "enforce"
    assert "per-job-limit" in ana.submit("refused", cpu="4").must(422).text
    ana.submit("waits", cpu="1").must()
    assert ana.state("waits") == "queued"
    assert _preview(root)[0]["refused"] == 1

    root.curb("enforce", "--observe", "--why", "too early").must()
    assert _mode(root) == "observe"
    ana.submit("passes-again", cpu="4").must()
    assert ana.state("passes-again") == "running"
    ana.until("waits", "running")
    assert "refused" not in ray.started()

    root.curb("enforce", "--as-policy", "--why", "the file says it").must()
    assert _mode(root) == "observe", "the file says so"
    reasons = root.curb("journal", "tail", "--kind", "mode_set").must().stdout
    assert all(why in reasons for why in ("agreed on Monday", "too early", "the file says it"))


def test_init_writes_a_policy_that_check_takes_and_serve_starts_with(own: Maker, tmp_path: Path) -> None:
    ray = own.standin("--nodes", "2", "--num-cpus", "8", "--num-gpus", "4", "--gpu-model", "A100").address
    env, curb = clean_environment(), str(own.curb)
    made = run([curb, "init", "--ray", ray], env, 30, cwd=tmp_path).must()
    assert re.search(r"found Ray 2\.\S+ at \S+: 2 nodes with .*16 CPU", made.stderr), made.stderr
    written = tmp_path / "curb.yaml"
    run([curb, "policy", "check", str(written)], env, 30).must()
    json.loads((tmp_path / "curb.schema.json").read_text())

    server = own.server(written.read_text(), "--start-rate", "0", ray=ray)
    ana = server.user("ana")
    assert _mode(ana) == "observe"
    ana.submit("takes-all", cpu="16", gpu="8").must()
    assert ana.state("takes-all") == "running", "half of the cluster is what a user may have once it is enforced"
    assert _preview(server.admin())[1] == {"ana": (0, 1)}

    again = run([curb, "init", "--ray", ray], env, 30, cwd=tmp_path).must(7)
    assert "is there already" in again.stderr
    assert server.admin().ask("GET", "/curb/v1/policy").must().json["text"] == written.read_text()


def test_init_without_a_ray_says_so_and_writes_nothing(own: Maker, tmp_path: Path) -> None:
    gone = own.standin()
    gone.stop()
    failed = run([str(own.curb), "init", "--ray", gone.address], clean_environment(), 30, cwd=tmp_path).must(5)
    host = gone.address.removeprefix("http://")
    assert f"error: could not ask Ray for its version: Ray is not reachable at {host}: " in failed.stderr
    assert f"help: is {gone.address} the dashboard of a running Ray (port 8265)?" in failed.stderr
    assert failed.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_a_server_without_a_policy_says_that_nothing_is_limited(own: Maker) -> None:
    server = CurbServer(own.curb, own.standin().address, None, own.directory / "bare")
    with server:
        server.wait_ready()
        status = " ".join(server.admin().curb("status").must().stdout.split())
        assert "nothing is limited" in status
        eventually(lambda: "NO POLICY" in server.log.read_text(), 5, "the log says it too")
