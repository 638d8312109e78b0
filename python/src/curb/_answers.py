"""Curb's answers as Python values. Nothing here needs Ray."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Verdict(StrEnum):
    """When a job can start. The values are those on the wire, so `verdict == "later"` works too."""

    NOW = "now"
    LATER = "later"
    AFTER_POLICY_CHANGE = "after-policy-change"
    NEVER = "never"


@dataclass(frozen=True)
class Violation:
    """One limit that the job would break.

    Amounts are exact text as Curb wrote them (`"2 cpu"`, `"16GiB memory"`), never floats. What Curb did not say, or
    does not let the asker see, is None: it is not zero.
    """

    code: str
    """Stable reason code, a page of the documentation each."""
    bucket: str | None = None
    """Whose share of the quota: `user ana`, `org research`, `cluster main`."""
    quota: str | None = None
    """The quota's name in the policy; None where the cluster itself is the limit."""
    limit: str | None = None
    used: str | None = None
    asked: str | None = None
    over: str | None = None
    """By how much it is too much."""
    details: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    """The violation as it came: when it could fit, who holds it, and whatever a newer Curb adds."""

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Violation:
        """Raises ValueError where the one thing that every violation has, its code, is missing."""
        code = raw.get("code")
        if not isinstance(code, str) or not code:
            raise ValueError(f"a violation without a code: {dict(raw)!r}")
        told = {name: _text(raw.get(name)) for name in ("bucket", "quota", "limit", "used", "asked", "over")}
        return cls(code=code, details=dict(raw), **told)


@dataclass(frozen=True)
class Explanation:
    """What Curb would answer to a job if it were submitted now."""

    verdict: Verdict
    violations: tuple[Violation, ...]
    """Every limit in the way, the binding one first; empty where the job could start now."""
    text: str
    """The same for people, a few lines of at most 80 columns."""

    @classmethod
    def from_json(cls, raw: Any) -> Explanation:
        """Raises ValueError where the answer is not one of Curb's."""
        if not isinstance(raw, Mapping) or "verdict" not in raw:
            raise ValueError("not an explanation: it has no verdict")
        return cls(
            verdict=Verdict(raw["verdict"]),
            violations=violations_from_json(raw.get("violations")),
            text=_text(raw.get("text")) or "",
        )

    def __bool__(self) -> bool:
        """True if the job could start now."""
        return self.verdict is Verdict.NOW

    def __str__(self) -> str:
        return self.text or str(self.verdict)


class QuotaExceeded(RuntimeError):
    """Curb refused a job. `str()` is Curb's own text, with every limit in the way.

    A RuntimeError, as Ray's client raises for any refusal: code that catches that keeps working.
    """

    def __init__(self, text: str, *, status: int, code: str | None = None, violations: tuple[Violation, ...] = ()):
        super().__init__(text.strip())
        self.status = status
        """429: over a limit now; 422: it can never fit as it is."""
        self.code = code
        self.violations = violations


def violations_from_json(raw: Any) -> tuple[Violation, ...]:
    """Of an answer's `violations` member, which may be absent."""
    if raw is None:
        return ()
    if not isinstance(raw, list) or not all(isinstance(item, Mapping) for item in raw):
        raise ValueError(f"violations must be a list of objects, not {raw!r}")
    return tuple(Violation.from_json(item) for item in raw)


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
