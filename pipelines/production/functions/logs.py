"""What `incident-report` computes from log lines: entries, error signatures, bursts, latencies, knocks at the door."""

from __future__ import annotations

import re
from collections import Counter
from datetime import datetime
from statistics import mean, pstdev

LINE = re.compile(
    r"(?P<at>\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d)\S*\s+"
    r"(?P<level>TRACE|DEBUG|INFO|WARN(?:ING)?|ERROR|FATAL|CRITICAL)\s+"
    r"(?:\[?(?P<source>[\w./-]+)\]?:?\s+)?(?P<message>.*)"
)
BAD = frozenset({"ERROR", "FATAL", "CRITICAL"})
# What differs between two lines of the same kind, the longest shapes first.
VARIABLE = re.compile(
    r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"
    r"|\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b|\b0x[0-9a-f]+\b|\b[0-9a-f]{12,}\b|'[^']*'|\"[^\"]*\"|\d+(?:\.\d+)?"
)
LATENCY = re.compile(r"\b(?:took|in|after|latency[=:]?)\s*(\d+(?:\.\d+)?)\s*(ms|s)\b")
KNOCK = re.compile(r"(?:failed (?:login|password)|invalid (?:user|token)|401|403|permission denied)", re.IGNORECASE)
ADDRESS = re.compile(r"\b\d{1,3}(?:\.\d{1,3}){3}\b")


def parse_lines(text: str) -> list[dict[str, str]]:
    """The entries of a log. A line that does not begin one (a stack trace) belongs to the entry before it."""
    entries: list[dict[str, str]] = []
    for line in text.splitlines():
        if (found := LINE.match(line.strip())) and is_time(found["at"]):
            entries.append({name: value or "" for name, value in found.groupdict().items()})
        elif entries and line.strip():
            entries[-1]["message"] += "\n" + line.rstrip()
    return entries


def is_time(text: str) -> bool:
    """Whether it is one: there is no 31st of February."""
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def signature(message: str) -> str:
    """A message with everything that varies taken out: two lines of one cause have one signature."""
    return " ".join(VARIABLE.sub("<*>", message.split("\n", 1)[0]).split())


def error_signatures(entries: list[dict[str, str]], count: int = 5) -> list[dict[str, object]]:
    """The kinds of errors, the commonest first, each with its first and last time and one whole example."""
    bad = [entry for entry in entries if entry["level"] in BAD]
    groups: dict[str, list[dict[str, str]]] = {}
    for entry in bad:
        groups.setdefault(signature(entry["message"]), []).append(entry)
    ranked = sorted(groups.items(), key=lambda each: -len(each[1]))[:count]
    return [
        {
            "signature": shape,
            "count": len(found),
            "sources": sorted({entry["source"] for entry in found if entry["source"]}),
            "first_at": min(entry["at"] for entry in found),
            "last_at": max(entry["at"] for entry in found),
            "example": found[0]["message"],
        }
        for shape, found in ranked
    ]


def error_bursts(entries: list[dict[str, str]]) -> dict[str, object]:
    """Errors by minute, and the minutes that stand out: over the mean by two deviations, and three errors at least."""
    minutes = Counter(entry["at"][:16] for entry in entries)
    errors = Counter(entry["at"][:16] for entry in entries if entry["level"] in BAD)
    series = [errors.get(minute, 0) for minute in minutes] or [0]
    bar = max(3.0, mean(series) + 2 * pstdev(series))
    peaks = sorted(minute for minute, number in errors.items() if number >= bar)
    total = sum(errors.values())
    return {"errors": total, "rate": round(total / max(1, len(entries)), 3), "minutes": len(minutes), "peaks": peaks}


def latencies(entries: list[dict[str, str]]) -> dict[str, float]:
    """Percentiles of the durations that the messages tell, in milliseconds; nothing when they tell none."""
    found = sorted(
        float(number) * (1000 if unit == "s" else 1)
        for entry in entries
        for number, unit in LATENCY.findall(entry["message"])
    )
    if not found:
        return {}
    return {f"p{share}": round(found[min(len(found) - 1, len(found) * share // 100)], 1) for share in (50, 95, 99)} | {
        "count": len(found)
    }


def knocks(entries: list[dict[str, str]], at_least: int = 3) -> list[dict[str, object]]:
    """The addresses that were refused `at_least` times, the most persistent first."""
    refused = Counter(
        address
        for entry in entries
        if KNOCK.search(entry["message"])
        for address in ADDRESS.findall(entry["message"])[:1]
    )
    return [{"address": address, "refused": n} for address, n in refused.most_common() if n >= at_least]


def span_minutes(entries: list[dict[str, str]]) -> float:
    """From the first entry to the last."""
    times = [datetime.fromisoformat(entry["at"]) for entry in entries]
    return round((max(times) - min(times)).total_seconds() / 60, 1) if times else 0.0
