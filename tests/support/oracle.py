"""Says what became of every event: lost, copied, answered differently, called twice. It trusts no counter of ours.

Promises
  * It compares ids and bytes, never counts: a loss and a copy do not cancel out.
  * It reads the topics itself, with a plain consumer, from their first record to their last. Of the product it uses the
    address of the broker, and nothing else: it cannot share a mistake with what it judges.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from stream_orchestrator.streaming.settings import StreamSettings

SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One record of an answer topic: whose it is, and all that a reader could tell it from another by."""

    run_id: str
    key: bytes | None
    value: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What was found. `copies`: answers after the first of a run; `calls_repeated`: calls after the first of an id."""

    sent: int
    answered: int
    lost: tuple[str, ...]
    copies: int
    different: tuple[str, ...]
    strangers: tuple[str, ...]
    calls: int
    calls_repeated: int

    @property
    def ok(self) -> bool:
        """Nothing lost, nothing different, nothing that nobody asked for. Copies and repeated calls have bounds of
        their own, which the test knows.
        """
        return not (self.lost or self.different or self.strangers)

    def __str__(self) -> str:
        counts = (
            f"sent {self.sent}, answered {self.answered}, lost {len(self.lost)}, copies {self.copies}, "
            f"different answers {len(self.different)}, strangers {len(self.strangers)}, "
            f"calls {self.calls}, calls repeated {self.calls_repeated}"
        )
        named = {"lost": self.lost, "different": self.different, "strangers": self.strangers}
        return counts + "".join(f"; {name}: {', '.join(ids[:SHOWN])}" for name, ids in named.items() if ids)


def judge(sent: Iterable[str], answers: Iterable[Answer], *, calls: Iterable[str] = ()) -> Verdict:
    """Compare what was sent with what was answered, and with the ids of the calls that a service has seen."""
    ids = list(dict.fromkeys(sent))
    by_run: dict[str, list[tuple[bytes | None, bytes | None]]] = defaultdict(list)
    for answer in answers:
        by_run[answer.run_id].append((answer.key, answer.value))
    seen = Counter(calls)
    return Verdict(
        sent=len(ids),
        answered=sum(run_id in by_run for run_id in ids),
        lost=tuple(run_id for run_id in ids if run_id not in by_run),
        copies=sum(len(found) - 1 for found in by_run.values()),
        different=tuple(run_id for run_id, found in by_run.items() if len(set(found)) > 1),
        strangers=tuple(sorted(by_run.keys() - set(ids))),
        calls=seen.total(),
        calls_repeated=seen.total() - len(seen),
    )


async def examine(
    settings: StreamSettings, sent: Sequence[str], *topics: str, calls: Iterable[str] = (), within: float = 0.0
) -> Verdict:
    """Judge by what the topics hold. Waits up to `within` seconds for answers that are not there yet."""
    parts = await _partitions(settings, topics)
    async with AIOKafkaConsumer(**settings.connection(), enable_auto_commit=False) as consumer:
        consumer.assign(parts)
        await consumer.seek_to_beginning(*parts)
        answers = await _until_answered(consumer, set(sent), within=within)
        answers += await _to_the_end(consumer, parts)
    return judge(sent, answers, calls=calls)


async def _partitions(settings: StreamSettings, topics: Sequence[str]) -> list[TopicPartition]:
    admin = AIOKafkaAdminClient(**settings.connection())
    await admin.start()
    described = {topic["topic"]: topic["partitions"] for topic in await admin.describe_topics()}
    await admin.close()
    return [TopicPartition(topic, part["partition"]) for topic in topics for part in described[topic]]


async def _until_answered(consumer: AIOKafkaConsumer, wanted: set[str], *, within: float) -> list[Answer]:
    clock = asyncio.get_running_loop().time
    deadline, answers = clock() + within, []
    while wanted and clock() < deadline:
        answers += await _poll(consumer)
        wanted -= {answer.run_id for answer in answers}
    return answers


async def _to_the_end(consumer: AIOKafkaConsumer, parts: list[TopicPartition]) -> list[Answer]:
    answers: list[Answer] = []
    ends = await consumer.end_offsets(parts)
    while any([await consumer.position(part) < ends[part] for part in parts]):
        answers += await _poll(consumer)
    return answers


async def _poll(consumer: AIOKafkaConsumer) -> list[Answer]:
    found = await consumer.getmany(timeout_ms=200)
    return [answer_of(raw) for raws in found.values() for raw in raws]


def answer_of(raw: Any) -> Answer:
    """Whose answer a record is, by its `run-id` header; without one it is a stranger's, named by its position."""
    run_id = dict(raw.headers).get("run-id", f"{raw.topic}/{raw.partition}/{raw.offset}".encode())
    return Answer(run_id=run_id.decode(), key=raw.key, value=raw.value)
