"""Baseline (d), frozen: (c) by ids. Copies of an event meet at its home, whichever way they come, after a crash too.

python bench/baselines/faust_same_guarantee.py HOST:PORT PREFIX PARTITIONS 1 [scripts]
"""

import asyncio
import sys
import tempfile
from datetime import UTC, datetime

import faust
import orjson

BOOTSTRAP, PREFIX, PARTITIONS, _, *SCRIPTS = sys.argv[1:]
app = faust.App(
    f"{PREFIX}app", broker=f"kafka://{BOOTSTRAP}", web_enabled=False, producer_acks=-1,
    topic_partitions=int(PARTITIONS), datadir=tempfile.mkdtemp(), broker_commit_interval=0.5, stream_wait_empty=False,
    producer_linger_ms=5, producer_max_batch_size=256 * 1024,
)  # fmt: skip
RAW = {"key_type": bytes, "value_type": bytes, "key_serializer": "raw", "value_serializer": "raw"}
inbox, runs, out, audit = (app.topic(PREFIX + name, **RAW) for name in ("in", "runs", "out", "audit"))
rows = app.Table("halves", partitions=int(PARTITIONS), key_type=bytes, value_type=bytes)
kept, busy, pool, started = rows.changelog_topic, set(), None, []
if SCRIPTS:
    from stream_orchestrator.kernel.effects import RunScript
    from stream_orchestrator.trust.pool import ScriptPool

    pool, SOURCE = ScriptPool(), "def __step__(__b__):\n    return {'n': event['n'], 'text': event['text']}\n"


@app.agent(inbox, concurrency=256)
async def door(events):
    async for event in events.events():
        await (await runs.send(key=event.key, value=event.value))


@app.agent(runs, concurrency=256)
async def home(events):
    async for event in events.events():
        key, home, data, begun = event.key, event.message.partition, rows.data.get(event.key), datetime.now(UTC)
        if key in busy or data == b"over":
            continue
        busy.add(key)
        if data is None:
            value = orjson.loads(event.value)
            if pool:
                started[:] = started or [asyncio.ensure_future(pool.start())]
                await started[0]
                value = (await pool.run(RunScript(source=SOURCE, digest="step", names={"event": value}))).value
            about = {"run_id": key.decode(), "begun": begun, "ended": datetime.now(UTC), "status": "succeeded"}
            data = rows.data[key] = orjson.dumps({**about, "output": value, "outputs": {"t1": value}})
            await (await kept.send(key=key, value=data, partition=home))  # `rows[key] = data` would not wait for it
        story = orjson.dumps({"run_id": key.decode(), "transitions": [{"began": begun}, {"ended": datetime.now(UTC)}]})
        await asyncio.gather(*[await out.send(key=key, value=data), await audit.send(key=key, value=story)])
        over = rows.data[key] = b"over"
        await (await kept.send(key=key, value=over, partition=home))
        busy.discard(key)


faust.Worker(app, loglevel="warning").execute_from_commandline()
