"""Curb's answers as values: nothing here needs a server, or Ray."""

import pytest
from curb import Explanation, QuotaExceeded, Verdict, Violation

LATER = {
    "verdict": "later",
    "text": "would wait: user ana holds 2 of 2 cpu",
    "violations": [
        {"code": "concurrent-limit", "quota": "each-user", "bucket": "user ana", "limit": "2 cpu", "used": "2 cpu",
         "asked": "1 cpu", "over": "1 cpu", "holders": [{"user": "ana"}]},
        {"code": "turn", "bucket": "cluster main"},
    ],
}  # fmt: skip


def test_an_explanation_keeps_the_order_of_the_violations_since_the_binding_one_is_first() -> None:
    found = Explanation.from_json(LATER)
    assert [v.code for v in found.violations] == ["concurrent-limit", "turn"]
    assert found.verdict is Verdict.LATER
    assert str(found) == "would wait: user ana holds 2 of 2 cpu"


def test_only_a_job_that_could_start_now_is_true() -> None:
    answers = {v: bool(Explanation.from_json({"verdict": v})) for v in ("now", "later", "after-policy-change", "never")}
    assert answers == {"now": True, "later": False, "after-policy-change": False, "never": False}


def test_what_was_not_said_is_none_and_not_zero() -> None:
    turn = Explanation.from_json(LATER).violations[1]
    assert (turn.quota, turn.limit, turn.used, turn.over) == (None, None, None, None)


def test_members_of_a_newer_curb_are_kept() -> None:
    assert Explanation.from_json(LATER).violations[0].details["holders"] == [{"user": "ana"}]


@pytest.mark.parametrize(
    "raw",
    [
        None, [], "now", {}, {"verdict": "perhaps"}, {"verdict": None}, {"verdict": "later", "violations": {}},
        {"verdict": "later", "violations": ["concurrent-limit"]}, {"verdict": "later", "violations": [{}]},
        {"verdict": "later", "violations": [{"code": ""}]}, {"verdict": "later", "violations": [{"code": 7}]},
    ],
)  # fmt: skip
def test_an_answer_that_is_not_curbs_is_an_error_and_never_a_guess(raw: object) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the text differs for each row
        Explanation.from_json(raw)


def test_a_refusal_reads_as_its_text_alone() -> None:
    refusal = QuotaExceeded("refused: too much\n  asked 4 cpu\n", status=422, violations=(Violation(code="capacity"),))
    assert str(refusal) == "refused: too much\n  asked 4 cpu"
    assert isinstance(refusal, RuntimeError)
    assert refusal.status == 422
    assert refusal.violations[0].code == "capacity"


def test_an_unknown_name_is_an_attribute_error() -> None:
    import curb

    with pytest.raises(AttributeError, match="no attribute 'Client'"):
        curb.Client  # noqa: B018
