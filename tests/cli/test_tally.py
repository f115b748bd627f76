"""Counting results: each run once, whatever comes twice, early, late, or from others."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from stream_orchestrator.cli.events import Event
from stream_orchestrator.cli.sending import Sent
from stream_orchestrator.cli.tally import Tally
from stream_orchestrator.kernel.ids import sha256
from stream_orchestrator.streaming.records import Record


def sent(run_id: str, payload: bytes = b"{}") -> Sent:
    return Sent(event=Event(line=1, value=payload), run_id=run_id, payload=payload)


def result(run_id: str, status: str = "succeeded", usd: float = 0.0) -> Record:
    value = json.dumps({"cost": {"usd": usd}}).encode()
    headers = (("run-id", run_id.encode()), ("status", status.encode()))
    return Record("p.results", 0, 0, 0, None, value, headers)


def test_a_result_that_comes_before_we_know_its_run_is_kept() -> None:
    tally = Tally()
    assert list(tally.receive([result("a")])) == []
    assert tally.send([sent("a")]) == [result("a")]
    assert (tally.come, tally.owed) == (1, 1)


def test_results_of_others_are_neither_counted_nor_kept() -> None:
    tally = Tally()
    tally.send([sent("a")])
    assert list(tally.receive([result("b")])) == []
    tally.complete()
    assert list(tally.receive([result("c"), result("a")])) == [result("a")]
    assert tally.send([]) == []
    assert tally.statuses.total() == 1


def test_a_second_event_with_the_same_id_and_payload_is_a_duplicate() -> None:
    tally = Tally()
    tally.send([sent("a"), sent("a"), sent("b")])
    assert (tally.sent, tally.owed, tally.duplicates) == (3, 2, 1)


def test_another_payload_under_the_same_id_owes_a_rejection_of_its_own_whichever_came_first() -> None:
    for first, second in ((b"1", b"2"), (b"2", b"1")):
        tally = Tally()
        tally.send([sent("a", b"1"), sent("a", b"2")])
        assert tally.owed == 2
        list(tally.receive([result("a"), result(f"a~{sha256(second)[:8]}", "rejected")]))
        assert (tally.come, tally.missing(), tally.duplicates) == (2, [], 0)
        assert first != second


def test_a_copy_of_a_result_costs_nothing() -> None:
    tally = Tally()
    tally.send([sent("a")])
    assert list(tally.receive([result("a", usd=0.5), result("a", usd=0.5)])) == [result("a", usd=0.5)]
    assert tally.usd == 0.5


def test_what_is_missing_is_named() -> None:
    tally = Tally()
    tally.send([sent("a"), sent("b"), sent("b", b"other")])
    list(tally.receive([result("b")]))
    assert tally.missing() == ["a", "b"]


RUNS = st.lists(st.tuples(st.sampled_from("abcde"), st.sampled_from([b"1", b"2", b"3"])), max_size=12)


@given(runs=RUNS, data=st.data())
def test_any_order_of_sending_and_receiving_counts_the_same(runs: list[tuple[str, bytes]], data: Any) -> None:
    """The model: the first payload of an id is its run; each other one is a rejection. Results come once or twice."""
    firsts: dict[str, bytes] = {}
    owed = {}
    for run_id, payload in runs:
        first = firsts.setdefault(run_id, payload)
        owed[run_id if payload == first else f"{run_id}~{sha256(payload)[:8]}"] = None
    records = data.draw(st.permutations([result(run_id) for run_id in owed] * 2 + [result("stranger")]))
    steps = data.draw(st.permutations([*(("send", each) for each in runs), *(("receive", each) for each in records)]))
    tally, given_out = Tally(), []
    for verb, what in steps:
        given_out += tally.send([sent(*what)]) if verb == "send" else list(tally.receive([what]))
    names = [(record.header("run-id") or b"").decode() for record in given_out]
    assert sorted(names) == sorted(owed)
    assert (tally.come, tally.owed, tally.missing()) == (len(owed), len(owed), [])
    assert tally.duplicates == len(runs) - len(owed)
