"""Why runs ended badly, in a few lines: what `run` says when it is done and not all is well.

Promises
  * Every result that is `failed` or `rejected` is counted under one reason, however many there are.
  * The most frequent reasons come first, each with a run to look at; what is left out is counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from stream_orchestrator.streaming.records import Record

BAD = ("failed", "rejected")
SHOWN = 5  # reasons
LONGEST = 300  # of a message, in characters
Reason = tuple[str, str, str]  # status, task, message


@dataclass(slots=True)
class Reasons:
    """Fills as results come."""

    _counts: Counter[Reason] = field(default_factory=Counter)
    _examples: dict[Reason, str] = field(default_factory=dict)

    def note(self, record: Record) -> None:
        """Take note of a result; only bad ones count."""
        status = (record.header("status") or b"").decode(errors="replace")
        if status not in BAD:
            return
        error = _error(record.value)
        reason = (status, str(error.get("task") or ""), _said(error))
        self._counts[reason] += 1
        self._examples.setdefault(reason, (record.header("run-id") or b"").decode(errors="replace"))

    def lines(self) -> Iterator[str]:
        """One line a reason."""
        ranked = self._counts.most_common()
        for reason, count in ranked[:SHOWN]:
            status, task, said = reason
            place = f" in `{task}`" if task else ""
            yield f"{count} {status}{place}: {said} (run {self._examples[reason]})"
        if rest := ranked[SHOWN:]:
            yield f"{sum(count for _, count in rest)} more, for {len(rest)} other reasons"


def _error(value: bytes | None) -> dict[str, Any]:
    try:
        error = orjson.loads(value or b"")["error"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return {}
    return error if isinstance(error, dict) else {}


def _said(error: dict[str, Any]) -> str:
    message, kind = str(error.get("message") or ""), str(error.get("type") or "")
    said = message or kind or "no reason was given"
    if kind and kind not in said:
        said = f"{kind}: {said}"
    return said if len(said) <= LONGEST else said[: LONGEST - 3] + "..."
