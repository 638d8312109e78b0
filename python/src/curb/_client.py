"""A drop-in for Ray's JobSubmissionClient that reads Curb's answers."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from curb._answers import Explanation, QuotaExceeded, Violation, violations_from_json

try:
    from ray.job_submission import JobSubmissionClient as _RayClient
except ImportError as error:
    raise ImportError("curb.JobSubmissionClient is Ray's own with more: pip install 'curb[ray]'") from error

_PROBLEM = "application/problem+json"
# Only an answer that names the limits can be turned into violations; anything else is taken as well.
_ACCEPT_PROBLEM = f"{_PROBLEM}, */*;q=0.5"
_REFUSALS = (422, 429)  # Ray itself never answers a submission with these
# An unreachable server is told after this many seconds, a slow one after the second number.
_CHECK_TIMEOUT = (5, 30)

_environment_lock = threading.Lock()


class JobSubmissionClient(_RayClient):
    """Ray's `JobSubmissionClient`, pointed at Curb.

    Args:
        address: of Curb. Default: CURB_ADDRESS; else what Ray's client takes (RAY_API_SERVER_ADDRESS, RAY_ADDRESS).
        token: a Curb token. Default: the `Authorization` of `headers`; else CURB_TOKEN, RAY_JOB_HEADERS or
            RAY_AUTH_TOKEN, the first that is set.
        headers, and everything else: as Ray's client takes it.

    An `address` that is given wins over the environment. (With Ray's own client the environment wins over the
    argument, which would send jobs past Curb on a machine that has RAY_ADDRESS set.)
    """

    def __init__(
        self,
        address: str | None = None,
        *args: Any,
        headers: Mapping[str, str] | None = None,
        token: str | None = None,
        **kwargs: Any,
    ) -> None:
        address = address or os.environ.get("CURB_ADDRESS")
        with _ray_reads_address(address):
            super().__init__(address, *args, headers=_with_token(headers, token), **kwargs)

    def check(
        self,
        *,
        entrypoint: str,
        runtime_env: Mapping[str, Any] | None = None,
        metadata: Mapping[str, str] | None = None,
        submission_id: str | None = None,
        entrypoint_num_cpus: int | float | None = None,
        entrypoint_num_gpus: int | float | None = None,
        entrypoint_memory: int | None = None,
        entrypoint_resources: Mapping[str, float] | None = None,
        entrypoint_label_selector: Mapping[str, str] | None = None,
    ) -> Explanation:
        """Would this job start now? If not, why and when. Takes what `submit_job` takes; submits and uploads nothing.

        Raises RuntimeError where Curb could not answer: no token, a malformed request, no connection.
        """
        body = {
            "entrypoint": entrypoint,
            "submission_id": submission_id,
            "runtime_env": _without_local_files(runtime_env or {}),
            "metadata": {**(metadata or {}), **self._default_metadata},
            "entrypoint_num_cpus": entrypoint_num_cpus,
            "entrypoint_num_gpus": entrypoint_num_gpus,
            "entrypoint_memory": entrypoint_memory,
            "entrypoint_resources": entrypoint_resources,
            "entrypoint_label_selector": entrypoint_label_selector,
        }
        body = {key: value for key, value in body.items() if value is not None}
        response = self._do_request("POST", "/curb/v1/explain", json_data=body, timeout=_CHECK_TIMEOUT)
        if response.status_code != 200:
            raise RuntimeError(f"{self._address} could not check this job: {response.text.strip()}")
        try:
            return Explanation.from_json(response.json())
        except ValueError as error:
            raise RuntimeError(f"{self._address} did not answer as Curb does ({error}); is it Ray's own?") from error

    def _do_request(self, method: str, endpoint: str, **kwargs: Any) -> Any:
        if method != "POST" or endpoint not in ("/api/jobs/", "/curb/v1/explain"):
            return super()._do_request(method, endpoint, **kwargs)
        accept = _ACCEPT_PROBLEM if endpoint == "/api/jobs/" else "application/json"
        # Ray's client has one set of headers for all requests, and this one request needs another. A shallow copy
        # keeps the client usable from several threads at once.
        once = object.__new__(_RayClient)
        once.__dict__ = {**self.__dict__, "_headers": {**self._headers, "Accept": accept}}
        return once._do_request(method, endpoint, **kwargs)

    def _raise_error(self, r: Any) -> None:
        if r.status_code in _REFUSALS:
            text, code, violations = _read_refusal(r)
            raise QuotaExceeded(text, status=r.status_code, code=code, violations=violations)
        super()._raise_error(r)


def _read_refusal(response: Any) -> tuple[str, str | None, tuple[Violation, ...]]:
    if response.headers.get("content-type", "").partition(";")[0].strip().lower() != _PROBLEM:
        return response.text, None, ()
    try:
        problem = response.json()
        code = problem.get("code")
        text = problem.get("detail") or problem.get("title")
        return str(text or response.text), code, violations_from_json(problem.get("violations"))
    except (ValueError, AttributeError):
        # The job was refused, whatever shape the reason has: show it as it came.
        return response.text, None, ()


def _with_token(headers: Mapping[str, str] | None, token: str | None) -> dict[str, str]:
    found = dict(headers or {})
    if token is None and any(name.lower() == "authorization" for name in found):
        return found
    token = token or os.environ.get("CURB_TOKEN")
    if token is None and headers is None and (from_ray := os.environ.get("RAY_JOB_HEADERS")):
        try:
            found.update(json.loads(from_ray))
        except ValueError as error:
            raise ValueError('RAY_JOB_HEADERS must be JSON such as {"Authorization": "Bearer ..."}') from error
        if any(name.lower() == "authorization" for name in found):
            return found
    token = token or os.environ.get("RAY_AUTH_TOKEN")
    if token is not None:
        found = {name: value for name, value in found.items() if name.lower() != "authorization"}
        found["Authorization"] = f"Bearer {token}"
    return found


def _without_local_files(runtime_env: Mapping[str, Any]) -> dict[str, Any]:
    """Local directories become packages only when a job is submitted; no limit depends on them."""
    kept = dict(runtime_env)
    if "://" not in str(kept.get("working_dir", "")):
        kept.pop("working_dir", None)
    if "py_modules" in kept:
        kept["py_modules"] = [module for module in kept["py_modules"] if "://" in str(module)]
    return kept


@contextmanager
def _ray_reads_address(address: str | None) -> Iterator[None]:
    """Ray's constructor takes an address from the environment before its argument. This makes the two one."""
    name = "RAY_API_SERVER_ADDRESS"
    if address is None:
        yield
        return
    with _environment_lock:
        before = os.environ.get(name)
        os.environ[name] = address
        try:
            yield
        finally:
            if before is None:
                del os.environ[name]
            else:
                os.environ[name] = before
