"""Dead letters as people see them, and which of them may run again under which id. Plain data, no broker.

Promises
  * A letter that was published twice is one letter: the first of its run id.
  * A run starts again under the next free `<root>#n`, n from 2 to 6, counted over everything that any topic has seen.
  * Without being named, only the latest letter of a root starts again, and only while no redrive of it is under way or
    has succeeded: the same command twice does not do the work twice.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from stream_orchestrator.kernel.ids import sha256
from stream_orchestrator.streaming.client import Outgoing
from stream_orchestrator.streaming.records import Record

FIRST, LAST = 2, 6
OURS = frozenset(
    {
        *("dlq-reason", "dlq-message", "dlq-task", "dlq-attempts", "dlq-topic", "dlq-partition", "dlq-offset"),
        *("run-id", "redrive-of"),
    }
)


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead letter. Its own headers are the last of their name: a producer may have sent the same names before."""

    record: Record

    def told(self, name: str) -> str:
        """What a header of ours says; empty when it is not there."""
        found = [value for header, value in self.record.headers if header == name]
        return found[-1].decode(errors="replace") if found else ""

    @property
    def id(self) -> str:
        """Its place on the dead letter topic."""
        return f"{self.record.partition}/{self.record.offset}"

    @property
    def run_id(self) -> str:
        """The run that ended with it."""
        return self.told("run-id")

    @property
    def root(self) -> str:
        """The run that it all began with."""
        return root_of(self.run_id)

    def to_json(self) -> dict[str, Any]:
        """The public form. `topic`, `partition` and `offset` say where the original stood."""
        value = self.record.value or b""
        return {
            "id": self.id,
            "run_id": self.run_id,
            "task": self.told("dlq-task"),
            "reason": self.told("dlq-reason"),
            "message": self.told("dlq-message"),
            "attempts": _number(self.told("dlq-attempts")),
            "topic": self.told("dlq-topic"),
            "partition": _number(self.told("dlq-partition")),
            "offset": _number(self.told("dlq-offset")),
            "bytes": len(value),
            "sha256": sha256(value),
        }

    @property
    def ours(self) -> tuple[tuple[str, bytes], ...]:
        """What we said about it."""
        return tuple((name, self.told(name).encode()) for name in sorted(OURS) if self.told(name))

    @property
    def is_reference(self) -> bool:
        """Whether it says where the original stands, instead of what it was."""
        try:
            place = orjson.loads(self.record.value or b"")["reference"]
            stands = (place["topic"], str(place["partition"]), str(place["offset"]))
        except (ValueError, KeyError, TypeError):
            return False
        return stands == (self.told("dlq-topic"), self.told("dlq-partition"), self.told("dlq-offset"))

    def again(self, number: int, *, payload: bytes | None = None) -> Outgoing:
        """The record that starts it again: the original one, or with a mended payload, under the next id."""
        kept = tuple((name, value) for name, value in self.record.headers if name not in OURS)
        named = (("run-id", f"{self.root}#{number}".encode()), ("redrive-of", self.root.encode()))
        value = self.record.value if payload is None else payload
        return Outgoing(value, key=self.record.key, headers=(*kept, *named))


@dataclass(frozen=True, slots=True)
class Redrive:
    """A letter's fate: it starts again as `<root>#number`, or it cannot (`refused`), or need not (`skipped`)."""

    letter: Letter
    number: int = 0
    refused: str = ""
    skipped: str = ""

    @property
    def starts(self) -> bool:
        """Whether there is a new run."""
        return not (self.refused or self.skipped)

    @property
    def run_id(self) -> str:
        """The id of the new run; empty when there is none."""
        return f"{self.letter.root}#{self.number}" if self.starts else ""


@dataclass(slots=True)
class Attempts:
    """Which ids of a root are taken, and which of them have ended how."""

    _taken: dict[str, set[int]] = field(default_factory=dict)
    _statuses: dict[str, str] = field(default_factory=dict)

    def saw(self, run_id: str, status: str = "") -> None:
        """An id that stands on a topic, with the status of its result if that is one."""
        self._taken.setdefault(root_of(run_id), set()).add(_attempt(run_id))
        if status:
            self._statuses[run_id] = status

    def took(self, root: str, number: int) -> None:
        """An id that we give away now."""
        self._taken.setdefault(root, set()).add(number)

    def next(self, root: str) -> int:
        """The next free number of a root."""
        return max(self._taken.get(root, {1}), default=1) + 1

    def latest(self, root: str) -> tuple[str, str]:
        """The newest run of a root and the status of its result (empty: it has none yet)."""
        number = self.next(root) - 1
        run_id = root if number < FIRST else f"{root}#{number}"
        return run_id, self._statuses.get(run_id, "")


def letters_of(records: Iterable[Record]) -> list[Letter]:
    """The letters of a topic, in the order in which they came."""
    ordered = sorted(records, key=lambda record: (record.timestamp_ms, record.partition, record.offset))
    found: dict[str, Letter] = {}
    for record in ordered:
        letter = Letter(record)
        found.setdefault(letter.run_id or letter.id, letter)
    return list(found.values())


def chosen(letters: Sequence[Letter], *, ids: Collection[str] = (), reasons: Collection[str] = ()) -> list[Letter]:
    """Those with one of these ids (of the letter or of its run) and one of these reasons; none given: all."""
    named = [letter for letter in letters if not ids or letter.id in ids or letter.run_id in ids]
    return [letter for letter in named if not reasons or letter.told("dlq-reason") in reasons]


def redrives(letters: Sequence[Letter], attempts: Attempts, *, named: bool) -> list[Redrive]:
    """What becomes of each letter. `named`: the user asked for these very letters."""
    decided = []
    for letter in letters:
        made = Redrive(
            letter,
            number=attempts.next(letter.root),
            refused=_refusal(letter, attempts),
            skipped="" if named else _needless(letter, attempts),
        )
        if made.starts:
            attempts.took(letter.root, made.number)
        decided.append(made)
    return decided


def root_of(run_id: str) -> str:
    """The run that a redrive mends: what stands before `#`."""
    return run_id.rpartition("#")[0] or run_id


def _refusal(letter: Letter, attempts: Attempts) -> str:
    if not letter.run_id:
        return "it carries no run id, so it is not a dead letter of ours"
    if "~" in letter.root:
        return "its run id was taken by another payload; send it again under a run id of its own"
    if attempts.next(letter.root) > LAST:
        return f"it was redriven {LAST - FIRST + 1} times, up to #{LAST}; send it again under a new run id"
    return ""


def _needless(letter: Letter, attempts: Attempts) -> str:
    latest, status = attempts.latest(letter.root)
    if latest == letter.run_id:
        return ""
    ended = f"is {status}" if status else "has no result yet"
    return f"it was redriven as {latest}, which {ended}"


def _attempt(run_id: str) -> int:
    number = run_id.rpartition("#")[2]
    return int(number) if "#" in run_id and number.isdecimal() else 1


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else 0
