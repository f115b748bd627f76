"""The changelog of one partition: how rows are keyed in it, and what of it still counts.

A changelog key is (row key, epoch). The epoch of an owner is the offset of the `begin` record it wrote when it took the
partition. A record written under epoch w is a zombie's, and ignored, when a later `begin` lies before it: its writer
had lost the partition by then. The highest epoch that is left for a row wins. A tombstone names its writer in a header,
because an owner also buries what older epochs left.

Promises: reading gives the same rows whatever the compaction did, as long as it spares the records of owners who have
not finished taking over (`min.compaction.lag.ms` of the topic; `table.Table.takeover` is that work).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from stream_orchestrator.errors import HouseError

BEGIN, ROW = b"B", b"R"
WRITER = "writer"
_EPOCH = struct.Struct(">q")
_ROW_PREFIX = len(ROW) + _EPOCH.size


class Entry(NamedTuple):
    """One record to append to a changelog partition."""

    key: bytes
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


def begin(nonce: bytes, owner: bytes) -> Entry:
    """The record whose offset becomes its writer's epoch. The nonce keeps compaction from merging two of them."""
    return Entry(BEGIN + nonce, owner or b"?")


def put(row: bytes, epoch: int, value: bytes) -> Entry:
    """The row as its owner of that epoch has it now."""
    return Entry(ROW + _EPOCH.pack(epoch) + row, value)


def bury(row: bytes, epoch: int, *, writer: int) -> Entry:
    """Nothing is left of the row under that epoch, says the owner of epoch `writer`."""
    return Entry(ROW + _EPOCH.pack(epoch) + row, None, ((WRITER, _EPOCH.pack(writer)),))


def bury_begin(key: bytes, *, writer: int) -> Entry:
    """A `begin` nobody needs any more: no record of a lower epoch is left."""
    return Entry(key, None, ((WRITER, _EPOCH.pack(writer)),))


@dataclass(slots=True)
class Inheritance:
    """What a changelog holds: `rows` as they count, and everything that the new owner has to bury."""

    rows: dict[bytes, bytes] = field(default_factory=dict)
    left: dict[bytes, tuple[int, ...]] = field(default_factory=dict)  # per row, the epochs that still have a value
    begins: tuple[bytes, ...] = ()  # changelog keys of older begins


class Replay:
    """Folds a changelog partition, record by record in offset order, into what counts."""

    def __init__(self) -> None:
        self._counts: dict[bytes, dict[int, bytes]] = {}
        self._left: dict[bytes, dict[int, None]] = {}
        self._begins: dict[bytes, int] = {}
        self._newest = -1  # the offset of the last begin read

    def read(self, offset: int, key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes]]) -> None:
        """Take the next record."""
        if key is not None and key[:1] == BEGIN:
            self._read_begin(offset, key, value)
        elif key is not None and key[:1] == ROW and len(key) >= _ROW_PREFIX:
            self._read_row(key, value, headers)
        else:
            raise HouseError(f"record {offset} is no changelog record of ours: its key is {key!r}")

    def _read_begin(self, offset: int, key: bytes, value: bytes | None) -> None:
        if value is None:
            self._begins.pop(key, None)
        else:
            self._begins[key] = offset
            self._newest = offset

    def _read_row(self, key: bytes, value: bytes | None, headers: Sequence[tuple[str, bytes]]) -> None:
        epoch = _EPOCH.unpack_from(key, len(ROW))[0]
        row = key[_ROW_PREFIX:]
        if value is None:
            _drop(self._left, row, epoch)
        else:
            self._left.setdefault(row, {})[epoch] = None
        if self._newest > _writer(headers, epoch):
            return  # a zombie's; but it may stand in the log, so `left` knows it
        if value is None:
            _drop(self._counts, row, epoch)
        else:
            self._counts.setdefault(row, {})[epoch] = value

    def current(self, row: bytes) -> bytes | None:
        """A row as it counts now, for who follows a table that others own."""
        epochs = self._counts.get(row)
        return epochs[max(epochs)] if epochs else None

    def inheritance(self, epoch: int) -> Inheritance:
        """What the owner of that epoch, whose begin was read last, starts with."""
        return Inheritance(
            rows={row: epochs[max(epochs)] for row, epochs in self._counts.items()},
            left={row: tuple(sorted(epochs)) for row, epochs in self._left.items()},
            begins=tuple(key for key, offset in self._begins.items() if offset < epoch),
        )


def _drop(rows: dict[bytes, dict[int, Any]], row: bytes, epoch: int) -> None:
    """Forget one epoch of a row, and a row that has none: who follows a table for months keeps nothing of what went."""
    epochs = rows.get(row, {})
    epochs.pop(epoch, None)
    if not epochs:
        rows.pop(row, None)


def _writer(headers: Sequence[tuple[str, bytes]], otherwise: int) -> int:
    for name, value in headers:
        if name == WRITER:
            return int(_EPOCH.unpack(value)[0])
    return otherwise


def row_of(key: bytes) -> bytes:
    """The row key in the key of a row's record."""
    return key[_ROW_PREFIX:]
