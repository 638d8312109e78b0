"""What docker is told by `curb limits render` is what a container has: runc runs one with it, and the kernel is asked.

Docker's daemon makes runc's file from its options; that step is written out here as its documentation has it, since a
daemon would have to be started, and given an image, for it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
MIB = 1 << 20
LIMITS = """version: 1
workloads:
  - name: chat
    limits:
      memory: {value: 96MiB, why: "a test"}
      cpu: {value: 750m, why: "a test"}
      cpu_weight: {value: 50, why: "a test"}
      cpu_set: {value: "0", why: "a test"}
      processes: {value: 31, why: "a test"}
      open_files: {value: 77, why: "a test"}
"""


def tool(name: str) -> str:
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    assert path, f"{name} is not installed: scripts/test.sh installs what the tests need (runc comes with docker.io)"
    return path


def options(directory: Path, limits: str) -> dict[str, str]:
    """The options as docker gets them from a shell: a program of its name stands in for it."""
    binary = os.environ.get("CURB_BIN") or str(ROOT / "target" / "debug" / "curb")
    file = directory / "limits.yaml"
    file.write_text(limits)
    rendered = subprocess.run(
        [binary, "limits", "render", "--to", "docker", str(file), "chat"], capture_output=True, text=True, timeout=20
    )
    assert rendered.returncode == 0, rendered.stderr
    stand_in = directory / "bin" / "docker"
    stand_in.parent.mkdir()
    stand_in.write_text("#!/bin/sh\nfor word; do printf '%s\\0' \"$word\"; done\n")
    stand_in.chmod(0o755)
    script = directory / "run.sh"
    script.write_text(rendered.stdout)
    ran = subprocess.run(
        ["sh", str(script), "image"],
        capture_output=True,
        text=True,
        timeout=20,
        env={**os.environ, "PATH": f"{stand_in.parent}:{os.environ['PATH']}"},
    )
    words = ran.stdout.split("\0")[:-1]
    assert (words[0], words[-1]) == ("run", "image"), words
    return dict(word.removeprefix("--").split("=", 1) for word in words[1:-1])


def resources(given: dict[str, str]) -> dict[str, Any]:
    """As docker-run(1) and the OCI's runtime specification have them."""
    memory = {"limit": int(given["memory"]), "swap": int(given["memory-swap"])}
    cpu = {
        "quota": round(float(given["cpus"]) * 100_000),
        "period": 100_000,
        "shares": int(given["cpu-shares"]),
        "cpus": given["cpuset-cpus"],
    }
    return {"memory": memory, "cpu": cpu, "pids": {"limit": int(given["pids-limit"])}}


class Container:
    """One that waits, and is gone afterwards."""

    def __init__(self, directory: Path, given: dict[str, str]) -> None:
        self.name = f"curb-test-{uuid.uuid4().hex[:12]}"
        self.state = directory / "state"
        bundle = directory / "bundle"
        (bundle / "root").mkdir(parents=True)
        soft, hard = given["ulimit"].removeprefix("nofile=").split(":")
        binds = [path for path in ("/bin", "/usr", "/lib", "/lib64") if Path(path).exists()]
        spec = {
            "ociVersion": "1.0.2",
            "process": {
                "terminal": False,
                "user": {"uid": 0, "gid": 0},
                "args": ["/bin/sh", "-c", "echo up; read -r word"],
                "env": ["PATH=/usr/bin:/bin"],
                "cwd": "/",
                "rlimits": [{"type": "RLIMIT_NOFILE", "soft": int(soft), "hard": int(hard)}],
            },
            "root": {"path": "root"},
            "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}]
            + [{"destination": p, "source": p, "type": "bind", "options": ["rbind", "ro"]} for p in binds],
            "linux": {
                "cgroupsPath": f"/{self.name}",
                "resources": resources(given),
                "namespaces": [{"type": "mount"}, {"type": "pid"}],
            },
        }
        (bundle / "config.json").write_text(json.dumps(spec))
        # It ends with its input, also where this test is ended before it.
        self.process = subprocess.Popen(
            [tool("runc"), "--root", str(self.state), "run", "--bundle", str(bundle), self.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def up(self) -> int:
        assert self.process.stdout
        assert self.process.stderr
        if self.process.stdout.readline() != "up\n":
            raise AssertionError(f"runc did not run it: {self.process.stderr.read()}")
        told = subprocess.run(
            [tool("runc"), "--root", str(self.state), "state", self.name], capture_output=True, text=True, timeout=60
        )
        return int(json.loads(told.stdout)["pid"])

    def end(self) -> None:
        self.process.communicate("\n", timeout=60)
        subprocess.run(
            [tool("runc"), "--root", str(self.state), "delete", "--force", self.name], capture_output=True, timeout=60
        )


class Kernel:
    """What the kernel holds a process to, in whichever version of control groups there is."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.groups: dict[str, str] = {}
        for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
            _, names, path = line.split(":", 2)
            self.groups.update(dict.fromkeys(names.split(","), path))

    def read(self, controller: str, v1: str, v2: str) -> str:
        base = Path("/sys/fs/cgroup")
        if controller in self.groups:
            return (base / controller / self.groups[controller].lstrip("/") / v1).read_text().strip()
        return (base / self.groups[""].lstrip("/") / v2).read_text().strip()

    def is_v1(self, controller: str) -> bool:
        return controller in self.groups

    def open_files(self) -> list[str]:
        lines = Path(f"/proc/{self.pid}/limits").read_text().splitlines()
        return next(line for line in lines if line.startswith("Max open files")).split()[3:5]


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[Kernel]:
    container = Container(tmp_path, options(tmp_path, LIMITS))
    try:
        yield Kernel(container.up())
    finally:
        container.end()


def test_a_container_has_every_limit_of_the_file_as_the_kernel_has_it(kernel: Kernel) -> None:
    assert kernel.read("memory", "memory.limit_in_bytes", "memory.max") == str(96 * MIB)
    # The file gives no swap on top: version 1 counts both together, where it counts swap at all.
    if not kernel.is_v1("memory"):
        assert kernel.read("memory", "", "memory.swap.max") == "0"
    elif (Path("/sys/fs/cgroup/memory") / "memory.memsw.limit_in_bytes").exists():
        assert kernel.read("memory", "memory.memsw.limit_in_bytes", "") == str(96 * MIB)
    quota = kernel.read("cpu", "cpu.cfs_quota_us", "cpu.max").split()[0]
    assert quota == "75000"
    if kernel.is_v1("cpu"):
        # 1024 shares are a weight of 100.
        assert kernel.read("cpu", "cpu.shares", "") == "512"
    assert kernel.read("cpuset", "cpuset.cpus", "cpuset.cpus") == "0"
    assert kernel.read("pids", "pids.max", "pids.max") == "31"
    assert kernel.open_files() == ["77", "77"]


def test_the_audit_finds_nothing_missing_in_such_a_container(kernel: Kernel) -> None:
    binary = os.environ.get("CURB_BIN") or str(ROOT / "target" / "debug" / "curb")
    ran = subprocess.run(
        [binary, "audit", "host", "--pid", str(kernel.pid), "--json"], capture_output=True, text=True, timeout=60
    )
    subject = json.loads(ran.stdout)["subjects"][0]
    assert subject["memory"]["value"] == 96 * MIB, subject["memory"]
    assert subject["cpu"]["value"] == 750, subject["cpu"]
    assert subject["tasks"]["value"] == 31, subject["tasks"]
