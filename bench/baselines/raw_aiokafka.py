"""Baseline (b), frozen: a plain fast loop over Kafka for the shapes of `bench/hops.py`. A crash loses its halves.

    python bench/baselines/raw_aiokafka.py HOST:PORT PREFIX PARTITIONS SHAPE [LINGER_MS]

Takes what there is, decodes, encodes, sends, waits for the acknowledgements of the batch; commits every 0.5 s.
"""

import asyncio
import itertools
import sys
import time

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

BOOTSTRAP, PREFIX, _PARTITIONS, SHAPE, *LINGER = sys.argv[1:]
NAMES = ["in", *(f"t{n}" for n in range(1, int(SHAPE) if SHAPE.isdigit() else 0)), "out"]
JOIN = {"in": ["left", "right"], "left": ["half"], "right": ["half"], "half": ["out"]}
ROUTES = JOIN if SHAPE == "join" else {here: [there] for here, there in itertools.pairwise(NAMES)}
HALVES = {}


async def forward(producer, part, record):
    """The acknowledgements to wait for."""
    inbox, value = part.topic.removeprefix(PREFIX), orjson.loads(record.value)
    if inbox == "half" and HALVES.pop(record.key, None) is None:
        HALVES[record.key] = value
        return []
    data = orjson.dumps(value)
    return [
        await producer.send(PREFIX + target, data, key=record.key, partition=part.partition) for target in ROUTES[inbox]
    ]


async def main():
    """Until killed."""
    consumer = AIOKafkaConsumer(
        *(PREFIX + inbox for inbox in ROUTES), bootstrap_servers=BOOTSTRAP, group_id=f"{PREFIX}app",
        enable_auto_commit=False, auto_offset_reset="earliest", session_timeout_ms=30_000,
    )  # fmt: skip
    producer = AIOKafkaProducer(
        bootstrap_servers=BOOTSTRAP, acks="all", enable_idempotence=True, max_batch_size=256 * 1024,
        linger_ms=int(LINGER[0]) if LINGER else 5,
    )  # fmt: skip
    await consumer.start()
    await producer.start()
    committed = time.monotonic()
    while True:
        batches = await consumer.getmany(timeout_ms=200)
        records = [(part, record) for part, batch in batches.items() for record in batch]
        await asyncio.gather(*[ack for part, record in records for ack in await forward(producer, part, record)])
        if time.monotonic() - committed >= 0.5:
            await consumer.commit()
            committed = time.monotonic()


asyncio.run(main())
