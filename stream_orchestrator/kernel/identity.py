"""Who an input event is: its run id, its payload, its trace. CloudEvents 1.0 in both content modes are understood.

`read` never fails on what a producer may send: an event that is nobody has a `problem`, and becomes a rejection.
"""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass
from typing import Any

import orjson

from stream_orchestrator.kernel import ids
from stream_orchestrator.kernel.ports import Arrived

# A conflict has an id of ours (`<id>~<hash>`), and its dead letter may be redriven like any other.
_REDRIVE = re.compile(r"(?P<root>[^#~]+(~[0-9a-f]{8})?)#(?P<n>[2-6])")
_MAYBE_TOO_LARGE = re.compile(rb"\d{19}")  # 64 bits need 19 or 20 digits
MAX_RUN_ID = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """An input event, named. `supplied`: the id is the producer's, so copies may come from anywhere."""

    run_id: str
    supplied: bool
    payload: bytes
    attempt: int = 1
    retry_of: str | None = None
    traceparent: str | None = None
    problem: str = ""


def read(record: Arrived, position: str) -> Identity:
    """Name an input record; `position` is where it stood on the input topic."""
    value = record.value or b""
    event = event_of(value)
    payload = value if event is None else _data(event, value)
    trace = _text(record.header("traceparent") or record.header("ce_traceparent"))
    if event is not None and trace is None and isinstance(event.get("traceparent"), str):
        trace = event["traceparent"]
    redrive = _redriven(record)
    if redrive is not None:
        return Identity(payload=payload, traceparent=trace, **redrive)
    given = record.header("run-id")
    named = None if given else _source_and_id(record, event)
    problem = _problem(_text(given)) if given else ""
    supplied = bool(given or named) and not problem
    run_id = ids.run_id_of(_text(given) if not problem else None, named, position)
    return Identity(run_id=run_id, supplied=supplied, payload=payload, traceparent=trace, problem=problem)


def payload_of(value: bytes) -> bytes:
    """What the pipeline gets of a record's value: a CloudEvent's data, else the whole value."""
    event = event_of(value)
    return value if event is None else _data(event, value)


def _data(event: dict[str, Any], value: bytes) -> bytes:
    """A CloudEvent's data as JSON. What we cannot write as it was stays whole: the input's own rules refuse it then."""
    encoded = event.get("data_base64")
    if isinstance(encoded, str) and "data" not in event:
        try:
            return base64.b64decode(encoded, validate=True)
        except ValueError:
            return b""
    try:
        if _MAYBE_TOO_LARGE.search(value):
            # The fast reader makes floats of integers beyond 64 bits; so that they are refused, not changed:
            return json.dumps(json.loads(value).get("data"), ensure_ascii=False).encode()
        return orjson.dumps(event.get("data"))
    except (TypeError, ValueError, RecursionError):
        return value


def event_of(value: bytes) -> dict[str, Any] | None:
    """The CloudEvent of a value in structured mode, or None."""
    if b'"specversion"' not in value:
        return None
    try:
        event = orjson.loads(value)
    except orjson.JSONDecodeError:
        return None
    needed = ("specversion", "id", "source")
    named = isinstance(event, dict) and all(isinstance(event.get(name), str) for name in needed)
    return event if named else None


def headers_of(record: Arrived) -> tuple[tuple[str, str], ...]:
    """A record's headers as a run keeps them: every byte a character."""
    return tuple((name, value.decode("latin-1")) for name, value in record.headers)


def _source_and_id(record: Arrived, event: dict[str, Any] | None) -> tuple[str, str] | None:
    if event is not None:
        return event["source"], event["id"]
    source, name = _text(record.header("ce_source")), _text(record.header("ce_id"))
    return (source, name) if source and name else None


def _redriven(record: Arrived) -> dict[str, Any] | None:
    """A dead letter on its way back: only our own `dlq redrive` sets this header."""
    root, given = _text(record.header("redrive-of")), _text(record.header("run-id"))
    match = _REDRIVE.fullmatch(given or "")
    if match is None or root is None or match["root"] != root or not root.isprintable():
        return None
    return {"run_id": given, "supplied": True, "attempt": int(match["n"]), "retry_of": root}


def _problem(run_id: str | None) -> str:
    if run_id is None:
        return "a run id is UTF-8 text"
    if "#" in run_id or "~" in run_id:
        return "`#` and `~` are reserved in a run id"
    if len(run_id) > MAX_RUN_ID:
        return f"a run id has at most {MAX_RUN_ID} characters; this one has {len(run_id)}"
    return "" if run_id.isprintable() else "a run id is printable text"


def _text(value: bytes | None) -> str | None:
    try:
        return value.decode() if value is not None else None
    except UnicodeDecodeError:
        return None
