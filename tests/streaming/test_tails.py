"""What is kept of a pipeline's results for scripts that ask: a rate, and the newest output."""

from __future__ import annotations

from stream_orchestrator.streaming.records import Record
from stream_orchestrator.streaming.tails import WINDOW, Tail


def result(run: str, status: str, at: float, value: bytes = b"{}") -> Record:
    headers = (("run-id", run.encode()), ("status", status.encode()))
    return Record("orders.results", 0, 0, round(at * 1000), None, value, headers)


def test_a_copy_of_a_result_and_rejected_input_change_no_rate() -> None:
    tail = Tail()
    for each in (result("a", "failed", 10), result("a", "failed", 11), result("b", "succeeded", 12)):
        tail.take(each)
    tail.take(result("c", "rejected", 13))
    assert tail.error_rate(20) == 0.5
    assert tail.error_rate(11 + WINDOW) == 0.0


def test_the_newest_good_output_is_the_last() -> None:
    tail = Tail()
    assert tail.last() == (False, None)
    tail.take(result("a", "succeeded", 10, b'{"output": 1}'))
    tail.take(result("b", "degraded", 12, b'{"output": 2}'))
    tail.take(result("c", "failed", 13))
    tail.take(result("d", "succeeded", 11, b'{"output": 4}'))
    assert tail.last() == (True, 2)


def test_what_is_out_of_the_window_is_forgotten_also_where_nobody_asks_for_a_rate() -> None:
    tail = Tail()
    for number in range(1000):
        tail.take(result(f"r{number}", "succeeded", float(number)))
    assert len(tail.ended) <= WINDOW + 1
