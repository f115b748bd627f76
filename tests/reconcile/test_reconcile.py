"""`reconcile` on real topics: the books balance while workers run and when they are gone, and a loss is found."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete
from support.broker import Broker

from stream_orchestrator.kernel import events
from stream_orchestrator.kernel.events import Begin
from stream_orchestrator.plan.model import START
from stream_orchestrator.streaming import reconcile as reconciling
from stream_orchestrator.streaming.client import Outgoing, administering, produce, reading
from stream_orchestrator.streaming.provisioning import apply
from stream_orchestrator.streaming.reconcile import reconcile
from stream_orchestrator.streaming.serving import topic_specs

Site, Serve = Any, Any  # of conftest.py
KEYS = ["input", "duplicates", "in_flight", "succeeded", "degraded", "failed", "rejected", "lost"]


async def test_every_event_is_counted_once_with_copies_conflicts_and_redrives(site: Site, serve: Serve) -> None:
    worker = await serve(site.settings, site.plan)
    await site.send(1, 2, 3)
    await site.send(4, 4, run_id="mine")
    await site.results(4)
    await site.send(4, run_id="mine", key=b"another partition")
    await site.send(5, run_id="mine")
    await site.send(-1, run_id="bad")
    await site.send(b"{", b'{"n": "x"}')
    await site.results(9)
    assert (await site.call("dlq", "redrive", "books", "--id", "bad")).code == 0
    await site.results(10)
    assert await worker.drain()
    said = await site.call("reconcile", "books", "--json")
    assert list(said.json) == KEYS
    assert said.json == dict(zip(KEYS, (11, 2, 0, 4, 0, 2, 3, 0), strict=True)), (
        "three runs and `mine`, its two copies, its conflict, `bad` and `bad#2`, two that are broken"
    )
    assert said.code == 0


async def test_events_that_nobody_has_taken_are_in_flight(site: Site) -> None:
    await apply(site.broker.settings, topic_specs([site.plan], site.settings))
    await site.send(1, 2)
    await site.send(3, run_id="mine")
    said = await site.call("reconcile", "books", "--json")
    assert (said.code, said.json["input"], said.json["in_flight"], said.json["lost"]) == (0, 3, 3, 0)


async def test_an_event_that_is_acked_without_a_trace_is_lost(site: Site, serve: Serve) -> None:
    worker = await serve(site.settings, site.plan)
    await site.send(1)
    await site.results(1)
    assert await worker.drain()
    await site.send(2, run_id="hidden")
    await site.ack("books.input.app", site.topic("input"))
    said = await site.call("reconcile", "books", "--json")
    assert (said.code, said.json["lost"], said.json["succeeded"], said.json["input"]) == (1, 1, 1, 2)
    assert "hidden" in said.err


async def test_a_run_that_is_acked_in_its_start_inbox_and_has_no_row_is_lost(site: Site, serve: Serve) -> None:
    worker = await serve(site.settings, site.plan)
    assert await worker.drain()
    await site.send(2, run_id="hidden")
    await site.ack("books.input.app", site.topic("input"))
    begin = Begin(
        run_id="hidden", payload="{}", key=None, headers=(), position="x/0/0", accepted_at=1, deadline=2, supplied=True
    )
    inbox = site.version_topic(START)
    await produce(site.broker.settings, inbox, [Outgoing(events.encode(begin), key=b"hidden", partition=1)])
    assert (await site.call("reconcile", "books", "--json")).json["in_flight"] == 1
    await site.ack(inbox.removeprefix(site.broker.prefix).removesuffix(".start"), inbox)
    said = await site.call("reconcile", "books", "--json")
    assert (said.code, said.json["in_flight"], said.json["lost"]) == (1, 0, 1)


async def test_a_parked_run_is_in_flight_when_its_worker_is_gone_and_the_newer_version_serves(
    site: Site, serve: Serve
) -> None:
    slow = site.make("0.9.0", delay=3000)
    worker = await serve(site.settings, slow)
    await site.send(-1)
    await _parked(site)
    assert await worker.drain()
    newer = await serve(site.settings, site.plan)
    await site.send(1)
    await site.results(1)
    assert (await site.call("reconcile", "books", "--json")).json == dict(
        zip(KEYS, (2, 0, 1, 1, 0, 0, 0, 0), strict=True)
    )
    assert await newer.drain()


@pytest.mark.slow
async def test_nothing_looks_lost_while_events_stream_through_a_worker(
    site: Site, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One look each: what is met in no place because it moved would show."""
    monkeypatch.setattr(reconciling, "LOOKS", 1)
    await serve(site.settings, site.plan)
    burst, enough = asyncio.Event(), asyncio.Event()
    sending = asyncio.create_task(_stream(site, burst, enough))
    inputs = [0]
    for _ in range(5):
        burst.clear()
        await burst.wait()
        told = (await reconcile(site.broker.settings, site.broker.prefix, "books")).as_json()
        assert not told["lost"]
        inputs.append(told.pop("input"))
        assert inputs[-1] == sum(told.values())
    enough.set()
    sent = await sending
    assert inputs == sorted(set(inputs)), "events came in before every look, and while it looked"
    await site.results(sent)
    said = await site.call("reconcile", "books", "--json")
    assert (said.json["input"], said.json["succeeded"], said.json["in_flight"]) == (sent, sent, 0)


@pytest.mark.kafka
async def test_results_that_retention_took_are_known_by_stubs_or_unknown_but_never_lost(
    kafka_site: Site, serve: Serve
) -> None:
    site = kafka_site
    worker = await serve(site.settings, site.plan)
    await site.send(1, 2, -1)
    await site.send(b"{")
    await site.results(4)
    assert await worker.drain()
    await _truncate(site.broker, site.topic("results"))
    said = await site.call("reconcile", "books", "--json")
    assert said.code == 0
    assert said.json == dict(zip(KEYS, (3, 0, 0, 2, 0, 1, 0, 0), strict=True))
    assert "1 event not counted" in said.err  # the rejection: nothing else remembers it


async def test_a_pipeline_that_is_not_there_is_said_and_exits_with_three(site: Site) -> None:
    said = await site.call("reconcile", "nothing-here", "--json")
    assert (said.code, said.out) == (3, "")
    assert "nothing-here.input" in said.err


async def _stream(site: Site, burst: asyncio.Event, enough: asyncio.Event) -> int:
    """Send in bursts until it is enough, each told; how many events."""
    for number in itertools.count(1):
        await site.send(*range(50))
        await site.send(number, run_id=f"mine-{number}")
        burst.set()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(enough.wait(), 0.2)
            return number * 51
    raise AssertionError("numbers do not end")


async def _parked(site: Site) -> None:
    async with asyncio.timeout(60):
        while [run["status"] for run in (await site.call("runs", "list", "books", "--json")).json["runs"]] != [
            "parked"
        ]:
            await asyncio.sleep(0.1)


async def _truncate(broker: Broker, topic: str) -> None:
    async with reading(broker.settings, topic) as reader:
        ends = {place: end for place, (_, end) in (await reader.bounds()).items() if end}
    async with administering(broker.settings) as admin:
        await admin.delete_records({TopicPartition(*place): RecordsToDelete(end) for place, end in ends.items()})
