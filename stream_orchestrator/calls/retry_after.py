"""How long a service asked us to wait, exactly: never rounded, never guessed."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_SPAN = re.compile(r"(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?")
# Numbers above this are instants (UNIX seconds), not durations: ten years.
_INSTANT = 315_360_000.0


def retry_after(headers: Mapping[str, str], *, now: float, limited: bool) -> float | None:
    """Seconds to wait, or None when the service did not say. Header names are lower case.

    `retry-after-ms`, then `retry-after` (seconds or a date, measured against the service's own `date`), and for a rate
    limit (`limited`) the reset of the limits that are used up: the latest of them, since all must be open again.
    """
    now = _date(headers.get("date", "")) or now
    milliseconds = _seconds(headers.get("retry-after-ms", ""))
    if milliseconds is not None:
        return milliseconds / 1000
    said = _wait(headers.get("retry-after", ""), now)
    if said is not None or not limited:
        return said
    return max(_resets(headers, now), default=None)


def _resets(headers: Mapping[str, str], now: float) -> Iterator[float]:
    """The waits in `x-ratelimit-reset*` and `anthropic-ratelimit-*-reset`, except of limits with something left."""
    for name, value in headers.items():
        if "ratelimit" not in name or "reset" not in name:
            continue
        left = _seconds(headers.get(name.replace("reset", "remaining"), ""))
        wait = _wait(value, now)
        if wait is not None and not left:
            yield wait


def _wait(text: str, now: float) -> float | None:
    seconds = _seconds(text)
    if seconds is None:
        seconds = _span(text)
    if seconds is not None:
        return max(0.0, seconds - now) if seconds > _INSTANT else seconds
    instant = _date(text)
    return None if instant is None else max(0.0, instant - now)


def _seconds(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None


def _span(text: str) -> float | None:
    """`6m0s`, `1.5s`, `20ms`: how the OpenAI-style services write durations."""
    match = _SPAN.fullmatch(text.strip())
    if not match or not any(match.groups()):
        return None
    hours, minutes, seconds, milliseconds = (float(part or 0) for part in match.groups())
    return hours * 3600 + minutes * 60 + seconds + milliseconds / 1000


def _date(text: str) -> float | None:
    """UNIX seconds of an HTTP date or an RFC 3339 instant."""
    for parse in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            instant = parse(text.strip())
        except (ValueError, IndexError, TypeError, OverflowError):
            continue
        return instant.replace(tzinfo=instant.tzinfo or UTC).timestamp()
    return None
