"""Curb's answers as values: nothing here needs a server, or Ray."""

import copy
import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor
from fractions import Fraction

import pytest
from curb import CurbError, Explanation, NotFound, Quantity, QuotaExceeded, Unavailable, Verdict, Violation
from ray.exceptions import RayTaskError


def cpus(milli: int) -> dict[str, object]:
    return {"amount": {"resource": "cpu", "amount": milli}}


LATER = {
    "verdict": "later",
    "refused": False,
    "status": 200,
    "expected": 1_700_000_000_500,
    "text": "would wait: user ana holds 2 of 2 CPU",
    "violations": [
        {
            "code": "concurrent-limit", "quota": "each-user", "bucket": "user ana", "limit": cpus(2000),
            "used": cpus(1500), "asked": cpus(1000), "over": cpus(500), "when": {"jobs_end": None}, "rejects": False,
            "holders": [{"user": "ana", "job": "j1", "holds": cpus(1500)}], "more_holders": 0,
        },
        {"code": "turn", "bucket": "cluster main", "when": "turn", "rejects": False, "more_holders": 0},
    ],
}  # fmt: skip


def test_an_explanation_keeps_the_order_of_the_violations_since_the_binding_one_is_first() -> None:
    found = Explanation.from_json(LATER)
    assert [v.code for v in found.violations] == ["concurrent-limit", "turn"]
    assert found.verdict is Verdict.LATER
    assert str(found) == "would wait: user ana holds 2 of 2 CPU"
    assert str(found.expected) == "2023-11-14 22:13:20.500000+00:00"
    assert not found.refused


def test_only_a_job_that_could_start_now_is_true() -> None:
    answers = {v: bool(Explanation.from_json({"verdict": v})) for v in ("now", "later", "after-policy-change", "never")}
    assert answers == {"now": True, "later": False, "after-policy-change": False, "never": False}


def test_numbers_are_exact_and_read_as_curb_writes_them() -> None:
    binding = Explanation.from_json(LATER).violations[0]
    assert [str(q) for q in (binding.limit, binding.used, binding.over)] == ["2 CPU", "1.5 CPU", "0.5 CPU"]
    assert binding.used is not None
    assert binding.used.value == Fraction(3, 2)


@pytest.mark.parametrize(
    ("raw", "text", "value"),
    [
        ({"amount": {"resource": "gpu:H100", "amount": 2000}}, "2 H100 GPU", 2),
        ({"amount": {"resource": "ssd", "amount": 1}}, "0.001 ssd", Fraction(1, 1000)),
        ({"amount": {"resource": "memory", "amount": 3 << 29}}, "1.5 GiB memory", 3 << 29),
        ({"amount": {"resource": "memory", "amount": 0}}, "0 B memory", 0),
        ({"jobs": 1}, "1 job", 1),
        ({"jobs": 40}, "40 jobs", 40),
        ({"time": 5_400_000}, "1h 30m", 5400),
        ({"time": 183_600_000}, "2d 3h", 183_600),
        ({"time": 120}, "120ms", Fraction(12, 100)),
        ({"time": 0}, "0s", 0),
        ({"time": 86_400_000 + 60_000}, "1d", 86_460),
        ({"resource_time": {"resource": "gpu", "amount": 500 * 1000 * 3_600_000}}, "500 GPU-hours", 500 * 3600),
        ({"resource_time": {"resource": "memory", "amount": (1 << 30) * 1_800_000}}, "0.5 memory GiB-hours",
         Fraction((1 << 30) * 1800)),
        ({"rate": {"count": 30, "per": 60_000}}, "30 in 1m", 30),
        ({"priority": -5}, "-5", -5),
    ],
)  # fmt: skip
def test_each_kind_of_number(raw: dict[str, object], text: str, value: Fraction) -> None:
    found = Quantity.from_json(raw)
    assert (str(found), found.value) == (text, value)


def test_a_kind_of_a_newer_curb_is_shown_and_not_guessed() -> None:
    found = Quantity.from_json({"carbon": {"grams": 3}})
    assert (found.kind, found.value, str(found)) == ("carbon", None, 'carbon {"grams": 3}')


@pytest.mark.parametrize(
    "raw", [3, "2 CPU", {}, {"jobs": 1, "time": 1}, {"jobs": 1.5}, {"jobs": True}, {"jobs": "1"}, {"amount": 3},
            {"amount": {"resource": "cpu"}}, {"rate": {"count": 1}}, {"time": None}]
)  # fmt: skip
def test_what_is_no_number_of_curbs_is_an_error(raw: object) -> None:
    with pytest.raises(ValueError, match="not a quantity"):
        Quantity.from_json(raw)


def test_what_was_not_said_is_none_and_not_zero() -> None:
    turn = Explanation.from_json(LATER).violations[1]
    assert (turn.quota, turn.limit, turn.used, turn.over) == (None, None, None, None)


def test_members_of_a_newer_curb_are_kept() -> None:
    assert Explanation.from_json(LATER).violations[0].details["holders"][0]["job"] == "j1"


@pytest.mark.parametrize(
    "raw",
    [
        None, [], "now", {}, {"verdict": "perhaps"}, {"verdict": None}, {"verdict": "later", "violations": {}},
        {"verdict": "later", "violations": ["concurrent-limit"]}, {"verdict": "later", "violations": [{}]},
        {"verdict": "later", "violations": [{"code": ""}]}, {"verdict": "later", "violations": [{"code": 7}]},
        {"verdict": "later", "violations": [{"code": "turn", "limit": 2}]}, {"verdict": "later", "expected": "soon"},
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


def errors() -> list[CurbError]:
    violations = Explanation.from_json(LATER).violations
    busy = Unavailable("curb: Ray is down", status=503, code="ray-down", request_id="r1")
    busy.retry_after = 5
    return [
        CurbError("curb: no", status=418),
        NotFound("curb: no such job", status=404, code="not-found", request_id="r2"),
        QuotaExceeded("curb: refused", status=429, code="refused", request_id="r3", violations=violations),
        busy,
    ]


@pytest.mark.parametrize("error", errors(), ids=lambda e: type(e).__name__)
def test_an_error_comes_whole_out_of_a_copy_and_a_pickle(error: CurbError) -> None:
    error.add_note("while the night's jobs were submitted")
    for again in (copy.copy(error), copy.deepcopy(error), pickle.loads(pickle.dumps(error))):
        assert (type(again), again.args, str(again)) == (type(error), error.args, str(error))
        assert again.__dict__ == error.__dict__


def refuse(kind: int) -> None:
    raise errors()[kind]


def test_an_error_in_another_process_is_the_same_here() -> None:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        with pytest.raises(QuotaExceeded) as caught:
            pool.submit(refuse, 2).result(timeout=60)
        assert caught.value.violations == errors()[2].violations
        with pytest.raises(NotFound):
            pool.submit(refuse, 1).result(timeout=60)


def test_an_error_in_a_task_of_ray_is_of_its_kind_where_the_task_is_waited_for() -> None:
    error = RayTaskError("submit", "no traceback", errors()[2])
    again = pickle.loads(pickle.dumps(error)).as_instanceof_cause()
    assert isinstance(again, QuotaExceeded)
    assert again.violations == errors()[2].violations
