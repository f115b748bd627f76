"""Clients that are cancelled while they start, and topics that some node has not heard of yet."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError, NodeNotReadyError

from stream_orchestrator.streaming import provisioning
from stream_orchestrator.streaming.ending import started


async def test_a_start_that_is_cancelled_goes_on_to_its_end_so_that_it_can_be_stopped_whole() -> None:
    steps, answer = [], asyncio.Event()

    async def start() -> None:
        steps.append("connected")
        await answer.wait()
        steps.append("started")

    waiting = asyncio.create_task(started(start()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.sleep(0)
    answer.set()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert steps == ["connected", "started"]


class Nodes:
    """An admin client of a cluster whose nodes hear of topics one after the other."""

    def __init__(self, *behind: int) -> None:
        self.behind, self.asked = dict(enumerate(behind)), 0
        brokers = [SimpleNamespace(nodeId=node) for node in self.behind]
        self._client = SimpleNamespace(cluster=SimpleNamespace(brokers=lambda: brokers), send=self.send)

    async def send(self, node: int, _request: Any) -> Any:
        self.asked += 1
        if self.behind[node] < 0:
            raise NodeNotReadyError
        known = self.behind[node] == 0
        self.behind[node] -= not known
        topics = [{"topic": "t", "partitions": [{"leader": 1}]}] if known else []
        return SimpleNamespace(to_object=lambda: {"topics": topics})


async def test_topics_are_there_when_every_node_that_answers_knows_them() -> None:
    nodes = Nodes(0, 2, -1)
    await provisioning._await_leaders(nodes, ["t"])  # type: ignore[arg-type]
    assert nodes.behind == {0: 0, 1: 0, 2: -1}


async def test_a_cluster_without_any_node_that_answers_is_said_to_be_away() -> None:
    with pytest.raises(KafkaConnectionError):
        await provisioning._await_leaders(Nodes(-1, -1), ["t"])  # type: ignore[arg-type]
