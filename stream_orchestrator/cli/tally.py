"""Which results are owed for what was sent, and which have come. Plain counting, no waiting.

Promises
  * A run is counted once, however many copies of its result or of its event there are; results of others never count.
  * Of events with one id and different payloads one is the run and each other a rejection with an id of its own
    (`<run id>~<8 hex>`), whichever of them the broker saw first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import orjson

from stream_orchestrator.cli.reasons import Reasons
from stream_orchestrator.cli.sending import Sent
from stream_orchestrator.kernel.ids import sha256
from stream_orchestrator.streaming.records import Record

STATUSES = ("succeeded", "degraded", "failed", "rejected")


@dataclass(slots=True)
class Tally:
    """What was sent and what came back."""

    sent: int = 0
    duplicates: int = 0
    usd: float = 0.0
    statuses: Counter[str] = field(default_factory=Counter)
    reasons: Reasons = field(default_factory=Reasons)
    _payloads: dict[str, set[str]] = field(default_factory=dict)
    _owner: dict[str, str] = field(default_factory=dict)  # an id that a result may have → the run id that was sent
    _early: dict[str, Record] = field(default_factory=dict)  # came before we knew that it is ours
    _had: dict[str, set[str]] = field(default_factory=dict)  # the ids of the results of a run id
    _complete: bool = False

    @property
    def owed(self) -> int:
        """Results that there must be, for all that was sent so far."""
        return sum(len(payloads) for payloads in self._payloads.values())

    @property
    def come(self) -> int:
        """Results that are there."""
        return self.statuses.total()

    def send(self, sent: Iterable[Sent]) -> list[Record]:
        """Take note of what was sent; gives the results of it that have come already."""
        for each in sent:
            self._note(each)
        found = [record for run_id, record in self._early.items() if run_id in self._owner]
        for record in found:
            del self._early[_run_id(record)]
        return [record for record in found if self._count(record)]

    def complete(self) -> None:
        """Everything was sent: what is unknown from now on is another's."""
        self._complete = True
        self._early.clear()

    def receive(self, records: Iterable[Record]) -> Iterator[Record]:
        """Take note of records of the results topic; gives those that are results of ours, each run's first."""
        for record in records:
            run_id = _run_id(record)
            if run_id in self._owner:
                if self._count(record):
                    yield record
            elif not self._complete:
                self._early.setdefault(run_id, record)

    def missing(self) -> list[str]:
        """The run ids that have not all of their results."""
        return [run_id for run_id, payloads in self._payloads.items() if len(self._had.get(run_id, ())) < len(payloads)]

    def _note(self, sent: Sent) -> None:
        self.sent += 1
        payload = sha256(sent.payload)
        payloads = self._payloads.setdefault(sent.run_id, set())
        if payload in payloads:
            self.duplicates += 1
            return
        payloads.add(payload)
        self._owner[sent.run_id] = sent.run_id
        if len(payloads) > 1:
            self._owner |= {f"{sent.run_id}~{each[:8]}": sent.run_id for each in payloads}

    def _count(self, record: Record) -> bool:
        run_id = _run_id(record)
        had = self._had.setdefault(self._owner[run_id], set())
        if run_id in had:
            return False
        had.add(run_id)
        self.statuses[(record.header("status") or b"").decode()] += 1
        self.usd += _usd(record)
        self.reasons.note(record)
        return True


def _run_id(record: Record) -> str:
    return (record.header("run-id") or b"").decode(errors="replace")


def _usd(record: Record) -> float:
    try:
        return float(orjson.loads(record.value or b"")["cost"]["usd"])
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        return 0.0
