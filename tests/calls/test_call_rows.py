"""The decisions of the call agent, played on a small world that crashes between every two of its effects."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from stream_orchestrator.calls import rows
from stream_orchestrator.calls.rows import GRACE, BadRow, CallRow, Decision
from stream_orchestrator.kernel.effects import Answer, CallRequest
from stream_orchestrator.kernel.wires import CallEvent

Ambiguous = Literal["retry", "fail"]
DEADLINE, RUN_ENDS = 100.0, 1000.0


def asks(*, on_ambiguous: Ambiguous = "retry", text: str = "?") -> CallEvent:
    request = CallRequest(
        model="m", messages=({"role": "user", "content": text},), deadline=DEADLINE, on_ambiguous=on_ambiguous
    )
    return CallEvent(
        call_id="c1", run_id="r1", task="t", reply_topic="p.t", reply_partition=3, request=request, expires=RUN_ENDS
    )


GOOD = Answer(text="good", model="m", usd=0.5)


def on_call(row: CallRow | None, **changed: object) -> Decision:
    return rows.on_call(row, asks(), **{"position": "calls/0/7", "now": 10.0, **changed})  # type: ignore[arg-type]


def sent() -> CallRow:
    row = on_call(None).row
    assert row is not None
    return row


def answered() -> CallRow:
    row = rows.on_answer(sent(), GOOD, now=11.0).row
    assert row is not None
    return row


# --- each decision by itself


def test_a_call_under_way_whose_time_has_come_wakes_again_later_and_not_at_once() -> None:
    row = replace(sent(), request=asks().request, until=50.0)
    decision = rows.on_due(row, now=RUN_ENDS + 5, running=True)
    assert (decision.do, decision.write) == ("wait", False)
    assert decision.row is not None
    assert rows.due(decision.row) > RUN_ENDS + 5


def test_a_new_call_is_attempted_after_its_row_is_durable() -> None:
    decision = on_call(None)
    assert (decision.do, decision.write) == ("attempt", True)
    assert decision.request == asks().request
    assert decision.row is not None
    assert (decision.row.status, decision.row.at, decision.row.attempts) == ("sent", "calls/0/7", 1)
    assert decision.row.request is None, "the record holds the request; the row need not"


@pytest.mark.parametrize("position", ["calls/0/7", "calls/0/9"])
def test_an_answered_call_is_replied_to_again_and_never_attempted_again(position: str) -> None:
    decision = on_call(answered(), position=position)
    assert (decision.do, decision.write, decision.row) == ("reply", False, answered())


def test_another_request_under_a_known_id_gets_the_known_answer_and_is_counted() -> None:
    decision = rows.on_call(answered(), asks(text="other"), position="calls/0/9", now=10.0)
    assert (decision.do, decision.counts) == ("reply", ("calls_conflicting",))


def test_a_copy_of_a_call_whose_reply_was_acknowledged_is_dropped_and_counted() -> None:
    stub = rows.on_replied(answered()).row
    decision = on_call(stub, position="calls/0/9")
    assert (decision.do, decision.counts) == ("drop", ("calls_dropped",))


def test_a_call_that_is_under_way_here_is_not_attempted_twice() -> None:
    again = on_call(sent(), running=True)
    assert (again.do, again.write) == ("wait", True)
    assert again.row is not None
    assert again.row.request == asks().request, "its record may be acked now, so the row holds the request"
    assert on_call(sent(), running=True, position="calls/0/9").do == "drop"


def test_sent_without_an_answer_after_a_crash_is_attempted_again_under_the_same_id_and_counted() -> None:
    decision = on_call(sent())
    assert (decision.do, decision.counts) == ("attempt", ("calls_repeated",))
    assert decision.row is not None
    assert (decision.row.call_id, decision.row.attempts, decision.row.repeated) == ("c1", 2, 1)


def test_sent_without_an_answer_is_a_lasting_fault_when_ambiguity_must_fail() -> None:
    row = rows.on_call(None, asks(on_ambiguous="fail"), position="calls/0/7", now=10.0).row
    decision = rows.on_call(row, asks(on_ambiguous="fail"), position="calls/0/7", now=11.0)
    assert (decision.do, decision.write) == ("reply", True)
    assert decision.row is not None
    assert decision.row.answer is not None
    assert (decision.row.answer.error_type, decision.row.answer.retryable) == ("ambiguous", False)
    assert decision.row.answer.ambiguous


def test_an_ambiguous_fault_of_the_attempt_itself_is_lasting_too_when_ambiguity_must_fail() -> None:
    cut = Answer(error_type="disconnected", retryable=True, ambiguous=True)
    row = rows.on_call(None, asks(on_ambiguous="fail"), position="calls/0/7", now=10.0).row
    failed = rows.on_answer(row, cut, now=11.0).row
    assert failed is not None
    assert failed.answer == replace(cut, retryable=False)
    passing = rows.on_answer(sent(), cut, now=11.0).row
    assert passing is not None
    assert passing.answer == cut


def test_an_attempt_is_not_made_again_after_its_deadline() -> None:
    decision = on_call(sent(), now=DEADLINE)
    assert decision.do == "reply"
    assert decision.row is not None
    assert decision.row.answer is not None
    assert (decision.row.answer.error_type, decision.row.answer.ambiguous) == ("timeout", True)


def test_a_marked_call_is_parked_with_its_request_until_the_mark_ends() -> None:
    marked = rows.on_revoking(sent(), instance="a.1", until=50.0)
    assert (marked.do, marked.write) == ("wait", True)
    parked = on_call(marked.row, instance="b.1")
    assert (parked.do, parked.write) == ("park", True)
    assert parked.row is not None
    assert parked.row.request == asks().request
    assert rows.due(parked.row) == 50.0 + GRACE
    assert rows.on_due(parked.row, now=50.0).do == "wait"
    again = rows.on_due(parked.row, now=50.0 + GRACE)
    assert (again.do, again.counts, again.request) == ("attempt", ("calls_repeated",), asks().request)


def test_ones_own_mark_without_an_attempt_under_way_is_a_crash_and_not_waited_for() -> None:
    marked = rows.on_revoking(sent(), instance="a.1", until=50.0).row
    assert on_call(marked, instance="a.1").do == "attempt"


def test_the_answer_of_an_old_owner_is_taken_once() -> None:
    parked = on_call(rows.on_revoking(sent(), instance="a.1", until=50.0).row, instance="b.1").row
    taken = rows.on_foreign_answer(parked, GOOD, now=20.0)
    assert (taken.do, taken.write) == ("reply", True)
    assert taken.row is not None
    assert (taken.row.answer, taken.row.request) == (GOOD, None)
    later = rows.on_foreign_answer(taken.row, replace(GOOD, text="other"), now=21.0)
    assert (later.do, later.row) == ("reply", taken.row)
    assert rows.on_answer(taken.row, replace(GOOD, text="mine"), now=22.0).do == "drop"


def test_a_stub_stays_until_its_runs_deadline_and_then_goes() -> None:
    stub = rows.on_replied(answered()).row
    assert stub is not None
    assert len(rows.encode(stub)) <= 40
    assert rows.due(stub) == RUN_ENDS
    assert rows.on_due(stub, now=RUN_ENDS - 1).do == "wait"
    gone = rows.on_due(stub, now=RUN_ENDS)
    assert (gone.do, gone.row, gone.write) == ("delete", None, True)


def test_rows_that_are_not_ours_are_refused() -> None:
    for data in (b"", b"[]", b"{}", b'{"status": "gone"}', b'{"status": "stub", "expires": "never"}', b"\xff"):
        with pytest.raises(BadRow):
            rows.decode(data)


# --- the whole life, crashing between every two effects


class Crash(Exception):
    """The process is gone."""


@dataclass
class World:
    """What outlives a process: the table, the inbox and what is acked of it, the replies, the service's own book."""

    crashes: tuple[int, ...] = ()
    on_ambiguous: Ambiguous = "retry"
    table: dict[str, bytes] = field(default_factory=dict)
    inbox: list[CallEvent | Answer] = field(default_factory=list)
    acked: set[int] = field(default_factory=set)
    replies: list[Answer] = field(default_factory=list)
    attempts: int = 0
    counted: int = 0
    now: float = 10.0
    steps: int = 0
    crashed: int = 0

    def step(self) -> None:
        """Between two effects."""
        self.steps += 1
        if self.steps in self.crashes:
            self.crashed += 1
            raise Crash

    def answer(self) -> Answer:
        """The service carries the request out; no two answers are alike."""
        self.attempts += 1
        return replace(GOOD, text=f"answer {self.attempts}")


@dataclass
class Process:
    """A call agent as it will be built: carries decisions out, in order."""

    world: World
    instance: str
    rows: dict[str, CallRow] = field(default_factory=dict)

    def recover(self) -> None:
        self.rows = {key: rows.decode(data) for key, data in self.world.table.items()}
        for row in list(self.rows.values()):
            self.carry(rows.on_recovered(row, now=self.world.now, instance=self.instance))

    def consume(self) -> None:
        for at, event in enumerate(self.world.inbox):
            if at in self.world.acked:
                continue
            row, position = self.rows.get("c1"), f"calls/0/{at}"
            if isinstance(event, Answer):
                self.carry(rows.on_foreign_answer(row, event, now=self.world.now))
            else:
                self.carry(rows.on_call(row, event, position=position, now=self.world.now, instance=self.instance))
            self.world.step()
            self.world.acked.add(at)

    def wake(self) -> None:
        for row in list(self.rows.values()):
            if rows.due(row) <= self.world.now:
                self.carry(rows.on_due(row, now=self.world.now))

    def carry(self, decision: Decision) -> None:
        self.world.counted += decision.counts.count("calls_repeated")
        self.store(decision)
        match decision.do:
            case "attempt":
                assert decision.request == replace(asks().request, on_ambiguous=self.world.on_ambiguous)
                self.world.step()
                answer = self.world.answer()
                self.world.step()
                self.carry(rows.on_answer(self.rows.get("c1"), answer, now=self.world.now))
            case "reply":
                assert decision.row is not None
                assert decision.row.answer is not None
                self.world.step()
                self.world.replies.append(decision.row.answer)
                self.world.step()
                self.carry(rows.on_replied(self.rows.get("c1")))

    def store(self, decision: Decision) -> None:
        if decision.row is None:
            self.rows.pop("c1", None)
        else:
            self.rows["c1"] = decision.row
        if decision.write:
            self.world.step()
            if decision.row is None:
                self.world.table.pop("c1", None)
            else:
                self.world.table["c1"] = rows.encode(decision.row)


def serve(world: World, names: Iterator[str]) -> None:
    """Processes come and go until one has nothing left to do, up to when marks have ended, but before the run has."""
    while True:
        process = Process(world, next(names))
        try:
            process.recover()
            process.consume()
            world.now = max(world.now, 60.0 + GRACE)
            process.wake()
            process.consume()
            return
        except Crash:
            continue


def names() -> Iterator[str]:
    return (f"b.{n}" for n in itertools.count())


def check(world: World, *, attempts: int) -> None:
    assert world.replies, "a reply always comes"
    assert len(set(world.replies)) == 1, "every copy of the reply is the same"
    assert world.attempts <= attempts
    assert world.counted <= world.crashed + attempts - 1
    assert world.acked == set(range(len(world.inbox)))
    assert rows.decode(world.table["c1"]).status == "stub"


def crash_points() -> Iterator[tuple[int, ...]]:
    """No crash, then every one and every two steps of the story."""
    steps = range(1, 24)
    yield ()
    yield from ((first,) for first in steps)
    yield from itertools.combinations(steps, 2)


@pytest.mark.parametrize("on_ambiguous", ["retry", "fail"])
def test_a_reply_comes_and_attempts_are_bounded_wherever_the_process_dies(on_ambiguous: Ambiguous) -> None:
    points = 0
    for crashes in crash_points():
        world = World(crashes=crashes, on_ambiguous=on_ambiguous, inbox=[asks(on_ambiguous=on_ambiguous)])
        serve(world, names())
        check(world, attempts=1 if on_ambiguous == "fail" else 1 + world.crashed)
        points = max(points, world.steps)
    assert points < 24, "every step of the longest story was tried"
    assert points > 8


@pytest.mark.parametrize("copies", [2, 3])
def test_copies_of_the_record_change_nothing_wherever_the_process_dies(copies: int) -> None:
    for crashes in crash_points():
        world = World(crashes=crashes, inbox=[asks()] * copies)
        serve(world, names())
        check(world, attempts=1 + world.crashed)


@pytest.mark.parametrize("marked", [True, False], ids=["marked", "unmarked"])
@pytest.mark.parametrize("answers", ["in time", "late", "never"])
@pytest.mark.parametrize("on_ambiguous", ["retry", "fail"])
def test_a_call_that_moves_with_its_attempt_under_way_is_answered_once(
    marked: bool, answers: str, on_ambiguous: Ambiguous
) -> None:
    for crashes in crash_points():
        world = World(on_ambiguous=on_ambiguous, inbox=[asks(on_ambiguous=on_ambiguous)])
        row = rows.on_call(None, asks(on_ambiguous=on_ambiguous), position="calls/0/0", now=world.now).row
        assert row is not None
        world.attempts = 1  # the old owner has sent it
        row = rows.on_revoking(row, instance="a.1", until=60.0).row if marked else row
        assert row is not None
        world.table["c1"] = rows.encode(row)
        if answers == "in time":
            world.inbox.append(replace(GOOD, text="the old owner's"))
        world.crashes = crashes
        serve(world, names())
        if answers == "late":
            world.inbox.append(replace(GOOD, text="the old owner's"))
            serve(world, names())
        in_peace = marked and answers == "in time"
        check(world, attempts=1 if on_ambiguous == "fail" else (1 if in_peace else 2) + world.crashed)
        if in_peace and not world.crashed:
            assert world.replies[0].text == "the old owner's"
            assert world.counted == 0


# --- bytes

texts = st.text(max_size=20)
requests = st.builds(
    CallRequest,
    model=texts,
    messages=st.lists(st.fixed_dictionaries({"role": texts, "content": texts}), max_size=3).map(tuple),
    params=st.dictionaries(texts, st.integers(0, 9) | texts, max_size=3),
    output_schema=st.none() | st.just({"type": "object"}),
    deadline=st.floats(0, 1e10),
    on_ambiguous=st.sampled_from(["retry", "fail"]),
)
answers = st.builds(
    Answer, text=texts, usd=st.floats(0, 9), retry_after=st.none() | st.floats(0, 9), ambiguous=st.booleans()
)
any_row = st.builds(
    CallRow,
    status=st.sampled_from(["sent", "answered", "stub"]),
    call_id=texts,
    digest=texts,
    reply_topic=texts,
    reply_partition=st.integers(0, 999),
    deadline=st.floats(0, 1e10),
    expires=st.floats(0, 1e10),
    on_ambiguous=st.sampled_from(["retry", "fail"]),
    attempts=st.integers(1, 9),
    instance=texts,
    until=st.floats(0, 1e10),
    request=st.none() | requests,
    answer=st.none() | answers,
)


@given(any_row)
def test_a_row_is_the_same_after_it_was_bytes(row: CallRow) -> None:
    assert rows.decode(rows.encode(row)) == row


@given(any_row, st.floats(0, 1e10))
def test_what_is_not_sent_is_never_attempted(row: CallRow, now: float) -> None:
    decisions = [
        rows.on_call(row, asks(), position="calls/0/7", now=now),
        rows.on_due(row, now=now),
        rows.on_recovered(row, now=now),
        rows.on_revoking(row, instance="x", until=now),
        rows.on_foreign_answer(row, GOOD, now=now),
    ]
    if row.status != "sent":
        assert all(decision.do != "attempt" for decision in decisions)
    assert all(decision.write for decision in decisions if decision.do == "attempt")


@given(requests)
def test_a_digest_does_not_depend_on_the_deadline(request: CallRequest) -> None:
    assert rows.digest(request) == rows.digest(replace(request, deadline=1.0))
    assert rows.digest(request) != rows.digest(replace(request, model=request.model + "x"))
