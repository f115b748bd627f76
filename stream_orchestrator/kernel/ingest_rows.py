"""The rows of the ingest tables: what is remembered of an id, and which version a partition's records begin with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from stream_orchestrator.errors import HouseError

KEPT_SWITCHES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownId:
    """What is remembered of an id: its payload, trace and version, where and when it was first seen, and the home of
    its run: copies may carry other keys. Rows of earlier releases have no home; their copies find it by key.

    `brought`: where the record stands that said what became of its files. `refused`: why they were, if they were.
    """

    payload: str
    version: str
    position: str
    stamp: int
    expires: float
    traceparent: str | None = None
    home: int | None = None
    brought: str = ""
    refused: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Switches:
    """Which version a partition's records begin with, from which offset on; the last entries only."""

    entries: tuple[tuple[int, str], ...]

    def at(self, offset: int) -> str:
        """The version of the record at an offset."""
        fitting = [version for first, version in self.entries if first <= offset]
        return fitting[-1] if fitting else self.entries[0][1]

    def over_to(self, offset: int, version: str) -> Switches:
        """From this offset on with another version."""
        return Switches((*self.entries, (offset, version))[-KEPT_SWITCHES:])


class Codec:
    """Rows of the ingest tables as bytes."""

    @staticmethod
    def encode(row: KnownId | Switches) -> bytes:
        """A row as bytes."""
        if isinstance(row, Switches):
            return orjson.dumps({"switches": row.entries})
        return orjson.dumps(row)

    @staticmethod
    def decode(data: bytes) -> KnownId | Switches:
        """A row read back; one that cannot be read is our own failure."""
        try:
            body = orjson.loads(data)
            if "switches" in body:
                return Switches(tuple((int(first), version) for first, version in body["switches"]))
            return KnownId(**body)
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
            raise HouseError(f"a row of the ingest table cannot be read: {error}") from error

    @staticmethod
    def due(row: KnownId | Switches) -> float | None:
        """An id is forgotten at its horizon."""
        return row.expires if isinstance(row, KnownId) else None
