"""What fits into a record. A value too large for a topic fails its run, never the worker."""

from __future__ import annotations

from typing import Any

import orjson

from stream_orchestrator.kernel.kinds import Fault
from stream_orchestrator.plan.claims import TooLarge, claims_in

MIB = 1024 * 1024
MAX_RECORD = 15 * MIB  # our topics take 16 MiB; the rest is for headers and for the broker's own framing
MAX_OUTPUT = 12 * MIB  # one value: its record holds more than it
MAX_MESSAGE = 4000  # characters of an error that are kept
_WRAPPED = 24  # levels that tokens, rows and results put around a value
_EXCERPT = "..."
_ADVICE = " that fits into a record; with the setting `blobs.url` larger outputs of scripts are kept outside records"


def misfit(value: Any, what: str = "the output") -> Fault | None:
    """Why a value cannot be stored, or None: JSON as we write it has 64-bit numbers, whole characters, some depth."""
    nested = value
    for _ in range(_WRAPPED):
        nested = [nested]
    try:
        size = len(orjson.dumps(nested))
    except TypeError as error:
        return Fault(type="InvalidOutput", message=f"{what} cannot be stored as JSON: {error}")
    if size > MAX_OUTPUT:
        message = f"{what} has {size:,} bytes; {MAX_OUTPUT:,} is the most{_ADVICE}"
        return Fault(type="TooLarge", message=message, reason="too_large")
    return None


def claimed(value: Any, what: str) -> Fault | None:
    """Why a value cannot go where nobody can do with a claim check, or None."""
    if next(claims_in(value), None) is None:
        return None
    return Fault(type="TooLarge", message=str(TooLarge(what)), reason="too_large")


def excerpt(text: str, limit: int = MAX_MESSAGE) -> str:
    """Text as a record keeps it: bounded, and without half characters."""
    whole = text.encode("utf-8", "replace").decode()
    return whole if len(whole) <= limit else whole[: limit - len(_EXCERPT)] + _EXCERPT
