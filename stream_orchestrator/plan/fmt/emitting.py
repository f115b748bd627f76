"""A layout is written again: lines move as they are, with the comments above them.

Promises
  * A comment stays with the key or item that it stands above or beside; what the file begins with stays first.
  * An anchor stays before its aliases; where the order of keys would change that, the keys stay as they are.
  * What is written in an unusual way (explicit keys, anchors on lines of their own) is only moved as a whole.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from stream_orchestrator.plan.fmt.layout import Node, Section
from stream_orchestrator.plan.fmt.order import ranked, role_below
from stream_orchestrator.plan.fmt.scripts import as_block

STEP = 2
_AFTER_KEY = re.compile(r"\s*:(?:\s|$)")


class Piece(NamedTuple):
    """An entry of a collection: the comments and empty lines above it, and its own lines."""

    key: str
    above: list[str]
    lines: list[str]
    node: Node


@dataclass(frozen=True, slots=True)
class Emitter:
    """Writes one document of a text."""

    lines: list[str]
    kind: str = "pipeline"

    def section(self, section: Section) -> list[str]:
        """The document, without its `---`."""
        root = section.root
        if root.kind != "map" or root.line <= section.start or not self.is_plain(root):
            return self.lines[section.first : section.last + 1]
        return self.collection(root, 0, section.first, section.last, "document")

    def collection(self, node: Node, indent: int, first: int, last: int, role: str) -> list[str]:
        """A block collection whose lines, and what stands around them, are `first` to `last`."""
        pieces, rest = self.pieces(node, indent, first, last, role)
        made: list[str] = []
        for place, piece in enumerate(pieces):
            above = piece.above if place else _without_leading_blanks(piece.above)
            if place and _stands_apart(pieces[place - 1], piece, role, indent):
                above = ["", *_without_leading_blanks(above)]
            made += [*above, *piece.lines]
        return made + rest

    def pieces(self, node: Node, indent: int, first: int, last: int, role: str) -> tuple[list[Piece], list[str]]:
        """The entries with what is above them, and what is left below the last one."""
        starts = [self.start(node, key, value) for key, value in node.entries]
        found: list[Piece] = []
        lead = first
        for place, (key, value) in enumerate(node.entries):
            end = max(value.end, starts[place])
            follows = starts[place + 1] if place + 1 < len(starts) else last + 1
            split = self.split(end + 1, follows, node.column)
            above = self.trivia(lead, starts[place], indent)
            found.append(
                Piece(key.value if key else "", above, self.entry(node, place, indent, split - 1, role), value)
            )
            lead = split
        if node.kind == "map":
            found = _ordered(found, role, self.kind)
        return found, self.trivia(lead, last + 1, indent)

    def start(self, node: Node, key: Node | None, value: Node) -> int:
        """The line where an entry begins: that of its key, or of its dash."""
        if key is not None:
            return key.line
        line = value.line
        while line > node.line and self.lines[line][node.column : node.column + 1] != "-":
            line -= 1
        return line

    def split(self, first: int, follows: int, column: int) -> int:
        """Between two entries: comments that are indented deeper belong to the one before."""
        last = first
        for number in range(first, follows):
            line = self.lines[number]
            if line.strip() and len(line) - len(line.lstrip()) > column:
                last = number + 1
        return last

    def trivia(self, first: int, end: int, indent: int) -> list[str]:
        """Comments at an indentation; of several empty lines one."""
        made: list[str] = []
        for line in self.lines[first:end]:
            text = line.strip()
            if text or not made or made[-1]:
                made.append(" " * indent + text if text else "")
        return made

    def entry(self, node: Node, place: int, indent: int, last: int, role: str) -> list[str]:
        """The lines of an entry, those below it included."""
        key, value = node.entries[place]
        if key is None:
            return self.item(node, value, indent, last, _each(role))
        below = _each(role) or role_below(role, key.value)
        if value.kind == "map" and below == "each task":
            below = "task"  # `fallback` may be one task
        pad, written = " " * indent, self.lines[key.line]
        block = as_block(key.value, value, indent, self.lines) if role == "task" else None
        if block is not None:
            lines = [f"{pad}{written[key.column : key.end_column]}: {block[0]}", *block[1:]]
        elif value.kind in ("map", "list") and value.first.line > key.line and not self.is_odd(value, key.line):
            inner = self.collection(value, indent + STEP, key.line + 1, last, below)
            return [pad + written[key.column :].rstrip(), *inner]
        else:
            lines = self.raw(key.line, key.column, value.end, indent, value)
        return lines + self.trivia(value.end + 1, last + 1, indent + STEP)

    def item(self, node: Node, value: Node, indent: int, last: int, role: str) -> list[str]:
        """The lines of an item of a list, with its dash. What is above its first key goes above the dash."""
        start = self.start(node, None, value)
        if value.kind not in ("map", "list") or self.is_odd(value, start) or not self.follows_dash(node, value, start):
            end = max(value.end, start)
            return [
                *self.raw(start, node.column, end, indent, value),
                *self.trivia(end + 1, last + 1, indent + STEP),
            ]
        pieces, rest = self.pieces(value, indent + STEP, value.first.line, last, role)
        made = [line for piece in pieces for line in (*piece.above, *piece.lines)]
        above, made = made[: len(pieces[0].above)], made[len(pieces[0].above) :]
        hoisted = [" " * indent + line.strip() for line in above if line]
        return [*hoisted, f"{' ' * indent}- {made[0][indent + STEP :]}", *made[1:], *rest]

    def follows_dash(self, node: Node, value: Node, start: int) -> bool:
        """Whether a collection begins on the line of its dash, or right below a bare one."""
        return value.first.line == start or (
            self.lines[start][node.column :].strip() == "-" and value.first.line == start + 1
        )

    # what is kept as it is

    def raw(self, line: int, column: int, end: int, indent: int, value: Node) -> list[str]:
        """Lines as they are, as far to the right as their beginning goes."""
        first = self.lines[line][column:]
        ends_here = end == line or value.is_block or value.kind in ("map", "list")
        made = [" " * indent + (first.rstrip() if ends_here else first)]
        # white space alone: in a block it may be content, in a map it may belong to a block; else it is nothing
        empty = value.indent if value.is_block else 0 if value.kind in ("map", "list") else len(first) + 1_000_000
        return made + [_shifted(each, indent - column, empty) for each in self.lines[line + 1 : end + 1]]

    def is_odd(self, value: Node, line: int) -> bool:
        """Whether a collection has properties on a line of their own, or keys that are no plain words on one line."""
        elsewhere = value.decorated and value.line != line
        inline = value.decorated and value.first.line == line
        return elsewhere or inline or (value.kind == "map" and not self.is_plain(value))

    def is_plain(self, node: Node) -> bool:
        """Whether every key of a map stands on one line, with nothing but dashes before it."""
        for place, (key, _value) in enumerate(node.entries):
            if key is None or key.line != key.end or key.kind != "scalar" or key.column != node.first.column:
                return False
            before = self.lines[key.line][: key.column]
            if before.strip(" -" if not place else " ") or not _AFTER_KEY.match(self.lines[key.line], key.end_column):
                return False
        return True


def _each(role: str) -> str:
    return role.removeprefix("each ") if role.startswith("each ") else ""


def _shifted(line: str, shift: int, empty: int) -> str:
    """A line moved to the right or left; one of at most `empty` spaces and nothing else has none."""
    if not line.strip(" ") and len(line) <= empty:
        return ""
    if shift >= 0:
        return " " * shift + line if line else ""
    return line[min(-shift, len(line) - len(line.lstrip(" "))) :]


def _without_leading_blanks(lines: list[str]) -> list[str]:
    first = next((place for place, line in enumerate(lines) if line), len(lines))
    return lines[first:]


def _stands_apart(before: Piece, piece: Piece, role: str, indent: int) -> bool:
    """Sections at the top and tasks of several lines have an empty line between them. A changelog is of the header."""
    if role == "each task" and indent == STEP:
        return len(before.lines) > 1 or len(piece.lines) > 1
    blocks = [each.key for each in (before, piece) if each.node.kind in ("map", "list")]
    return role == "document" and (before.key in blocks or blocks not in ([], ["changelog"]))


def _ordered(pieces: list[Piece], role: str, kind: str) -> list[Piece]:
    places = ranked([piece.key for piece in pieces], role, kind)
    made = [pieces[place] for place in places]
    if not made or not _anchors_first(made):
        return pieces
    if role == "document" and made[0] is not pieces[0]:
        top = pieces[0].above  # the file's own words stay at its top
        made = [piece._replace(above=[]) if piece is pieces[0] else piece for piece in made]
        made[0] = made[0]._replace(above=[*top, *_without_leading_blanks(made[0].above)])
    return made


def _anchors_first(pieces: list[Piece]) -> bool:
    inside: set[str] = set().union(*(piece.node.anchors for piece in pieces))
    seen: set[str] = set()
    for piece in pieces:
        if (piece.node.aliases & inside) - seen - piece.node.anchors:
            return False
        seen |= piece.node.anchors
    return sum(len(piece.node.anchors) for piece in pieces) == len(inside)
