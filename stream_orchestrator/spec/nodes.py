"""YAML events to plain data, under limits, with the place of everything.

Promises
  * Nothing that an alias stands for is built before it has been counted: a bomb is refused while it is small.
  * No recursion deeper than `MAX_DEPTH`, whatever the text says.
  * What is wrong but does not hinder reading on (a duplicate key, a bad tag) is collected; else `Unreadable` is raised.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from stream_orchestrator.spec import scalars
from stream_orchestrator.spec.located import Mark, Path

MAX_DEPTH = 100  # libyaml's own limit is 1,000; pydantic and JSON writers give up between 200 and 255
MAX_NODES = 100_000  # the largest pipeline that we know has 2,000
MERGE = "<<"


class Unreadable(ValueError):
    """Reading stops here. `rule`, the message and `hint` are for the user."""

    def __init__(self, rule: str, message: str, *, hint: str, mark: Mark) -> None:
        super().__init__(message)
        self.rule = rule
        self.hint = hint
        self.mark = mark


@dataclass(frozen=True, slots=True)
class Fault:
    """Something wrong that does not stop the reading."""

    rule: str
    message: str
    hint: str
    path: Path
    mark: Mark


@dataclass(slots=True)
class Node:
    """A value as it is written. `size` counts what it stands for, aliases expanded; `height` how deep it goes."""

    mark: Mark
    kind: str
    value: Any = None
    tag: str | None = None
    children: list[Node] = field(default_factory=list)  # of a map: key, value, key, value, ...
    anchor: str | None = None
    plain: bool = False
    size: int = 1
    height: int = 1


@dataclass(slots=True)
class Built:
    """A document's data, the places of its keys and values, and its faults."""

    data: Any = None
    keys: dict[Path, Mark] = field(default_factory=dict)
    values: dict[Path, Mark] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)


def compose(events: Iterable[yaml.Event]) -> Iterator[Node]:
    """The documents of a stream as trees of nodes. Raises `Unreadable` over a limit or at a bad alias."""
    composer = _Composer()
    for event in events:
        root = composer.feed(event)
        if root is not None:
            yield root


class _Composer:
    """A stack of open collections, so that depth costs no recursion."""

    def __init__(self) -> None:
        self._open: list[Node] = []
        self._anchors: dict[str, Node] = {}
        self._count = 0

    def feed(self, event: yaml.Event) -> Node | None:
        """Take one event; the document's root when it is complete."""
        if isinstance(event, yaml.ScalarEvent):
            return self._add(self._scalar(event))
        if isinstance(event, yaml.AliasEvent):
            return self._add(self._alias(event))
        if isinstance(event, yaml.CollectionStartEvent):
            self._start(event)
        elif isinstance(event, yaml.CollectionEndEvent):
            return self._add(self._open.pop())
        elif isinstance(event, yaml.DocumentStartEvent):
            self._anchors = {}
            self._count = 0
        return None

    def _scalar(self, event: yaml.ScalarEvent) -> Node:
        node = Node(_mark(event), "scalar", event.value, event.tag, anchor=event.anchor)
        node.plain = event.implicit[0] and event.tag is None
        self._counted(1, node.mark)
        return node

    def _start(self, event: yaml.CollectionStartEvent) -> None:
        kind = "map" if isinstance(event, yaml.MappingStartEvent) else "list"
        node = Node(_mark(event), kind, tag=event.tag, anchor=event.anchor)
        self._counted(1, node.mark)
        self._open.append(node)
        self._not_too_deep(0, node.mark)
        if node.anchor:
            self._anchors[node.anchor] = node

    def _alias(self, event: yaml.AliasEvent) -> Node:
        mark = _mark(event)
        target = self._anchors.get(event.anchor or "")
        if target is None:
            raise Unreadable(
                "yaml-alias",
                f"`*{event.anchor}` refers to nothing",
                hint=f"define it before with `&{event.anchor}`",
                mark=mark,
            )
        if any(target is node for node in self._open):
            raise Unreadable("yaml-alias", f"`*{event.anchor}` contains itself", hint="write the value out", mark=mark)
        self._counted(target.size, mark)
        self._not_too_deep(target.height, mark)
        return target

    def _add(self, node: Node) -> Node | None:
        if node.anchor:
            self._anchors[node.anchor] = node
        if not self._open:
            return node
        parent = self._open[-1]
        parent.children.append(node)
        parent.size += node.size
        parent.height = max(parent.height, node.height + 1)
        return None

    def _counted(self, size: int, mark: Mark) -> None:
        self._count += size
        if self._count > MAX_NODES:
            message = f"the document has more than {MAX_NODES:,} values, aliases expanded"
            raise Unreadable("too-many-values", message, hint="split it, or move data out of it", mark=mark)

    def _not_too_deep(self, more: int, mark: Mark) -> None:
        if len(self._open) + more > MAX_DEPTH:
            message = f"nested more than {MAX_DEPTH} levels deep"
            raise Unreadable("too-deep", message, hint="flatten the document", mark=mark)


def build(root: Node) -> Built:
    """The tree as plain data. Aliases become copies, so that nobody changes two places at once."""
    built = Built()
    built.keys[()] = built.values[()] = root.mark
    built.data = _value(root, (), built)
    return built


def _value(node: Node, path: Path, built: Built) -> Any:
    built.values[path] = node.mark
    if node.kind == "scalar":
        return _scalar_value(node, path, built)
    if not scalars.known_collection(node.tag, "map" if node.kind == "map" else "seq"):
        fault = Fault("yaml-tag", f"the tag `{node.tag}` is not allowed", "write plain data", path, node.mark)
        built.faults.append(fault)
    return _list(node, path, built) if node.kind == "list" else _map(node, path, built)


def _scalar_value(node: Node, path: Path, built: Built) -> Any:
    try:
        if node.plain:
            return scalars.plain(node.value)
        return node.value if node.tag is None else scalars.tagged(node.tag, node.value)
    except scalars.BadScalar as wrong:
        built.faults.append(Fault(wrong.rule, str(wrong), wrong.hint, path, node.mark))
        return node.value


def _list(node: Node, path: Path, built: Built) -> list[Any]:
    items = []
    for index, child in enumerate(node.children):
        built.keys[*path, index] = child.mark
        items.append(_value(child, (*path, index), built))
    return items


def _map(node: Node, path: Path, built: Built) -> dict[str, Any]:
    data: dict[str, Any] = {}
    _fill(node, data, path, built)
    return data


def _fill(node: Node, data: dict[str, Any], path: Path, built: Built) -> None:
    """Add the keys of a map that `data` has not yet, then those it merges: `<<: *defaults`, a map or a list of maps."""
    own: dict[str, Mark] = {}
    merged: list[Node] = []
    for key, child in zip(node.children[::2], node.children[1::2], strict=True):
        if key.kind != "scalar":
            built.faults.append(_bad_key(key, path))
        elif key.plain and key.value == MERGE:
            merged += child.children if child.kind == "list" else [child]
        elif key.value in own:
            built.faults.append(_duplicate(key, path, own[key.value]))
        else:
            own[key.value] = key.mark
            if key.value not in data:
                _put(key, child, data, path, built)
    for source in merged:
        if source.kind == "map":
            _fill(source, data, path, built)
        else:
            built.faults.append(
                Fault("yaml-merge", "`<<` needs a map", "write `<<: *name` of a map", path, source.mark)
            )


def _put(key: Node, child: Node, data: dict[str, Any], path: Path, built: Built) -> None:
    # A key is the text that stands there: `404:` and `true:` are strings, as they are in JSON.
    place = (*path, key.value)
    built.keys[place] = key.mark
    data[key.value] = _value(child, place, built)


def _bad_key(key: Node, path: Path) -> Fault:
    looks_like_template = key.kind == "map" and len(key.children) == 2
    hint = 'put a template in quotes: "{{ name }}"' if looks_like_template else "a key is a single word or text"
    return Fault("yaml-key", f"a key cannot be a {key.kind}", hint, path, key.mark)


def _duplicate(key: Node, path: Path, first: Mark) -> Fault:
    hint = f"the first one is on line {first.line}; keep one of them"
    return Fault("duplicate-key", f"the key `{key.value}` is here twice", hint, (*path, key.value), key.mark)


def _mark(event: yaml.Event) -> Mark:
    start, end = event.start_mark, event.end_mark
    if start is None or end is None:  # only of events that nobody read from a text
        return Mark()
    width = end.column - start.column if end.line == start.line else 1
    return Mark(start.line + 1, start.column + 1, max(1, width))
