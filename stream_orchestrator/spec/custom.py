"""Task types that others bring: entry points of the group `stream_orchestrator.task_types`, known by name."""

from __future__ import annotations

from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points

GROUP = "stream_orchestrator.task_types"


@lru_cache(maxsize=1)
def installed() -> dict[str, EntryPoint]:
    """The installed types by name; nothing of theirs is imported. Of two with one name, the first that Python finds."""
    found: dict[str, EntryPoint] = {}
    for each in entry_points(group=GROUP):
        found.setdefault(each.name, each)
    return found
