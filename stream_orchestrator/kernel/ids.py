"""Names that are computed, never drawn: a copy of any piece of work has the same ids as the first.

Sources: ARCHITECTURE of runs (docs/architecture.md, "Identity"); W3C Trace Context for the shape of `traceparent`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from functools import lru_cache

_TRACEPARENT = re.compile(r"^[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}$")


def digest(*parts: str | bytes, size: int = 16) -> bytes:
    """`size` bytes that depend on every part and on where each begins and ends."""
    framed = b""
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        framed += len(data).to_bytes(8, "big") + data
    return hashlib.blake2b(framed, digest_size=size).digest()


def run_id_of(supplied: str | None, source_and_id: tuple[str, str] | None, position: str) -> str:
    """The id of a run: the producer's own, else of the CloudEvent, else of the record's position."""
    if supplied:
        return supplied
    parts = ("ce", *source_and_id) if source_and_id else ("at", position)
    return digest(*parts).hex()


def partition_of(key: bytes | str, partitions: int) -> int:
    """The partition that is home to a key; equal keys meet, whoever asks."""
    return int.from_bytes(digest(key, size=8), "big") % partitions


def call_id(pipeline: str, run_id: str, task: str, *, variant: int, attempt: int, number: int) -> str:
    """One call of one attempt of one step. Pipelines share call topics, and may be given the same run ids."""
    return digest("call", pipeline, run_id, task, f"{variant}/{attempt}/{number}").hex()


def unit(*parts: str) -> float:
    """A number in [0, 1) that depends on the parts: the jitter of a retry, the same after a crash."""
    return int.from_bytes(digest(*parts, size=7), "big") / 2**56


def trace_of(traceparent: str | None, pipeline: str, run_id: str) -> tuple[str, str]:
    """The trace a run belongs to and the producer's span in it (empty when the producer sent none)."""
    match = _TRACEPARENT.match(traceparent or "")
    if match and set(match[1]) != {"0"} and set(match[2]) != {"0"}:
        return match[1], match[2]
    return digest("trace", pipeline, run_id).hex(), ""


@lru_cache(maxsize=32768)
def span_of(pipeline: str, run_id: str, name: str) -> str:
    """The span of one step, call or stage of a run. One event may be a run of several pipelines, in one trace."""
    return digest("span", pipeline, run_id, name, size=8).hex()


def traceparent(trace_id: str, span_id: str) -> str:
    """The W3C header for a span."""
    return f"00-{trace_id}-{span_id}-01"


@lru_cache(maxsize=8192)
def _run(run_id: str) -> bytes:
    return digest(run_id)


def run_key(run_id: str) -> bytes:
    """Where a run's row (and later its stub) stands in the table."""
    return b"r" + _run(run_id)


def step_key(run_id: str, slug: str) -> bytes:
    """Where a step's row stands in the table."""
    return b"s" + _run(run_id) + slug.encode()


def member_key(run_id: str, slug: str, attempt: int, index: int) -> bytes:
    """Where what an item of a container gave stands in the table."""
    return b"m" + _run(run_id) + f"{slug}/{attempt}/{index}".encode()


def item_id(run_id: str, slug: str, attempt: int, index: int) -> str:
    """The run id of an item. No id of a user's holds `~`, and no slug a dot."""
    return f"{run_id}~{slug}.{attempt}.{index}"


def sha256(data: bytes) -> str:
    """The SHA-256 of bytes, in hex."""
    return hashlib.sha256(data).hexdigest()


def event_id(run_id: str, parts: Iterable[str]) -> str:
    """The id of an audit event: the same whenever the same thing is told again."""
    return digest("audit", run_id, *parts).hex()
