"""How figures are shown: the median, the spread, and what it is a multiple of."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from statistics import median


def show(title: str, head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table in Markdown, its columns aligned, so that a terminal and a document can both have it."""
    texts = [[str(cell) for cell in row] for row in [head, *rows]]
    widths = [max(len(row[at]) for row in texts) for at in range(len(head))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in texts
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    print("\n".join(["", title, "", lines[0], rule, *lines[1:]]), flush=True)


def bars(title: str, values: Sequence[tuple[str, float]], *, width: int = 48) -> None:
    """A plot of text: a bar for each value, the longest for the largest."""
    most = max((value for _, value in values), default=0.0) or 1.0
    wide = max((len(name) for name, _ in values), default=0)
    lines = [
        f"{name.ljust(wide)}  {'█' * max(1, round(width * value / most))} {number(value)}" for name, value in values
    ]
    print("\n".join(["", title, "", *lines]), flush=True)


def spread(values: Sequence[float], unit: str = "") -> str:
    """`median (least to most)`."""
    if not values:
        return "-"
    return f"{number(median(values))}{unit} ({number(min(values))} to {number(max(values))})"


def number(value: float) -> str:
    """Three digits or so."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> str:
    """The median of the ratios of pairs that were measured one after the other: what troubled one troubled both."""
    pairs = [mine / other for mine, other in zip(ours, theirs, strict=True) if other]
    return f"{median(pairs):.2f} ({min(pairs):.2f} to {max(pairs):.2f})" if pairs else "-"


def percentile(values: Sequence[float], share: float) -> float:
    """The value that this share of all does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def machine() -> str:
    """What it ran on, for whoever reads the figures later."""
    cpu = next((line for line in _lines("/proc/cpuinfo") if line.startswith("model name")), ": unknown CPU")
    cores = sum(line.startswith("processor") for line in _lines("/proc/cpuinfo"))
    load = (_lines("/proc/loadavg") or ["?"])[0].split()[0]
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False).stdout
    return f"{cpu.partition(':')[2].strip()}, {cores} cores, load {load}, commit {commit.strip() or 'unknown'}"


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
