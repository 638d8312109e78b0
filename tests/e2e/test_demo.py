"""The tour that newcomers walk is itself a test."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY
from curbserver import clean_environment, free_port, run

pytestmark = pytest.mark.timeout(300)


def test_the_tour_does_what_it_promises_and_leaves_nothing_behind(curb_binary: Path) -> None:
    before = _left_behind()
    demo = [sys.executable, str(REPOSITORY / "scripts" / "demo.py"), "--once", "--curb", str(curb_binary)]
    found = run([*demo, "--port", str(free_port())], clean_environment(), 240).must()
    assert found.stdout.count("\n  ok\n") == 3, found.output
    assert "The tour is done" in found.stdout
    assert _left_behind() == before


def test_a_port_that_is_taken_is_named_with_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        found = run(["bash", str(REPOSITORY / "scripts" / "demo.sh")], clean_environment() | {"PORT": str(port)}, 30)
    assert found.must(1).stderr.startswith(f"demo: port {port} is taken.")
    assert "PORT=" in found.stderr
    assert found.stdout == "", "nothing was built or started"


def _left_behind() -> set[Path]:
    return {*Path("/tmp").glob("cr-*"), *(REPOSITORY / ".cache" / "demo").glob("*")}
