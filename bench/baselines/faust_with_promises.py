"""Baseline (c), frozen: (a) of one task, keeping by hand of every run what we keep of it (it is never read back).

    python bench/baselines/faust_with_promises.py HOST:PORT PREFIX PARTITIONS 1 [scripts]

A copy of a run is known by its key; the whole result is kept before it is published, so that copies are equal; an audit
record tells what was done; a stub remains. Each is acknowledged by all replicas before the next.
"""

import asyncio
import sys
import tempfile
from datetime import UTC, datetime
from time import time

import faust
import orjson

BOOTSTRAP, PREFIX, PARTITIONS, _, *SCRIPTS = sys.argv[1:]
app = faust.App(
    f"{PREFIX}app", broker=f"kafka://{BOOTSTRAP}", web_enabled=False, producer_acks=-1,
    topic_partitions=int(PARTITIONS), datadir=tempfile.mkdtemp(), broker_commit_interval=0.5, stream_wait_empty=False,
    producer_linger_ms=5, producer_max_batch_size=256 * 1024,
)  # fmt: skip
RAW = {"key_type": bytes, "value_type": bytes, "key_serializer": "raw", "value_serializer": "raw"}
inbox, out, audit, kept = (app.topic(PREFIX + name, **RAW) for name in ("in", "out", "audit", "app-halves-changelog"))
known, pool, started = {}, None, []
if SCRIPTS:
    from stream_orchestrator.kernel.effects import RunScript
    from stream_orchestrator.trust.pool import ScriptPool

    pool, SOURCE = ScriptPool(), "def __step__(__b__):\n    return {'n': event['n'], 'text': event['text']}\n"


def instant(seconds):
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


@app.agent(inbox, concurrency=256)
async def step(events):
    async for event in events.events():
        if event.key in known:
            continue
        key, value, partition, begun = event.key, orjson.loads(event.value), event.message.partition, time()
        if pool:
            started[:] = started or [asyncio.ensure_future(pool.start())]
            await started[0]
            value = (await pool.run(RunScript(source=SOURCE, digest="step", names={"event": value}))).value
        about = {"format": 1, "run_id": key.decode(), "pipeline": "bench", "version": "1.0.0"}
        now = time()
        times = {"started_at": instant(begun), "ended_at": instant(now), "timings": {"t1": now - begun}}
        data = orjson.dumps({**about, **times, "status": "succeeded", "output": value, "outputs": {"t1": value}})
        await (await kept.send(key=key, value=data, partition=partition))
        told = [{"task": "t1", "kind": kind, "at": instant(at)} for kind, at in (("began", begun), ("ended", now))]
        story = orjson.dumps({**about, "transitions": told})
        await asyncio.gather(*[await out.send(key=key, value=data), await audit.send(key=key, value=story)])
        stub = known[key] = b"succeeded %d %d" % (partition, begun)
        await (await kept.send(key=key, value=stub, partition=partition))


faust.Worker(app, loglevel="warning").execute_from_commandline()
