"""The circuit breaker as a state machine: what every order of signals must keep."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from stream_orchestrator.kernel.breaker import BreakerRow, Limits, Signal, take

LIMITS = Limits(threshold=3, recovery=10.0, probes=2)
PROBE = 5.0


def tell(row: BreakerRow, what: str, now: float, **more: object) -> BreakerRow:
    return take(row, Signal(id="i", pipeline="p", name="b", what=what, limits=LIMITS, **more), now=now)  # type: ignore[arg-type]


def opened(now: float = 100.0) -> BreakerRow:
    row = BreakerRow(pipeline="p", name="b")
    for _ in range(LIMITS.threshold):
        row = tell(row, "failure", now)
    return row


def test_it_opens_at_the_threshold_of_failures_in_a_row() -> None:
    row = BreakerRow(pipeline="p", name="b")
    for what in ("failure", "failure", "success", "failure", "failure"):
        row = tell(row, what, 1.0)
        assert row.state(1.0) == "closed"
    assert tell(row, "failure", 1.0).state(1.0) == "open"


def test_it_is_half_open_after_its_time_and_closes_on_a_probe_that_succeeds() -> None:
    row = opened(100.0)
    assert (row.state(109.9), row.state(110.0)) == ("open", "half_open")
    row = tell(row, "probe", 111.0, probe="a", until=120.0)
    assert row.lets("a", 111.0)
    assert tell(row, "success", 112.0, probe="a").state(112.0) == "closed"


def test_a_probe_that_fails_opens_it_again_for_its_whole_time() -> None:
    row = tell(opened(100.0), "probe", 111.0, probe="a", until=120.0)
    row = tell(row, "failure", 112.0, probe="a")
    assert (row.state(121.9), row.state(122.0), row.granted) == ("open", "half_open", {})


def test_nobody_is_granted_a_probe_while_it_is_open() -> None:
    assert tell(opened(100.0), "probe", 105.0, probe="a", until=120.0).granted == {}


def test_a_probe_that_never_ends_makes_room_at_its_deadline() -> None:
    row = opened(100.0)
    for probe in ("a", "b", "c"):
        row = tell(row, "probe", 111.0, probe=probe, until=115.0)
    assert set(row.granted) == {"a", "b"}
    assert set(tell(row, "probe", 116.0, probe="d", until=120.0).granted) == {"d"}


def test_what_began_before_it_opened_neither_closes_nor_opens_it() -> None:
    row = opened(100.0)
    for now in (105.0, 111.0):
        assert tell(row, "success", now) == row
        assert tell(row, "failure", now) == row


def test_a_script_that_records_by_itself_closes_it_half_open_and_not_before() -> None:
    row = opened(100.0)
    assert tell(row, "success", 105.0, manual=True).state(105.0) == "open"
    assert tell(row, "success", 111.0, manual=True).state(111.0) == "closed"


def test_opened_by_hand_it_stays_open_until_it_is_closed_by_hand() -> None:
    row = tell(BreakerRow(pipeline="p", name="b"), "open", 100.0)
    assert row.state(10_000.0) == "open"
    assert tell(row, "success", 10_000.0, manual=True).state(10_000.0) == "open"
    assert tell(row, "close", 10_000.0).state(10_000.0) == "closed"


class Machine(RuleBasedStateMachine):
    """Any signals in any order, beside a plain count of what was granted and has not ended."""

    def __init__(self) -> None:
        super().__init__()
        self.row, self.now, self.number = BreakerRow(pipeline="p", name="b"), 1_000.0, 0
        self.granted: dict[str, float] = {}
        self.in_a_row = 0

    def tell(self, what: str, **more: object) -> None:
        before = self.row.state(self.now)
        self.row = tell(self.row, what, self.now, **more)
        if before != "closed" or self.row.state(self.now) != "closed":
            self.in_a_row = 0

    @rule(seconds=st.sampled_from((0.1, 1.0, 4.0, 6.0, 11.0)))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.granted = {probe: until for probe, until in self.granted.items() if until > self.now}

    @rule()
    def somebody_asks_to_probe(self) -> None:
        self.number += 1
        probe = f"p{self.number}"
        half_open = self.row.state(self.now) == "half_open"
        self.tell("probe", probe=probe, until=self.now + PROBE)
        if self.row.lets(probe, self.now):
            assert half_open
            self.granted[probe] = self.now + PROBE

    @precondition(lambda self: self.granted)
    @rule(data=st.data(), what=st.sampled_from(("success", "failure")))
    def a_probe_ends(self, data: st.DataObject, what: str) -> None:
        probe = data.draw(st.sampled_from(sorted(self.granted)))
        self.tell(what, probe=probe)
        self.granted.clear()  # it closed, or it opened: what is still under way has nothing to say any more
        assert self.row.state(self.now) == ("closed" if what == "success" else "open")

    @rule(what=st.sampled_from(("success", "failure")))
    def an_old_attempt_ends(self, what: str) -> None:
        before, closed = self.row, self.row.state(self.now) == "closed"
        self.in_a_row = (self.in_a_row + 1 if what == "failure" else 0) if closed else 0
        counted = self.in_a_row
        self.tell(what)
        if closed:
            assert (self.row.state(self.now) == "open") == (counted >= LIMITS.threshold)
            assert self.row.state(self.now) == "open" or self.row.failures == counted
        else:
            assert self.row == before

    @invariant()
    def probes_are_bounded(self) -> None:
        assert len(self.row.under_way(self.now)) <= LIMITS.probes
        assert set(self.row.under_way(self.now)) <= set(self.granted) or not self.granted


Machine.TestCase.settings = settings(max_examples=80, stateful_step_count=40)
TestBreaker = Machine.TestCase
