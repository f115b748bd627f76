"""Rows come back as their last owner left them: whatever zombies wrote, and wherever compaction had got to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_orchestrator.errors import HouseError
from stream_orchestrator.streaming.core.changelog import Entry, Replay, begin, put
from stream_orchestrator.streaming.core.table import Table


class Plain:
    """Rows are bytes, due never."""

    def encode(self, row: Any) -> bytes:
        return bytes(row)

    def decode(self, data: bytes) -> Any:
        return data

    def due(self, row: Any) -> float | None:
        return None


@dataclass
class Log:
    """A compacted topic partition: what a broker keeps of what was appended."""

    entries: list[tuple[int, Entry]] = field(default_factory=list)
    end: int = 0
    clean_to: int = 0  # older than `min.compaction.lag.ms`

    def append(self, entry: Entry) -> int:
        self.entries.append((self.end, entry))
        self.end += 1
        return self.end - 1

    def compact(self, to: int, *, drop_tombstones: bool) -> None:
        to = min(to, self.clean_to)
        last = {entry.key: offset for offset, entry in self.entries if offset < to}
        self.entries = [
            (offset, entry)
            for offset, entry in self.entries
            if offset >= to or (last[entry.key] == offset and not (entry.value is None and drop_tombstones))
        ]


class Owner:
    """A process that takes the partition, changes rows and may be stopped with records still in its hands."""

    def __init__(self, log: Log, name: int) -> None:
        self.log = log
        self.in_hand: list[Entry] = []
        epoch = log.append(begin(b"%08d" % name, b"owner"))
        replay = Replay()
        for offset, entry in log.entries:
            replay.read(offset, entry.key, entry.value, entry.headers)
        self.table = Table(Plain(), epoch, replay.inheritance(epoch))
        for _ in self.table.load():
            pass
        self.done = False

    def write(self, key: bytes, value: bytes) -> None:
        self.table.set(key, value)
        self.in_hand.append(self.table.write(key))

    def delete(self, key: bytes) -> None:
        self.in_hand += self.table.delete(key)

    def take_over(self, limit: int) -> None:
        entries = self.table.takeover(limit)
        self.in_hand += entries
        self.done = not entries

    def flush(self, count: int) -> None:
        for entry in self.in_hand[:count]:
            self.log.append(entry)
        del self.in_hand[:count]

    @property
    def rows(self) -> dict[bytes, bytes]:
        return {key: self.table.get(key) for key in tuple(self.table.keys())}


KEYS = st.sampled_from([b"a", b"b", b"c"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), KEYS, st.binary(min_size=1, max_size=2)),
        st.tuples(st.just("delete"), KEYS),
        st.tuples(st.just("takeover"), st.integers(1, 3)),
        st.tuples(st.just("moved"), st.just(0)),
        st.tuples(st.just("zombie"), st.integers(0, 3), st.integers(1, 4)),
        st.tuples(st.just("zombie writes"), st.integers(0, 3), KEYS, st.booleans()),
        st.tuples(st.just("compact"), st.floats(0, 1), st.booleans()),
    ),
    max_size=60,
)


@settings(max_examples=400)
@given(STEPS)
def test_the_next_owner_finds_what_the_last_one_wrote_whatever_zombies_and_compaction_do(steps: list[Any]) -> None:
    log, zombies = Log(), []
    owner = Owner(log, 0)
    durable: dict[bytes, bytes] = {}
    for count, step in enumerate(steps, 1):
        match step:
            case ("write", key, value):
                owner.write(key, value)
            case ("delete", key):
                owner.delete(key)
            case ("takeover", limit):
                owner.take_over(limit)
            case ("moved", _):
                # the old owner stops with its last records in its hands, and may let go of them much later
                zombies.append(owner)
                owner = Owner(log, count)
                assert owner.rows == durable
                continue
            case ("zombie", which, number) if which < len(zombies):
                zombies[which].flush(number)
            case ("zombie writes", which, key, deletes) if which < len(zombies):
                zombies[which].delete(key) if deletes else zombies[which].write(key, b"zombie")
                zombies[which].take_over(2)
            case ("compact", share, drop):
                log.compact(round(log.end * share), drop_tombstones=drop)
        owner.flush(len(owner.in_hand))
        durable = owner.rows
        if owner.done:
            log.clean_to = log.end  # every owner takes over within the compaction lag
        else:
            log.clean_to = min(log.clean_to, owner.table.epoch)
    assert Owner(log, len(steps) + 1).rows == durable


@settings(max_examples=200)
@given(st.lists(st.tuples(KEYS, st.none() | st.binary(min_size=1, max_size=2)), max_size=30), st.integers(0, 60))
def test_a_crash_in_the_middle_of_appending_leaves_a_prefix_of_what_was_done(
    changes: list[tuple[bytes, bytes | None]], kept: int
) -> None:
    log = Log()
    first = Owner(log, 0)
    first.write(b"a", b"old")
    first.flush(1)
    second = Owner(log, 1)
    states = [dict(second.rows)]
    appended = 0
    for key, value in changes:
        second.delete(key) if value is None else second.write(key, value)
        second.take_over(1)
        for entry in second.in_hand:
            if appended < kept:
                log.append(entry)
                appended += 1
        second.in_hand.clear()
        states.append(dict(second.rows))
    assert Owner(log, 2).rows in states


def test_after_taking_over_only_rows_of_the_new_epoch_and_its_begin_are_left() -> None:
    log = Log()
    for name in range(3):
        owner = Owner(log, name)
        owner.write(b"a", b"1")
        owner.write(b"b%d" % name, b"2")
        owner.flush(9)
    while not owner.done:
        owner.take_over(2)
    owner.flush(99)
    log.clean_to = log.end
    log.compact(log.end, drop_tombstones=True)
    assert len(log.entries) == 1 + len(owner.rows) == 5


def test_a_row_that_was_never_written_leaves_no_tombstone() -> None:
    owner = Owner(Log(), 0)
    owner.table.set(b"a", b"1")
    assert owner.table.delete(b"a") == []


def test_a_deleted_row_buries_its_older_epochs_first() -> None:
    log = Log()
    for name in range(3):
        owner = Owner(log, name)
        owner.write(b"a", b"1")
        owner.flush(1)
    epochs = [entry.key[1:9] for entry in owner.table.delete(b"a")]
    assert epochs == sorted(epochs)
    assert len(epochs) == 3


def test_a_record_that_is_not_ours_stops_recovery() -> None:
    with pytest.raises(HouseError, match="no changelog record of ours"):
        Replay().read(7, b"whatever", b"", ())


def test_a_zombies_update_of_the_row_it_wrote_itself_is_ignored() -> None:
    log = Log()
    first = Owner(log, 0)
    first.write(b"a", b"good")
    first.flush(1)
    Owner(log, 1)
    log.append(put(b"a", first.table.epoch, b"zombie"))
    assert Owner(log, 2).rows == {b"a": b"good"}
