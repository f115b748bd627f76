"""Who serves which partitions: the same numbers of every inbox, spread evenly, kept where they are if possible."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from faust.assignor.partition_assignor import PartitionAssignor
from faust.types import TP

from stream_orchestrator.errors import HouseError


class EvenAssignor(PartitionAssignor):
    """Faust's co-partitioning assignor without replicas: with them a third member of four partitions would get none."""

    def __init__(self, app: Any, replicas: int = 0) -> None:
        super().__init__(app, replicas=0)


def common_partitions(assigned: Iterable[TP], topics: Iterable[str]) -> frozenset[int]:
    """The numbers we serve. Raises unless they are the same of every inbox: rows are where the records are."""
    by_topic: dict[str, set[int]] = defaultdict(set)
    for tp in assigned:
        by_topic[tp.topic].add(tp.partition)
    numbers = {topic: frozenset(by_topic[topic]) for topic in topics}
    if len(set(numbers.values())) > 1:
        listing = ", ".join(f"{topic}: {sorted(served)}" for topic, served in numbers.items())
        raise HouseError(
            f"the inboxes of one app were not assigned alike ({listing})",
            hint="every member of the group must run the same version; stop the others and start again",
        )
    return next(iter(numbers.values()), frozenset())
