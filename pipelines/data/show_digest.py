"""Prints what `make demo` has found: a table of the works, the hardest passages, and one digest whole."""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path
from statistics import mean
from typing import Any

from rich.console import Console
from rich.table import Table


def digests(path: Path) -> list[dict[str, Any]]:
    """The outputs of the runs that ended well, in the order of their ids."""
    results = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return sorted((each["output"] for each in results if each["output"]), key=lambda digest: digest["id"])


def works(found: list[dict[str, Any]]) -> Table:
    table = Table("work", "passages", "grade", "words a sentence", "speech", "distinct words", title="By work")
    for column in table.columns[1:]:
        column.justify = "right"
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for digest in found:
        groups[digest["work"]["title"]].append(digest)
    for title, group in groups.items():
        hard = [each["difficulty"] for each in group]
        table.add_row(
            title,
            str(len(group)),
            f"{mean(each['grade'] for each in hard):.1f}",
            f"{mean(each['words_per_sentence'] for each in hard):.1f}",
            f"{mean(each['voices']['share'] for each in group):.0%}",
            f"{mean(each['distinct'] / each['words'] for each in hard):.0%}",
        )
    return table


def hardest(found: list[dict[str, Any]], count: int = 5) -> Table:
    table = Table("passage", "grade", "about", title="Hardest to read")
    for digest in sorted(found, key=lambda each: -each["difficulty"]["grade"])[:count]:
        work = digest["work"]
        about = ", ".join(digest["subjects"][:4])
        table.add_row(f"{work['title']}, {work['part']}", f"{digest['difficulty']['grade']:.1f}", about)
    return table


def main() -> None:
    path = Path(sys.argv[1])
    found = digests(path)
    console = Console(width=None if sys.stdout.isatty() else 110)
    if not found:
        sys.exit(f"error: no run in {path} succeeded")
    console.print(works(found), hardest(found))
    example = next((each for each in found if each["id"] == "austen-051"), found[0])
    console.print(f"\nOne whole ({example['id']}):", style="bold")
    console.print_json(data=example)
    console.print(f"{len(found)} digests; all results are in {path}, one JSON object a line")


if __name__ == "__main__":
    main()
