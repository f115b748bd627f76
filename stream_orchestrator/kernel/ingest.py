"""Ingest: an event on the input topic becomes a run, or a rejection. It belongs to the pipeline, not to a version.

Promises
  * One acknowledged input record is one run, whatever is redelivered: its id is the producer's, the CloudEvent's, or
    its position's. Copies of an id meet in one partition of `<pipeline>.ingest`, where its row says what it was and
    which version it began with.
  * A partition goes over to another version at one offset, written down before the first record that uses it: a record
    read twice begins with the same version twice.
  * A broken record is a `rejected` result and a dead letter with its bytes untouched; both are the same in every copy.
"""

from __future__ import annotations

import asyncio
from asyncio import Future
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import orjson

from stream_orchestrator.kernel import audit, ids, results
from stream_orchestrator.kernel.bringing import HEADER as FILES_HEADER
from stream_orchestrator.kernel.bringing import Bring, Brought, judged, nothing_brings
from stream_orchestrator.kernel.events import Begin, encode
from stream_orchestrator.kernel.identity import Identity, headers_of, payload_of, read
from stream_orchestrator.kernel.inbox import ended_by, together
from stream_orchestrator.kernel.ingest_rows import Codec, KnownId, Switches
from stream_orchestrator.kernel.limits import MAX_RECORD, MIB, excerpt
from stream_orchestrator.kernel.ports import Arrived, Part
from stream_orchestrator.kernel.privacy import HEADER as VERDICT_HEADER
from stream_orchestrator.kernel.privacy import Verdict, reference, shielded
from stream_orchestrator.kernel.rows import RunRow, Transition
from stream_orchestrator.kernel.watch import Blind, SpanRecord, Watch
from stream_orchestrator.kernel.wires import Headers, letter_headers, result_headers
from stream_orchestrator.plan.model import Plan
from stream_orchestrator.spec.inputs import InputRules, InvalidInput

Work = Coroutine[Any, Any, None]
EndOf = Callable[[str, int], Awaitable[int]]
POSITION_HEADER, STAMP_HEADER = "so-position", "so-timestamp"
VERSIONS_KEY = b"v"
MAX_CARRIED = MIB  # bytes of headers that a rejection still carries along

__all__ = ["Codec", "Door", "Ingest", "Version", "Versions", "fits", "origin_of"]


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
    bring: Bring = nothing_brings
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
        record = _plain(record)
        identity = read(record, record.position)
        seen = Seen(identity, record, record.position, record.timestamp_ms)
        fits = _size(record) <= MAX_RECORD
        if identity.supplied and fits:
            seen = _shielded(seen, self.versions.active())
            verdict = ((VERDICT_HEADER, seen.verdict.encode()),) if seen.verdict else ()
            return self._to_ingest(seen, part, *verdict)
        version = self._version(record, part)
        seen = _shielded(seen, version)
        brings = version.rules.has_files and fits
        return self._for_its_files(seen, part) if brings else self._admit(seen, part, version)

    def from_ingest(self, record: Arrived, part: Part) -> Work | None:
        """A record with an id of its own, where all its copies come."""
        bare, position, stamp, brought, verdict = _as_sent(record)
        seen = Seen(read(bare, position), bare, position, stamp, verdict)
        known = self._known(seen, part)
        pinned = self.versions.get(known.version)
        digests = {_digest(seen.identity)}
        if pinned is not None and verdict is None:
            seen = _shielded(seen, pinned)
            digests.add(_digest(seen.identity))
        if known.payload not in digests:
            return self._conflict(seen, part)
        if pinned is None:
            error = results.ended("unknown_version", "UnknownVersion", f"version {known.version} is no longer deployed")
            return self._reject(seen.as_first(known), part, self.versions.active(), error=error)
        if pinned.rules.has_files:
            return self._with_files(seen, part, pinned, record.position, known=known, brought=brought)
        return self._admit(seen.as_first(known), part, pinned, home=known.home)

    def _with_files(
        self, seen: Seen, part: Part, version: Version, at: str, *, known: KnownId, brought: Brought | None
    ) -> Work | None:
        """See `kernel.bringing`. `at` is where the record stands on the ingest topic."""
        if brought is None and not known.brought and version.rules.to_bring(seen.identity.payload):
            return self._bring(seen, part, version)
        if brought is not None and known.brought not in ("", at):
            return None  # said again after a crash: what was said first is what counts
        if brought is not None and not known.brought:
            known = replace(known, brought=at, refused=brought.refused)
            self._remember(part, ids.run_key(seen.identity.run_id), known)
        first = seen.as_first(known)
        if known.refused is not None:
            return self._reject(first, part, version, error=known.refused)
        if brought is None and known.brought:
            # A copy: its run has begun, or will, with the record that has its files. A producer's copy is answered.
            return self._admit(first, part, version, home=known.home, files={}) if first.identity.supplied else None
        return self._admit(first, part, version, home=known.home, files=brought.files if brought else None)

    def on_due(self, part: Part, key: bytes) -> Work | None:
        """An id has passed its horizon."""
        row = part.get(key)
        if not isinstance(row, KnownId) or row.expires > part.now():
            return None
        gone = part.delete(key)
        return None if gone is None else ended_by(gone)

    async def on_recovered(self, part: Part) -> None:
        """A partition of the input is ours: remember where its records end that an earlier owner may have admitted."""
        self._untouched_from[part.number] = await self.end_of(self.input, part.number)

    # --- steps ---------------------------------------------------------------------------------------------------

    async def _to_ingest(self, seen: Seen, part: Part, *more: tuple[str, bytes]) -> None:
        record = seen.record
        origin = ((POSITION_HEADER, seen.position.encode()), (STAMP_HEADER, str(seen.stamp).encode()))
        await part.publish(
            self.ingest,
            partition=ids.partition_of(seen.identity.run_id, self.ingest_partitions),
            key=record.key,
            value=record.value,
            headers=(*record.headers, *origin, *more),
        )

    async def _for_its_files(self, seen: Seen, part: Part) -> None:
        await self._decided(seen, part)  # read again, it must take the same way
        await self._to_ingest(seen, part)

    async def _bring(self, seen: Seen, part: Part, version: Version) -> None:
        rules, payload = version.rules, seen.identity.payload
        brought = judged(rules, payload, await self.bring(rules, payload))
        begin = _begin(seen.record, _row(seen, version.plan), now=0.0, timeout=0.0, files=brought.files)
        brought = Brought(refused=too_large) if (too_large := _too_large(len(begin))) else brought
        header, value = brought.before(seen.record.value or b"")
        await self._to_ingest(replace(seen, record=replace(seen.record, value=value)), part, (FILES_HEADER, header))

    def _version(self, record: Arrived, part: Part) -> Version:
        """The version a record without an id begins with. It goes over to a new one only past every record that may
        have been admitted before, by us or by an earlier owner: such a record begins with the same version again.
        """
        active = self.versions.active()
        switches: Switches | None = part.get(VERSIONS_KEY)
        if switches is None:
            self._remember(part, VERSIONS_KEY, Switches(((record.offset, active.id),)))
            return active
        untouched = record.offset >= self._untouched_from.get(part.number, 0)
        self._untouched_from[part.number] = max(self._untouched_from.get(part.number, 0), record.offset + 1)
        if untouched and switches.entries[-1][1] != active.id:
            self._remember(part, VERSIONS_KEY, switches.over_to(record.offset, active.id))
            return active
        return self.versions.get(switches.at(record.offset)) or active

    def _remember(self, part: Part, key: bytes, row: KnownId | Switches) -> None:
        """Set a row and begin to write it; who relies on it waits in `_decided`, so that a crash cannot decide anew."""
        part.set(key, row)
        writing = self._writing[id(part), key] = part.write(key)
        writing.add_done_callback(lambda done: self._written((id(part), key), done))

    def _written(self, where: tuple[int, bytes], done: Future[Any]) -> None:
        if self._writing.get(where) is done:  # a later write of the same row is still to be waited for
            del self._writing[where]

    def _known(self, seen: Seen, part: Part) -> KnownId:
        """What is remembered of this id; from now on, when it is new."""
        key = ids.run_key(seen.identity.run_id)
        known: KnownId | None = part.get(key)
        if known is None:
            active = self.versions.active()
            known = KnownId(
                payload=_digest(seen.identity),
                version=active.id,
                position=seen.position,
                stamp=seen.stamp,
                expires=part.now() + self.horizon_seconds,
                traceparent=seen.identity.traceparent,
                home=seen.home(active.partitions),
            )
            self._remember(part, key, known)
        return known

    async def _admit(
        self,
        seen: Seen,
        part: Part,
        version: Version,
        *,
        home: int | None = None,
        files: Mapping[str, str] | None = None,
    ) -> None:
        """Begin a run. With `files` the event was judged when they were brought."""
        identity, record = seen.identity, seen.record
        run = _row(seen, version.plan)
        begin = _begin(record, run, now=part.now(), timeout=version.plan.timeout, files=files or {})
        was_judged = files is not None
        error = None if was_judged else _judged(seen, version) or _too_large(len(begin))
        if error is not None:
            await self._reject(seen, part, version, error=error)
            return
        await self._decided(seen, part)
        home = seen.home(version.partitions) if home is None else home
        headers = (("run-id", identity.run_id.encode()),)
        await part.publish(
            version.start_inbox, partition=home, key=identity.run_id.encode(), value=begin, headers=headers
        )
        self._seen(version.plan, run, part.now(), "accepted")

    async def _decided(self, seen: Seen, part: Part) -> None:
        """Whatever was decided for this record is durable: read again after a crash, it is decided the same."""
        for key in (ids.run_key(seen.identity.run_id), VERSIONS_KEY):
            writing = self._writing.get((id(part), key))
            if writing is not None:
                await asyncio.shield(writing)

    def _conflict(self, seen: Seen, part: Part) -> Work:
        """The id came before with another payload. The rejection has an id of its own, remembered like any other."""
        first = seen.identity.run_id
        other = f"{first}~{ids.sha256(seen.identity.payload)[:8]}"
        named = replace(seen, identity=replace(seen.identity, run_id=other, attempt=1, retry_of=None))
        known = self._known(named, part)
        error = results.ended("run_id_conflict", "RunIdConflict", f"run id {first!r} came before with another payload")
        version = self.versions.get(known.version) or self.versions.active()
        return self._reject(named.as_first(known), part, version, error=error, more={"conflicts_with": first})

    async def _reject(
        self, seen: Seen, part: Part, version: Version, *, error: dict[str, Any], more: dict[str, Any] | None = None
    ) -> None:
        """Every time in the result is the record's own: a copy of a rejection has the same bytes."""
        await self._decided(seen, part)
        record, run = seen.record, _row(seen, version.plan)
        outcome = results.rejected(version.plan, run, error, seen.stamp / 1000, **(more or {}))
        told = tuple(
            Transition(kind, run.attempt, details, task="ingest")
            for kind, details in (
                ("rejected", {"reason": error["reason"], "message": error["message"][:500]}),
                ("dead_lettered", {"reason": error["reason"]}),
                ("result", {"status": "rejected"}),
            )
        )
        now, at = seen.stamp / 1000, seen.position
        carried = run.headers if _size_of(record.headers) <= MAX_CARRIED else ()
        headers = result_headers(version.plan.slug, run.run_id, "rejected", trace_id=run.trace_id, carried=carried)
        about = audit.record(version.plan, run, at, now=now, transitions=told)
        await together(
            part.publish(self.results, partition=None, key=record.key, value=outcome.result.encode(), headers=headers),
            self._letter(seen, part, run, version=version, letter=outcome.letter or {}),
            part.publish(self.audit, partition=None, key=run.run_id.encode(), value=about),
        )
        self.watch.count("runs_total", pipeline=version.plan.slug, version=version.plan.version, status="rejected")
        self._seen(version.plan, run, part.now(), "rejected")

    def _letter(self, seen: Seen, part: Part, run: RunRow, *, version: Version, letter: dict[str, str]) -> Future[Any]:
        """The record as it came; one that is too large to be copied, or must not be, is referred to."""
        record = seen.record
        if version.rules.anonymize:
            headers = letter_headers(run.run_id, seen.position, (), letter)
            return part.publish(
                self.dlq, partition=None, key=record.key, value=reference(seen.position), headers=headers
            )
        if _size(record) <= MAX_RECORD:
            headers = letter_headers(run.run_id, seen.position, run.headers, letter)
            return part.publish(self.dlq, partition=None, key=record.key, value=record.value, headers=headers)
        headers = letter_headers(run.run_id, seen.position, (), letter)
        key = record.key if len(record.key or b"") <= MAX_CARRIED else None
        return part.publish(self.dlq, partition=None, key=key, value=_reference(seen), headers=headers)

    def _seen(self, plan: Plan, run: RunRow, now: float, outcome: str) -> None:
        self.watch.span(
            SpanRecord(
                name=f"ingest {plan.slug}",
                trace_id=run.trace_id,
                span_id=ids.span_of(plan.slug, run.run_id, "ingest"),
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


@dataclass(frozen=True, slots=True)
class Seen:
    """An input record, named: who it is, as it was sent, where it stood on the input topic, and its timestamp."""

    identity: Identity
    record: Bare
    position: str
    stamp: int
    verdict: Verdict | None = None

    def home(self, partitions: int) -> int:
        """The partition where a run of this record would live: by its key, else by its id."""
        key = self.record.key
        return ids.partition_of(self.identity.run_id if key is None else key, partitions)

    def as_first(self, known: KnownId) -> Seen:
        """A copy as its first was: what is made of it has the same bytes."""
        identity = replace(self.identity, traceparent=known.traceparent)
        return replace(self, identity=identity, position=known.position, stamp=known.stamp)


def _shielded(seen: Seen, version: Version) -> Seen:
    """The record as a pipeline that anonymises lets it in; see `kernel.privacy`."""
    if not version.rules.anonymize:
        return seen
    verdict = Verdict(version=version.id, error=_unfit(seen.identity, version.rules, size=_size(seen.record)))
    value = shielded(seen.record.value or b"")
    identity = replace(seen.identity, payload=payload_of(value))
    return replace(seen, identity=identity, record=replace(seen.record, value=value), verdict=verdict)


def _judged(seen: Seen, version: Version) -> dict[str, Any] | None:
    """Why this event cannot become a run, or None: what was said of it as it came, where it was."""
    if seen.verdict is not None and seen.verdict.version == version.id:
        return seen.verdict.error
    return _unfit(seen.identity, version.rules, size=_size(seen.record))


def _unfit(identity: Identity, rules: InputRules, *, size: int) -> dict[str, Any] | None:
    """Why an event cannot become a run, or None."""
    if identity.problem:
        return results.ended("invalid_input", "InvalidInput", identity.problem)
    too_large = _too_large(size)
    if too_large is not None:
        return too_large
    try:
        rules.check(identity.payload)
    except InvalidInput as error:
        return results.ended(error.reason, "InvalidInput", excerpt(str(error)))
    return None


def _too_large(size: int) -> dict[str, Any] | None:
    if size <= MAX_RECORD:
        return None
    message = f"the event has {size:,} bytes as it is kept (payload, key and headers); at most {MAX_RECORD:,} fit"
    return results.ended("too_large", "TooLarge", message)


def _row(seen: Seen, plan: Plan) -> RunRow:
    identity, record, accepted = seen.identity, seen.record, seen.stamp / 1000
    trace_id, parent = ids.trace_of(identity.traceparent, plan.slug, identity.run_id)
    return RunRow(
        run_id=identity.run_id,
        payload="",
        key=None if record.key is None else record.key.decode("latin-1"),
        headers=headers_of(record),
        position=seen.position,
        accepted_at=accepted,
        deadline=accepted + plan.timeout,
        at=seen.position,
        supplied=identity.supplied,
        attempt=identity.attempt,
        retry_of=identity.retry_of,
        trace_id=trace_id,
        parent_span=parent,
    )


def _begin(record: Bare, run: RunRow, *, now: float, timeout: float, files: Mapping[str, str]) -> bytes:
    """The run on its way to its home. A record that is no text is no run, whatever becomes of it here."""
    begin = Begin(
        run_id=run.run_id,
        payload=(record.value or b"").decode(errors="replace"),
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
        files=dict(files),
    )
    return encode(begin)


def _digest(identity: Identity) -> str:
    return ids.digest(identity.payload).hex()


def _reference(seen: Seen) -> bytes:
    value = seen.record.value or b""
    topic, partition, offset = seen.position.rsplit("/", 2)
    place = {"topic": topic, "partition": int(partition), "offset": int(offset)}
    return orjson.dumps({"reference": {**place, "bytes": len(value), "sha256": ids.sha256(value)}})


def _size(record: Arrived) -> int:
    return len(record.value or b"") + len(record.key or b"") + _size_of(record.headers)


def _size_of(headers: Headers) -> int:
    return sum(len(name) + len(value or b"") + 16 for name, value in headers)


@dataclass(frozen=True, slots=True)
class Bare:
    """A record as its producer sent it: without the headers that ingest added, and with no header that is null."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers

    @property
    def position(self) -> str:
        """`topic/partition/offset`, where it was read."""
        return f"{self.topic}/{self.partition}/{self.offset}"

    def header(self, name: str) -> bytes | None:
        """The first header of that name, or None."""
        return next((value for header, value in self.headers if header == name), None)


def origin_of(record: Arrived) -> str:
    """Where a record of the ingest topic stood on the input topic."""
    return _as_sent(record)[1]


def fits(record: Arrived) -> bool:
    """Whether an input record is small enough to become a run; one that is not never comes to the ingest topic."""
    return _size(record) <= MAX_RECORD


def _plain(record: Arrived) -> Bare:
    headers = tuple((name, value or b"") for name, value in record.headers)  # Kafka has null headers; we have none
    return Bare(record.topic, record.partition, record.offset, record.timestamp_ms, record.key, record.value, headers)


def _as_sent(record: Arrived) -> tuple[Bare, str, int, Brought | None, Verdict | None]:
    """A record of the ingest topic as it was on the input topic; its last headers say where that was, when, and what
    came of its files, or of its rules.
    """
    bare = _plain(record)
    last, told = bare.headers[-1] if bare.headers else ("", b"")
    more = last in (FILES_HEADER, VERDICT_HEADER)
    origin = bare.headers[-3:-1] if more else bare.headers[-2:]
    if [name for name, _ in origin] != [POSITION_HEADER, STAMP_HEADER]:
        # Somebody wrote to the ingest topic: a record like any other.
        return bare, record.position, record.timestamp_ms, None, None
    (_, position), (_, stamp) = origin
    bare = replace(bare, headers=bare.headers[: -3 if more else -2])
    try:
        where, at = _position(position.decode()), int(stamp)
        if last == FILES_HEADER:
            brought, value = Brought.apart(told, bare.value or b"")
            return replace(bare, value=value), where, at, brought, None
        return bare, where, at, None, Verdict.decode(told) if last == VERDICT_HEADER else None
    except (ValueError, TypeError):
        return bare, record.position, record.timestamp_ms, None, None


def _position(text: str) -> str:
    _, partition, offset = text.rsplit("/", 2)
    int(partition), int(offset)
    return text
