"""The journal from outside: verified, followed and exported while the server writes and after it has stopped."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import sqlite3
from pathlib import Path

import pytest
from conftest import Maker
from curbserver import CurbServer, Stream, clean_environment, run

POLICY = """\
version: 1
default_request: {cpu: 1}
quotas:
  - name: each-user
    for: {user: "*"}
    limits: {cpu: 2, queued: 5}
"""
DAMAGED, IN_USE_OR_MISSING = 6, 7


@pytest.fixture(scope="module")
def server(shared: Maker) -> CurbServer:
    """One that has admitted, queued and refused."""
    server = shared.server(POLICY, "--start-rate", "0", ray=shared.standin("--num-cpus", "8").address)
    ana = server.user("ana")
    for number in range(4):
        ana.submit(f"job-{number}").must()
    ana.submit("never", cpu="9").must(422)
    return server


def _verify(server: CurbServer, directory: Path) -> dict[str, object]:
    found = run([str(server.binary), "journal", "verify", "--data", str(directory), "--json"], clean_environment(), 30)
    return dict(json.loads(found.must().stdout))


def _check_with_sha256_alone(export: str) -> list[str]:
    """Follows the chain as the export's description says, with nothing of Curb's; the kinds of the records."""
    first, *lines = [json.loads(line) for line in export.splitlines()]
    assert first["format"] == "curb-journal-export-1"
    before = hashlib.sha256(b"curb.journal.genesis.v1\0").hexdigest()
    assert first["after_hash"] == before
    for seq, line in enumerate(lines, 1):
        kind, payload = line["kind"].encode(), line["payload"].encode()
        hashed = b"curb.journal.record.v1\0" + bytes.fromhex(before)
        hashed += seq.to_bytes(8, "big") + line["at_ms"].to_bytes(8, "big", signed=True)
        for part in (kind, payload):
            hashed += len(part).to_bytes(8, "big") + part
        assert (line["seq"], line["prev"]) == (seq, before)
        before = line["hash"]
        assert hashlib.sha256(hashed).hexdigest() == before, line
    return [line["kind"] for line in lines]


def test_it_is_verified_beside_a_running_server(server: CurbServer) -> None:
    before = _verify(server, server.data)
    assert (before["sound"], before["breaks"]) == (True, 0)
    server.user("li").submit("one-more").must()
    after = _verify(server, server.data)
    assert after["sound"] is True
    assert int(str(after["records"])) > int(str(before["records"]))
    shown = run([str(server.binary), "journal", "verify", "--data", str(server.data)], clean_environment(), 30).must()
    # The server writes on beside it, so it is between what was there before and what is there now.
    [told] = re.findall(r"^sound: (\d+) records ", shown.stdout.replace(",", ""))
    now = _verify(server, server.data)
    assert int(str(after["records"])) <= int(told) <= int(str(now["records"]))


@pytest.mark.parametrize("how", ["from the server", "from the directory"])
def test_a_tail_shows_what_was_and_goes_on_with_what_comes(server: CurbServer, how: str) -> None:
    root = server.admin()
    where = ["--data", str(server.data)] if how == "from the directory" else []
    name = "kim-" + how.replace(" ", "-")
    with Stream([str(server.binary), "journal", "tail", "--follow", *where], root.env()) as tail:
        tail.wait_for("refused.*9cpu", 10)
        server.user(name).submit(f"of-{name}").must()
        tail.wait_for(f"admitted.*of-{name}", 10)
        tail.send(signal.SIGINT)
        assert tail.wait(10) in (130, -signal.SIGINT)


def test_only_an_operator_reads_it_through_the_server(server: CurbServer) -> None:
    assert "operator" in server.user("kim").curb("journal", "tail").must(4).stderr


def test_an_export_beside_a_running_server_is_verified_with_sha256_alone(server: CurbServer, tmp_path: Path) -> None:
    file = tmp_path / "export.jsonl"
    command = [str(server.binary), "journal", "export", "--data", str(server.data)]
    run([*command, "--out", str(file)], clean_environment(), 30).must()
    kinds = _check_with_sha256_alone(file.read_text())
    assert {"policy_applied", "token_created", "admitted", "confirmed", "queued", "refused"} <= set(kinds)
    again = run([*command, "--out", str(file)], clean_environment(), 30).must(IN_USE_OR_MISSING)
    assert "nothing is overwritten" in again.stderr
    to_stdout = run(command, clean_environment(), 30).must().stdout
    assert to_stdout.startswith(file.read_text())


def test_an_export_has_no_token_and_no_environment_of_a_job(server: CurbServer) -> None:
    ana = server.user("ana-again")
    body = {"entrypoint": "true", "runtime_env": {"env_vars": {"PASSWORD": "hunter2-hunter2"}}}
    ana.ask("POST", "/api/jobs/", body).must()
    exported = run([str(server.binary), "journal", "export", "--data", str(server.data)], clean_environment(), 30)
    for secret in (ana.token, server.admin().token, "hunter2-hunter2"):
        assert secret not in exported.must().stdout


def test_after_a_stop_it_is_the_same_and_a_changed_byte_is_found(own: Maker, tmp_path: Path) -> None:
    server = own.server(POLICY, "--start-rate", "0", ray=own.standin().address)
    ana = server.user("ana")
    for number in range(3):
        ana.submit(f"job-{number}").must()
    running = server.offline("journal", "export").must().stdout
    assert server.terminate() == 0
    stopped = server.offline("journal", "export").must().stdout
    assert stopped.startswith(running)
    _check_with_sha256_alone(stopped)
    assert _verify(server, server.data)["sound"] is True
    assert "job-2" in server.offline("journal", "tail").must().stdout

    damaged = tmp_path / "damaged"
    shutil.copytree(server.data, damaged)
    with contextlib.closing(sqlite3.connect(damaged / "journal.sqlite")) as journal, journal:
        for (name,) in journal.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            journal.execute(f"DROP TRIGGER {name}")  # else SQLite itself refuses to change a record
        forged = "CAST(replace(CAST(payload AS TEXT), 'ana', 'eve') AS BLOB)"
        journal.execute(f"UPDATE events SET payload = {forged} WHERE kind = 'admitted'")
    found = run([str(server.binary), "journal", "verify", "--data", str(damaged)], clean_environment(), 30)
    assert "stop the server" in found.must(DAMAGED).stderr
    first = next(line["seq"] for line in map(json.loads, stopped.splitlines()[1:]) if line["kind"] == "admitted")
    assert str(first) in found.stdout


def test_a_second_server_on_the_same_directory_is_refused_with_what_to_do(server: CurbServer) -> None:
    command = [str(part) for part in server.command()]
    command[command.index("--listen") + 1] = "127.0.0.1:0"
    second = run(command, clean_environment(), 20).must(IN_USE_OR_MISSING)
    told = " ".join(second.stderr.split())
    for part in (str(server.data), f"{server.pid}", "in use"):
        assert part in told, told
    assert server.probe("/readyz") == 200


def test_a_command_on_the_directory_of_a_running_server_is_refused_as_well(server: CurbServer) -> None:
    refused = server.offline("token", "create", "--user", "eve", "--role", "admin").must(IN_USE_OR_MISSING)
    assert refused.stdout == ""
    assert str(server.pid) in refused.stderr


def test_a_directory_without_a_journal_is_named(server: CurbServer, tmp_path: Path) -> None:
    for verb in ("verify", "export"):
        command = [str(server.binary), "journal", verb, "--data", str(tmp_path / "nowhere")]
        assert "nowhere" in run(command, clean_environment(), 20).must(IN_USE_OR_MISSING).stderr
    assert os.listdir(tmp_path) == []
