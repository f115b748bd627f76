"""Do the books of a pipeline balance? Counted from topics and tables alone; no worker is asked, and none is disturbed.

Promises
  * input = duplicates + in flight + succeeded + degraded + failed + rejected + lost, in distinct ids and their copies.
  * Topics are read in the direction in which work flows, results last: work that moves meanwhile is met somewhere.
    What still looks lost is looked for again, from the beginning; only what was lost in every look is called lost.
  * An event whose result retention may have removed is `unknown`: it is told, and counted nowhere.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from stream_orchestrator.kernel import identity, ids, ingest, privacy, rows
from stream_orchestrator.kernel.ingest_rows import Codec, KnownId
from stream_orchestrator.kernel.rows import RunRow, Stub
from stream_orchestrator.plan import names
from stream_orchestrator.streaming.acked import acked, unacked
from stream_orchestrator.streaming.books import Account, Books, Entry
from stream_orchestrator.streaming.client import existing, partitions_of, reading
from stream_orchestrator.streaming.deployments import Deployments
from stream_orchestrator.streaming.history import beginning, table
from stream_orchestrator.streaming.records import Record
from stream_orchestrator.streaming.settings import StreamSettings

LOOKS = 3  # what moves so that it looks lost twice does not do so in the third, if it did not in the second
PAUSE = 1.5  # seconds between two looks


async def reconcile(settings: StreamSettings, prefix: str, pipeline: str, *, pause: float = PAUSE) -> Account:
    """The books of a pipeline now."""
    topic = names.input_topic(prefix, pipeline)
    await partitions_of(settings, [topic])  # says what is missing, before anything is read
    entries = await _entries(settings, topic, private=await _anonymizes(settings, prefix, pipeline))
    account = await _look(settings, prefix, pipeline, entries)
    for _ in range(LOOKS - 1):
        if not account.lost:
            return account
        await asyncio.sleep(pause)
        before, account = account.lost, await _look(settings, prefix, pipeline, entries)
        account = account.only_lost(before)
    return account


async def _look(settings: StreamSettings, prefix: str, pipeline: str, entries: list[Entry]) -> Account:
    books = Books(entries)
    input_topic, ingest_topic = names.input_topic(prefix, pipeline), names.ingest_topic(prefix, pipeline)
    offsets = await acked(settings, f"{input_topic}.app", [input_topic])
    books.waiting |= {entry.position for entry in entries if entry.offset >= offsets.get(entry.place, 0)}
    waiting = await unacked(settings, f"{ingest_topic}.app", ingest_topic)
    books.waiting |= {ingest.origin_of(record) for record in waiting}
    for kept in await table(settings, f"{ingest_topic}.table"):
        row = Codec.decode(kept.value)
        if isinstance(row, KnownId):
            books.known[kept.key] = row.payload
    await _see_versions(settings, prefix, pipeline, books)
    await _see_results(settings, names.results_topic(prefix, pipeline), books)
    return books.account()


async def _anonymizes(settings: StreamSettings, prefix: str, pipeline: str) -> bool:
    """Whether ingest compares what is left of events without persons."""
    if not await existing(settings, [names.plans_topic(prefix)]):
        return False
    deployments = Deployments(settings, prefix)
    await deployments.start()
    await deployments.stop()
    return bool(deployments.of(pipeline)) and deployments.active(pipeline).rules.anonymize


async def _entries(settings: StreamSettings, topic: str, *, private: bool) -> list[Entry]:
    async with reading(settings, topic) as reader:
        return [_entry(record, private=private) async for batch in reader.batches() for record in batch]


def _entry(record: Record, *, private: bool) -> Entry:
    """An input event, by the same rules by which ingest names it."""
    plain = replace(record, headers=tuple((name, value or b"") for name, value in record.headers))
    who = identity.read(plain, record.position)
    if private:
        who = replace(who, payload=identity.payload_of(privacy.shielded(record.value or b"")))
    return Entry(
        run_id=who.run_id,
        payload=ids.digest(who.payload).hex(),
        other_id=f"{who.run_id}~{ids.sha256(who.payload)[:8]}" if who.supplied and ingest.fits(plain) else who.run_id,
        place=(record.topic, record.partition),
        offset=record.offset,
        stamp=record.timestamp_ms,
    )


async def _see_versions(settings: StreamSettings, prefix: str, pipeline: str, books: Books) -> None:
    """Deployments are read after ingest: whatever was admitted by then began with a version that is known by now."""
    if not await existing(settings, [names.plans_topic(prefix)]):
        return
    deployments = Deployments(settings, prefix)
    await deployments.start()
    await deployments.stop()
    for deployed in (*deployments.of(pipeline), *deployments.retiring(pipeline)):
        books.running |= {begin.run_id for _, begin in await beginning(settings, prefix, deployed.plan)}
        for kept in await table(settings, names.table_topic(prefix, deployed.plan)):
            match rows.decode(kept.value):
                case RunRow() as run:
                    books.running.add(run.run_id)
                case Stub() as stub:
                    books.stubs[kept.key] = stub


async def _see_results(settings: StreamSettings, topic: str, books: Books) -> None:
    if not await existing(settings, [topic]):
        return
    async with reading(settings, topic) as reader:
        bounds = await reader.bounds()
        books.removed = {partition: begin for (_, partition), (begin, _) in bounds.items() if begin > 0}
        async for batch in reader.batches():
            for record in batch:
                run_id, status = record.header("run-id") or b"", record.header("status") or b""
                books.see_result(
                    run_id.decode(errors="replace"),
                    status.decode(errors="replace"),
                    partition=record.partition,
                    stamp=record.timestamp_ms,
                )
