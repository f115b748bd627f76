"""Runs of other pipelines: an event goes to the input topic of one, and its result comes back as an item's end.

The event carries the way back in a header, which the other pipeline carries along to its result, as it does with every
header that it does not know. Whoever reads its results topic for us follows the way; a way to somebody else's inbox, or
one that nobody of ours wrote, is passed over.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import orjson
from msgspec import Struct

from stream_orchestrator.kernel import events, ids
from stream_orchestrator.kernel.events import Ended, Report
from stream_orchestrator.kernel.inbox import ended_by
from stream_orchestrator.kernel.ports import Arrived, Part, Work
from stream_orchestrator.kernel.rows import RunRow

WAY = "orchestrator-parent"
LONGEST_WAIT = 31 * 86_400.0  # seconds: whoever sends an event can write a way into it
DEEPEST = 16  # pipelines that run each other in a circle end here, not after a day


class Way(Struct, frozen=True, kw_only=True):
    """Who waits for the result of a run: the inbox of a task, at the home of its run. `until`: when nobody does."""

    inbox: str
    partition: int
    run_id: str
    item: str
    index: int
    label: str
    depth: int = 1
    until: float = 0.0


_encoder, _decoder = msgspec.json.Encoder(), msgspec.json.Decoder(Way)


def encode(way: Way) -> bytes:
    """A way as the value of its header."""
    return _encoder.encode(way)


def decode(data: bytes | str | None) -> Way | None:
    """The way of a header; None when it is none of ours."""
    try:
        return _decoder.decode(data or b"")
    except (ValueError, RecursionError):
        return None


def run_id(pipeline: str, item: str) -> str:
    """The id of the other pipeline's run: the same however often the event is sent."""
    return ids.digest("outside", pipeline, item).hex()


def depth_of(run: RunRow) -> int:
    """How many pipelines run this one, one through the other."""
    if run.nest is not None:
        return run.nest.depth
    way = next((decode(value) for name, value in run.headers if name == WAY), None)
    return way.depth if way else 0


def until_of(run: RunRow) -> float:
    """When what a run gives is needed no more: the last deadline of the run and of those that wait for it."""
    if run.nest is not None:
        return max(run.deadline, run.nest.until)
    way = next((decode(value) for name, value in run.headers if name == WAY), None)
    return max(run.deadline, min(way.until, run.accepted_at + LONGEST_WAIT) if way else 0.0)


@dataclass(frozen=True, slots=True)
class Listener:
    """Reads the results of another pipeline, for the tasks of one version that wait for them (`inboxes`, theirs).

    `pipeline` is the slug of the one that waits. Whoever sends an event can write a way into it; only the result of the
    run that this item began counts, and it is known by its id.
    """

    topic: str
    pipeline: str
    inboxes: frozenset[str]
    partitions: int
    contiguous: bool = False  # the topic is the other pipeline's

    def receive(self, record: Arrived, part: Part) -> Work | None:
        """Tell whoever waits for this result."""
        way = decode(record.header(WAY))
        if way is None or way.inbox not in self.inboxes or not 0 <= way.partition < self.partitions:
            return None
        if record.header("run-id") != run_id(self.pipeline, way.item).encode():
            return None
        ended = Ended(run_id=way.run_id, item=way.item, index=way.index, report=report_of(way, record.value))
        key = way.run_id.encode()
        return ended_by(part.publish(way.inbox, partition=way.partition, key=key, value=events.encode(ended)))


def report_of(way: Way, value: bytes | None) -> Report:
    """A result record as the report of an item."""
    result = _object(value)
    failed = result.get("status") not in {"succeeded", "degraded"}
    usage, cost = _object(result.get("usage")), _object(result.get("cost"))
    return Report(
        task=way.label,
        kind="failed" if failed else "value",
        output=result.get("output"),
        error=_error(result) if failed else None,
        degraded=tuple(
            {**entry, "task": f"{way.label}/{entry.get('task')}"} for entry in _maps(result.get("degraded"))
        ),
        usd=_number(cost.get("usd")),
        input_tokens=int(_number(usage.get("input_tokens"))),
        output_tokens=int(_number(usage.get("output_tokens"))),
        calls=int(_number(usage.get("calls"))),
    )


def _error(result: dict[str, Any]) -> dict[str, Any]:
    error = _object(result.get("error"))
    about = f"the run {result.get('run_id')} of {result.get('pipeline')} is {result.get('status')}"
    told = f"{about}: {error.get('message', 'its result cannot be read')}"
    return {"type": str(error.get("type", "Failed")), "message": told, "reason": "task_failed"}


def _object(value: Any) -> dict[str, Any]:
    if isinstance(value, bytes):
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            return {}
    return value if isinstance(value, dict) else {}


def _maps(value: Any) -> Sequence[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0.0
