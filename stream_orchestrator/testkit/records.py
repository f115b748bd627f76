"""Results as tests look at them."""

from __future__ import annotations

from datetime import datetime

from stream_orchestrator.api import Result

__all__ = ["Result", "ended_well", "response_time"]


def response_time(result: Result) -> float:
    """Seconds from the event's acceptance to its result."""
    accepted, finished = (datetime.fromisoformat(result.timings[name]) for name in ("accepted_at", "finished_at"))
    return max(0.0, (finished - accepted).total_seconds())


def ended_well(result: Result) -> bool:
    """Whether it has an output, if only a degraded one."""
    return result.status in ("succeeded", "degraded")
