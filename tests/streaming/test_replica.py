"""A copy of a table that others own: what owners and zombies append, read by who owns nothing."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from stream_orchestrator.errors import MissingError
from stream_orchestrator.kernel import state
from stream_orchestrator.kernel.state import ValueRow, Write
from stream_orchestrator.streaming.core.changelog import Entry, Replay, begin
from stream_orchestrator.streaming.core.table import Table
from stream_orchestrator.streaming.records import Record
from stream_orchestrator.streaming.replica import Replica
from stream_orchestrator.streaming.settings import StreamSettings
from stream_orchestrator.trust.sealing import Seal, fresh_key, opened


class Log:
    """One partition of the table's topic, and a copy that follows it."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.copy = Replica(StreamSettings(bootstrap="nowhere:1"), "state.table")

    def append(self, *entries: Entry) -> int:
        for entry in entries:
            offset = len(self.records)
            record = Record("state.table", 0, offset, 0, entry.key, entry.value, entry.headers)
            self.records.append(record)
            self.copy.take(record)
        return len(self.records) - 1

    def own(self, name: str) -> Table:
        """A new owner takes the partition."""
        epoch = self.append(begin(name.encode(), b"me"))
        replay = Replay()
        for record in self.records:
            replay.read(record.offset, record.key, record.value, record.headers)
        table = Table(state.Codec(), epoch, replay.inheritance(epoch))
        for _ in table.load():
            pass
        return table

    def value(self, key: str) -> Any:
        row = self.copy.row(state.value_key("global", "orders", key))
        return None if row is None else bytes(row.value).decode()


def put(log: Log, table: Table, key: str, value: Any) -> None:
    write = Write(id="i", kind="global", namespace="orders", key=key, value=state.text_of(value))
    row = ValueRow(kind="global", namespace="orders", key=key, value=write.value)
    table.set(write.row, row)
    log.append(table.write(write.row))


def test_a_copy_has_what_the_owner_wrote_last() -> None:
    log = Log()
    table = log.own("a")
    put(log, table, "k", 1)
    put(log, table, "k", 2)
    assert log.value("k") == "2"
    log.append(*table.delete(state.value_key("global", "orders", "k")))
    assert log.value("k") is None
    assert log.copy.used("global", "orders") == 0


def test_a_copy_that_follows_for_ever_keeps_nothing_of_rows_that_went() -> None:
    log = Log()
    table = log.own("a")
    for number in range(5):
        put(log, table, f"k{number}", number)
        log.append(*table.delete(state.value_key("global", "orders", f"k{number}")))
    replay = log.copy._replays[0]
    assert (replay._counts, replay._left) == ({}, {})


async def test_a_row_that_cannot_be_opened_ends_the_worker_and_is_not_skipped() -> None:
    class Reader:
        async def poll(self, wait: float, *, limit: int) -> list[Record]:
            return [replace(sealed, value=opened(sealed.value, Seal(fresh_key()), "state.table"))]

    value = Seal(fresh_key()).seal(b"v{}", "state.table")
    sealed = Record("state.table", 0, 0, 0, b"R", value, ())
    copy = Replica(StreamSettings(bootstrap="nowhere:1"), "state.table")
    copy._reader = Reader()  # type: ignore[assignment]
    with pytest.raises(MissingError, match="sealed with another key"):
        await asyncio.wait_for(copy.follow(), 5)


def test_a_copy_ignores_an_owner_that_has_lost_the_partition() -> None:
    log = Log()
    old = log.own("a")
    put(log, old, "k", 1)
    new = log.own("b")
    put(log, new, "k", 2)
    put(log, old, "k", 3)
    assert log.value("k") == "2"
    while entries := new.takeover(10):
        log.append(*entries)
    assert log.value("k") == "2"


def test_taking_over_buries_older_records_and_no_value() -> None:
    log = Log()
    old = log.own("a")
    put(log, old, "k", 1)
    put(log, old, "l", 1)
    new = log.own("b")
    while entries := new.takeover(1):
        log.append(*entries)
        assert (log.value("k"), log.value("l")) == ("1", "1")
    row = log.copy.row(state.value_key("global", "orders", "k"))
    assert isinstance(row, ValueRow)
    assert log.copy.used("global", "orders") == 2 * row.size


def test_a_copy_that_starts_late_is_the_same() -> None:
    log = Log()
    table = log.own("a")
    for number in range(5):
        put(log, table, f"k{number % 3}", number)
    late = Replica(StreamSettings(bootstrap="nowhere:1"), "state.table")
    for record in log.records:
        late.take(record)
    keys = [state.value_key("global", "orders", f"k{number}") for number in range(3)]
    assert [late.row(key) for key in keys] == [log.copy.row(key) for key in keys]
