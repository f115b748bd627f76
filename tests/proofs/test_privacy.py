"""A pipeline that anonymises: what a person is known by is on the input topic, and nowhere else.

Every topic of the broker is read afterwards, byte by byte, but for the one that the producer wrote.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest
from support.broker import Broker

import stream_orchestrator
from stream_orchestrator.cli.deadletters import DeadLetters
from stream_orchestrator.streaming.client import Outgoing, administering, produce, read_all
from stream_orchestrator.streaming.reconcile import reconcile
from stream_orchestrator.streaming.serving import WorkerSettings
from stream_orchestrator.streaming.worker import Worker

MAIL, PHONE, CARD = "ada@example.org", "555-123-4567", "4111 1111 1111 1111"
SECRETS = [MAIL, PHONE, CARD, "ada%40example"]
PIPELINE = r"""
name: Private Proof
privacy_settings: {anonymization: true, retention_period: "90 days"}
input_validation: {strict_mode: true}
input_variables:
  mail: {type: string, validation: '[^@\s]+@[a-z.]+'}
  note: {type: string, default: none, validation: {max_length: 30}}
tasks:
  - name: tell
    type: python_task
    script: |
      context.log_audit_event({"note": note})
      if "fail" in note:
          raise ValueError(f"no luck with {mail} and {note}")
      return {"mail": mail, "note": note, "all": input_data}
"""
EVENT = {"mail": MAIL, "note": f"call {PHONE}"}
CLOUD = {"specversion": "1.0", "id": "c1", "source": "/shop", "type": "order", "subject": MAIL, "data": EVENT}
EVENTS: dict[str, bytes] = {
    "named": orjson.dumps(EVENT),
    "again": orjson.dumps(EVENT),
    "failing": orjson.dumps({"mail": MAIL, "note": f"fail {CARD}"}),
    "invalid": orjson.dumps({"mail": f"{PHONE}"}),
    "strange": orjson.dumps({"mail": MAIL, "phone": PHONE}),
    "broken": b'{"mail": "' + MAIL.encode(),
}
GOOD = {"mail": "[EMAIL_REDACTED]", "note": "call [PHONE_REDACTED]"}


@pytest.mark.embedded
async def test_no_topic_but_the_input_has_a_persons_mail_number_or_card(embedded: Broker, tmp_path: Path) -> None:
    path = tmp_path / "private.yaml"
    path.write_text(PIPELINE)
    plan = stream_orchestrator.load(path).plan
    settings = WorkerSettings(stream=embedded.settings, prefix=embedded.prefix, partitions=2, drain=20.0)
    worker = Worker(settings, [plan])
    topic = f"{embedded.prefix}private-proof.input"
    try:
        await worker.start()
        named = [Outgoing(value, headers=(("run-id", name.encode()),)) for name, value in EVENTS.items()]
        unnamed = [Outgoing(value) for value in EVENTS.values()]
        await produce(embedded.settings, topic, [*named, *unnamed, named[0], Outgoing(orjson.dumps(CLOUD))])
        results = await _results(embedded, 2 * len(EVENTS) + 1)
        letters = DeadLetters(settings=embedded.settings, prefix=embedded.prefix, pipeline="private-proof")
        found = await letters.read(ids=["failing"])
        assert [letter.is_reference for letter in found] == [True]
        await letters.redrive(await letters.plan(found, named=True))
        results |= await _results(embedded, 2 * len(EVENTS) + 2)
        account = await reconcile(embedded.settings, embedded.prefix, "private-proof", pause=0.1)
    finally:
        await worker.drain()
    for name in ("named", "again"):
        assert results[name]["output"] == {**GOOD, "all": GOOD}, results[name]
    statuses = {name: results[name]["status"] for name in EVENTS}
    wanted = dict(zip(EVENTS, ("succeeded", "succeeded", "failed", "rejected", "rejected", "rejected"), strict=True))
    assert statuses == wanted
    assert results["failing#2"]["error"]["message"] == "line 3: no luck with [EMAIL_REDACTED] and fail [CARD_REDACTED]"
    assert (len(account.lost), account.duplicates) == (0, 1)
    assert not await _leaks(embedded, but=topic)


async def test_in_memory_the_same(tmp_path: Path) -> None:
    path = tmp_path / "private.yaml"
    path.write_text(PIPELINE)
    pipeline = stream_orchestrator.load(path)
    assert (await pipeline.run(EVENT)).output == {**GOOD, "all": GOOD}
    assert (await pipeline.run({"mail": PHONE})).status == "rejected"


async def _results(broker: Broker, wanted: int) -> dict[str, Any]:
    for _ in range(300):
        records = await read_all(broker.settings, f"{broker.prefix}private-proof.results")
        found = {(record.header("run-id") or b"").decode(): orjson.loads(record.value or b"") for record in records}
        if len(found) >= wanted:
            return found
        await asyncio.sleep(0.1)
    raise AssertionError(f"{len(found)} of {wanted} results: {sorted(found)}")


async def _leaks(broker: Broker, *, but: str) -> list[str]:
    async with administering(broker.settings) as admin:
        topics = [topic for topic in await admin.list_topics() if topic.startswith(broker.prefix) and topic != but]
    assert len(topics) > 8
    records = await read_all(broker.settings, *topics)
    assert len(records) > 50
    found = []
    for record in records:
        values = [value or b"" for _, value in record.headers]
        whole = b" ".join([record.key or b"", record.value or b"", *values])
        found += [f"{secret} on {record.topic}: {whole!r}" for secret in SECRETS if secret.encode() in whole]
    return found
