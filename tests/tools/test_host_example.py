"""The example model server (real MLX) and its load: what tests, docs and the demo of limits on a host rest on."""

from __future__ import annotations

import http.client
import itertools
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples" / "host"


class Server:
    def __init__(self, process: subprocess.Popen[str], directory: Path) -> None:
        self.process, self.checkpoint = process, directory / "checkpoint.json"
        assert process.stdout is not None
        self.url = process.stdout.readline().split()[-1]
        self.port = int(self.url.rsplit(":", 1)[1])

    def ask(self, body: object) -> tuple[int, list[dict[str, Any]]]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("POST", "/generate", json.dumps(body))
        response = connection.getresponse()
        lines = response.read().decode().splitlines()
        return response.status, [json.loads(line.removeprefix("data: ")) for line in lines if line]

    def load(self, *args: str) -> dict[str, Any]:
        run = [sys.executable, EXAMPLES / "load.py", "--url", self.url, *args]
        done = subprocess.run(run, capture_output=True, text=True, timeout=120, check=True)
        told: dict[str, Any] = json.loads(done.stdout)
        return told

    def peak(self) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("GET", "/healthz")
        return int(json.loads(connection.getresponse().read())["mlx"]["peak"])


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    model = tmp_path / "chat.safetensors"
    chat = [sys.executable, EXAMPLES / "chat.py"]
    small = ["--dim", "64", "--vocab", "512"]
    subprocess.run([*chat, "--make-model", model, *small], check=True, timeout=60, stdout=subprocess.DEVNULL)
    options = ["--model", model, "--port", "0", "--checkpoint", tmp_path / "checkpoint.json", "--slots", "2"]
    process = subprocess.Popen([*chat, *options], stdout=subprocess.PIPE, text=True)
    try:
        yield Server(process, tmp_path)
    finally:
        process.kill()
        process.wait()


def test_it_streams_tokens_refuses_nonsense_saves_when_told_and_ends_when_asked(server: Server) -> None:
    status, events = server.ask({"prompt_tokens": [1, 2, 3], "tokens": 2, "batch": 2})
    assert status == 200
    assert [len(e["tokens"]) for e in events[:-1]] == [2, 2]
    assert events[-1] == {"done": 2}
    for nonsense in ([], {"prompt_tokens": -1}, {"prompt_tokens": [1.5]}, {"tokens": 10**9}, {"batch": True}):
        assert server.ask(nonsense)[0] == 400, nonsense
    server.process.send_signal(signal.SIGUSR1)
    assert server.process.stdout is not None
    assert server.process.stdout.readline().startswith("checkpoint: ")
    assert json.loads(server.checkpoint.read_text())["served"] == 1
    server.process.terminate()
    assert server.process.wait(timeout=20) == 0


def test_its_scenarios_hold_more_memory_each(server: Server) -> None:
    peaks = [server.peak()]
    for scenario in ("idle", "average", "peak", "edge"):
        told = server.load("--scenario", scenario, "--requests", "1", "--tokens", "1")
        assert told["outcomes"] == {"ok": 1}
        peaks.append(server.peak())
    assert peaks[0] == peaks[1], "asking for its health takes no memory"
    assert all(2 * a < b for a, b in itertools.pairwise(peaks[2:])), peaks
