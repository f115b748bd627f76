"""Dead letters: told as they are, and never run again once too often."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_orchestrator.cli.letters import Attempts, Letter, chosen, letters_of, redrives, root_of
from stream_orchestrator.kernel import identity
from stream_orchestrator.streaming.records import Record

VALUE = b'{"name": \xff'


def letter(
    run_id: str = "f", *, reason: str = "task_failed", offset: int = 0, at: int = 0, extra: tuple = ()
) -> Record:  # type: ignore[type-arg]
    headers = (
        *extra,
        ("dlq-reason", reason.encode()),
        ("dlq-message", b"line 1: no"),
        ("dlq-task", b"look"),
        ("dlq-attempts", b"2"),
        ("dlq-topic", b"p.input"),
        ("dlq-partition", b"3"),
        ("dlq-offset", b"44"),
        ("run-id", run_id.encode()),
    )
    return Record("p.dlq", 1, offset, at, b"key", VALUE, headers)


def seen(*ids: str, **statuses: str) -> Attempts:
    attempts = Attempts()
    for run_id in ids:
        attempts.saw(run_id)
    for run_id, status in statuses.items():
        attempts.saw(run_id.replace("_", "#"), status)
    return attempts


def test_a_letter_is_told_with_the_place_and_the_digest_of_the_original() -> None:
    assert Letter(letter(offset=12)).to_json() == {
        "id": "1/12",
        "run_id": "f",
        "task": "look",
        "reason": "task_failed",
        "message": "line 1: no",
        "attempts": 2,
        "topic": "p.input",
        "partition": 3,
        "offset": 44,
        "bytes": len(VALUE),
        "sha256": hashlib.sha256(VALUE).hexdigest(),
    }


def test_a_producers_own_header_of_the_same_name_is_not_believed() -> None:
    told = Letter(letter(extra=(("dlq-reason", b"forged"), ("run-id", b"forged"))))
    assert (told.told("dlq-reason"), told.run_id) == ("task_failed", "f")


def test_copies_of_a_letter_are_one_and_the_order_is_that_of_arrival() -> None:
    records = [letter("b", offset=2, at=30), letter("a", offset=5, at=10), letter("a", offset=6, at=40)]
    assert [(each.run_id, each.id) for each in letters_of(records)] == [("a", "1/5"), ("b", "1/2")]


def test_letters_are_chosen_by_their_id_their_run_and_their_reason() -> None:
    letters = letters_of([letter("a", offset=1), letter("b", offset=2, reason="timeout"), letter("c", offset=3)])
    assert [each.run_id for each in chosen(letters)] == ["a", "b", "c"]
    assert [each.run_id for each in chosen(letters, ids=["1/3", "a"])] == ["a", "c"]
    assert [each.run_id for each in chosen(letters, ids=["a", "b"], reasons=["timeout"])] == ["b"]


def test_the_record_of_a_redrive_is_the_original_under_the_next_id() -> None:
    record = Letter(letter("f", extra=(("tenant", b"x"), ("traceparent", b"00-1"), ("redrive-of", b"old")))).again(2)
    assert (record.key, record.value) == (b"key", VALUE)
    assert record.headers == (("tenant", b"x"), ("traceparent", b"00-1"), ("run-id", b"f#2"), ("redrive-of", b"f"))


def test_ingest_takes_the_record_of_a_redrive_for_what_it_is() -> None:
    outgoing = Letter(letter("f#3")).again(4, payload=b"{}")
    record = Record("p.input", 0, 9, 0, outgoing.key, outgoing.value, outgoing.headers)
    named = identity.read(record, record.position)
    assert (named.run_id, named.attempt, named.retry_of, named.payload, named.problem) == ("f#4", 4, "f", b"{}", "")


def test_the_same_command_twice_does_not_do_the_work_twice() -> None:
    letters = letters_of([letter("f")])
    (first,) = redrives(letters, seen("f"), named=False)
    assert first.run_id == "f#2"
    (again,) = redrives(letters, seen("f", "f#2"), named=False)
    assert (again.run_id, again.refused, again.skipped) == ("", "", "it was redriven as f#2, which has no result yet")
    (later,) = redrives(letters, seen("f", f_2="succeeded"), named=False)
    assert later.skipped == "it was redriven as f#2, which is succeeded"


def test_a_letter_that_is_named_runs_again_whatever_became_of_the_last_time() -> None:
    (made,) = redrives(letters_of([letter("f")]), seen("f", f_2="succeeded"), named=True)
    assert made.run_id == "f#3"


def test_after_six_there_is_no_seventh() -> None:
    (made,) = redrives(letters_of([letter("f#6")]), seen("f", "f#6"), named=True)
    assert (made.run_id, made.starts) == ("", False)
    assert "up to #6" in made.refused


def test_a_conflict_of_ids_cannot_run_under_the_id_that_is_taken() -> None:
    (made,) = redrives(letters_of([letter("f~0a1b2c3d")]), seen(), named=True)
    assert "run id was taken by another payload" in made.refused


def test_what_is_no_letter_of_ours_is_refused() -> None:
    stranger = Record("p.dlq", 0, 0, 0, None, b"?", ())
    (made,) = redrives(letters_of([stranger]), seen(), named=False)
    assert "carries no run id" in made.refused


@pytest.mark.parametrize(("run_id", "root"), [("f", "f"), ("f#2", "f"), ("a-b.c#6", "a-b.c"), ("", "")])
def test_the_root_is_what_stands_before_the_number(run_id: str, root: str) -> None:
    assert root_of(run_id) == root


@given(st.lists(st.tuples(st.sampled_from(["f", "g"]), st.integers(1, 6)), max_size=14))
def test_an_id_is_never_given_away_twice_and_never_beyond_six(taken: list[tuple[str, int]]) -> None:
    runs = [root if number == 1 else f"{root}#{number}" for root, number in taken]
    letters = letters_of([letter(run_id, offset=number) for number, run_id in enumerate(dict.fromkeys(runs))])
    made = [each.run_id for each in redrives(letters, seen(*runs), named=True) if each.starts]
    assert len(set(made)) == len(made)
    assert not set(made) & set(runs)
    assert all(2 <= int(run_id.rpartition("#")[2]) <= 6 for run_id in made)
