"""A Ray with 50,000 jobs in its list, of which thousands are open: what does watching it cost the server?

Ray's list has no pages: whoever reads it gets every record that was ever made. With thousands of open jobs the
monitor reads it whole, again and again; with few it asks job by job. Both are measured, with a release `curb serve` in
front of the stand-in for Ray, both processes of their own. Started by scripts/bench.sh; the Python standard library is
enough for it.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from bench_memory import REPOSITORY, Connection, explaining, in_parallel, say, tell_memory
from curbserver import CurbServer, ask, eventually
from standin import Standin

# Nothing waits.
POLICY = """version: 1
capacity: {cpu: 1000000}
quotas:
  - {name: all, limits: {jobs: 100000}}
"""
RECORDS = 50_000
FEW, MANY = 100, 8_000
ENDS = 10
SEEN_WITHIN_S = 60


def remember(ray: Standin, count: int) -> None:
    """Jobs that are over, of people who do not use Curb."""
    port = int(ray.address.rsplit(":", 1)[1])

    def submit(connection: Connection, n: int) -> None:
        body = {
            "entrypoint": f"python train.py --fold {n} --output results/{n}",
            "submission_id": f"raysubmit_of_old_{n}",
            "metadata": {"project": f"p{n % 17}", "owner": "somebody"},
        }
        connection.send("POST", "/api/jobs/", "", body)

    in_parallel(port, submit, count)


def run(curb: CurbServer, first: int, end: int) -> None:
    """Jobs through Curb that run until they are ended."""
    token = curb.admin().token

    def submit(connection: Connection, n: int) -> None:
        body = {
            "entrypoint": f"sleep 100000; python train.py --fold {n} --output results/{n}",
            "submission_id": f"open-{first + n}",
            "metadata": {"curb.cpu": "1"},
        }
        connection.send("POST", "/api/jobs/", token, body)

    in_parallel(curb.port, submit, end - first)


def see_ends(curb: CurbServer, ray: Standin, first: int) -> None:
    """Ends jobs in Ray one by one: how soon does the server know?"""
    token, took = curb.admin().token, []
    for n in range(first, first + ENDS):
        ray.finish(f"open-{n}")
        began, path = time.monotonic(), f"/curb/v1/jobs/open-{n}"

        def is_over(path: str = path) -> bool:
            return bool(ask(curb.address, "GET", path, token).must().json["state"] == "succeeded")

        eventually(is_over, SEEN_WITHIN_S, f"the end of job {n} is seen", every=0.02)
        took.append(time.monotonic() - began)
    say("from an end in Ray until the server has it", f"{statistics.median(took):.1f} s, worst {max(took):.1f}")


def measure(curb: CurbServer, ray: Standin, records: int) -> None:
    """Everything, in order."""
    curb.wait_ready()
    curb.wait_reachable()
    remember(ray, records - MANY)
    done = 0
    for count in (FEW, MANY):
        run(curb, done, count)
        done = count
        time.sleep(5)
        size = len(ask(ray.address, "GET", "/api/jobs/").must().text)
        say(f"{count:,} open jobs; Ray's list of all is", f"{size / 1e6:.0f} MB")
        with explaining(curb, "meanwhile"):
            see_ends(curb, ray, count - ENDS)
        tell_memory(curb, "then")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--binaries", type=Path, default=REPOSITORY / "target" / "release", help="of curb and ray-standin"
    )
    parser.add_argument("--records", type=int, default=RECORDS)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="curb-bench-") as scratch:
        policy = Path(scratch) / "policy.yaml"
        policy.write_text(POLICY)
        with (
            Standin(chosen.binaries / "ray-standin") as ray,
            CurbServer(
                chosen.binaries / "curb", ray.address, policy, Path(scratch) / "data", arguments=["--start-rate", "0"]
            ) as curb,
        ):
            measure(curb, ray, chosen.records)


if __name__ == "__main__":
    main()
