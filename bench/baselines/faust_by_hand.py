"""Baseline (a), frozen: what someone writes by hand with Faust for the shapes of `bench/hops.py`, with our guarantee.

    python bench/baselines/faust_by_hand.py HOST:PORT PREFIX PARTITIONS SHAPE [scripts]

Every inbox has at most 256 events in flight; each is acked when what it sends is acknowledged by all replicas. A join
keeps its first half in a table with a changelog. With `scripts` each step is a call into our own sandbox.
"""

import asyncio
import itertools
import sys
import tempfile

import faust
import orjson

BOOTSTRAP, PREFIX, PARTITIONS, SHAPE, *SCRIPTS = sys.argv[1:]
IN_FLIGHT = 256
NAMES = ["in", *(f"t{n}" for n in range(1, int(SHAPE) if SHAPE.isdigit() else 0)), "out"]
JOIN = {"in": ["left", "right"], "left": ["half"], "right": ["half"], "half": ["out"]}
ROUTES = JOIN if SHAPE == "join" else {here: [there] for here, there in itertools.pairwise(NAMES)}

app = faust.App(
    f"{PREFIX}app", broker=f"kafka://{BOOTSTRAP}", web_enabled=False, producer_acks=-1,
    topic_partitions=int(PARTITIONS), datadir=tempfile.mkdtemp(), broker_commit_interval=0.5, stream_wait_empty=False,
    producer_linger_ms=5, producer_max_batch_size=256 * 1024,
)  # fmt: skip
halves = app.Table("halves", partitions=int(PARTITIONS))
if SCRIPTS:
    from stream_orchestrator.kernel.effects import RunScript
    from stream_orchestrator.trust.pool import ScriptPool

    pool, started = ScriptPool(), []
    SOURCE = "def __step__(__b__):\n    return {'n': event['n'], 'text': event['text']}\n"


def serve(inbox, targets):
    raw = {"key_type": bytes, "value_type": bytes, "key_serializer": "raw", "value_serializer": "raw"}
    outlets = [app.topic(PREFIX + target, **raw) for target in targets]

    async def step(events):
        async for event in events.events():
            value, key = orjson.loads(event.value), event.key.decode()
            if inbox == "half" and halves.pop(key, None) is None:
                halves[key] = value
                continue
            if SCRIPTS:
                started[:] = started or [asyncio.ensure_future(pool.start())]  # once, by whoever is first
                await started[0]
                value = (await pool.run(RunScript(source=SOURCE, digest="step", names={"event": value}))).value
            data, partition = orjson.dumps(value), event.message.partition
            sent = [await outlet.send(key=event.key, value=data, partition=partition) for outlet in outlets]
            await asyncio.gather(*sent)

    app.agent(app.topic(PREFIX + inbox, **raw), name=inbox, concurrency=IN_FLIGHT)(step)


for inbox, targets in ROUTES.items():
    serve(inbox, targets)
faust.Worker(app, loglevel="warning").execute_from_commandline()
