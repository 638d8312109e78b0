"""Curb's answers as Python values. Nothing here needs Ray."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from curb._quantity import Quantity


class Verdict(StrEnum):
    """When a job can start. The values are those on the wire, so `verdict == "later"` works too."""

    NOW = "now"
    LATER = "later"
    AFTER_POLICY_CHANGE = "after-policy-change"
    NEVER = "never"


@dataclass(frozen=True)
class Violation:
    """One limit that the job would break.

    What Curb did not say, or does not let the asker see, is None: it is not zero.
    """

    code: str
    """Stable reason code, a page of the documentation each."""
    bucket: str | None = None
    """Whose share of the quota: `user ana`, `org research`, `cluster main`."""
    quota: str | None = None
    """The quota's name in the policy; None where the cluster itself is the limit."""
    limit: Quantity | None = None
    used: Quantity | None = None
    asked: Quantity | None = None
    over: Quantity | None = None
    """By how much it is too much."""
    note: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    """The violation as it came: when it could fit, who holds it, and whatever a newer Curb adds."""

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Violation:
        """Raises ValueError where it is not one of Curb's."""
        code = raw.get("code")
        if not isinstance(code, str) or not code:
            raise ValueError(f"a violation without a code: {dict(raw)!r}")
        return cls(
            code=code,
            bucket=_text(raw.get("bucket")),
            quota=_text(raw.get("quota")),
            limit=_quantity(raw.get("limit")),
            used=_quantity(raw.get("used")),
            asked=_quantity(raw.get("asked")),
            over=_quantity(raw.get("over")),
            note=_text(raw.get("note")),
            details=dict(raw),
        )


@dataclass(frozen=True)
class Explanation:
    """What Curb would answer to a job if it were submitted now."""

    verdict: Verdict
    violations: tuple[Violation, ...]
    """Every limit in the way, the binding one first; empty where the job could start now."""
    text: str
    """The same for people, a few lines of at most 80 columns."""
    refused: bool = False
    """Whether a submission would be refused, rather than started or queued."""
    expected: datetime | None = None
    """When it could start, if that can be said."""
    details: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    """The answer as it came: what the job is charged, what of it would fit now, who would be charged."""

    @classmethod
    def from_json(cls, raw: Any) -> Explanation:
        """Raises ValueError where the answer is not one of Curb's."""
        if not isinstance(raw, Mapping) or "verdict" not in raw:
            raise ValueError("not an explanation: it has no verdict")
        expected = raw.get("expected")
        return cls(
            verdict=Verdict(raw["verdict"]),
            violations=violations_from_json(raw.get("violations")),
            text=_text(raw.get("text")) or "",
            refused=raw.get("refused") is True,
            expected=None if expected is None else _moment(expected),
            details=dict(raw),
        )

    def __bool__(self) -> bool:
        """True if the job could start now."""
        return self.verdict is Verdict.NOW

    def __str__(self) -> str:
        return self.text or str(self.verdict)


class CurbError(RuntimeError):
    """Curb said no. `str()` is what it said, with what to do next.

    A RuntimeError, as Ray's client raises for any refusal: code that catches that keeps working.
    """

    def __init__(self, text: str, *, status: int, code: str | None = None, request_id: str | None = None):
        super().__init__(text.strip())
        self.status = status
        """The HTTP status."""
        self.code = code
        """Curb's own word for the kind of error, always the same."""
        self.request_id = request_id
        """Under which the server's log tells more."""

    def __reduce__(self) -> tuple[Any, ...]:
        # As copies and other processes make it again: by default they would call `__init__` with the text alone.
        return _again, (type(self), self.args), self.__dict__


class BadRequest(CurbError):
    """The request is wrong: the text names the key and the right form."""


class NotSignedIn(CurbError):
    """There is no token, or it is wrong, expired or revoked."""


class NotAllowed(CurbError):
    """The token is good, but its role does not let it do this."""


class NotFound(CurbError):
    """There is no such job, or it is somebody else's."""


class Conflict(CurbError):
    """The id is taken, or the job is not in the state that this needs."""


class Unavailable(CurbError):
    """Curb or Ray cannot do it at the moment."""

    retry_after: int | None = None
    """In how many seconds to try again, if Curb said so."""


class QuotaExceeded(CurbError):
    """Curb refused a job. `str()` is Curb's own text, with every limit in the way."""

    def __init__(
        self,
        text: str,
        *,
        status: int,
        code: str | None = None,
        request_id: str | None = None,
        violations: tuple[Violation, ...] = (),
    ):
        super().__init__(text, status=status, code=code, request_id=request_id)
        self.violations = violations
        """Every limit in the way, the binding one first. `status` is 429: over a limit now; 422: it can never fit."""


BY_STATUS: Mapping[int, type[CurbError]] = {
    400: BadRequest,
    401: NotSignedIn,
    403: NotAllowed,
    404: NotFound,
    409: Conflict,
    502: Unavailable,
    503: Unavailable,
    504: Unavailable,
}


def violations_from_json(raw: Any) -> tuple[Violation, ...]:
    """Of an answer's `violations` member, which may be absent."""
    if raw is None:
        return ()
    if not isinstance(raw, list) or not all(isinstance(item, Mapping) for item in raw):
        raise ValueError(f"violations must be a list of objects, not {raw!r}")
    return tuple(Violation.from_json(item) for item in raw)


def _again(kind: type[CurbError], args: tuple[Any, ...]) -> CurbError:
    """An error without its attributes, which are set next."""
    return kind.__new__(kind, *args)


def _quantity(raw: Any) -> Quantity | None:
    return None if raw is None else Quantity.from_json(raw)


def _moment(milliseconds: Any) -> datetime:
    if isinstance(milliseconds, bool) or not isinstance(milliseconds, int):
        raise ValueError(f"not a moment in milliseconds: {milliseconds!r}")
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
