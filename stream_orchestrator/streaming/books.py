"""The books of a pipeline: what went in, what came out, and what is on its way. Plain counting, no waiting.

Every input event owes the result of one id. That id is its own; or, when its id came before with another payload, the
id of the rejection (`<id>~<8 hex>`). Events that owe the same id are one and its duplicates.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Literal

from stream_orchestrator.kernel import ids
from stream_orchestrator.kernel.rows import STATUSES, Stub

Fate = Literal["succeeded", "degraded", "failed", "rejected", "in_flight", "lost", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An input event. `other_id` is that of its rejection, should its own be another payload's."""

    run_id: str
    payload: str
    other_id: str
    place: tuple[str, int]
    offset: int
    stamp: int

    @property
    def position(self) -> str:
        """`topic/partition/offset`."""
        return f"{self.place[0]}/{self.place[1]}/{self.offset}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What became of the events. `fates` counts ids, `lost` names them; `copies` are results beyond an id's first."""

    input: int
    duplicates: int
    fates: Counter[str]
    lost: frozenset[str]
    unknown: int = 0
    copies: int = 0
    older: int = 0

    def as_json(self) -> dict[str, int]:
        """The public form."""
        return {
            "input": self.input,
            "duplicates": self.duplicates,
            "in_flight": self.fates["in_flight"],
            **{status: self.fates[status] for status in STATUSES},
            "lost": self.fates["lost"],
        }

    def only_lost(self, before: Collection[str]) -> Account:
        """The same, where what was not lost in an earlier look is taken to be on its way."""
        lost = self.lost & frozenset(before)
        fates = Counter(self.fates)
        fates["in_flight"] += len(self.lost) - len(lost)
        fates["lost"] = len(lost)
        return replace(self, fates=fates, lost=lost)


@dataclass(slots=True)
class Books:
    """What was seen. `waiting`: positions of events that ingest has not acked. `running`: ids that have begun.
    `known`: payloads by the key of their id. `removed`: the first offset left of partitions of results that lost some.
    """

    entries: list[Entry]
    waiting: set[str] = field(default_factory=set)
    known: dict[bytes, str] = field(default_factory=dict)
    running: set[str] = field(default_factory=set)
    stubs: dict[bytes, Stub] = field(default_factory=dict)
    removed: dict[int, int] = field(default_factory=dict)
    _results: dict[str, str] = field(default_factory=dict)
    _copies: Counter[str] = field(default_factory=Counter)
    _first_left: dict[int, int] = field(default_factory=dict)  # partition of results → stamp of the first record there

    def see_result(self, run_id: str, status: str, *, partition: int, stamp: int) -> None:
        """A record of the results topic."""
        self._first_left.setdefault(partition, stamp)
        if run_id in self._results:
            self._copies[run_id] += 1
        else:
            self._results[run_id] = status

    def account(self) -> Account:
        """How the books stand."""
        owed = self._owed()
        fates = {owed_id: self._fate(owed_id, entries) for owed_id, entries in owed.items()}
        unknown = [owed_id for owed_id, fate in fates.items() if fate == "unknown"]
        not_counted = sum(len(owed[owed_id]) for owed_id in unknown)
        counted = len(self.entries) - not_counted
        return Account(
            input=counted,
            duplicates=counted - (len(fates) - len(unknown)),
            fates=Counter(fate for fate in fates.values() if fate != "unknown"),
            lost=frozenset(owed_id for owed_id, fate in fates.items() if fate == "lost"),
            unknown=not_counted,
            copies=sum(count for run_id, count in self._copies.items() if run_id in fates),
            older=len(self._results.keys() - fates.keys()),
        )

    def _owed(self) -> dict[str, list[Entry]]:
        """By the id whose result they owe, the events in the order of their time."""
        first: dict[str, str] = {}
        owed: dict[str, list[Entry]] = {}
        for entry in sorted(self.entries, key=lambda each: (each.stamp, each.place, each.offset)):
            owed.setdefault(self._owes(entry, first), []).append(entry)
        return owed

    def _owes(self, entry: Entry, first: dict[str, str]) -> str:
        """Ingest wrote down which payload an id had first. Where it did not yet, or the horizon has passed, the first
        by time was the first, unless its rejection is there.
        """
        if entry.other_id == entry.run_id:
            return entry.run_id
        payload = self.known.get(ids.run_key(entry.run_id)) or first.get(entry.run_id)
        if payload is None and entry.other_id not in self._results:
            payload = first[entry.run_id] = entry.payload
        return entry.run_id if payload == entry.payload else entry.other_id

    def _fate(self, owed_id: str, entries: list[Entry]) -> Fate:
        status = self._results.get(owed_id) or self._removed_status(owed_id)
        if status in STATUSES:
            return status  # type: ignore[return-value]  # the four statuses are fates
        if owed_id in self.running or any(entry.position in self.waiting for entry in entries):
            return "in_flight"
        return "unknown" if entries[0].stamp <= self._blind_until() else "lost"

    def _removed_status(self, owed_id: str) -> str | None:
        """What the stub of a run says of a result that retention has removed since."""
        stub = self.stubs.get(ids.run_key(owed_id))
        gone = stub is not None and stub.offset < self.removed.get(stub.partition, 0)
        return stub.status if stub is not None and gone else None

    def _blind_until(self) -> float:
        """Results of events up to this time may have been removed: they stood before the first that is left."""
        return max((self._first_left.get(partition, float("inf")) for partition in self.removed), default=-1)
