"""State that outlives a run: what scripts keep by `context.set_*`, one row for each value, and how a write is an event.

Promises
  * The last write wins, by the order of the log. A write that comes again (its slot was done again after a crash) is
    known by its id for `KNOWN_SECONDS`, and changes nothing.
  * All values of a namespace are in one partition, so its order and its size are known to one owner.
  * A value is at most `MAX_VALUE` bytes, a namespace `MAX_NAMESPACE`, unless the pipeline says otherwise.
  * A cache that is full loses what expires first; any other namespace that is full takes nothing more.
"""

from __future__ import annotations

import struct
from typing import Any, Literal

import msgspec
import orjson
from msgspec import Struct

from stream_orchestrator.errors import HouseError
from stream_orchestrator.kernel import ids
from stream_orchestrator.kernel.breaker import BreakerRow, Signal
from stream_orchestrator.kernel.effects import NOTHING
from stream_orchestrator.kernel.events import Undecodable

Kind = Literal["global", "persistent", "shared", "cache", "task_cache", "progress"]
KINDS: tuple[Kind, ...] = ("global", "persistent", "shared", "cache", "task_cache")  # that scripts get and set
CACHES = frozenset(("cache", "task_cache", "progress"))
MAX_KEY = 512  # bytes of a key, and of a namespace
MAX_VALUE = 256 * 1024  # as JSON: every worker has a copy of every value
MAX_NAMESPACE = 16 * 1024 * 1024
CACHE_SECONDS = 3600.0  # how long a cached value is good, unless somebody says otherwise
KNOWN_SECONDS = 3600.0  # longer than any restart or rebalance that makes a slot come again
ROW_OVERHEAD = 100  # what a row costs beside its value, so that a million empty values are not free
FORMAT = 1


class Write(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One value that a script has set. `gone`: it is taken away. `room`: bytes that its namespace may have.

    `expires`: when the value goes, 0 is never.
    """

    id: str
    kind: Kind
    namespace: str
    key: str
    value: msgspec.Raw = msgspec.Raw(b"null")
    gone: bool = False
    expires: float = NOTHING
    room: int = MAX_NAMESPACE
    by: str = ""

    @property
    def row(self) -> bytes:
        """Where the value stands in the table."""
        return value_key(self.kind, self.namespace, self.key)

    @property
    def size(self) -> int:
        """What it will count in its namespace."""
        return 0 if self.gone else len(bytes(self.value)) + len(self.key) + ROW_OVERHEAD


class ValueRow(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A value as it is. `by`: the run that wrote it, `at`: when its owner took it."""

    kind: Kind
    namespace: str
    key: str
    value: msgspec.Raw
    expires: float = NOTHING
    by: str = ""
    at: float = NOTHING

    @property
    def size(self) -> int:
        """What it counts in its namespace."""
        return len(bytes(self.value)) + len(self.key) + ROW_OVERHEAD

    def good(self, now: float) -> bool:
        """Whether it has not expired."""
        return not self.expires or self.expires > now


class Seen(Struct, frozen=True):
    """That a write or a signal was taken, until copies of it cannot come any more."""

    expires: float


Row = ValueRow | Seen | BreakerRow


class _Envelope(Struct, frozen=True, kw_only=True, omit_defaults=True):
    format: int
    write: Write | None = None
    signal: Signal | None = None


_encoder, _events = msgspec.json.Encoder(), msgspec.json.Decoder(_Envelope)
_values, _breakers = msgspec.json.Decoder(ValueRow), msgspec.json.Decoder(BreakerRow)
_SEEN = struct.Struct(">cd")


# --- names


def value_key(kind: str, namespace: str, key: str) -> bytes:
    """The key of a value's row."""
    return b"v" + "\0".join((kind, namespace, key)).encode("utf-8", "surrogatepass")


def breaker_key(pipeline: str, name: str) -> bytes:
    """The key of a breaker's row."""
    return b"b" + "\0".join((pipeline, name)).encode("utf-8", "surrogatepass")


def seen_key(identity: str) -> bytes:
    """The key of the row that knows an event by its id."""
    return b"w" + identity.encode()


def write_id(pipeline: str, run_id: str, task: str, *, attempt: int, number: int | str) -> str:
    """One event of one attempt of one step; the same when it is done again."""
    return ids.digest("state", pipeline, run_id, task, f"{attempt}/{number}", size=12).hex()


def home(kind: str, namespace: str, partitions: int) -> int:
    """The partition of a namespace."""
    return ids.partition_of(f"{kind}\0{namespace}", partitions)


def where(event: Write | Signal, partitions: int) -> tuple[int, bytes]:
    """The partition and the key of an event's record."""
    if isinstance(event, Write):
        return home(event.kind, event.namespace, partitions), event.row
    return home("breaker", event.pipeline, partitions), breaker_key(event.pipeline, event.name)


# --- bytes


def encode_event(event: Write | Signal) -> bytes:
    """An event as the value of its record."""
    body = _Envelope(format=FORMAT, write=event) if isinstance(event, Write) else _Envelope(format=FORMAT, signal=event)
    return _encoder.encode(body)


def decode_event(data: bytes | None) -> Write | Signal:
    """The event of a record; anything else is `Undecodable`."""
    try:
        body = _events.decode(data or b"")
    except (ValueError, RecursionError) as error:
        raise Undecodable(f"not an event of state: {error}") from error
    event = body.write or body.signal
    if event is None or body.format != FORMAT:
        raise Undecodable(f"not an event of state: format {body.format}")
    return event


def encode(row: Row) -> bytes:
    """A row as the value of a changelog record."""
    match row:
        case Seen():
            return _SEEN.pack(b"w", row.expires)
        case ValueRow():
            return b"v" + _encoder.encode(row)
        case BreakerRow():
            return b"b" + _encoder.encode(row)


def decode(data: bytes) -> Row:
    """The row of a changelog record. One that cannot be read is our own failure: the partition is not ready."""
    try:
        match data[:1]:
            case b"w":
                return Seen(_SEEN.unpack(data)[1])
            case b"v":
                return _values.decode(data[1:])
            case b"b":
                return _breakers.decode(data[1:])
    except (struct.error, ValueError, RecursionError) as error:
        raise HouseError(f"a row of state cannot be read: {error}") from error
    raise HouseError(f"a row of state begins with {data[:1]!r}")


def due(row: Row) -> float | None:
    """When a row goes."""
    return None if isinstance(row, BreakerRow) else row.expires or None


class Codec:
    """The table's view of these rows."""

    encode = staticmethod(encode)
    decode = staticmethod(decode)
    due = staticmethod(due)


def text_of(value: Any) -> msgspec.Raw:
    """A JSON value as it stands in events and rows."""
    return msgspec.Raw(orjson.dumps(value))
