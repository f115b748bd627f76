"""The table of the document's blocks: what each is, whether it compiled and ran, and what was not real."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

HEADS = ("block", "file", "what", "compiled", "ran", "result", "brought by the test", "without effect yet")


@dataclass(slots=True)
class Row:
    """One file of the document."""

    block: int
    path: str
    kind: str
    compiled: str = ""
    ran: str = ""
    result: list[str] = field(default_factory=list)
    brought: str = ""
    not_yet: list[str] = field(default_factory=list)

    def cells(self) -> tuple[str, ...]:
        """One line of the table."""
        told = (self.path, self.kind, self.compiled, self.ran, "; ".join(self.result), self.brought)
        return (str(self.block), *told, ", ".join(self.not_yet))


ROWS: dict[str, Row] = {}


def lines() -> Iterator[str]:
    """The table."""
    cells = [HEADS, *(row.cells() for row in ROWS.values())]
    widths = [max(len(line[at]) for line in cells) for at in range(len(HEADS))]
    for line in cells:
        yield "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
