"""`encryption_at_rest`: no internal topic has a payload in plain text, and a crash loses nothing that is sealed."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from support.broker import Broker

import stream_orchestrator
from stream_orchestrator.errors import MissingError
from stream_orchestrator.plan.model import Plan
from stream_orchestrator.spec.config import from_environ
from stream_orchestrator.streaming.client import Outgoing, administering, produce, read_all
from stream_orchestrator.streaming.serving import WorkerSettings
from stream_orchestrator.streaming.settings import StreamSettings
from stream_orchestrator.streaming.worker import Worker
from stream_orchestrator.trust.sealing import MAGIC, Seal, fresh_key

SECRET = "the wedding is off"
PIPELINE = """
name: Sealed Proof
security: {encryption_at_rest: true}
tasks:
  - name: shout
    type: python_task
    script: |
      context.set_global_state("last", note)
      if fails:
          raise ValueError("no luck")
      return note.upper()
  - name: ask
    type: llm_task
    model: offline/echo
    prompt: "{{ note }} {{ shout }}"
  - name: join
    type: python_task
    script: return [shout, ask]
"""
PLAIN = "name: Plain Neighbour\ntasks:\n  - {name: a, type: python_task, script: return note}\n"


def plan(text: str, folder: Path) -> Plan:
    path = folder / "pipeline.yaml"
    path.write_text(text)
    return stream_orchestrator.load(path).plan


def settings_of(broker: Broker, stream: StreamSettings | None = None) -> WorkerSettings:
    return WorkerSettings(stream=stream or broker.settings, prefix=broker.prefix, partitions=2, drain=20.0)


async def results_of(broker: Broker, slug: str, wanted: int) -> dict[str, Any]:
    for _ in range(300):
        records = await read_all(broker.settings, f"{broker.prefix}{slug}.results")
        found = {(record.header("run-id") or b"").decode(): orjson.loads(record.value or b"") for record in records}
        if len(found) >= wanted:
            return found
        await asyncio.sleep(0.1)
    raise AssertionError(f"{len(found)} of {wanted} results")


async def send(broker: Broker, slug: str, names: list[str], **more: Any) -> None:
    value = orjson.dumps({"note": SECRET, "fails": False, **more})
    sent = [Outgoing(value, headers=(("run-id", name.encode()),) if name else ()) for name in names]
    await produce(broker.settings, f"{broker.prefix}{slug}.input", sent)


@pytest.mark.embedded
async def test_internal_topics_hold_envelopes_and_a_crash_in_the_middle_loses_nothing(
    embedded: Broker, tmp_path: Path
) -> None:
    made = plan(PIPELINE, tmp_path)
    worker = Worker(settings_of(embedded), [made, plan(PLAIN, tmp_path)])
    await worker.start()
    await send(embedded, "sealed-proof", [f"run-{n}" for n in range(20)] + [""] * 10)
    await asyncio.sleep(0.3)
    await worker.close()  # as a crash would: rows and tokens are read back by the next one
    worker = Worker(settings_of(embedded), [made, plan(PLAIN, tmp_path)])
    try:
        await worker.start()
        await send(embedded, "sealed-proof", ["bad"], fails=True)
        await send(embedded, "plain-neighbour", ["beside"])
        results = await results_of(embedded, "sealed-proof", 31)
        beside = await results_of(embedded, "plain-neighbour", 1)
    finally:
        assert await worker.drain()
    assert beside["beside"]["output"] == SECRET, beside["beside"]["error"]
    statuses = {result["status"] for name, result in results.items() if name != "bad"}
    assert (statuses, results["bad"]["status"]) == ({"succeeded"}, "failed")
    assert results["run-0"]["output"][0] == SECRET.upper()
    blind = replace(embedded.settings, seal=Seal(fresh_key()))
    assert await looked_at(embedded, blind) > 100


async def looked_at(broker: Broker, blind: StreamSettings) -> int:
    """Every value of every topic of ours is an envelope, and the text is on public ones alone; how many there are."""
    async with administering(broker.settings) as admin:
        topics = [topic for topic in await admin.list_topics() if topic.startswith(broker.prefix)]
    prefix = broker.prefix
    ours = (f"{prefix}sealed-proof.0-0-0", f"{prefix}orchestrator.calls.", f"{prefix}orchestrator.state")
    internal = [topic for topic in topics if topic.startswith(ours) or topic == f"{prefix}sealed-proof.ingest"]
    assert len(internal) > 8, topics
    count = 0
    for topic in internal:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("stream_orchestrator.streaming.client.opened", lambda value, seal, topic: value)
            records = await read_all(blind, topic)
        for record in records:
            if record.value is not None:
                count += 1
                assert record.value.startswith(MAGIC), f"{topic} has {record.value[:80]!r}"
                assert SECRET.encode() not in record.value
    others = [topic for topic in topics if topic not in internal and not topic.endswith((".input", ".results", ".dlq"))]
    for record in await read_all(broker.settings, *others):
        neighbours = record.topic.startswith(f"{prefix}plain-neighbour")
        assert neighbours or SECRET.encode() not in (record.value or b""), record
    return count


@pytest.mark.embedded
async def test_without_a_key_and_with_plain_large_values_nothing_starts(
    embedded: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keyless = replace(embedded.settings, seal=None, embedded=False)
    worker = Worker(settings_of(embedded, keyless), [plan(PIPELINE, tmp_path)])
    with pytest.raises(MissingError, match="encryption_at_rest") as refused:
        await worker.start()
    assert "openssl rand -base64 32" in refused.value.hint
    await worker.close()
    monkeypatch.setenv("STREAM_ORCHESTRATOR__BLOBS__URL", str(tmp_path / "large"))
    settings = replace(settings_of(embedded), config=from_environ(os.environ))
    worker = Worker(settings, [plan(PIPELINE, tmp_path)])
    with pytest.raises(MissingError, match="large values would lie in plain files"):
        await worker.start()
    await worker.close()
    async with administering(embedded.settings) as admin:
        topics = await admin.list_topics()
    assert not [topic for topic in topics if topic.startswith(embedded.prefix)], (
        "no version is deployed that is refused"
    )


@pytest.mark.embedded
async def test_bytes_that_only_look_sealed_are_an_event_like_any_other(embedded: Broker, tmp_path: Path) -> None:
    worker = Worker(settings_of(embedded), [plan(PIPELINE, tmp_path), plan(PLAIN, tmp_path)])
    forged = MAGIC + b"x" * 200
    try:
        await worker.start()
        for slug in ("sealed-proof", "plain-neighbour"):
            sent = [Outgoing(forged), Outgoing(forged, headers=(("run-id", b"named"),))]
            await produce(embedded.settings, f"{embedded.prefix}{slug}.input", sent)
            found = await results_of(embedded, slug, 2)
            assert {result["status"] for result in found.values()} == {"rejected"}
            letters = await read_all(embedded.settings, f"{embedded.prefix}{slug}.dlq")
            assert [letter.value for letter in letters] == [forged, forged]
    finally:
        assert await worker.drain()
