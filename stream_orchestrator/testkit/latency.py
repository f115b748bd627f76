"""Response times in an HDR histogram: three digits at any size, in a few kilobytes, whatever the number of runs."""

from __future__ import annotations

from typing import Any

from stream_orchestrator.errors import MissingError

MICROSECONDS = 1_000_000
LONGEST = 24 * 3600 * MICROSECONDS  # a response time above a day is a day
DIGITS = 3
PERCENTILES = (50.0, 90.0, 95.0, 99.0, 99.9)


class Latencies:
    """Every response time is counted, none is dropped; percentiles are exact to three digits, rounded upwards."""

    def __init__(self) -> None:
        self._histogram = _histogram()

    def add(self, seconds: float) -> None:
        """Take note of one."""
        self._histogram.record_value(min(max(1, round(seconds * MICROSECONDS)), LONGEST))

    def percentile(self, percent: float) -> float:
        """Seconds that so many percent did not exceed; 0 when nothing was counted."""
        return float(self._histogram.get_value_at_percentile(percent)) / MICROSECONDS if len(self) else 0.0

    def __len__(self) -> int:
        return int(self._histogram.get_total_count())

    def to_json(self) -> dict[str, Any]:
        """Percentiles in seconds, and the whole histogram as other HDR tools read it (microseconds)."""
        named = {f"p{percent:g}": round(self.percentile(percent), 6) for percent in PERCENTILES}
        return {**named, "max": round(self.percentile(100.0), 6), "hdr": self._histogram.encode().decode("ascii")}


def _histogram() -> Any:
    try:
        from hdrh.histogram import HdrHistogram
    except ImportError as missing:
        raise MissingError(
            "response times cannot be counted: hdrhistogram is not installed",
            hint="pip install 'stream-orchestrator[testing]'",
        ) from missing
    return HdrHistogram(1, LONGEST, DIGITS)
