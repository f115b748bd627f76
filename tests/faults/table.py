"""Puts the figures of a run of the fault suite into its page. `python tests/faults/table.py FIGURES.jsonl PAGE.md`

A fault that was not played keeps the line it has; one that is new gets its line at the end.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path

BEGIN, END = "<!-- figures -->", "<!-- end of figures -->"
HEAD = (
    "| fault | in flight | lost | copies | different answers | calls repeated | steps run again | recovery "
    "| longest pause |"
)


def update(page: str, figures: list[list[object]], *, day: str) -> str:
    """The page with these figures."""
    before, rest = page.split(BEGIN)
    table, after = rest.split(END)
    rows = {line.split("|")[1].strip(): line for line in table.splitlines() if line.startswith("| ") and line != HEAD}
    for name, *values in figures:
        rows[str(name)] = f"| {name} | " + " | ".join(map(str, values)) + " |"
    columns = HEAD.count("|") - 1
    lines = [f"Last played on {day}.", "", HEAD, "|---" * columns + "|", *rows.values()]
    return f"{before}{BEGIN}\n" + "\n".join(lines) + f"\n{END}{after}"


def main(figures: Path, page: Path) -> None:
    played = [json.loads(line) for line in figures.read_text().splitlines()] if figures.is_file() else []
    if played:
        page.write_text(update(page.read_text(), played, day=f"{datetime.now(tz=UTC):%Y-%m-%d}"))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
