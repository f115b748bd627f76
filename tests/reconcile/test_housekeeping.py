"""What is acked and old goes; what is young, or not acked, stays, whatever its age."""

from __future__ import annotations

import time
from typing import Any

import pytest
from support.broker import Broker

from stream_orchestrator.streaming.client import Outgoing, produce, read_all, reading
from stream_orchestrator.streaming.housekeeping import Shelf, sweep
from stream_orchestrator.streaming.provisioning import apply
from stream_orchestrator.streaming.topic_kinds import topic_spec

pytestmark = pytest.mark.kafka
HOUR = 3600.0
Site, Serve = Any, Any  # of conftest.py


async def inbox(broker: Broker, name: str, count: int) -> str:
    topic = broker.topic(name)
    await apply(broker.settings, [topic_spec("inbox", topic, partitions=2)])
    sent = [Outgoing(b"%d" % number, partition=number % 2) for number in range(count)]
    await produce(broker.settings, topic, sent)
    return topic


def shelf(broker: Broker, topic: str, *partitions: int) -> Shelf:
    return Shelf(group=broker.topic("group"), topics=(topic,), partitions=partitions, keep=HOUR)


async def low(broker: Broker, topic: str) -> dict[int, int]:
    async with reading(broker.settings, topic) as reader:
        return {number: begin for (_, number), (begin, _) in (await reader.bounds()).items()}


async def test_acked_records_go_when_they_are_old_and_no_unacked_one_does(kafka_site: Site) -> None:
    broker = kafka_site.broker
    topic = await inbox(broker, "a", 6)
    assert await sweep(broker.settings, shelf(broker, topic, 0, 1), now=time.time() + 2 * HOUR) == {}  # nothing acked
    await kafka_site.ack("group", topic)
    await produce(broker.settings, topic, [Outgoing(b"open", partition=0)])
    assert await sweep(broker.settings, shelf(broker, topic, 0, 1), now=time.time()) == {}  # young
    gone = await sweep(broker.settings, shelf(broker, topic, 0, 1), now=time.time() + 2 * HOUR)
    assert gone == {(topic, 0): 3, (topic, 1): 3}
    assert await low(broker, topic) == {0: 3, 1: 3}
    assert [record.value for record in await read_all(broker.settings, topic)] == [b"open"]
    assert await sweep(broker.settings, shelf(broker, topic, 0, 1), now=time.time() + 2 * HOUR) == {}


async def test_nothing_goes_that_is_younger_than_a_run_may_be_though_it_is_acked(kafka_site: Site) -> None:
    broker = kafka_site.broker
    topic = await inbox(broker, "a", 4)
    between = time.time() + 0.001
    while time.time() < between:
        pass
    await produce(broker.settings, topic, [Outgoing(b"young", partition=0)])
    await kafka_site.ack("group", topic)
    gone = await sweep(broker.settings, shelf(broker, topic, 0, 1), now=between + HOUR)
    assert gone == {(topic, 0): 2, (topic, 1): 2}
    assert [record.value for record in await read_all(broker.settings, topic)] == [b"young"]


async def test_only_partitions_of_ours_are_swept(kafka_site: Site) -> None:
    broker = kafka_site.broker
    topic = await inbox(broker, "a", 6)
    await kafka_site.ack("group", topic)
    await sweep(broker.settings, shelf(broker, topic, 1), now=time.time() + 2 * HOUR)
    assert await low(broker, topic) == {0: 0, 1: 3}


async def test_a_worker_sweeps_its_inboxes_and_is_none_the_worse_for_it(kafka_site: Site, serve: Serve) -> None:
    site = kafka_site
    worker = await serve(site.settings, site.plan)
    await site.send(1, 2, 3)
    await site.send(4, run_id="mine")
    await site.results(4)
    assert await worker.drain()
    worker = await serve(site.settings, site.plan)
    swept: set[str] = set()
    for each in worker._shelves():
        swept |= {topic for topic, _ in await sweep(site.broker.settings, each, now=time.time() + 100_000)}
    # The other inboxes had no record: what `look` gave was taken by `say` on the spot, and so was what that gave.
    assert {site.version_topic(slug) for slug in (":start", "look")} | {site.topic("ingest")} <= swept
    assert not any(topic.endswith(".input") for topic in swept)
    assert await worker.drain()
    await serve(site.settings, site.plan)  # its next owner finds nothing missing
    await site.send(5)
    assert len(await site.results(5)) == 5
    assert (await site.call("reconcile", "books", "--json")).json["lost"] == 0
