"""The rows of one partition in memory, and what each change appends to the changelog."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from stream_orchestrator.streaming.core.changelog import Entry, Inheritance, bury, bury_begin, put
from stream_orchestrator.streaming.core.model import RowCodec
from stream_orchestrator.streaming.core.timers import Timers


class Table:
    """Rows by key, with the time each wants to be woken. Pure: it says what to append and never appends.

    Promises
      * `set` and `delete` change memory alone; a row is durable when what `write` gave is acknowledged, in order.
      * A delete buries every epoch known for the row, the oldest first, so that a crash in between revives nothing.
      * A row that was never written leaves no tombstone.
    """

    def __init__(self, codec: RowCodec, epoch: int, inheritance: Inheritance) -> None:
        self.timers = Timers()
        self.epoch = epoch
        self._codec = codec
        self._rows: dict[bytes, Any] = {}
        self._written: set[bytes] = set()
        self._inherited = dict(inheritance.rows)  # not yet under our own epoch
        self._left = dict(inheritance.left)
        self._begins = inheritance.begins

    def load(self) -> Iterator[None]:
        """Decode what was inherited, a row a step. A row that cannot be decoded raises."""
        for key, data in tuple(self._inherited.items()):
            self.set(key, self._codec.decode(data))
            yield

    def get(self, key: bytes) -> Any | None:
        """The row, or None."""
        return self._rows.get(key)

    def set(self, key: bytes, row: Any) -> None:
        """Change the row in memory and re-arm its timer."""
        self._rows[key] = row
        self.timers.arm(key, self._codec.due(row))

    def keys(self) -> Iterator[bytes]:
        """All keys, as of now."""
        return iter(tuple(self._rows))

    def __len__(self) -> int:
        return len(self._rows)

    def write(self, key: bytes) -> Entry:
        """What makes the row durable as it is now."""
        entry = put(key, self.epoch, self._codec.encode(self._rows[key]))
        self._written.add(key)
        self._inherited.pop(key, None)
        return entry

    def delete(self, key: bytes) -> list[Entry]:
        """Forget the row; what to append so that nobody recovers it."""
        self._rows.pop(key, None)
        self.timers.arm(key, None)
        self._inherited.pop(key, None)
        entries = [bury(key, epoch, writer=self.epoch) for epoch in self._left.pop(key, ())]
        if key in self._written:
            self._written.discard(key)
            entries.append(bury(key, self.epoch, writer=self.epoch))
        return entries

    def takeover(self, limit: int) -> list[Entry]:
        """The next piece of taking over what older epochs left; empty when it is done.

        Rows that still stand under an older epoch are appended under ours, because a zombie of that epoch could
        overwrite its own key and compaction would then drop the good record. What they leave is buried after them, and
        the older begins last of all.
        """
        entries: list[Entry] = []
        for key in list(_first(self._inherited, limit)):
            entries.append(put(key, self.epoch, self._inherited.pop(key)))
            self._written.add(key)
        if not entries:
            for key in list(_first(self._left, limit)):
                entries += [bury(key, epoch, writer=self.epoch) for epoch in self._left.pop(key)]
        if not entries:
            entries = [bury_begin(key, writer=self.epoch) for key in self._begins]
            self._begins = ()
        return entries


def _first(mapping: dict[bytes, Any], limit: int) -> Iterator[bytes]:
    for key, _ in zip(mapping, range(limit), strict=False):
        yield key
