"""The owner of state: the last write of the log wins, a write that comes again changes nothing, and sizes are kept."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_orchestrator.errors import HouseError
from stream_orchestrator.kernel import state
from stream_orchestrator.kernel.breaker import BreakerRow, Limits, Signal
from stream_orchestrator.kernel.events import Undecodable
from stream_orchestrator.kernel.memory import App, Crashed, MemoryPart, VirtualClock, World
from stream_orchestrator.kernel.state import KNOWN_SECONDS, ROW_OVERHEAD, Seen, ValueRow, Write
from stream_orchestrator.kernel.state_owner import StateOwner


def write(identity: str, value: Any, *, key: str = "k", kind: Any = "global", **more: Any) -> Write:
    return Write(id=identity, kind=kind, namespace="orders", key=key, value=state.text_of(value), **more)


class Office:
    """An owner in a world of its own."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.world = World(clock=self.clock)
        self.owner = StateOwner(topic="state", letters="letters")
        app = App({"state": self.owner}, state.Codec, self.owner.on_due, self.owner.on_recovered)
        self.part: MemoryPart = self.world.add(app)

    def send(self, *events: Write | Signal) -> None:
        for event in events:
            self.world.append("state", state.where(event, 1)[1], state.encode_event(event))

    def play(self, *events: Write | Signal) -> None:
        async def run() -> None:
            self.send(*events)
            await self.world.run(until=lambda: self.world.delivered("state") == len(self.world.topics["state"]))
            await self.world.run(until=lambda: not self.world._works)

        asyncio.run(run())

    def pass_time(self, seconds: float) -> None:
        async def run() -> None:
            until = self.clock() + seconds
            self.clock.jump(until)
            await self.world.run(until=lambda: not self.world._works and not self.world._fire())

        asyncio.run(run())

    def values(self) -> dict[str, Any]:
        rows = [row for row in self.part.rows.values() if isinstance(row, ValueRow)]
        return {row.key: bytes(row.value).decode() for row in rows}


def test_a_write_that_comes_again_does_not_undo_a_later_one() -> None:
    office = Office()
    office.play(write("first", 1), write("second", 2), write("first", 1))
    assert office.values() == {"k": "2"}


def test_none_takes_a_value_away() -> None:
    office = Office()
    office.play(write("a", 1), write("b", None, gone=True))
    assert office.values() == {}


def test_a_value_goes_at_its_time_and_what_knew_its_write_later() -> None:
    office = Office()
    office.play(write("a", 1, expires=office.clock() + 10))
    office.pass_time(11)
    assert [type(row) for row in office.part.rows.values()] == [Seen]
    office.pass_time(KNOWN_SECONDS)
    assert office.part.rows == {}


def test_a_value_written_again_lives_by_its_new_time() -> None:
    office = Office()
    office.play(write("a", 1, expires=office.clock() + 10), write("b", 2))
    office.pass_time(11)
    assert office.values() == {"k": "2"}


def test_a_full_namespace_takes_nothing_more_and_keeps_what_it_has() -> None:
    office = Office()
    room = 2 * (ROW_OVERHEAD + 10)
    office.play(*(write(key, key, key=key, room=room) for key in ("a", "b", "c")))
    assert office.values() == {"a": '"a"', "b": '"b"'}
    office.play(write("again", "x", key="a", room=room))
    assert office.values() == {"a": '"x"', "b": '"b"'}


def test_a_full_cache_drops_what_expires_first() -> None:
    office = Office()
    room, now = 2 * (ROW_OVERHEAD + 10), office.clock()
    ends = {"a": 300, "b": 100, "c": 200}
    office.play(*(write(k, k, key=k, kind="cache", room=room, expires=now + ends[k]) for k in ends))
    assert sorted(office.values()) == ["a", "c"]


def test_a_full_cache_makes_room_for_many_writes_at_once() -> None:
    office, sorts = Office(), 0
    room, now = 320 * (ROW_OVERHEAD + 10), office.clock()
    make = StateOwner._make_room

    def counted(*args: Any, **named: Any) -> Any:
        nonlocal sorts
        sorts += 1
        return make(*args, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StateOwner, "_make_room", counted)
        office.play(
            *(write(f"{n}", 1, key=f"{n:03}", kind="cache", room=room, expires=now + 300 + n) for n in range(400))
        )
    kept = sorted(office.values())
    assert kept == [f"{n:03}" for n in range(400 - len(kept), 400)]
    assert len(kept) >= 300
    assert sorts <= 10


@settings(max_examples=120)
@given(
    st.lists(st.tuples(st.integers(0, 11), st.sampled_from("abc"), st.integers(0, 99)), min_size=1, max_size=25),
    st.sets(st.integers(1, 60), max_size=4),
    st.integers(1, 4),
)
def test_whatever_comes_again_and_wherever_it_crashes_the_first_copies_decide(
    writes: list[tuple[int, str, int]], crashes: set[int], fit: int
) -> None:
    office, effects, dead = Office(), 0, False

    def before(_name: str) -> None:
        nonlocal effects, dead
        effects += not dead
        dead = dead or effects in crashes
        if dead:
            raise Crashed

    async def run() -> None:
        nonlocal dead
        office.world.before_effect = before
        # One id, one write: whoever does a slot again writes the same id, and maybe another value.
        office.send(*(write(f"{key}{number}", value, key=key, room=10**6) for number, key, value in writes))
        while True:
            try:
                await office.world.run(until=lambda: office.world._acked["state"] == len(writes))
                return
            except Crashed:
                dead = False
                await office.world.crash()

    asyncio.run(run())
    expected: dict[str, str] = {}
    known: set[str] = set()
    for number, key, value in writes:
        if f"{key}{number}" not in known:
            known.add(f"{key}{number}")
            expected[key] = str(value)
    assert office.values() == expected
    ledger = office.owner._ledger(office.part)
    rows = {key: row.size for key, row in office.part.rows.items() if isinstance(row, ValueRow)}
    assert ledger.sizes == {("global", "orders"): rows}
    assert ledger.totals == {("global", "orders"): sum(rows.values())}


@given(
    st.one_of(
        st.builds(Seen, st.floats(0, 1e10)),
        st.builds(
            ValueRow,
            kind=st.sampled_from(state.KINDS),
            namespace=st.text(),
            key=st.text(),
            value=st.builds(state.text_of, st.recursive(st.none() | st.integers(-9, 9) | st.text(), st.lists)),
            expires=st.floats(0, 1e10),
        ),
        st.builds(
            BreakerRow, pipeline=st.text(), name=st.text(), failures=st.integers(0, 9), opened_at=st.floats(0, 9)
        ),
    )
)
def test_a_row_is_read_as_it_was_written(row: Any) -> None:
    assert state.decode(state.encode(row)) == row


def test_what_is_no_row_and_no_event_is_said() -> None:
    for data in (b"", b"x", b"w12", b"v{", b"b[]"):
        with pytest.raises(HouseError):
            state.decode(data)
    for value in (None, b"", b"{}", b'{"format":9}', b'{"format":1}'):
        with pytest.raises(Undecodable):
            state.decode_event(value)


def test_an_event_that_is_none_goes_to_the_letters_and_the_inbox_goes_on() -> None:
    office = Office()
    office.world.append("state", b"k", b"not an event")
    office.play(write("a", 1))
    assert office.values() == {"k": "1"}
    assert [record.value for record in office.world.topics["letters"]] == [b"not an event"]


def test_a_breaker_without_anything_to_remember_has_no_row() -> None:
    office = Office()
    limits = Limits(threshold=2)
    failed = Signal(id="1", pipeline="orders", name="api", what="failure", limits=limits)
    office.play(failed)
    (row,) = [row for row in office.part.rows.values() if isinstance(row, BreakerRow)]
    assert row.failures == 1
    office.play(Signal(id="2", pipeline="orders", name="api", what="success", limits=limits))
    assert not [row for row in office.part.rows.values() if isinstance(row, BreakerRow)]


def test_the_same_failure_told_twice_counts_once() -> None:
    office = Office()
    failed = Signal(id="1", pipeline="orders", name="api", what="failure", limits=Limits(threshold=2))
    office.play(failed, failed, failed)
    (row,) = [row for row in office.part.rows.values() if isinstance(row, BreakerRow)]
    assert row.state(office.clock()) == "closed"
