"""Wrong on purpose: what the oracle must catch. It answers every record of a topic, and

  * `early` commits what it has fetched before it has worked on it: what is in its hands when it dies is lost;
  * `late` commits when all is done, and has a fresh uuid in every answer: what it did before it died is done again,
    and the copy differs.

It dies by its own SIGKILL after `die_after` answers (0: never), and ends when nothing is left to read.
usage: wrong_consumer.py BOOTSTRAP INPUT OUTPUT early|late DIE_AFTER CALL_LOG
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import uuid
from pathlib import Path

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition


async def main(bootstrap: str, source: str, target: str, commits: str, die_after: int, log: Path) -> None:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, group_id=f"{source}-wrong", enable_auto_commit=False, auto_offset_reset="earliest"
    )
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all")
    part, answered = TopicPartition(source, 0), 0
    async with consumer, producer:
        consumer.assign([part])
        while records := (await consumer.getmany(timeout_ms=1500)).get(part):
            behind = {part: records[-1].offset + 1}
            if commits == "early":
                await consumer.commit(behind)
            for record in records:
                with log.open("a") as calls:
                    calls.write(dict(record.headers)["run-id"].decode() + "\n")
                answer = b"answer " + uuid.uuid4().bytes
                await producer.send_and_wait(target, answer, key=record.key, headers=list(record.headers))
                answered += 1
                if answered == die_after:
                    os.kill(os.getpid(), signal.SIGKILL)
            if commits == "late":
                await consumer.commit(behind)


if __name__ == "__main__":
    given = sys.argv[1:]
    asyncio.run(main(*given[:4], int(given[4]), Path(given[5])))  # type: ignore[call-arg, arg-type]
