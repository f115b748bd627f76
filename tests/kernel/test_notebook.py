"""What scripts of one process read and write of state: their own writes first, bounds said, times kept."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from stream_orchestrator.kernel import state
from stream_orchestrator.kernel.breaker import BreakerRow, Limits, Signal, take
from stream_orchestrator.kernel.notebook import Notebook, Session, StateRefused
from stream_orchestrator.kernel.state import Seen, ValueRow

NOW = 1_000.0
INFO = {"pipeline": "orders", "run_id": "r1", "task": "score", "attempt": 1, "deadline": NOW + 50}


class Copy(dict[bytes, Any]):
    """The copy of a table."""

    def row(self, key: bytes) -> Any:
        return self.get(key)

    def used(self, kind: str, namespace: str) -> int:
        rows = [row for row in self.values() if isinstance(row, ValueRow)]
        return sum(row.size for row in rows if (row.kind, row.namespace) == (kind, namespace))

    def land(self, *events: Any) -> None:
        for write in events:
            self[state.seen_key(write.id)] = Seen(NOW + 60)
            self[write.row] = ValueRow(
                kind=write.kind,
                namespace=write.namespace,
                key=write.key,
                value=write.value,
                expires=write.expires,
            )


class Desk:
    def __init__(self, **info: Any) -> None:
        self.copy, self.time = Copy(), NOW
        self.book = Notebook(view=self.copy, clock=lambda: self.time)
        self.info = {**INFO, **info}

    def session(self, **info: Any) -> Session:
        return self.book.session({**self.info, **info})


def ask(session: Session, do: str, **question: Any) -> Any:
    return asyncio.run(session.answer({"do": do, **question}))


def get(session: Session, key: str, kind: str = "global", **more: Any) -> Any:
    answer = ask(session, "get", kind=kind, key=key, **more)
    return answer["value"] if answer["found"] else "nothing"


def put(session: Session, key: str, value: Any, kind: str = "global", **more: Any) -> Any:
    return ask(session, "set", kind=kind, key=key, value=value, **more)


def test_a_script_reads_what_it_wrote_and_others_do_not_until_it_landed() -> None:
    desk = Desk()
    session = desk.session()
    put(session, "n", 1)
    assert get(session, "n") == 1
    events = session.close()
    assert get(desk.session(run_id="r2"), "n") == "nothing"
    desk.copy.land(*events)
    assert get(desk.session(run_id="r2"), "n") == 1


def test_a_later_task_of_the_run_reads_what_an_earlier_one_wrote_before_the_copy_has_it() -> None:
    desk = Desk()
    session = desk.session()
    put(session, "n", 1)
    events = session.close()
    assert get(desk.session(task="later"), "n") == 1
    desk.copy.land(*events)
    other = desk.session(run_id="r2")
    put(other, "n", 2)
    desk.copy.land(*other.close())
    assert get(desk.session(task="later"), "n") == 2


def test_what_never_lands_is_not_believed_for_ever() -> None:
    desk = Desk()
    session = desk.session()
    put(session, "n", 1)
    session.close()
    desk.time += 61
    assert get(desk.session(), "n") == "nothing"


def test_values_that_landed_are_held_by_the_copy_alone() -> None:
    desk = Desk()
    for number in range(5):
        session = desk.session(run_id=f"r{number}")
        put(session, "n", "x" * 1000)
        desk.copy.land(*session.close())
    last = desk.session(run_id="last")
    put(last, "n", 1)
    last.close()
    assert list(desk.book._pending) == ["last"]
    assert get(desk.session(run_id="last"), "n") == 1


def test_none_takes_away_for_the_script_itself_at_once() -> None:
    desk = Desk()
    session = desk.session()
    put(session, "n", 1)
    put(session, "n", None)
    assert get(session, "n") == "nothing"


def test_an_expired_value_is_not_there_although_its_row_is() -> None:
    desk = Desk()
    session = desk.session()
    put(session, "n", 1, ttl="10 seconds")
    desk.copy.land(*session.close())
    assert get(desk.session(run_id="r2"), "n") == 1
    desk.time += 10
    assert get(desk.session(run_id="r2"), "n") == "nothing"


def test_each_kind_has_a_place_of_its_own() -> None:
    desk = Desk()
    session = desk.session()
    for kind in state.KINDS:
        put(session, "n", kind, kind=kind)
    put(session, "n", "elsewhere", kind="shared", namespace="other")
    desk.copy.land(*session.close())
    other = desk.session(run_id="r2")
    assert [get(other, "n", kind) for kind in state.KINDS] == list(state.KINDS)
    assert get(other, "n", "shared", namespace="other") == "elsewhere"
    elsewhere = desk.session(run_id="r2", pipeline="billing")
    assert [get(elsewhere, "n", kind) for kind in state.KINDS] == ["nothing", "nothing", "shared", "nothing", "nothing"]
    assert get(desk.session(run_id="r2", task="another"), "n", "task_cache") == "nothing"


def test_only_caches_expire_by_themselves_and_persistent_state_never() -> None:
    desk = Desk(state={"ttl": 60})
    session = desk.session()
    for kind in state.KINDS:
        put(session, kind, 1, kind=kind)
    ends = {write.key: write.expires for write in session.close() if not isinstance(write, Signal)}
    hour = NOW + state.CACHE_SECONDS
    expected = {"global": NOW + 60, "persistent": 0.0, "shared": NOW + 60, "cache": hour, "task_cache": hour}
    assert ends == expected
    with pytest.raises(StateRefused, match="never expires"):
        put(desk.session(), "n", 1, kind="persistent", ttl=5)


@pytest.mark.parametrize(("ttl", "message"), [("soon", "ttl"), (0, "leaves no time"), (-3, "ttl")])
def test_a_time_that_is_none_is_said(ttl: Any, message: str) -> None:
    with pytest.raises(StateRefused, match=message):
        put(Desk().session(), "n", 1, ttl=ttl)


def test_a_value_that_is_too_large_is_an_error_and_in_a_cache_a_word() -> None:
    desk = Desk(state={"max_value": 100})
    with pytest.raises(StateRefused, match=r"is 202 bytes as JSON; state takes 100 .*max_value_size"):
        put(desk.session(), "n", "x" * 200)
    answer = put(desk.session(), "n", "x" * 200, kind="cache")
    assert answer["stored"] is False
    assert "202 bytes" in answer["why"]


def test_a_full_namespace_is_an_error_in_the_script_that_wants_more() -> None:
    desk = Desk(state={"max_size": 300})
    session = desk.session()
    put(session, "a", 1)
    put(session, "b", 1)
    with pytest.raises(StateRefused, match=r"the global state of 'orders' is full.*max_size"):
        put(session, "c", 1)
    put(session, "a", 2)
    desk.copy.land(*session.close())
    with pytest.raises(StateRefused, match="is full"):
        put(desk.session(run_id="r2"), "c", 1)
    put(desk.session(run_id="r2"), "a", 3)


@pytest.mark.parametrize("key", ["", "a\0b", "x" * 513])
def test_a_key_that_is_none_is_said(key: str) -> None:
    with pytest.raises(StateRefused, match="a key of state is text"):
        put(Desk().session(), key, 1)


def test_done_again_a_script_writes_under_the_same_ids_and_another_attempt_does_not() -> None:
    def ids(**info: Any) -> list[str]:
        session = Desk(**info).session()
        put(session, "a", 1)
        put(session, "b", 1)
        return [event.id for event in session.close()]

    assert ids() == ids()
    everything = [*ids(), *ids(attempt=2), *ids(task="other"), *ids(run_id="r2"), *ids(pipeline="billing")]
    assert len(set(everything)) == 10


def test_what_nobody_set_has_the_value_of_the_document() -> None:
    desk = Desk(state={"initial": {"n": 7}})
    assert get(desk.session(), "n") == 7
    assert get(desk.session(), "n", "persistent") == "nothing"


def test_a_healthy_breaker_is_not_told_of_successes() -> None:
    desk = Desk()
    session = desk.session()
    ask(session, "record", name="api", failure=False)
    assert session.close() == ()
    ask(session, "record", name="api", failure=True)
    ask(session, "record", name="api", failure=False)
    assert [event.what for event in session.close() if isinstance(event, Signal)] == ["failure", "success"]


def test_half_open_only_the_script_that_is_granted_hears_so() -> None:
    desk = Desk()
    key = state.breaker_key("orders", "api")
    row = BreakerRow(pipeline="orders", name="api", opened_at=NOW - 100, limits=Limits(recovery=60, probes=1))
    desk.copy[key] = row

    async def owner(signal: Any) -> None:
        desk.copy[key] = take(desk.copy[key], signal, now=desk.time)
        desk.copy[state.seen_key(signal.id)] = Seen(NOW + 60)

    desk.book.send = owner
    assert ask(desk.session(), "breaker", name="api") == "half_open"
    assert ask(desk.session(run_id="r2"), "breaker", name="api") == "open"
    assert ask(desk.session(), "breaker", name="api") == "half_open"
    assert ask(desk.session(), "breaker", name="other") == "closed"
