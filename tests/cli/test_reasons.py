"""Why runs ended badly: counted by reason, the most frequent first."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from stream_orchestrator.cli.reasons import SHOWN, Reasons
from stream_orchestrator.streaming.records import Record


def result(run_id: str, status: str, error: object = None) -> Record:
    headers = (("run-id", run_id.encode()), ("status", status.encode()))
    return Record("p.results", 0, 0, 0, None, json.dumps({"error": error}).encode(), headers)


def told(*records: Record) -> list[str]:
    reasons = Reasons()
    for record in records:
        reasons.note(record)
    return list(reasons.lines())


def test_a_failure_says_its_task_its_error_and_a_run_to_look_at() -> None:
    error = {"type": "KeyError", "message": "line 3: 'XXX'", "task": "price"}
    assert told(result("a", "failed", error), result("b", "failed", error)) == [
        "2 failed in `price`: KeyError: line 3: 'XXX' (run a)"
    ]


def test_a_rejection_has_no_task() -> None:
    error = {"type": "InvalidInput", "message": "`name` is missing", "task": None}
    assert told(result("a", "rejected", error)) == ["1 rejected: InvalidInput: `name` is missing (run a)"]


def test_good_results_give_no_reasons() -> None:
    assert told(result("a", "succeeded"), result("b", "degraded", {"message": "no"})) == []


def test_the_most_frequent_reason_comes_first_and_what_is_left_out_is_counted() -> None:
    many = [result(f"{n}-{m}", "failed", {"message": f"m{n}"}) for n in range(SHOWN + 2) for m in range(n + 1)]
    lines = told(*many)
    assert len(lines) == SHOWN + 1
    assert lines[0].startswith(f"{SHOWN + 2} failed: m{SHOWN + 1} ")
    assert lines[-1] == "3 more, for 2 other reasons"


def test_a_result_that_cannot_be_read_is_counted_all_the_same() -> None:
    broken = Record("p.results", 0, 0, 0, None, b"{", (("run-id", b"a"), ("status", b"failed")))
    assert told(broken) == ["1 failed: no reason was given (run a)"]


@given(st.lists(st.tuples(st.sampled_from(["failed", "rejected", "succeeded"]), st.sampled_from("abcdefghij"))))
def test_no_bad_result_is_left_out_of_the_counts(ends: list[tuple[str, str]]) -> None:
    lines = told(*(result(str(n), status, {"message": said}) for n, (status, said) in enumerate(ends)))
    assert sum(int(line.split()[0]) for line in lines) == sum(status != "succeeded" for status, _ in ends)
