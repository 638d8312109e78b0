"""A drop-in for Ray's JobSubmissionClient that reads Curb's answers."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from curb._answers import (
    BY_STATUS,
    CurbError,
    Explanation,
    QuotaExceeded,
    Unavailable,
    violations_from_json,
)
from curb._settings import address_from_environment, headers_with_token

try:
    import aiohttp
    import ray
    import requests
    from ray.dashboard.utils import ray_address_to_api_server_url, ray_client_address_to_api_server_url
    from ray.job_submission import JobSubmissionClient as _RayClient
except ImportError as error:
    raise ImportError("curb.JobSubmissionClient is Ray's own with more: pip install 'curb[ray]'") from error

_PROBLEM = "application/problem+json"
# Errors in JSON have a code, and refusals their violations; anything else is taken as well.
_ACCEPT = "application/json, */*;q=0.5"
# Here JSON without a problem in it is Ray's answer: only an answer that names the limits becomes violations.
_ACCEPT_OF = {"/api/jobs/": f"{_PROBLEM}, */*;q=0.5", "/curb/v1/explain": f"application/json, {_PROBLEM}"}
_REFUSALS = (422, 429)  # Ray itself never answers a submission with these
# An unreachable server is told after this many seconds, a slow one after the second number.
_CHECK_TIMEOUT = (5, 30)
# The last line of an error as text: where its code is explained.
_CODE_IN_TEXT = re.compile(r"^ *more: curb help reason ([a-z0-9-]+)", re.MULTILINE)
# What a websocket client says first. The key is of no use to anybody: nothing is sent over this connection.
_HANDSHAKE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "Y3VyYiBhc2tzIHdoeSBubw==",
}


class JobSubmissionClient(_RayClient):
    """Ray's `JobSubmissionClient`, pointed at Curb.

    Args:
        address: of Curb. Default: CURB_ADDRESS; else what Ray's client takes (RAY_API_SERVER_ADDRESS, RAY_ADDRESS).
        token: a Curb token. Default: the `Authorization` of `headers`; else CURB_TOKEN_FILE (a file with the token),
            CURB_TOKEN, RAY_JOB_HEADERS or RAY_AUTH_TOKEN, the first that is set.
        headers, and everything else: as Ray's client takes it.

    An `address` that is given wins over the environment. (With Ray's own client the environment wins over the
    argument, which would send jobs past Curb on a machine that has RAY_ADDRESS set.)
    """

    def __init__(
        self,
        address: str | None = None,
        create_cluster_if_needed: bool = False,
        cookies: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        verify: str | bool = True,
        *,
        token: str | None = None,
        **kwargs: Any,
    ) -> None:
        address = address or address_from_environment()
        settings = {
            "create_cluster_if_needed": create_cluster_if_needed,
            "cookies": cookies,
            "metadata": metadata,
            "headers": headers_with_token(headers, token),
            "verify": verify,
            **kwargs,
        }
        if address is None:
            super().__init__(None, **settings)
        else:
            self._connect(address, settings)

    def _connect(self, address: str, settings: Mapping[str, Any]) -> None:
        """What Ray's constructor does, but to this address: that one takes RAY_API_SERVER_ADDRESS and RAY_ADDRESS
        before its argument, and the environment is the whole process's, so that it is no place to tell it another."""
        given = {"address": address, **settings}
        for name, kinds in (("address", str), ("cookies", dict), ("metadata", dict), ("verify", (str, bool))):
            if given[name] is not None and not isinstance(given[name], kinds):
                raise TypeError(f"{name}: {type(given[name]).__name__} is not a type that Ray's client takes for it")
        self._client_ray_version = ray.__version__
        super(_RayClient, self).__init__(address=_of_the_api(address), **settings)
        self._check_connection_and_version(
            "2.0", f"{self._address} is not Curb, or in front of a Ray before 2.0: is this the right address?"
        )

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

    async def tail_job_logs(self, job_id: str) -> AsyncGenerator[str]:
        """As Ray's: the log in pieces as they come. Raises CurbError where it is refused."""
        try:
            async with aclosing(super().tail_job_logs(job_id)) as pieces:
                async for piece in pieces:
                    yield piece
        except aiohttp.WSServerHandshakeError as error:
            refused = error
        else:
            return
        # aiohttp throws the body away, which has Curb's words: it is asked for again, in a thread since that waits.
        raise await asyncio.to_thread(self._why_not_followed, job_id, refused) from None

    def _why_not_followed(self, job_id: str, refused: aiohttp.WSServerHandshakeError) -> CurbError:
        with self._request(
            "GET", f"/api/jobs/{job_id}/logs/tail", add=_HANDSHAKE, stream=True, timeout=_CHECK_TIMEOUT
        ) as response:
            if response.status_code < 400:  # it has become possible in between
                response = requests.Response()
                response.status_code = refused.status
                response.headers.update(refused.headers or {})
                response._content = b"the log could not be followed; try again"
                response.headers["content-type"] = "text/plain"
            return _error(response, f"Request failed with status code {response.status_code}")

    def _do_request(
        self, method: str, endpoint: str, *, data: bytes | None = None, json_data: Any = None, **kwargs: Any
    ) -> Any:
        response = self._request(method, endpoint, data=data, json=json_data, **kwargs)
        # Ray's client has words of its own for these, about Ray's tokens; and an error of `requests` for the last.
        unknown = response.status_code == 404 and not _is_curbs(response)
        if response.status_code in (401, 403) or (
            endpoint == "/api/version" and response.status_code >= 404 and not unknown
        ):
            self._raise_error(response)
        return response

    def _request(self, method: str, endpoint: str, *, add: Mapping[str, str] | None = None, **kwargs: Any) -> Any:
        accept = _ACCEPT_OF.get(endpoint, _ACCEPT) if method == "POST" else _ACCEPT
        # A copy: one client may be used from several threads at once.
        headers = {name: value for name, value in self._headers.items() if name.lower() != "accept"}
        headers.update({"Accept": accept, **(add or {})})
        return requests.request(
            method, self._address + endpoint, cookies=self._cookies, headers=headers, verify=self._verify, **kwargs
        )

    def _raise_error(self, r: Any) -> None:
        raise _error(r, f"Request failed with status code {r.status_code}")


def _error(response: Any, attempt: str) -> CurbError:
    """What Curb said, as an exception of its kind; `attempt` goes before words that are not Curb's."""
    status: int = response.status_code
    problem = _read_problem(response)
    if status in _REFUSALS and (problem is None or {"verdict", "violations"} & problem.keys()):
        return _refusal(response, problem)
    if problem is None:
        text, found = response.text.strip(), _CODE_IN_TEXT.search(response.text)
        code = found and found[1]
        said = text.removeprefix("curb: ") if text.startswith("curb: ") else f"{attempt}: {text}"
    else:
        said = str(problem.get("detail") or problem.get("title") or f"status {status}").removeprefix("curb: ")
        code = problem.get("code")
    request_id = _request_id(response, problem)
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


def _is_curbs(response: Any) -> bool:
    """Whether an error is in Curb's words; a 404 of something else means that it is not Curb."""
    return _read_problem(response) is not None or response.text.startswith("curb: ")


def _refusal(response: Any, problem: Mapping[str, Any] | None) -> QuotaExceeded:
    status, request_id = response.status_code, _request_id(response, problem)
    try:
        violations = violations_from_json((problem or {}).get("violations"))
    except ValueError:
        # The job was refused, whatever shape the reason has: show it as it came.
        problem = None
    if problem is None:
        return QuotaExceeded(response.text, status=status, request_id=request_id)
    text = str(problem.get("detail") or problem.get("title") or response.text)
    return QuotaExceeded(
        text, status=status, code=problem.get("code"), request_id=request_id, violations=violations
    )  # fmt: skip


def _request_id(response: Any, problem: Mapping[str, Any] | None) -> str | None:
    return (problem or {}).get("request_id") or response.headers.get("x-request-id")


def _read_problem(response: Any) -> Mapping[str, Any] | None:
    """The members of an RFC 9457 body; None where the answer is not one."""
    if response.headers.get("content-type", "").partition(";")[0].strip().lower() != _PROBLEM:
        return None
    try:
        problem = response.json()
    except ValueError:
        return None
    return problem if isinstance(problem, Mapping) else None


def _without_local_files(runtime_env: Mapping[str, Any]) -> dict[str, Any]:
    """Local directories become packages only when a job is submitted; no limit depends on them."""
    kept = dict(runtime_env)
    if "://" not in str(kept.get("working_dir", "")):
        kept.pop("working_dir", None)
    if "py_modules" in kept:
        kept["py_modules"] = [module for module in kept["py_modules"] if "://" in str(module)]
    return kept


def _of_the_api(address: str) -> str:
    """Where the API is, of an address in any form that Ray's client takes."""
    if address.startswith("ray://"):
        return str(ray_client_address_to_api_server_url(address))
    return address if "://" in address else str(ray_address_to_api_server_url(address))
