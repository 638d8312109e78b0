"""What `curb limits render` writes is taken by the tools themselves, and a mistake in it is not."""

from __future__ import annotations

import json
import os
import plistlib
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
FULL = ROOT / "examples" / "limits-full.yaml"
SMALL = ROOT / "examples" / "limits.yaml"
# The last one that the schemas of the test's package have.
KUBERNETES = kubernetes_validate.latest_version()


def curb() -> str:
    binary = os.environ.get("CURB_BIN") or str(ROOT / "target" / "debug" / "curb")
    assert Path(binary).exists(), f"{binary} is not built: scripts/build.sh debug"
    return binary


def tool(name: str) -> str:
    path = shutil.which(name)
    assert path, f"{name} is not installed: scripts/test.sh installs what the tests need"
    return path


def render(form: str, file: Path, workload: str) -> str:
    ran = subprocess.run(
        [curb(), "limits", "render", "--to", form, str(file), workload], capture_output=True, text=True, timeout=20
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.fixture(
    params=[(FULL, "chat"), (FULL, "sandbox"), (SMALL, "chat"), ("odd", "123")],
    ids=["full", "sandbox", "small", "odd"],
)
def workload(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, str]:
    file, name = request.param
    if file == "odd":
        file = tmp_path / "odd.yaml"
        file.write_text(
            "version: 1\nworkloads:\n  - name: '123'\n    command: [a & b, <c>, '--d \"e\"', é]\n    limits:\n"
            "      memory: {value: 100000001B, why: 'a \\ --> # \"$(x)\" %n'}\n"
            "      cpu: {value: 1255m, why: 'b \\'}\n"
            "      duration: {value: 1500ms, why: 'c'}\n"
            "      gpu_visible: {value: [GPU-1a2b], why: 'd'}\n"
        )
    return file, name


# --- systemd


def verify(unit: Path) -> subprocess.CompletedProcess[str]:
    # It reads files only: no manager has to run.
    return subprocess.run(
        [tool("systemd-analyze"), "verify", "--man=no", "--recursive-errors=no", str(unit)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "SYSTEMD_COLORS": "0", "LC_ALL": "C"},
    )


def unit_with(dropin: str, directory: Path) -> Path:
    unit = directory / "curb-test-chat.service"
    unit.write_text("[Unit]\nDescription=test\n\n[Service]\nExecStart=/bin/true\n\n" + dropin)
    return unit


def said(ran: subprocess.CompletedProcess[str]) -> list[str]:
    return [line for line in (ran.stdout + ran.stderr).splitlines() if "curb-test-chat.service" in line]


def test_systemd_takes_every_line_of_its_form(workload: tuple[Path, str], tmp_path: Path) -> None:
    ran = verify(unit_with(render("systemd", *workload), tmp_path))
    assert (ran.returncode, said(ran)) == (0, []), ran.stderr


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("MemoryMax=1610612736", "MemoryMaximum=1610612736"),
        ("MemoryMax=1610612736", "MemoryMax=lots"),
        ("CPUQuota=200%", "CPUQuota=-2"),
        ("AllowedCPUs=0-3,6", "AllowedCPUs=a"),
        ("IOReadBandwidthMax=/ 104857600", "IOReadBandwidthMax=/ fast"),
        ("RuntimeMaxSec=86400", "RuntimeMaxSec=a day"),
    ],
)
def test_systemd_would_tell_a_mistake(right: str, wrong: str, tmp_path: Path) -> None:
    text = render("systemd", FULL, "chat")
    assert right in text
    assert said(verify(unit_with(text.replace(right, wrong), tmp_path))) != []


# --- docker


def docker(script: str, directory: Path) -> str:
    """What docker says of the options; it never reaches a daemon."""
    tool("docker")
    file = directory / "run.sh"
    file.write_text(script)
    ran = subprocess.run(
        ["sh", str(file), "--name=test", "image", "command"],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "DOCKER_HOST": f"unix://{directory}/none.sock"},
    )
    assert ran.returncode != 0
    return ran.stderr


def test_docker_takes_every_option_and_misses_only_its_daemon(workload: tuple[Path, str], tmp_path: Path) -> None:
    told = docker(render("docker", *workload), tmp_path)
    assert "none.sock" in told, told


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("--memory=1610612736", "--memory=lots"),
        ("--cpus=2", "--cpus=two"),
        ("--cpu-shares=2048", "--cpu-weight=200"),
        ("--pids-limit=64", "--pids-limit=few"),
        ("--ulimit=nofile=4096:4096", "--ulimit=files=4096"),
        ('--gpus="device=0,1"', "--gpus=gadget=0"),
        ("--stop-timeout=30", "--stop-timeout=30s"),
    ],
)
def test_docker_would_tell_a_mistake(right: str, wrong: str, tmp_path: Path) -> None:
    script = render("docker", FULL, "chat")
    assert right in script
    assert "none.sock" not in docker(script.replace(right, wrong), tmp_path)


# --- compose


def compose(name: str, text: str, directory: Path) -> subprocess.CompletedProcess[str]:
    base, limits = directory / "compose.yaml", directory / "limits.yaml"
    base.write_text(f"services:\n  '{name}':\n    image: example/server\n")
    limits.write_text(text)
    return subprocess.run(
        [tool("docker-compose"), "--file", str(base), "--file", str(limits), "config"],
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_compose_takes_every_field_and_keeps_its_value(workload: tuple[Path, str], tmp_path: Path) -> None:
    file, name = workload
    text = render("compose", file, name)
    ran = compose(name, text, tmp_path)
    assert ran.returncode == 0, ran.stderr
    service = yaml.safe_load(ran.stdout)["services"][name]
    for field, value in yaml.safe_load(text)["services"][name].items():
        if field in ("mem_limit", "memswap_limit"):
            assert int(service[field]) == value, field
        elif field == "cpus":
            assert float(service[field]) == float(value)
        elif field in ("cpu_shares", "cpuset", "pids_limit", "stop_grace_period", "environment"):
            assert service[field] == value, field


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("mem_limit: ", "memory_limit: "),
        ("pids_limit: 64", "pids_limit: [64]"),
        ("ulimits: {nofile: {soft: 4096, hard: 4096}}", "ulimits: {nofile: {soft: 4096}}"),
        ("stop_grace_period: 30s", "stop_grace: 30s"),
        ("device_ids: [", "devices: ["),
    ],
)
def test_compose_would_tell_a_mistake(right: str, wrong: str, tmp_path: Path) -> None:
    text = render("compose", FULL, "chat")
    assert right in text
    assert compose("chat", text.replace(right, wrong), tmp_path).returncode != 0


# --- kubernetes


def pod(text: str) -> dict[str, Any]:
    made: dict[str, Any] = yaml.safe_load(text)
    made["spec"]["containers"][0]["image"] = "example/server"
    kubernetes_validate.validate(made, KUBERNETES, strict=True)
    return made


def test_kubernetes_takes_every_field(workload: tuple[Path, str]) -> None:
    file, name = workload
    made = pod(render("kubernetes", file, name))
    assert made["metadata"]["name"] == name


def test_kubernetes_is_given_the_values_of_the_file() -> None:
    spec = pod(render("kubernetes", FULL, "chat"))["spec"]
    assert spec["containers"][0]["resources"]["limits"] == {"memory": "1536Mi", "cpu": "2", "nvidia.com/gpu": "2"}
    assert (spec["activeDeadlineSeconds"], spec["terminationGracePeriodSeconds"]) == (86400, 30)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("activeDeadlineSeconds: 86400", "activeDeadlineSeconds: a day"),
        ("activeDeadlineSeconds", "deadlineSeconds"),
        ("resources:", "resource:"),
        ('value: "50"', "value: 50"),
    ],
)
def test_kubernetes_would_tell_a_mistake(right: str, wrong: str) -> None:
    text = render("kubernetes", FULL, "chat")
    assert right in text
    with pytest.raises(kubernetes_validate.ValidationError):
        pod(text.replace(right, wrong))


# --- a shell, launchd


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_a_shell_limits_what_its_form_says(shell: str, tmp_path: Path) -> None:
    file = tmp_path / "limits.sh"
    file.write_text(render("ulimit", FULL, "chat").replace("ulimit -n 4096", "ulimit -n 99"))
    ran = subprocess.run(
        [shell, "-euc", f'. "{file}"; ulimit -Sn; ulimit -Hn; echo "$CUDA_VISIBLE_DEVICES"'],
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert (ran.returncode, ran.stdout.split()) == (0, ["99", "99", "0,1"]), ran.stderr


def test_a_property_list_is_one_and_has_the_command_word_for_word(workload: tuple[Path, str]) -> None:
    file, name = workload
    made = plistlib.loads(render("launchd", file, name).encode())
    assert made["Label"] == f"curb.{name}"
    command = next(w.get("command") for w in yaml.safe_load(file.read_text())["workloads"] if w["name"] == name)
    if command:
        words = [str(word) for word in command]
        assert made["ProgramArguments"][:2] == ["/usr/sbin/taskpolicy", "-m"]
        assert made["ProgramArguments"][3:] == words


def test_a_property_list_has_the_values_of_the_file() -> None:
    made = plistlib.loads(render("launchd", FULL, "chat").encode())
    assert made["ProgramArguments"][2] == "1536"
    assert made["HardResourceLimits"] == made["SoftResourceLimits"] == {"NumberOfFiles": 4096}
    assert made["ExitTimeOut"] == 30


# --- all of them


def test_what_is_not_held_is_told_and_strict_ends_with_1() -> None:
    command = [curb(), "limits", "render", "--to", "kubernetes", "--json", str(FULL), "chat"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=20)
    made = json.loads(ran.stdout)
    notes = {note["field"]: note["in_part"] for note in made["notes"]}
    assert notes["open_files"] is False
    assert notes["gpu_visible"] is True
    assert "chat: open_files is not held: " in ran.stderr
    assert subprocess.run([*command, "--strict"], capture_output=True, timeout=20).returncode == 1


def test_which_workload_is_asked_where_there_are_several() -> None:
    ran = subprocess.run(
        [curb(), "limits", "render", "--to", "systemd", str(FULL)], capture_output=True, text=True, timeout=20
    )
    assert ran.returncode == 2
    assert ran.stderr.endswith("has 2 workloads: which one?\nhelp: name one, such as chat, sandbox\n")
