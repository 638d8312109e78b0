"""The stand-in for Ray as a process: Ray's Jobs API without Ray behind it. It starts nothing, counts starts, and goes
wrong on request. For tests in which a real Ray would add nothing but time."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import procs
from curbserver import ask, clean_environment


class Standin:
    """One `ray-standin` on a port of its own. Jobs last as long as their entrypoint's `sleep`s say."""

    def __init__(self, binary: Path, arguments: Sequence[str] = ()) -> None:
        self._command = [str(binary), *arguments]
        self._process: subprocess.Popen[str] | None = None
        self.address = ""

    def __enter__(self) -> Standin:
        self._process = subprocess.Popen(
            self._command,
            env=clean_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=procs.die_with_parent,
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not (found := re.fullmatch(r"listening on (127\.0\.0\.1:\d+)\n", line)):
            self.stop()
            raise RuntimeError(f"the stand-in for Ray did not say where it listens on loopback, but {line!r}")
        self.address = f"http://{found[1]}"
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Ends the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def starts(self) -> list[dict[str, Any]]:
        """Jobs that were started, in order, without Curb's own no-ops: `id`, `at_ms`, `metadata`, ..."""
        found: list[dict[str, Any]] = ask(self.address, "GET", "/standin/starts").must().json
        return [start for start in found if not start["claim"]]

    def started(self) -> list[str]:
        """Their ids."""
        return [start["id"] for start in self.starts()]

    def request_count(self) -> int:
        """How many requests came for Ray's API."""
        return int(ask(self.address, "GET", "/standin/state").must().json["requests"])

    def requests(self, before: int) -> list[dict[str, Any]]:
        """Those after the first `before`, in order: `at_us`, `method`, `path`. An error if more came than are kept."""
        found: list[dict[str, Any]] | None = ask(self.address, "GET", f"/standin/requests?after={before}").must().json
        if found is None:
            raise RuntimeError("more requests came than the stand-in keeps")
        return found

    def fault(self, on: str, kind: str, times: int = 1, **parameters: Any) -> None:
        """Trouble for the next requests to the route `on` (any, submit, get, list, version, ...)."""
        self._control("fault", on=on, times=times, do={"kind": kind, **parameters})

    def faults(self) -> int:
        """How many are still to strike."""
        return int(ask(self.address, "GET", "/standin/state").must().json["faults"])

    def clear(self) -> None:
        """Ends all faults."""
        self._control("clear")

    def finish(self, job: str, exit_code: int = 0) -> None:
        """Ends a job now."""
        assert self._control("finish", id=job, exit_code=exit_code)["done"], f"the stand-in does not run {job}"

    def _control(self, verb: str, **body: Any) -> Any:
        return ask(self.address, "POST", f"/standin/{verb}", body=body).must().json
