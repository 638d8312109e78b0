"""The Ray that tests and demo stand on: nobody outside reaches it, and nothing of it is left behind."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import procs
from curbserver import eventually
from ray.job_submission import JobSubmissionClient
from raycluster import RayCluster

MODULE = Path(__file__).with_name("raycluster.py")


def test_every_socket_is_on_loopback_while_a_job_runs(ray: RayCluster) -> None:
    client = JobSubmissionClient(ray.address)
    job = client.submit_job(entrypoint='python -c "import ray, time; ray.init(); time.sleep(20)"')
    eventually(lambda: client.get_job_status(job).value == "RUNNING", 60, "the job runs")
    eventually(lambda: "ray::" in _titles(ray), 30, "its workers are there")
    sockets = ray.check_loopback()
    assert len(sockets) >= 8
    assert all(s.loopback for s in sockets)
    client.stop_job(job)


def test_a_socket_on_all_interfaces_is_told_from_one_on_loopback() -> None:
    import os
    import socket

    me = procs.identify(os.getpid())
    assert me is not None
    with socket.create_server(("127.0.0.1", 0)) as inner, socket.socket(socket.AF_INET6) as mapped:
        mapped.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        mapped.bind(("::ffff:127.0.0.1", 0))
        mapped.listen()
        found = {s.port: s for s in procs.listeners([me])}
        assert found[inner.getsockname()[1]].loopback
        assert found[mapped.getsockname()[1]].loopback
    for host in ("0.0.0.0", "::", "10.1.2.3"):
        assert not procs.Listener("tcp", host, 1, 1).loopback


def test_a_restart_keeps_the_address_and_forgets_the_jobs_and_stop_leaves_nothing() -> None:
    with RayCluster(num_cpus=1) as cluster:
        address, session = cluster.address, cluster.session_name()
        client = JobSubmissionClient(address)
        client.submit_job(entrypoint="setsid sleep 300 & sleep 300", submission_id="before")
        eventually(lambda: client.get_job_status("before").value == "RUNNING", 60, "the job runs")
        before = cluster.processes()
        cluster.kill_head()
        assert not [p for p in before if p.alive()], "jobs that left the process group are ended too"
        cluster.start()
        assert (cluster.address, cluster.session_name() != session) == (address, True)
        assert client.list_jobs() == []
        last = cluster.processes()
        assert len(last) > 5
        directory = cluster.temp_dir
    assert directory is not None
    assert not directory.exists()
    assert not [p for p in last if p.alive()]


def test_ray_ends_when_the_process_that_started_it_is_killed() -> None:
    script = (
        "import json, sys, time; sys.path.insert(0, sys.argv[1]); from raycluster import RayCluster\n"
        "ray = RayCluster(num_cpus=1).start(); print(json.dumps(ray.state()), flush=True); time.sleep(600)"
    )
    parent = subprocess.Popen([sys.executable, "-c", script, str(MODULE.parent)], stdout=subprocess.PIPE, text=True)
    try:
        import json

        assert parent.stdout is not None
        state = json.loads(parent.stdout.readline())
        cluster = RayCluster.from_state(state)
        started = cluster.processes()
        assert len(started) > 5
        parent.send_signal(signal.SIGKILL)
        eventually(lambda: not [p for p in started if p.alive()], 30, "all of Ray has ended")
    finally:
        parent.kill()
        parent.wait(10)
        assert parent.stdout is not None
        parent.stdout.close()
    cluster.stop()


def test_what_a_killed_supervisor_leaves_is_found_by_its_mark_and_ended() -> None:
    cluster = RayCluster(num_cpus=1).start()
    started = cluster.processes()
    try:
        supervisor = started[0]
        assert supervisor.pid == cluster.pid
        supervisor.send(signal.SIGKILL)
    finally:
        cluster.stop()
    eventually(lambda: not [p for p in started if p.alive()], 10, "all of Ray has ended")


def _titles(cluster: RayCluster) -> str:
    found = []
    for process in cluster.processes():
        path = Path(f"/proc/{process.pid}/cmdline")
        if path.exists():
            found.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return "\n".join(title for title in found if "Agent" not in title)
