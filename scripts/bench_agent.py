#!/usr/bin/env python3
"""What the agent costs, beside Debian's prometheus-process-exporter and earlyoom.

These are run from their packages, not installed as services, all on loopback. Needs root. CURB names the binary. CPU is
the scheduler's own count, all threads together."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Self

CURB = os.environ.get("CURB", "target/release/curb")
USER = 61999
SCRAPES = 100
SECONDS = 30


def cpu_ns(pid: int) -> int:
    """CPU time of all threads that live, in nanoseconds."""
    tasks = Path(f"/proc/{pid}/task")
    return sum(int((t / "schedstat").read_text().split()[0]) for t in tasks.iterdir())


def rss_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS:")).split()[1])


def scrape(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=30) as answer:
        page: bytes = answer.read()
        return page


def scrape_cost(pid: int, url: str) -> tuple[float, int]:
    """Of one scrape: CPU in microseconds, and bytes."""
    size = len(scrape(url))
    before = cpu_ns(pid)
    for _ in range(SCRAPES):
        size = len(scrape(url))
    return (cpu_ns(pid) - before) / SCRAPES / 1e3, size


class Sleepers:
    """Processes of a user that nobody else is."""

    def __init__(self, number: int) -> None:
        self.all = [self.one() for _ in range(number)]

    @staticmethod
    def one() -> subprocess.Popen[bytes]:
        return subprocess.Popen(["/bin/sleep", "600"], cwd="/", user=USER, group=USER, extra_groups=[])

    def __enter__(self) -> Self:
        time.sleep(1)
        return self

    def __exit__(self, *_: object) -> None:
        for one in self.all:
            one.kill()
        for one in self.all:
            one.wait()


class Agent:
    def __init__(self, directory: str, confine: bool) -> None:
        os.chmod(directory, 0o755)
        limits = Path(directory) / "limits.yaml"
        rule = f"version: 1\nworkloads:\n  - name: many\n    match: {{user: {USER}}}\n"
        limits.write_text(rule + '    limits: {processes: {value: 5000, why: "bench"}}\n')
        command = [CURB, "agent", "--limits", str(limits), "--listen", "127.0.0.1:0"]
        command += [] if confine else ["--watch-only"]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        self.talk: IO[str] = self.process.stderr
        for line in self.talk:
            event = json.loads(line)
            if event["event"] == "agent_started":
                break
        self.helper, self.url = event["helper"], f"http://{event['listen']}/metrics"

    def __enter__(self) -> Self:
        os.set_blocking(self.talk.fileno(), False)
        time.sleep(4)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(20)


def groups_of_agents() -> list[str]:
    """Groups within groups first."""
    every = (path for path, _, _ in os.walk("/sys/fs/cgroup", topdown=False))
    return [path for path in every if os.path.basename(path).startswith("curbagent")]


def remove_groups(but: Sequence[str]) -> None:
    """Those that came with the agents of this benchmark."""
    for path in groups_of_agents():
        if path not in but:
            os.rmdir(path)


def packages(directory: str) -> tuple[Path, Path]:
    """The rivals' binaries, out of their packages."""
    names = ["prometheus-process-exporter", "earlyoom"]
    subprocess.run(["apt-get", "download", "-qq", *names], cwd=directory, check=True, stdout=subprocess.DEVNULL)
    for deb in Path(directory).glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", str(deb), directory], check=True)
    return Path(directory) / "usr/bin/prometheus-process-exporter", Path(directory) / "usr/bin/earlyoom"


def met(good: bool) -> str:
    return "" if good else "  NOT MET"


def bench_agent(directory: str) -> float:
    before_us = groups_of_agents()
    with Sleepers(200), Agent(directory, True) as agent:
        cost, size = scrape_cost(agent.process.pid, agent.url)
        rss, helper = rss_kib(agent.process.pid), rss_kib(agent.helper)
    print(
        f"agent, 200 processes confined: {rss / 1024:.1f} MiB resident (aim 10){met(rss <= 10240)};"
        f" its helper {helper / 1024:.1f} MiB"
    )
    print(f"  a scrape: {cost:.0f} us of CPU, {size} bytes")
    remove_groups(before_us)
    for confine, word in ((True, "confined"), (False, "only watched, each looked at")):
        with Sleepers(1000), Agent(directory, confine) as agent:
            time.sleep(6)
            pids = [agent.process.pid, agent.helper]
            before, begun = [cpu_ns(p) for p in pids], time.monotonic()
            time.sleep(SECONDS)
            used = sum(cpu_ns(p) for p in pids) - sum(before)
            percent = used / 1e7 / (time.monotonic() - begun)
            rss = rss_kib(agent.process.pid)
        print(
            f"agent, 1 Hz, 1,000 processes {word}: {percent:.2f}% of a core with its helper (aim 1%)"
            f"{met(percent <= 1)}, {rss / 1024:.1f} MiB"
        )
        remove_groups(before_us)
    return cost


def bench_exporter(binary: Path, directory: str, ours: float) -> None:
    config = Path(directory) / "exporter.yaml"
    config.write_text('process_names:\n  - name: "{{.Comm}}"\n    cmdline: [".+"]\n')
    listen = "127.0.0.1:19256"
    command = [
        str(binary),
        f"-config.path={config}",
        "-threads=false",
        "-gather-smaps=false",
        f"-web.listen-address={listen}",
    ]
    exporter = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with Sleepers(200):
            time.sleep(2)
            cost, size = scrape_cost(exporter.pid, f"http://{listen}/metrics")
            rss = rss_kib(exporter.pid)
    finally:
        exporter.terminate()
        exporter.wait(20)
    print(
        f"process-exporter, the same 200, no threads, no smaps: {rss / 1024:.1f} MiB resident;"
        f" a scrape: {cost:.0f} us of CPU, {size} bytes"
    )
    print(f"  a scrape of the agent is {cost / ours:.0f} times cheaper (aim 5){met(cost >= 5 * ours)}")


def bench_earlyoom(binary: Path) -> None:
    # It only looks: far from its marks, and dry.
    command = [str(binary), "-m", "1", "-s", "1", "--dryrun", "-r", "0"]
    earlyoom = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with Sleepers(200):
            before = cpu_ns(earlyoom.pid)
            time.sleep(10)
            percent, rss = (cpu_ns(earlyoom.pid) - before) / 1e8, rss_kib(earlyoom.pid)
    finally:
        earlyoom.terminate()
        earlyoom.wait(20)
    print(f"earlyoom (looks at the machine's memory only): {rss / 1024:.1f} MiB resident, {percent:.2f}% of a core")


def main() -> int:
    if os.geteuid() != 0:
        print("DID NOT RUN: the agent's figures need root")
        return 0
    with tempfile.TemporaryDirectory() as directory:
        ours = bench_agent(directory)
        try:
            exporter, earlyoom = packages(directory)
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"DID NOT RUN: the rivals, since their packages cannot be had: {error}")
            return 0
        bench_exporter(exporter, directory, ours)
        bench_earlyoom(earlyoom)
    return 0


if __name__ == "__main__":
    sys.exit(main())
