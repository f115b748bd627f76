"""Where everything stands in a YAML text: a tree of lines and columns (from 0), on which formatting moves whole lines.

Block collections are taken apart; scalars and flow collections (`{…}`, `[…]`) are kept as they are written.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import yaml

Kind = Literal["scalar", "alias", "flow", "map", "list"]


@dataclass(slots=True)
class Node:
    """A value: from `line` and `column` on, its last content on line `end`, before column `end_column`.

    `entries` are (key, value) of a block map, (None, value) of a block list. `anchors` and `aliases` are those inside.
    """

    kind: Kind
    line: int
    column: int
    end: int = 0
    end_column: int = 0
    style: str | None = None
    value: str = ""
    decorated: bool = False  # it has an anchor or a tag
    indent: int = 0  # of the lines of a block scalar
    entries: list[tuple[Node | None, Node]] = field(default_factory=list)
    anchors: set[str] = field(default_factory=set)
    aliases: set[str] = field(default_factory=set)

    @property
    def is_block(self) -> bool:
        """Whether it is a scalar whose lines stand below it (`|`, `>`)."""
        return self.kind == "scalar" and self.style in ("|", ">")

    @property
    def first(self) -> Node:
        """The first thing in it that is no property: of a map the first key."""
        if not self.entries:
            return self
        key, value = self.entries[0]
        return key or value


@dataclass(slots=True)
class Section:
    """One document: its root, the line of its `---` (-1: none), and its lines, both ends included."""

    root: Node
    start: int
    first: int
    last: int


def sections(text: str, lines: list[str]) -> list[Section]:
    """The documents of a stream. The text has been read before: it is YAML."""
    return list(_Reader(text, lines).read())


class _Reader:
    def __init__(self, text: str, lines: list[str]) -> None:
        self.events = yaml.parse(text, Loader=yaml.CSafeLoader)
        self.lines = lines

    def read(self) -> Iterator[Section]:
        found: list[Section] = []
        first = 0
        for event in self.events:
            if isinstance(event, yaml.DocumentStartEvent):
                start = _end(event)[0] if event.explicit else -1
                if found:
                    # directives stand before `---`, and belong to no document
                    found[-1].last = min(found[-1].last, (_start(event)[0] if event.explicit else first) - 1)
                root = self.node(next(self.events))
                found.append(Section(root, start, start + 1 if event.explicit else first, len(self.lines) - 1))
            elif isinstance(event, yaml.DocumentEndEvent) and event.explicit:
                found[-1].last = _start(event)[0] - 1
                first = _end(event)[0] + 1
        yield from found

    def node(self, event: yaml.Event) -> Node:
        node = Node("scalar", *_start(event), *_end(event))
        anchor = getattr(event, "anchor", None)
        node.decorated = anchor is not None or getattr(event, "tag", None) is not None
        if isinstance(event, yaml.AliasEvent):
            node.kind, node.decorated = "alias", False
            node.aliases.add(anchor or "")
            return node
        if anchor:
            node.anchors.add(anchor)
        if isinstance(event, yaml.ScalarEvent):
            node.style, node.value = event.style, event.value
            node.end = self.end_of_block(node) if node.is_block else node.end
            return node
        return self.collection(event, node)

    def collection(self, event: yaml.Event, node: Node) -> Node:
        in_map = isinstance(event, yaml.MappingStartEvent)
        flow = bool(getattr(event, "flow_style", False))
        node.kind = "flow" if flow else "map" if in_map else "list"
        inner: list[Node] = []
        last = event
        for last in self.events:
            if isinstance(last, yaml.CollectionEndEvent):
                break
            inner.append(self.node(last))
            node.anchors |= inner[-1].anchors
            node.aliases |= inner[-1].aliases
        if flow:
            node.end, node.end_column = _end(last)
            return node
        node.entries = list(zip(inner[::2], inner[1::2], strict=True)) if in_map else [(None, each) for each in inner]
        node.end = inner[-1].end if inner else node.line
        return node

    def end_of_block(self, node: Node) -> int:
        """The last line of a block scalar that is content: the parser's mark stands behind the empty lines below it."""
        last = node.end - 1 if node.end_column == 0 else node.end
        written = [line for line in self.lines[node.line + 1 : last + 1] if line.strip(" ")]
        node.indent = min((len(line) - len(line.lstrip(" ")) for line in written), default=0)
        if "+" in self.lines[node.line][node.column :].partition("#")[0]:
            return last
        while last > node.line and not self.lines[last].strip(" ") and len(self.lines[last]) <= node.indent:
            last -= 1
        return last


def _start(event: yaml.Event) -> tuple[int, int]:
    mark = event.start_mark
    return (mark.line, mark.column) if mark is not None else (0, 0)


def _end(event: yaml.Event) -> tuple[int, int]:
    mark = event.end_mark
    return (mark.line, mark.column) if mark is not None else (0, 0)
