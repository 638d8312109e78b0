"""README.md, "Limits for a model server on a host", as it is pasted: a real MLX server is profiled, limited, broken and
comes back. Only its ports are other ones here."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import procs
import pytest
from conftest import REPOSITORY
from curbserver import Result, clean_environment, eventually, free_port, run
from test_documented_commands import README, _blocks

HEADING = "Limits for a model server on a host"


@dataclass
class Host:
    """Where the section was followed up to its second terminal."""

    directory: Path
    env: dict[str, str]
    ports: dict[str, str]
    prepared: Result
    supervisor: subprocess.Popen[bytes]

    def here(self, text: str) -> str:
        """With free ports in the place of those that are written."""
        return _with_ports(text, self.ports)

    def shell(self, text: str) -> Result:
        return run(["bash", "-euo", "pipefail", "-c", self.here(text)], self.env, 120, cwd=self.directory)

    def events(self, kind: str) -> list[dict[str, Any]]:
        lines = (self.directory / "events.jsonl").read_text().splitlines()
        return [event for event in map(json.loads, lines) if event["event"] == kind]


def _with_ports(text: str, ports: dict[str, str]) -> str:
    for written, free in ports.items():
        text = text.replace(f":{written}", f":{free}")
    return text


@pytest.fixture(scope="module")
def host(curb_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    directory = tmp_path_factory.mktemp("host")
    ports = {"8080": str(free_port()), "8081": str(free_port())}
    examples = directory / "examples"
    (examples / "host").mkdir(parents=True)
    for example in ("limits.yaml", "host/chat.py", "host/load.py"):
        text = (REPOSITORY / "examples" / example).read_text()
        # The server's own default is the port that the section names.
        text = text.replace("default=8081", f"default={ports['8081']}")
        (examples / example).write_text(_with_ports(text, ports))
    path = f"{curb_binary.parent}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    env = clean_environment() | {"HOME": str(directory), "PATH": path}
    prepare, supervise, _, _ = _blocks(README, HEADING)
    prepared = run(["bash", "-euo", "pipefail", "-c", _with_ports(prepare, ports)], env, 240, cwd=directory)
    assert prepared.status == 0, prepared
    with (directory / "said").open("wb") as said:
        supervisor = subprocess.Popen(
            ["bash", "-euo", "pipefail", "-c", "exec " + supervise.strip()],
            cwd=directory,
            env=env,
            stdout=said,
            stderr=said,
            preexec_fn=procs.die_with_parent,
        )
    try:
        yield Host(directory, env, ports, prepared, supervisor)
    finally:
        if supervisor.poll() is None:
            supervisor.send_signal(signal.SIGTERM)
        supervisor.wait(60)


def test_four_scenarios_make_limits_with_reasons(host: Host) -> None:
    baseline = (host.directory / "chat.yaml").read_text()
    for scenario in ("idle", "average", "peak", "edge"):
        assert f"\n  {scenario}:\n" in baseline
    limits = (host.directory / "limits.yaml").read_text()
    assert 'from: "peak p100"' in limits
    assert "the scenario peak with a third to spare" not in limits, "the example's own number is still there"
    assert "retry: {times: 3" in limits, "what was not recommended was lost"
    assert "nothing is wrong" in host.prepared.stderr
    assert "<svg" in (host.directory / "chat.html").read_text()


def test_more_than_was_planned_degrades_and_comes_back(host: Host) -> None:
    front = f"http://127.0.0.1:{host.ports['8080']}"
    healthy = ["curl", "-sf", f"{front}/healthz"]
    eventually(lambda: run(healthy, host.env, 10).status == 0, 30, "the front passes requests on")
    *_, more, _ = _blocks(README, HEADING)
    done = host.shell(more)
    assert done.status == 0, done

    said = (host.directory / "said").read_text()
    acted = [event for event in host.events("acted") if event["action"] == "pause"]
    assert any(event["outcome"] == "done" for event in acted), said
    died = host.events("died")
    assert [event["cause"] for event in died] == ["memory", "memory"], said
    assert [event["attempt"] for event in host.events("retrying")] == [1, 2], said
    assert '"status":422' in done.stdout, done.stdout
    # The edge scenario was served; the average one, after the deaths, wholly.
    loads = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"requests"')]
    assert loads[0]["outcomes"]["ok"] > 0
    assert set(loads[1]["outcomes"]) == {"ok"}
    assert host.supervisor.poll() is None, said


def test_what_the_section_shows_is_what_was_said(host: Host) -> None:
    """The words, with other numbers."""
    said = (host.directory / "said").read_text()
    for words in (
        "curb chat: pause: held still, its limit on memory raised from ",
        "curb chat: the kernel killed it: all its processes together may hold ",
        "next: give it more (--memory, or the file of limits), or less to do at once",
        "(retry 1 of 3), with ",
    ):
        assert words in said, said
        assert words in README
