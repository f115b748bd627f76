"""The owner of state: it folds what scripts and steps wrote into the table that every worker has a copy of.

Promises
  * A record's slot is done when its rows are durable. The same event again changes nothing.
  * What a namespace has no room for is refused, counted (`state_refused_total`) and logged; caches make room instead.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from stream_orchestrator.kernel import breaker, state
from stream_orchestrator.kernel.breaker import BreakerRow, Signal
from stream_orchestrator.kernel.events import Undecodable
from stream_orchestrator.kernel.inbox import ended_by, internal_letter
from stream_orchestrator.kernel.ports import Arrived, Part, Work
from stream_orchestrator.kernel.state import CACHES, KNOWN_SECONDS, Seen, ValueRow, Write
from stream_orchestrator.kernel.watch import Blind, Watch

log = logging.getLogger(__name__)

SPARE = 32  # the share of a cache that is freed at once when it is full: one in so many bytes
Namespace = tuple[str, str]


@dataclass(slots=True)
class Ledger:
    """What each namespace of one partition holds: bytes by row, and in all."""

    sizes: dict[Namespace, dict[bytes, int]] = field(default_factory=dict)
    totals: dict[Namespace, int] = field(default_factory=dict)

    def set(self, row: ValueRow, key: bytes) -> None:
        """A value is there."""
        namespace = (row.kind, row.namespace)
        held = self.sizes.setdefault(namespace, {})
        self.totals[namespace] = self.totals.get(namespace, 0) + row.size - held.get(key, 0)
        held[key] = row.size

    def drop(self, row: ValueRow, key: bytes) -> None:
        """A value is gone."""
        namespace = (row.kind, row.namespace)
        held = self.sizes.get(namespace, {})
        self.totals[namespace] = self.totals.get(namespace, 0) - held.pop(key, 0)
        if not held:
            self.sizes.pop(namespace, None)
            self.totals.pop(namespace, None)

    def used(self, namespace: Namespace, *, without: bytes = b"") -> int:
        """Bytes of a namespace; `without` one of its rows."""
        return self.totals.get(namespace, 0) - self.sizes.get(namespace, {}).get(without, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class StateOwner:
    """The agent of the state topic, and what wakes its rows."""

    topic: str
    letters: str
    watch: Watch = field(default_factory=Blind)
    contiguous: bool = True
    _ledgers: dict[int, tuple[Any, Ledger]] = field(default_factory=dict)

    def receive(self, record: Arrived, part: Part) -> Work | None:
        """A write, or a signal to a breaker."""
        try:
            event = state.decode_event(record.value)
        except Undecodable as error:
            return internal_letter(self.letters, record, part, error)
        seen = state.seen_key(event.id)
        if part.get(seen) is not None:
            self.watch.count("state_events_again_total")
            return None
        waits = self._write(part, event) if isinstance(event, Write) else self._signal(part, event)
        part.set(seen, Seen(part.now() + KNOWN_SECONDS))
        # In one lane, the value first: a crash between them does the same write again, and nothing came after it.
        return ended_by(*waits, part.write(seen))

    def on_due(self, part: Part, key: bytes) -> Work | None:
        """A row's time has come."""
        row = part.get(key)
        when = None if row is None else state.due(row)
        if when is None or when > part.now():
            return None
        return ended_by(self._delete(part, key))

    def on_recovered(self, part: Part) -> Work | None:
        """The sizes of its namespaces, from its rows."""
        ledger = Ledger()
        for key in list(part.keys()):
            row = part.get(key)
            if isinstance(row, ValueRow):
                ledger.set(row, key)
        self._ledgers[part.number] = (part, ledger)
        return None

    # --- steps ---------------------------------------------------------------------------------------------------

    def _ledger(self, part: Part) -> Ledger:
        known = self._ledgers.get(part.number)
        if known is None or known[0] is not part:
            self.on_recovered(part)
        return self._ledgers[part.number][1]

    def _write(self, part: Part, write: Write) -> list[Any]:
        key = write.row
        if write.gone:
            return [self._delete(part, key)]
        row = ValueRow(
            kind=write.kind,
            namespace=write.namespace,
            key=write.key,
            value=write.value,
            expires=write.expires,
            by=write.by,
            at=round(part.now(), 3),
        )
        ledger, namespace = self._ledger(part), (write.kind, write.namespace)
        over = ledger.used(namespace, without=key) + row.size - write.room
        # Some more than is asked for: a cache that is full stays full, and its rows are not sorted for every write.
        more = over + write.room // SPARE
        waits = [] if over <= 0 or write.kind not in CACHES else self._make_room(part, namespace, more, spare=key)
        if ledger.used(namespace, without=key) + row.size > write.room:
            self.watch.count("state_refused_total", kind=write.kind)
            log.error(
                "%s state %r of %r is full: %r, written by run %s, is not kept",
                *(write.kind, write.namespace, write.room, write.key, write.by),
            )
            return waits
        part.set(key, row)
        ledger.set(row, key)
        return [*waits, part.write(key)]

    def _make_room(self, part: Part, namespace: Namespace, over: int, *, spare: bytes) -> list[Any]:
        """Drop what expires first."""
        held = self._ledger(part).sizes.get(namespace, {})
        rows = sorted((_expiry(part.get(key)), key) for key in held if key != spare)
        waits = []
        for _, key in rows:
            if over <= 0:
                break
            over -= held.get(key, 0)
            waits.append(self._delete(part, key))
        return waits

    def _delete(self, part: Part, key: bytes) -> Any:
        row = part.get(key)
        if isinstance(row, ValueRow):
            self._ledger(part).drop(row, key)
        return None if row is None else part.delete(key)

    def _signal(self, part: Part, signal: Signal) -> list[Any]:
        key = state.breaker_key(signal.pipeline, signal.name)
        row = part.get(key) or BreakerRow(pipeline=signal.pipeline, name=signal.name)
        now = part.now()
        after = breaker.take(row, signal, now=now)
        if after == row or row.last == signal.id:
            return []
        after = replace(after, last=signal.id)
        if bool(after.opened_at) != bool(row.opened_at):
            log.warning("breaker %s of %s is %s", signal.name, signal.pipeline, after.state(now))
            self.watch.count(
                "breaker_changes_total", pipeline=signal.pipeline, breaker=signal.name, to=after.state(now)
            )
        if after.healthy:
            return [part.delete(key)]  # closed and nothing to remember: no row says so
        part.set(key, after)
        return [part.write(key)]


def _expiry(row: Any) -> float:
    return row.expires if isinstance(row, ValueRow) and row.expires else float("inf")
