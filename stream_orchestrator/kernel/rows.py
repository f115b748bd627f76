"""The rows of a version's table: runs, steps, and the stubs that remain of runs.

Promises
  * `decode(encode(row)) == row`. Rows are small and mortal: when a run is terminal its steps go and its row shrinks
    to a stub of 16 bytes, which goes at `expires` (to the second).
  * A row stores the position that made its last transition (`at`; empty: a timer made it). The same position again is a
    redelivery; another is a duplicate.
"""

from __future__ import annotations

import struct
from typing import Any, Literal

import msgspec
from msgspec import Struct

from stream_orchestrator.errors import HouseError
from stream_orchestrator.kernel.effects import NOTHING
from stream_orchestrator.kernel.events import Nest, Report, Token

RunState = Literal["running", "ended"]
StepState = Literal["waiting", "running", "calling", "parked", "gathering", "done"]
STATUSES = ("succeeded", "degraded", "failed", "rejected")
_STUB = struct.Struct(">cBHqI")
_encoder = msgspec.json.Encoder()


class Transition(Struct, frozen=True, omit_defaults=True):
    """One thing that happened to a step, as the audit tells it. `at`: when; 0 is when it is told."""

    kind: str
    attempt: int = 0
    details: dict[str, Any] | None = None
    at: float = NOTHING
    task: str = ""


class RunRow(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One input event on its way. `payload`, `key` and `headers` are the record's own (latin-1 for bytes).

    When it has ended, `result` is the exact text of its result record, `letter` the headers of its dead letter, and
    `told` what the audit has still to tell.
    """

    run_id: str
    payload: str
    key: str | None
    headers: tuple[tuple[str, str], ...]
    position: str
    accepted_at: float
    deadline: float
    at: str
    supplied: bool = False
    attempt: int = 1
    retry_of: str | None = None
    trace_id: str = ""
    parent_span: str = ""
    state: RunState = "running"
    aborted_by: str = ""
    status: str = ""
    result: str = ""
    letter: dict[str, str] | None = None
    told: tuple[Transition, ...] = ()
    files: dict[str, str] = {}
    nest: Nest | None = None

    @property
    def root(self) -> str:
        """The run that an input event began, which this one is or is part of."""
        return self.nest.root if self.nest else self.run_id


class Stub(Struct, frozen=True, omit_defaults=True):
    """What remains of a run: how it ended, where its result stands, and until when copies are answered."""

    status: str
    partition: int
    offset: int
    expires: float


class StepRow(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One task in one run. `tokens` holds the arrived ones by source.

    `size` counts the bytes that have arrived. `variant` counts fallbacks, `attempt` the tries of this variant,
    `attempts` all; `journal` holds the answers that its script has, by number. `due`: when it wants to be woken.
    `probe`: what its breaker knows this attempt by, when it is tried whether the service is back.

    Of a container: `members` counts its items so far, `wave` how often it has asked for more, `carry` what it keeps
    from one wave to the next.
    """

    run_id: str
    task: str
    state: StepState = "waiting"
    at: str = ""
    tokens: dict[str, Token] = {}
    started_at: float = NOTHING
    variant: int = 0
    variant_started_at: float = NOTHING
    attempt: int = 0
    attempts: int = 0
    call_id: str = ""
    call_number: int = 0
    journal: dict[str, Any] = {}
    degraded: tuple[dict[str, Any], ...] = ()
    usd: float = NOTHING
    input_tokens: int = 0
    output_tokens: int = 0
    calls: int = 0
    model: str = ""
    due: float | None = None
    size: int = 0
    report: Report | None = None
    probe: str = ""
    wave: int = 0
    carry: Any = None
    members: int = 0


class MemberRow(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one item of a container gave: kept until all have ended."""

    run_id: str
    task: str
    index: int
    report: Report


def hollow(row: StepRow) -> StepRow:
    """What is kept of a step that is done and whose token is on its way: that it is done, and by which record."""
    attempts = row.attempts if row.members else 0  # with them, whatever is left of the items is found
    return StepRow(run_id=row.run_id, task=row.task, state="done", at=row.at, members=row.members, attempts=attempts)


Row = RunRow | Stub | StepRow | MemberRow
_runs, _steps = msgspec.json.Decoder(RunRow), msgspec.json.Decoder(StepRow)
_members = msgspec.json.Decoder(MemberRow)


def due(row: Row) -> float | None:
    """When a row wants to be woken, in UNIX seconds."""
    match row:
        case StepRow():
            return row.due
        case RunRow():
            return row.deadline if row.state == "running" else None
        case Stub():
            return row.expires
        case MemberRow():
            return None


def encode(row: Row) -> bytes:
    """A row as the value of a changelog record."""
    match row:
        case Stub():
            return _STUB.pack(b"\0", STATUSES.index(row.status), row.partition, row.offset, int(row.expires))
        case RunRow():
            return b"r" + _encoder.encode(row)
        case StepRow():
            return b"s" + _encoder.encode(row)
        case MemberRow():
            return b"m" + _encoder.encode(row)


def decode(data: bytes) -> Row:
    """The row of a changelog record. One that cannot be read is our own failure: the partition is not ready."""
    try:
        match data[:1]:
            case b"\0":
                _, status, partition, offset, expires = _STUB.unpack(data)
                return Stub(STATUSES[status], partition, offset, float(expires))
            case b"r":
                return _runs.decode(data[1:])
            case b"s":
                return _steps.decode(data[1:])
            case b"m":
                return _members.decode(data[1:])
    except (struct.error, ValueError, IndexError, RecursionError) as error:
        raise HouseError(f"a row of the table cannot be read: {error}") from error
    raise HouseError(f"a row of the table begins with {data[:1]!r}")


class Codec:
    """The table's view of these rows (`streaming.core.RowCodec`)."""

    encode = staticmethod(encode)
    decode = staticmethod(decode)
    due = staticmethod(due)
