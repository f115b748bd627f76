"""Order: which task waits for which. Names in, names out; nothing here knows documents.

Promises
  * The order is topological, and that of the file wherever the edges leave it open.
  * Every cycle is found, and told as the shortest way round from its first task.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Mapping

Edges = Mapping[str, frozenset[str]]  # task -> the tasks it waits for


def order(edges: Edges) -> list[str]:
    """The tasks, each after all it waits for. ValueError when there is a cycle."""
    found = _in_order(edges)
    if len(found) < len(edges):
        raise ValueError("the tasks wait for each other")
    return found


def _in_order(edges: Edges) -> list[str]:
    """The same without those in a cycle, and those that wait for them."""
    place = {name: number for number, name in enumerate(edges)}
    waiting = {name: len(sources) for name, sources in edges.items()}
    after = downstream(edges)
    ready = [place[name] for name, count in waiting.items() if not count]
    heapq.heapify(ready)
    names, found = list(edges), []
    while ready:
        name = names[heapq.heappop(ready)]
        found.append(name)
        for other in after[name]:
            waiting[other] -= 1
            if not waiting[other]:
                heapq.heappush(ready, place[other])
    return found


def downstream(edges: Edges) -> dict[str, list[str]]:
    """Task -> the tasks that wait for it, in the order of the file."""
    after: dict[str, list[str]] = {name: [] for name in edges}
    for name, sources in edges.items():
        for source in sources:
            after[source].append(name)
    return after


def ancestors(edges: Edges, name: str) -> frozenset[str]:
    """All that a task waits for, however far away."""
    seen: set[str] = set()
    todo = list(edges[name])
    while todo:
        source = todo.pop()
        if source not in seen:
            seen.add(source)
            todo.extend(edges[source])
    return frozenset(seen)


def cycles(edges: Edges) -> list[tuple[str, ...]]:
    """One way round for each knot of tasks that wait for each other: `("a", "b", "a")` says a → b → a."""
    found: list[tuple[str, ...]] = []
    told = set(_in_order(edges))  # no way leads back to them
    for name in edges:
        way = () if name in told else _way_round(edges, name)
        if way:
            knot = ancestors(edges, name)
            told.update(other for other in knot if name in ancestors(edges, other))
            found.append(way)
    return found


def _way_round(edges: Edges, start: str) -> tuple[str, ...]:
    """The shortest path from a task, along the flow of data, back to itself."""
    after = downstream(edges)
    ways: deque[tuple[str, ...]] = deque([(start,)])
    seen: set[str] = set()
    while ways:
        way = ways.popleft()
        for other in after[way[-1]]:
            if other == start:
                return (*way, other)
            if other not in seen:
                seen.add(other)
                ways.append((*way, other))
    return ()
