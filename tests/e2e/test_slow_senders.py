"""Many who send slowly and some who send too much: the memory of the process stays flat and others are served."""

from __future__ import annotations

import contextlib
import re
import select
import socket
import statistics
import time
from collections.abc import Iterator

import pytest
from conftest import Maker
from curbserver import CurbServer, User, ask

POLICY = "version: 1\ndefault_request: {cpu: 1}\nrefusal: http\n"
SLOW = 250  # of each kind
MAX_GROWTH_KIB = 48 * 1024  # 750 connections; a buffer of 64 KiB each would be about as much
MIB = 1 << 20


@pytest.fixture(scope="module")
def server(shared: Maker) -> CurbServer:
    """With a stand-in whose jobs end at once."""
    return shared.server(POLICY, "--start-rate", "0", ray=shared.standin("--num-cpus", "64").address)


@pytest.fixture(scope="module")
def user(server: CurbServer) -> User:
    """Who sends as one should."""
    return server.user("ana")


class Slow:
    """A client that has sent the beginning of a request and then goes on a byte at a time, or not at all."""

    def __init__(self, server: CurbServer, beginning: bytes) -> None:
        self.socket = socket.create_connection(("127.0.0.1", server.port), timeout=5)
        self.socket.sendall(beginning)

    def drip(self, byte: bytes = b"x") -> None:
        """One byte more; a server that has closed is one that may."""
        with contextlib.suppress(OSError):
            self.socket.sendall(byte)

    def answer(self, seconds: float) -> str:
        """All that the server says until it closes."""
        self.socket.settimeout(seconds)
        said = b""
        with contextlib.suppress(ConnectionResetError):
            while piece := self.socket.recv(65536):
                said += piece
        return said.decode(errors="replace")


@contextlib.contextmanager
def _crowd(server: CurbServer, user: User) -> Iterator[dict[str, list[Slow]]]:
    head = f"POST /api/jobs/ HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n".encode()
    signed = head + f"Authorization: Bearer {user.token}\r\nContent-Type: application/json\r\n".encode()
    package = signed.replace(b"POST /api/jobs/", b"PUT /api/packages/gcs/_ray_pkg_0123456789abcdef.zip")
    beginnings = {
        "heads": head + b"X-Slow: ",
        "bodies": signed + b"Content-Length: 16000\r\n\r\n" + b'{"entrypoint": "' + b"x" * 4096,
        "packages": package + b"Content-Length: 100000000\r\n\r\n" + b"x" * 4096,
    }
    crowd: dict[str, list[Slow]] = {name: [] for name in beginnings}
    try:
        for name, beginning in beginnings.items():
            for _ in range(SLOW):
                crowd[name].append(Slow(server, beginning))
        yield crowd
    finally:
        for slow in (s for group in crowd.values() for s in group):
            slow.socket.close()


def _served(user: User, count: int, prefix: str) -> list[float]:
    """How long so many well-behaved submissions take, in seconds."""
    took = []
    for number in range(count):
        began = time.monotonic()
        user.submit(f"{prefix}-{number}", "true").must()
        took.append(time.monotonic() - began)
    return took


def test_750_slow_senders_cost_little_memory_are_told_408_and_hold_nobody_up(server: CurbServer, user: User) -> None:
    _served(user, 30, "warm")
    before = server.resident_kib()
    most = before
    took: list[float] = []
    with _crowd(server, user) as crowd:
        began = time.monotonic()
        while time.monotonic() - began < 2:
            for slow in (s for group in crowd.values() for s in group):
                slow.drip()
            took += _served(user, 5, f"amid-{len(took)}")
            most = max(most, server.resident_kib())
            time.sleep(0.2)
        print(f"{before} KiB before, at most {most} KiB; {len(took)} submissions, slowest {max(took):.3f} s")
        assert most - before < MAX_GROWTH_KIB, f"{before} KiB before, {most} KiB with {3 * SLOW} slow senders"
        # A head has ten seconds in all, however it drips; bodies that stop have ten seconds from their last byte.
        heads = [slow.answer(10) for slow in crowd["heads"]]
        assert {h.split("\r\n")[0] for h in heads} == {"HTTP/1.1 408 Request Timeout"}
        bodies = [slow.answer(15) for slow in crowd["bodies"][:20]]
        assert {b.split("\r\n")[0] for b in bodies} == {"HTTP/1.1 408 Request Timeout"}
        assert time.monotonic() - began < 25
    assert statistics.median(took) < 1, sorted(took)
    assert max(took) < 5, sorted(took)
    assert server.probe("/readyz") == 200


@pytest.mark.parametrize("declared", [True, False], ids=["with its length", "in chunks"])
def test_bodies_over_the_bound_are_413_and_are_not_kept(server: CurbServer, user: User, declared: bool) -> None:
    before = server.resident_kib()
    for _ in range(10):
        told, sent = _send_too_much(server, user, 64 * MIB, declared)
        assert told.startswith("HTTP/1.1 413 "), told[:200]
        assert "larger than the limit of 1 MiB" in told, told
        assert sent < 64 * MIB, "it is told as soon as that is known, not when all has come"
    assert server.resident_kib() - before < 16 * 1024
    user.submit(f"after-{declared}", "true").must()


@pytest.mark.parametrize("declared", [True, False], ids=["with its length", "in chunks"])
def test_who_reads_only_when_all_is_sent_is_told_413_too(server: CurbServer, user: User, declared: bool) -> None:
    # As most clients do: were the connection closed on what still comes, a reset would take the answer with it.
    for _ in range(5):
        sender = Slow(server, _too_much_head(server, user, 8 * MIB, declared))
        with contextlib.closing(sender.socket):
            for piece in _pieces(8 * MIB, declared):
                sender.socket.sendall(piece)
            told = sender.answer(10)
        assert told.startswith("HTTP/1.1 413 "), told[:200]


def test_large_bodies_that_never_end_do_not_add_up(server: CurbServer, user: User) -> None:
    head = (
        f"POST /api/jobs/ HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nAuthorization: Bearer {user.token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {MIB}\r\n\r\n"
    )
    kim, crowd = server.user("kim"), list[Slow]()
    before = server.resident_kib()
    with contextlib.ExitStack() as stack:
        for _ in range(SLOW):
            slow = Slow(server, head.encode())
            stack.enter_context(contextlib.closing(slow.socket))
            slow.socket.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                slow.socket.send(b"x" * (MIB - 1))
            crowd.append(slow)
        told = [slow.answer(2) for slow in crowd[-20:]]
        grown = server.resident_kib() - before
        took = _served(user, 10, "beside-large")
        large = {"entrypoint": "true", "metadata": {"note": "x" * 20_000}}
        other = kim.ask("POST", "/api/jobs/", large)
    print(f"{grown} KiB for {SLOW} bodies of nearly 1 MiB")
    assert grown < 40 * 1024, "one user gets 16 MiB"
    assert all(t.startswith("HTTP/1.1 429 ") and "large requests" in t for t in told), told
    assert max(took) < 5, took
    assert other.status == 200, "others have room"


def test_the_bound_is_told_before_a_large_body_is_sent(server: CurbServer, user: User) -> None:
    head = (
        f"POST /api/jobs/ HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nAuthorization: Bearer {user.token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {64 * MIB}\r\nExpect: 100-continue\r\n\r\n"
    )
    told = Slow(server, head.encode()).answer(10)
    assert re.match(r"HTTP/1\.1 (413|417) ", told), told
    assert "100 Continue" not in told


def test_ten_thousand_headers_are_refused_at_once(server: CurbServer) -> None:
    head = f"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
    many = Slow(server, (head + "".join(f"X-{n}: y\r\n" for n in range(400))).encode())
    assert many.answer(5).startswith("HTTP/1.1 431 ")
    long = Slow(server, (head + "X-Long: " + "y" * 20_000).encode())
    assert long.answer(5).startswith("HTTP/1.1 431 ")
    assert ask(server.address, "GET", "/healthz").must().text == "ok\n"


def _too_much_head(server: CurbServer, user: User, size: int, declared: bool) -> bytes:
    framing = f"Content-Length: {size}" if declared else "Transfer-Encoding: chunked"
    head = (
        f"POST /api/jobs/ HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nAuthorization: Bearer {user.token}\r\n"
        f"Content-Type: application/json\r\n{framing}\r\n\r\n"
    )
    return head.encode()


def _pieces(size: int, declared: bool) -> Iterator[bytes]:
    piece = b"x" * 65536 if declared else b"10000\r\n" + b"x" * 65536 + b"\r\n"
    for _ in range(size // 65536):
        yield piece
    if not declared:
        yield b"0\r\n\r\n"


def _send_too_much(server: CurbServer, user: User, size: int, declared: bool) -> tuple[str, int]:
    """Sends and listens at once, as a client may, and stops when it is told. What, and after how many bytes."""
    sender = Slow(server, _too_much_head(server, user, size, declared))
    sent = 0
    with contextlib.closing(sender.socket) as wire:
        for piece in _pieces(size, declared):
            left = memoryview(piece)
            while left:
                readable, writable, _ = select.select([wire], [wire], [], 10)
                if readable:
                    wire.shutdown(socket.SHUT_WR)
                    return sender.answer(10), sent
                assert writable, "neither reads on nor says anything"
                count = wire.send(left)
                left, sent = left[count:], sent + count
        return sender.answer(10), sent
