"""Every event has one fate, the books always add up, and what is missing is called lost."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_orchestrator.kernel import ids
from stream_orchestrator.kernel.rows import STATUSES, Stub
from stream_orchestrator.streaming.books import Account, Books, Entry


def entry(run_id: str, payload: str = "p", *, offset: int = 0, stamp: int = 0, supplied: bool = True) -> Entry:
    return Entry(
        run_id=run_id,
        payload=payload,
        other_id=conflict(run_id, payload) if supplied else run_id,
        place=("in", 0),
        offset=offset,
        stamp=stamp,
    )


def conflict(run_id: str, payload: str) -> str:
    return f"{run_id}~{hashlib.sha256(payload.encode()).hexdigest()[:8]}"


def counted(books: Books) -> dict[str, int]:
    return {name: count for name, count in books.account().as_json().items() if count}


def see(books: Books, run_id: str, status: str = "succeeded", *, partition: int = 0, stamp: int = 0) -> None:
    books.see_result(run_id, status, partition=partition, stamp=stamp)


def test_an_event_that_is_in_no_topic_and_no_table_is_lost() -> None:
    books = Books([entry("a"), entry("b", offset=1)])
    see(books, "a")
    assert counted(books) == {"input": 2, "succeeded": 1, "lost": 1}
    assert books.account().lost == {"b"}


@pytest.mark.parametrize("where", ["waiting", "running"])
def test_an_event_that_waits_or_runs_is_in_flight(where: str) -> None:
    books = Books([entry("a", offset=7)])
    getattr(books, where).add({"waiting": "in/0/7", "running": "a"}[where])
    assert counted(books) == {"input": 1, "in_flight": 1}


def test_a_result_counts_more_than_a_row_that_is_not_tidied_up_yet() -> None:
    books = Books([entry("a")])
    books.running.add("a")
    see(books, "a", "failed")
    assert counted(books) == {"input": 1, "failed": 1}


def test_copies_of_an_event_are_duplicates_and_copies_of_a_result_are_none() -> None:
    books = Books([entry("a", offset=offset) for offset in range(3)])
    see(books, "a")
    see(books, "a")
    assert counted(books) == {"input": 3, "duplicates": 2, "succeeded": 1}
    assert books.account().copies == 1


def test_an_id_with_two_payloads_owes_a_run_and_a_rejection() -> None:
    books = Books([entry("a", "p"), entry("a", "q", offset=1), entry("a", "q", offset=2)])
    see(books, "a")
    see(books, conflict("a", "q"), "rejected")
    assert counted(books) == {"input": 3, "duplicates": 1, "succeeded": 1, "rejected": 1}


def test_the_rejection_of_a_conflict_is_missed_too() -> None:
    books = Books([entry("a", "p"), entry("a", "q", offset=1)])
    see(books, "a")
    assert counted(books) == {"input": 2, "succeeded": 1, "lost": 1}
    assert books.account().lost == {conflict("a", "q")}


def test_whose_id_it_is_says_ingest_and_not_the_order_of_the_input() -> None:
    books = Books([entry("a", "p", stamp=1), entry("a", "q", offset=1, stamp=2)])
    books.known[ids.run_key("a")] = "q"
    see(books, "a")
    assert books.account().lost == {conflict("a", "p")}


def test_a_copy_whose_first_is_no_longer_in_the_input_owes_its_rejection() -> None:
    books = Books([entry("a", "q")])
    books.known[ids.run_key("a")] = "p"
    see(books, "a")
    assert books.account().lost == {conflict("a", "q")}


def test_results_of_events_that_the_input_no_longer_has_are_not_counted() -> None:
    books = Books([entry("a")])
    see(books, "a")
    see(books, "older")
    assert counted(books) == {"input": 1, "succeeded": 1}
    assert books.account().older == 1


def test_a_result_that_retention_took_is_known_by_its_stub() -> None:
    books = Books([entry("a", stamp=5)], removed={2: 10})
    books.stubs[ids.run_key("a")] = Stub("degraded", 2, 9, 1e10)
    assert counted(books) == {"input": 1, "degraded": 1}


def test_a_stub_whose_result_should_still_be_there_hides_no_loss() -> None:
    books = Books([entry("a", stamp=50)], removed={2: 10})
    see(books, "other", partition=2, stamp=20)
    books.stubs[ids.run_key("a")] = Stub("succeeded", 2, 10, 1e10)
    assert books.account().lost == {"a"}


def test_what_retention_may_have_taken_is_unknown_and_counted_nowhere_and_what_came_later_is_lost() -> None:
    old, copy, new = entry("old", stamp=5), entry("old", stamp=6, offset=1), entry("new", stamp=50, offset=2)
    books = Books([old, copy, new], removed={2: 10})
    see(books, "other", partition=2, stamp=20)
    see(books, "another", partition=1, stamp=99)
    assert counted(books) == {"input": 1, "lost": 1}
    assert (books.account().unknown, books.account().lost) == (2, {"new"})


def test_only_what_was_lost_before_as_well_is_called_lost() -> None:
    books = Books([entry("a"), entry("b", offset=1)])
    again = books.account().only_lost({"b", "c"})
    assert again.lost == {"b"}
    assert again.as_json() | {"lost": 1, "in_flight": 1} == again.as_json()
    assert adds_up(again)


RUNS = st.sampled_from(["a", "b", "c", "a#2"])
PAYLOADS = st.sampled_from(["p", "q"])


@given(data=st.data())
def test_the_books_add_up_whatever_was_seen_and_every_loss_is_of_an_event_without_a_result(data: Any) -> None:
    sent = data.draw(st.lists(st.tuples(RUNS, PAYLOADS, st.booleans(), st.integers(0, 9)), max_size=12))
    entries = [
        entry(run, payload, offset=number, stamp=stamp, supplied=supplied)
        for number, (run, payload, supplied, stamp) in enumerate(sent)
    ]
    books = Books(entries)
    names = sorted({each.run_id for each in entries} | {each.other_id for each in entries} | {"stranger"})
    results = data.draw(st.lists(st.tuples(st.sampled_from(names), st.sampled_from(STATUSES)), max_size=12))
    for name, status in results:
        see(books, name, status)
    books.running |= data.draw(st.sets(st.sampled_from(names)))
    books.waiting |= data.draw(st.sets(st.sampled_from([each.position for each in entries] or ["none"])))
    books.known |= data.draw(st.dictionaries(RUNS.map(ids.run_key), PAYLOADS))
    account = books.account()
    assert adds_up(account)
    assert account.input == len(entries)
    assert not account.lost & ({name for name, _ in results} | books.running)
    found = {name for name, _ in results} | books.running
    if found >= set(names):
        assert not account.lost


def adds_up(account: Account) -> bool:
    told = account.as_json()
    return told.pop("input") == sum(told.values())
