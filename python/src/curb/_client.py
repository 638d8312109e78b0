"""A drop-in for Ray's JobSubmissionClient that reads Curb's answers."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from curb._answers import (
    BY_STATUS,
    CurbError,
    Explanation,
    QuotaExceeded,
    Unavailable,
    violations_from_json,
)

try:
    import requests
    from ray.exceptions import AuthenticationError
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

        Raises CurbError (a RuntimeError) where Curb could not answer: no token, a malformed request; ConnectionError
        where there is nobody to answer.
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
            raise _error(response, f"{self._address} could not check this job")
        try:
            return Explanation.from_json(response.json())
        except ValueError as error:
            raise RuntimeError(f"{self._address} did not answer as Curb does ({error}); is it Ray's own?") from error

    def _do_request(self, method: str, endpoint: str, **kwargs: Any) -> Any:
        try:
            return self._send(method, endpoint, **kwargs)
        except AuthenticationError as error:
            # Ray's words are about its own tokens and hide Curb's.
            raise _signing_in_failed(str(error)) from error

    def _send(self, method: str, endpoint: str, **kwargs: Any) -> Any:
        if method != "POST" or endpoint not in ("/api/jobs/", "/curb/v1/explain"):
            return super()._do_request(method, endpoint, **kwargs)
        accept = _ACCEPT_PROBLEM if endpoint == "/api/jobs/" else f"application/json, {_PROBLEM}"
        # Ray's client has one set of headers for all requests, and this one request needs another. A shallow copy
        # keeps the client usable from several threads at once.
        once = object.__new__(_RayClient)
        once.__dict__ = {**self.__dict__, "_headers": {**self._headers, "Accept": accept}}
        return once._do_request(method, endpoint, **kwargs)

    def _raise_error(self, r: Any) -> None:
        raise _error(r, f"Request failed with status code {r.status_code}")


def _error(response: Any, attempt: str) -> CurbError:
    """What Curb said, as an exception of its kind; `attempt` goes before words that are not Curb's."""
    status: int = response.status_code
    problem = _read_problem(response)
    if status in _REFUSALS and (problem is None or {"verdict", "violations"} & problem.keys()):
        return _refusal(response, problem)
    if problem is None:
        text, code, request_id = response.text.strip(), None, response.headers.get("x-request-id")
        said = text.removeprefix("curb: ") if text.startswith("curb: ") else f"{attempt}: {text}"
    else:
        said = str(problem.get("detail") or problem.get("title") or f"status {status}").removeprefix("curb: ")
        code, request_id = problem.get("code"), problem.get("request_id")
    kind = BY_STATUS.get(status, CurbError)
    lines = [said.strip()]
    if status == 401 and "CURB_TOKEN" not in said:
        lines.append("Set CURB_TOKEN to a valid token (`curb token create`), or give the client token=...")
    wait = response.headers.get("retry-after", "")
    if wait.isdecimal():
        lines.append(f"Try again in {wait} s.")
    if status >= 500 and request_id:
        lines.append(f"The server's log tells more under request {request_id}.")
    error = kind("\n".join(lines), status=status, code=code, request_id=request_id)
    if isinstance(error, Unavailable) and wait.isdecimal():
        error.retry_after = int(wait)
    return error


def _signing_in_failed(text: str) -> CurbError:
    """Ray's client puts the body of a 401 or 403 between its own words."""
    head, _, rest = text.partition(": ")
    body = rest.partition("\n\n")[0]
    response = requests.Response()
    response.status_code = 401 if head == "Authentication required" else 403
    response._content = body.encode()
    response.headers["content-type"] = _PROBLEM if body.startswith("{") else "text/plain"
    return _error(response, f"Request failed with status code {response.status_code}")


def _refusal(response: Any, problem: Mapping[str, Any] | None) -> QuotaExceeded:
    status = response.status_code
    try:
        violations = violations_from_json((problem or {}).get("violations"))
    except ValueError:
        # The job was refused, whatever shape the reason has: show it as it came.
        return QuotaExceeded(response.text, status=status)
    if problem is None:
        return QuotaExceeded(response.text, status=status)
    text = problem.get("detail") or problem.get("title") or response.text
    return QuotaExceeded(str(text), status=status, code=problem.get("code"), violations=violations)


def _read_problem(response: Any) -> Mapping[str, Any] | None:
    """The members of an RFC 9457 body; None where the answer is not one."""
    if response.headers.get("content-type", "").partition(";")[0].strip().lower() != _PROBLEM:
        return None
    try:
        problem = response.json()
    except ValueError:
        return None
    return problem if isinstance(problem, Mapping) else None


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
