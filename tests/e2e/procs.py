"""Finding and ending exactly the processes that one run started (Linux only).

A process id alone names nothing: it is given again once its process is gone. Here a process is its id together with
its start time, and a signal goes through a pidfd whose start time was checked after it was opened.
"""

from __future__ import annotations

import contextlib
import ctypes
import ipaddress
import os
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_LIBC = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Process:
    """One process for as long as it lives: never equal to a later one that got the same id."""

    pid: int
    start_ticks: int  # field 22 of /proc/PID/stat: clock ticks since boot

    def alive(self) -> bool:
        """True until it has ended. One that has ended and was not yet reaped (a zombie) has ended."""
        now = _stat(self.pid)
        return now is not None and now.start_ticks == self.start_ticks and now.state not in "ZX"

    def send(self, signum: signal.Signals) -> bool:
        """Signals it if it is still itself; False where it is gone."""
        try:
            fd = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return False
        try:
            if not self.alive():
                return False
            signal.pidfd_send_signal(fd, signum)
            return True
        except ProcessLookupError:
            return False
        finally:
            os.close(fd)


@dataclass(frozen=True)
class _Stat:
    state: str
    parent: int
    start_ticks: int


def _stat(pid: int) -> _Stat | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text[text.rindex(")") + 2 :].split()  # the name may hold blanks and brackets
    return _Stat(fields[0], int(fields[1]), int(fields[19]))


def identify(pid: int) -> Process | None:
    """The process that has this id now."""
    found = _stat(pid)
    return Process(pid, found.start_ticks) if found else None


def _all() -> dict[int, _Stat]:
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and (stat := _stat(int(name))):
            found[int(name)] = stat
    return found


def descendants(root: int) -> list[Process]:
    """Every living process below `root`, nearest first."""
    table = _all()
    below: dict[int, list[int]] = {}
    for pid, stat in table.items():
        below.setdefault(stat.parent, []).append(pid)
    found, level = [], [root]
    while level:
        level = [child for pid in level for child in below.get(pid, [])]
        found += [Process(pid, table[pid].start_ticks) for pid in level if table[pid].state not in "ZX"]
    return found


def marked(mark: str) -> list[Process]:
    """Living processes that were started with the environment entry `mark` ("NAME=value"), and all below them: a
    process that changes its title may have overwritten its environment."""
    wanted, found = mark.encode(), []
    for pid, stat in _all().items():
        if pid == os.getpid() or stat.state in "ZX":
            continue
        with contextlib.suppress(OSError):
            if wanted in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                found.append(Process(pid, stat.start_ticks))
    below = [child for process in found for child in descendants(process.pid) if child.pid != os.getpid()]
    return list(dict.fromkeys(found + below))


def kill_until_none(find: Callable[[], Iterable[Process]], seconds: float = 10) -> list[Process]:
    """Kills what `find` returns until it returns nothing; what is left after `seconds` is returned."""
    deadline = time.monotonic() + seconds
    while left := list(find()):
        if time.monotonic() > deadline:
            return left
        for process in left:
            process.send(signal.SIGKILL)
        _reap()
        time.sleep(0.05)
    return []


def _reap() -> None:
    """Buries orphans that came to us as their subreaper. Our own children are their Popen's to wait for."""
    if not _subreaper:
        return
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


_subreaper = False


def become_subreaper() -> None:
    """From now on an orphan below this process becomes its child, so that none escapes `descendants`."""
    global _subreaper
    if _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")
    _subreaper = True


def die_with_parent() -> None:
    """For `preexec_fn`: the kernel ends the child with SIGTERM when the process that starts it ends."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


@dataclass(frozen=True)
class Listener:
    """A socket that takes connections (or datagrams) from others."""

    protocol: str
    host: str
    port: int
    pid: int

    @property
    def loopback(self) -> bool:
        """True if nothing outside this machine can reach it."""
        return ipaddress.ip_address(self.host).is_loopback


def listeners(processes: Iterable[Process]) -> list[Listener]:
    """Every listening TCP and bound, unconnected UDP socket that the processes hold."""
    owner: dict[str, int] = {}
    for process in processes:
        with contextlib.suppress(OSError):
            for fd in os.scandir(f"/proc/{process.pid}/fd"):
                with contextlib.suppress(OSError):
                    owner[os.readlink(fd.path)] = process.pid
    found = []
    for protocol, listening in (("tcp", "0A"), ("tcp6", "0A"), ("udp", "07"), ("udp6", "07")):
        with contextlib.suppress(FileNotFoundError):
            for line in Path(f"/proc/net/{protocol}").read_text().splitlines()[1:]:
                fields = line.split()
                pid = owner.get(f"socket:[{fields[9]}]")
                if fields[3] == listening and pid is not None:
                    host, port = fields[1].split(":")
                    found.append(Listener(protocol, _host(host), int(port, 16), pid))
    return found


def _host(text: str) -> str:
    raw = bytes.fromhex(text)  # each 32-bit word is in the machine's byte order
    words = b"".join(raw[i : i + 4][::-1] for i in range(0, len(raw), 4))
    address = ipaddress.ip_address(words)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)
