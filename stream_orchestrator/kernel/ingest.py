"""Ingest: an event on the input topic becomes a run, or a rejection. It belongs to the pipeline, not to a version.

Promises
  * One acknowledged input record is one run, whatever is redelivered: its id is the producer's, the CloudEvent's, or its
    position's. Copies of an id meet in one partition of `<pipeline>.ingest`, where its row says what it was and which
    version it began with.
  * A partition goes over to another version at one offset, written down before the first record that uses it: a record
    read twice begins with the same version twice.
  * A broken record is a `rejected` result and a dead letter with its bytes untouched; both are the same in every copy.
"""

from __future__ import annotations

import asyncio
from asyncio import Future
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import orjson

from stream_orchestrator.errors import HouseError
from stream_orchestrator.kernel import audit, ids, results
from stream_orchestrator.kernel.apply import Transition
from stream_orchestrator.kernel.events import Begin, encode
from stream_orchestrator.kernel.identity import Identity, headers_of, read
from stream_orchestrator.kernel.ports import Arrived, Part
from stream_orchestrator.kernel.rows import RunRow
from stream_orchestrator.kernel.watch import Blind, SpanRecord, Watch
from stream_orchestrator.kernel.wires import Headers, letter_headers, result_headers
from stream_orchestrator.plan.model import Plan
from stream_orchestrator.spec.inputs import InputRules, InvalidInput

Work = Coroutine[Any, Any, None]
EndOf = Callable[[str, int], Awaitable[int]]
POSITION_HEADER, STAMP_HEADER = "so-position", "so-timestamp"
MAX_PAYLOAD = 15 * 1024 * 1024  # a run's row holds its input beside its result: both must fit a 16 MB record
VERSIONS_KEY = b"v"
KEPT_SWITCHES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A deployed version as ingest sees it: where its runs begin."""

    id: str
    plan: Plan
    rules: InputRules
    partitions: int
    start_inbox: str


class Versions(Protocol):
    """The deployed versions of a pipeline, as `orchestrator.plans` has them."""

    def active(self) -> Version: ...
    def get(self, version_id: str) -> Version | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownId:
    """What is remembered of an id: the payload it came with, its version, where and when it was first seen."""

    payload: str
    version: str
    position: str
    stamp: int
    expires: float


@dataclass(frozen=True, slots=True)
class Switches:
    """Which version a partition's records begin with, from which offset on; the last entries only."""

    entries: tuple[tuple[int, str], ...]

    def at(self, offset: int) -> str:
        """The version of the record at an offset."""
        fitting = [version for first, version in self.entries if first <= offset]
        return fitting[-1] if fitting else self.entries[0][1]


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
        except (orjson.JSONDecodeError, TypeError, ValueError) as error:
            raise HouseError(f"a row of the ingest table cannot be read: {error}") from error

    @staticmethod
    def due(row: KnownId | Switches) -> float | None:
        """An id is forgotten at its horizon."""
        return row.expires if isinstance(row, KnownId) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingest:
    """The two doors of a pipeline: its input topic, and the topic where copies of one id meet."""

    input: str
    ingest: str
    results: str
    dlq: str
    audit: str
    ingest_partitions: int
    versions: Versions
    watch: Watch = field(default_factory=Blind)
    horizon_seconds: float = 7 * 86_400.0
    end_of: EndOf
    input_contiguous: bool = False
    _untouched_from: dict[int, int] = field(default_factory=dict)
    _writing: dict[tuple[int, bytes], Future[Any]] = field(default_factory=dict)

    def doors(self) -> tuple[Door, Door]:
        """The agents of the input topic and of the ingest topic."""
        return (
            Door(self.input, self.input_contiguous, self.from_input),
            Door(self.ingest, True, self.from_ingest),
        )

    def from_input(self, record: Arrived, part: Part) -> Work | None:
        """A producer's record."""
        identity = read(record, record.position)
        if identity.supplied:
            return self._to_ingest(identity, record, part)
        version = self._version(record, part)
        return self._admit(identity, record, part, version=version, position=record.position, stamp=record.timestamp_ms)

    def from_ingest(self, record: Arrived, part: Part) -> Work | None:
        """A record with an id of its own, where all its copies come."""
        position, stamp = _origin(record)
        bare = _without_origin(record)
        identity = read(bare, position)
        key = ids.run_key(identity.run_id)
        known: KnownId | None = part.get(key)
        payload = ids.digest(identity.payload).hex()
        if known is None:
            version = self.versions.active()
            known = KnownId(
                payload=payload,
                version=version.id,
                position=position,
                stamp=stamp,
                expires=part.now() + self.horizon_seconds,
            )
            self._remember(part, key, known)
            return self._admit(identity, bare, part, version=version, position=position, stamp=stamp)
        pinned = self.versions.get(known.version)
        if known.payload != payload:
            return self._conflict(
                identity, bare, part, pinned or self.versions.active(), known=known, position=position
            )
        if pinned is None:
            error = results.ended("unknown_version", "UnknownVersion", f"version {known.version} is no longer deployed")
            return self._reject(
                identity, bare, part, self.versions.active(), error=error, position=position, stamp=known.stamp
            )
        return self._admit(identity, bare, part, version=pinned, position=known.position, stamp=known.stamp)

    async def on_recovered(self, part: Part) -> None:
        """A partition of the input is ours: remember where its records end that an earlier owner may have admitted."""
        self._untouched_from[part.number] = await self.end_of(self.input, part.number)

    def on_due(self, part: Part, key: bytes) -> Work | None:
        """An id has passed its horizon."""
        row = part.get(key)
        if not isinstance(row, KnownId) or row.expires > part.now():
            return None
        gone = part.delete(key)
        return None if gone is None else _settled(gone)

    # --- steps ---------------------------------------------------------------------------------------------------

    async def _to_ingest(self, identity: Identity, record: Arrived, part: Part) -> None:
        origin = ((POSITION_HEADER, record.position.encode()), (STAMP_HEADER, str(record.timestamp_ms).encode()))
        await part.publish(
            self.ingest,
            partition=ids.partition_of(identity.run_id, self.ingest_partitions),
            key=record.key,
            value=record.value,
            headers=(*record.headers, *origin),
        )

    def _version(self, record: Arrived, part: Part) -> Version:
        """The version a record without an id begins with. It goes over to a new one only past every record that may have
        been admitted before, by us or by an earlier owner: such a record begins with the same version again.
        """
        active = self.versions.active()
        switches: Switches | None = part.get(VERSIONS_KEY)
        if switches is None:
            self._remember(part, VERSIONS_KEY, Switches(((record.offset, active.id),)))
            return active
        untouched = record.offset >= self._untouched_from.get(part.number, 0)
        self._untouched_from[part.number] = max(self._untouched_from.get(part.number, 0), record.offset + 1)
        if untouched and switches.entries[-1][1] != active.id:
            self._remember(
                part, VERSIONS_KEY, Switches((*switches.entries, (record.offset, active.id))[-KEPT_SWITCHES:])
            )
            return active
        return self.versions.get(switches.at(record.offset)) or active

    def _remember(self, part: Part, key: bytes, row: KnownId | Switches) -> None:
        """Set a row and begin to write it; who relies on it waits in `_durable`, so that a crash cannot decide anew."""
        part.set(key, row)
        self._writing[id(part), key] = writing = part.write(key)
        writing.add_done_callback(lambda _: self._writing.pop((id(part), key), None))

    async def _durable(self, part: Part, *keys: bytes) -> None:
        for key in keys:
            writing = self._writing.get((id(part), key))
            if writing is not None:
                await asyncio.shield(writing)

    async def _admit(
        self,
        identity: Identity,
        record: Arrived,
        part: Part,
        *,
        version: Version,
        position: str,
        stamp: int,
    ) -> None:
        error = _unfit(identity, version.rules)
        run = _row(identity, record, version.plan, position=position, stamp=stamp)
        await self._durable(part, ids.run_key(identity.run_id), VERSIONS_KEY)
        if error is not None:
            await self._reject(identity, record, part, version, error=error, position=position, stamp=stamp)
            return
        begin = _begin(record, run, now=part.now(), timeout=version.plan.timeout)
        home = ids.partition_of(record.key if record.key is not None else identity.run_id, version.partitions)
        headers = (("run-id", identity.run_id.encode()),)
        await part.publish(
            version.start_inbox, partition=home, key=identity.run_id.encode(), value=encode(begin), headers=headers
        )
        self._seen(run, part.now(), "accepted")

    def _conflict(
        self, identity: Identity, record: Arrived, part: Part, version: Version, *, known: KnownId, position: str
    ) -> Work:
        other = f"{identity.run_id}~{ids.sha256(identity.payload)[:8]}"
        message = f"run id {identity.run_id!r} came before with another payload"
        error = results.ended("run_id_conflict", "RunIdConflict", message)
        named = replace(identity, run_id=other)
        more = {"conflicts_with": identity.run_id}
        return self._reject(named, record, part, version, error=error, position=position, stamp=known.stamp, more=more)

    async def _reject(
        self,
        identity: Identity,
        record: Arrived,
        part: Part,
        version: Version,
        *,
        error: dict[str, Any],
        position: str,
        stamp: int,
        more: dict[str, Any] | None = None,
    ) -> None:
        """Every time in the result is the record's own: a copy of a rejection has the same bytes."""
        run = _row(identity, record, version.plan, position=position, stamp=stamp)
        outcome = results.rejected(version.plan, run, error, stamp / 1000, **(more or {}))
        told = (
            Transition("rejected", run.attempt, {"reason": error["reason"], "message": error["message"][:500]}),
            Transition("dead_lettered", run.attempt, {"reason": error["reason"]}),
            Transition("result", run.attempt, {"status": "rejected"}),
        )
        letter = letter_headers(run.run_id, position, run.headers, outcome.letter or {})
        waits = (
            part.publish(
                self.results,
                partition=None,
                key=record.key,
                value=outcome.result.encode(),
                headers=result_headers(run.run_id, "rejected", run.trace_id, run.headers),
            ),
            _letter(part, self.dlq, record, letter),
            part.publish(
                self.audit,
                partition=None,
                key=run.run_id.encode(),
                value=audit.record(version.plan, run, "ingest", position, now=stamp / 1000, transitions=told),
            ),
        )
        for wait in waits:
            await wait
        self.watch.count("runs_total", pipeline=version.plan.slug, version=version.plan.version, status="rejected")
        self._seen(run, part.now(), "rejected")

    def _seen(self, run: RunRow, now: float, outcome: str) -> None:
        self.watch.span(
            SpanRecord(
                name=f"ingest {self.input.rsplit('.', 1)[0]}",
                trace_id=run.trace_id,
                span_id=ids.span_of(run.run_id, "ingest"),
                parent_span_id=run.parent_span,
                started_at=min(now, run.accepted_at),
                ended_at=now,
                ok=outcome == "accepted",
                attributes={"run.id": run.run_id, "run.outcome": outcome, "messaging.kafka.position": run.position},
            )
        )


@dataclass(frozen=True, slots=True)
class Door:
    """One agent of ingest."""

    topic: str
    contiguous: bool
    handle: Any

    def receive(self, record: Arrived, part: Part) -> Work | None:
        """Decide on an input record."""
        work: Work | None = self.handle(record, part)
        return work


def _unfit(identity: Identity, rules: InputRules) -> dict[str, Any] | None:
    """Why an event cannot become a run, or None."""
    if identity.problem:
        return results.ended("invalid_input", "InvalidInput", identity.problem)
    if len(identity.payload) > MAX_PAYLOAD:
        message = f"the payload has {len(identity.payload)} bytes; at most {MAX_PAYLOAD} fit"
        return results.ended("too_large", "TooLarge", message)
    try:
        rules.check(identity.payload)
    except InvalidInput as error:
        return results.ended(error.reason, "InvalidInput", str(error))
    return None


def _row(identity: Identity, record: Arrived, plan: Plan, *, position: str, stamp: int) -> RunRow:
    trace_id, parent = ids.trace_of(identity.traceparent, identity.run_id)
    key = None if record.key is None else record.key.decode("latin-1")
    return RunRow(
        run_id=identity.run_id,
        payload="",
        key=key,
        headers=headers_of(record),
        position=position,
        accepted_at=stamp / 1000,
        deadline=stamp / 1000 + plan.timeout,
        at=position,
        supplied=identity.supplied,
        attempt=identity.attempt,
        retry_of=identity.retry_of,
        trace_id=trace_id,
        parent_span=parent,
    )


def _begin(record: Arrived, run: RunRow, *, now: float, timeout: float) -> Begin:
    return Begin(
        run_id=run.run_id,
        payload=(record.value or b"").decode(),
        key=run.key,
        headers=run.headers,
        position=run.position,
        accepted_at=now,
        deadline=now + timeout,
        supplied=run.supplied,
        attempt=run.attempt,
        retry_of=run.retry_of,
        trace_id=run.trace_id,
        parent_span=run.parent_span,
    )


def _origin(record: Arrived) -> tuple[str, int]:
    position, stamp = record.header(POSITION_HEADER), record.header(STAMP_HEADER)
    return (position or record.position.encode()).decode(), int(stamp or record.timestamp_ms)


@dataclass(frozen=True, slots=True)
class Bare:
    """An ingest record as it stood on the input topic: without the headers that ingest added."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers

    @property
    def position(self) -> str:
        """`topic/partition/offset` on the ingest topic."""
        return f"{self.topic}/{self.partition}/{self.offset}"

    def header(self, name: str) -> bytes | None:
        """The first header of that name, or None."""
        return next((value for header, value in self.headers if header == name), None)


def _without_origin(record: Arrived) -> Bare:
    kept = tuple(item for item in record.headers if item[0] not in {POSITION_HEADER, STAMP_HEADER})
    return Bare(record.topic, record.partition, record.offset, record.timestamp_ms, record.key, record.value, kept)


def _letter(part: Part, topic: str, record: Arrived, headers: Headers) -> Any:
    return part.publish(topic, partition=None, key=record.key, value=record.value, headers=headers)


async def _settled(wait: Any) -> None:
    await wait
