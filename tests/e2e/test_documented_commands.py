"""The command lines of README.md and docs/operations.md, run as they are pasted. Only addresses, ports and paths are
other ones here; a line that changes there and no longer works fails here."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import procs
import pytest
from conftest import REPOSITORY
from curbserver import Result, ask, clean_environment, eventually, free_port, run
from raycluster import RayCluster

README = (REPOSITORY / "README.md").read_text()
OPERATIONS = (REPOSITORY / "docs" / "operations.md").read_text()


def _blocks(text: str, heading: str) -> list[str]:
    """The fenced blocks of shell under a heading."""
    section = re.split(r"(?m)^## ", text.split(f"## {heading}\n")[1])[0]
    return re.findall(r"(?ms)^```\n(.*?)^```$", section)


def _inline(text: str) -> list[str]:
    """The `curb ...` commands within sentences."""
    spans = re.findall(r"`(curb [^`]+)`", re.sub(r"(?ms)^```.*?^```$", "", text))
    return [" ".join(span.split()) for span in spans]


@dataclass
class Pasted:
    """A directory in which the README was followed, and the server that came of it."""

    directory: Path
    env: dict[str, str]
    port: int
    said: list[Result]
    server: subprocess.Popen[bytes]

    def shell(self, text: str) -> Result:
        """Runs lines as somebody pastes them; the first that fails ends it."""
        return run(["bash", "-euo", "pipefail", "-c", text], self.env, 120, cwd=self.directory)

    def here(self, text: str) -> str:
        """With this machine's addresses and paths."""
        replaced = text.replace("http://curb:8266", f"http://127.0.0.1:{self.port}")
        return replaced.replace("/var/lib/curb", str(self.directory / "var-lib-curb"))


@pytest.fixture(scope="module")
def pasted(curb_binary: Path, ray: RayCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pasted]:
    """README.md, "Put it in front of your cluster", its first block: init, check, serve."""
    directory = tmp_path_factory.mktemp("pasted")
    (directory / "train.py").write_text("print('a training run')\n")
    env = clean_environment() | {"HOME": str(directory)}
    env["PATH"] = f"{curb_binary.parent}{os.pathsep}{env['PATH']}"
    port = free_port()
    [start] = [b for b in _blocks(README, "Put it in front of your cluster") if "curb serve" in b]
    start = start.replace("http://ray-head:8265", ray.address).replace("10.0.0.5:8266", f"127.0.0.1:{port}")
    *before, serve = start.splitlines()
    serve = serve.replace("/var/lib/curb", str(directory / "var-lib-curb"))
    said = [run(["bash", "-euo", "pipefail", "-c", line], env, 60, cwd=directory) for line in before]
    with open(directory / "serve.log", "wb") as log:
        server = subprocess.Popen(
            ["bash", "-c", f"exec {serve}"], env=env, cwd=directory, stdin=subprocess.DEVNULL, stdout=log,
            stderr=subprocess.STDOUT, preexec_fn=procs.die_with_parent,
        )  # fmt: skip
    made = Pasted(directory, env, port, said, server)
    try:
        yield made
    finally:
        server.terminate()
        try:
            server.wait(20)
        finally:
            server.kill()


def _is_ready(pasted: Pasted) -> bool:
    try:
        return ask(f"http://127.0.0.1:{pasted.port}", "GET", "/readyz").status == 200
    except OSError:
        return False


def test_the_readmes_way_in_front_of_a_cluster_works_line_by_line(pasted: Pasted) -> None:
    for done in pasted.said:
        done.must()
    eventually(lambda: _is_ready(pasted), 20, (pasted.directory / "serve.log").read_text())
    log = (pasted.directory / "serve.log").read_text()
    assert str(pasted.directory / "var-lib-curb" / "admin.token") in log, "the first start says where the token is"

    _, admin, users = _blocks(README, "Put it in front of your cluster")
    done = pasted.shell(pasted.here(admin)).must()
    [token] = re.findall(r"(?m)^curb_\S+$", done.stdout)
    assert "enforced from now on" in done.stderr

    assert "RAY_AUTH_TOKEN=curb_..." in users
    done = pasted.shell(pasted.here(users).replace("curb_...", token)).must()
    assert "a training run" in done.output
    pasted.env |= {"CURB_ADDRESS": f"http://127.0.0.1:{pasted.port}", "CURB_TOKEN": token}


def test_what_users_may_ask_before_they_submit_is_answered(pasted: Pasted) -> None:
    before = re.search(r"and may ask before they submit: (.*)", README)
    assert before
    for command in re.findall(r"`(curb [^`]+)`", before[1]):
        assert pasted.shell(command).status in (0, 3), command


def test_the_name_that_clients_call_it_by_is_let_in_and_another_is_not(pasted: Pasted) -> None:
    address = f"http://127.0.0.1:{pasted.port}"
    assert ask(address, "GET", "/healthz", headers={"Host": f"curb:{pasted.port}"}).status == 200
    assert ask(address, "GET", "/healthz", headers={"Host": "evil.example"}).status == 421


def test_the_commands_of_the_operations_page_do_what_it_says(pasted: Pasted) -> None:
    data = pasted.directory / "var-lib-curb"
    env = pasted.env | {"CURB_TOKEN": (data / "admin.token").read_text().strip()}
    commands = [c for c in _inline(OPERATIONS) if c != "curb serve"]
    assert len(commands) >= 5, commands
    expected = {"curb jobs release ID": 8, "curb journal": 2}  # no such job here; a word, not a command
    for command in commands:
        line = command.replace("DIR", str(data)).replace("FILE", str(pasted.directory / "export.jsonl"))
        done = run(["bash", "-c", line], env, 30, cwd=pasted.directory)
        [wanted] = {status for start, status in expected.items() if command.startswith(start)} or {0}
        done.must(0 if len(command.split()) > 2 and wanted == 2 else wanted)
    assert (pasted.directory / "export.jsonl").stat().st_size > 1000


def test_every_command_that_the_documents_name_exists(curb_binary: Path) -> None:
    texts = [README, (REPOSITORY / "ARCHITECTURE.md").read_text()]
    texts += [page.read_text() for page in (REPOSITORY / "docs").rglob("*.md")]
    named = {command for text in texts for command in _inline(text)}
    verbs = {tuple(re.findall(r"^curb ([a-z]+)(?: ([a-z]+)\b)?", command)[0]) for command in named}
    assert len(verbs) > 8
    for first, second in sorted(verbs):
        known = run([str(curb_binary), first, *([second] if second else []), "--help"], clean_environment(), 10)
        if known.status != 0 and second:  # the second word may be an argument
            known = run([str(curb_binary), first, "--help"], clean_environment(), 10)
        known.must()


def test_the_policy_in_the_readme_is_one(curb_binary: Path, tmp_path: Path) -> None:
    [policy] = re.findall(r"(?ms)^```yaml\n(.*?)^```$", README)
    (tmp_path / "policy.yaml").write_text(policy)
    run([str(curb_binary), "policy", "check", str(tmp_path / "policy.yaml")], clean_environment(), 10).must()
