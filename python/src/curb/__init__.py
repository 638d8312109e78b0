"""Ray's job submission client, with Curb's answers.

from curb import JobSubmissionClient, QuotaExceeded

client = JobSubmissionClient()  # CURB_ADDRESS and CURB_TOKEN, or an address as Ray's takes it
job = dict(entrypoint="python train.py", metadata={"curb.job_type": "training", "curb.gpu": "2"})
print(client.check(**job))      # would it start now? if not, why and when
client.submit_job(**job)        # as Ray's; raises QuotaExceeded with Curb's words
"""

from typing import TYPE_CHECKING, Any

from curb._answers import (
    BadRequest,
    Conflict,
    CurbError,
    Explanation,
    NotAllowed,
    NotFound,
    NotSignedIn,
    QuotaExceeded,
    Unavailable,
    Verdict,
    Violation,
)
from curb._quantity import Quantity

if TYPE_CHECKING:
    from curb._client import JobSubmissionClient

__all__ = [
    "BadRequest",
    "Conflict",
    "CurbError",
    "Explanation",
    "JobSubmissionClient",
    "NotAllowed",
    "NotFound",
    "NotSignedIn",
    "Quantity",
    "QuotaExceeded",
    "Unavailable",
    "Verdict",
    "Violation",
]


def __getattr__(name: str) -> Any:
    # Ray takes a second to import and may be absent: it is loaded when the client is first named.
    if name == "JobSubmissionClient":
        from curb._client import JobSubmissionClient

        return JobSubmissionClient
    raise AttributeError(f"module 'curb' has no attribute {name!r}")
