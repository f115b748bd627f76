"""Inputs as the world sends them: copies, old ones, ids used twice, too large; each among good ones, under load.

FAULTS=full pytest -s tests/faults/test_fault_inputs.py
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import orjson
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import MessageSizeTooLargeError
from scene import FULL, Fault, Report, Scene
from support.site import until

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(600)]

COPIES = 100
HOUR = 3600.0
MIB = 1024 * 1024
DIGITS = 32  # bytes by which two events of one size may differ as they are kept
LIMIT = 15 * MIB  # of an event, as README and operating.md tell it


async def copies(scene: Scene) -> None:
    """One id a hundred times, of ten events at once: one run each, and one set of calls."""
    async with producer_of(scene) as producer:
        for turn in range(10 if FULL else 3):
            number, name = 10_000 + turn, f"copied-{turn}"
            sends = [put(scene, producer, {"n": number}, run_id=name) for _ in range(COPIES)]
            await asyncio.gather(*sends)
    scene.hurt()


async def shuffled(scene: Scene) -> None:
    """Hours old or an hour ahead by their own timestamps, in any order, and again after their runs are over: who asks
    again is answered again, with the same bytes, and nothing is done for it.
    """
    names = [f"late-{n}" for n in range(60)]
    async with producer_of(scene) as producer:
        for _ in range(2):
            scene.chance.shuffle(names)
            for name in names:
                stamp = time.time() + scene.chance.uniform(-20, 1) * HOUR
                number = int(name.removeprefix("late-"))
                key = f"key-{number % 5}".encode()
                await put(scene, producer, {"n": 20_000 + number}, run_id=name, timestamp=stamp, key=key)
            await until(lambda: set(names) <= scene.traffic.answered.keys(), 120, "late events to be answered")
    scene.hurt()


async def other_payload(scene: Scene) -> None:
    """The same id with another payload: the first one's answer stands, the other is refused, whatever came first."""
    async with producer_of(scene) as producer:
        for turn in range(20):
            name = f"twice-{turn}"
            for number in (30_000 + 2 * turn, 30_000 + 2 * turn, 30_001 + 2 * turn):
                await put(scene, producer, {"n": number}, run_id=name)
    refused = await answers(scene, lambda result: result["run_id"].startswith("twice-") and "~" in result["run_id"], 20)
    for result in refused:
        assert result["error"]["type"] == "RunIdConflict"
        expect(scene, result["run_id"])
    scene.hurt()


async def sizes(scene: Scene) -> None:
    """Just what fits, just more, and far more. What an event is kept as holds a little beside its payload: the refusal
    says how much, so the limit is met but for the digits of the event's time and place.
    """
    async with producer_of(scene) as producer:
        await put(scene, producer, padded(40_000, LIMIT - 100), run_id="above")
        (refused,) = await answers(scene, lambda result: result["run_id"] == "above", 1)
        kept, most = map(number_of, re.findall(r"[\d,]{5,}", refused["error"]["message"])[:2])
        assert (most, refused["error"]["type"]) == (LIMIT, "TooLarge")
        fits = LIMIT - 100 - (kept - most)
        await put(scene, producer, padded(40_001, fits - DIGITS), run_id="exact")
        await put(scene, producer, padded(40_002, fits + DIGITS), run_id="onemo")
        await put(scene, producer, padded(40_003, LIMIT + MIB // 2), run_id="much1")
        with suppress(MessageSizeTooLargeError):
            await put(scene, producer, padded(40_004, 40 * MIB), run_id="never")
            pytest.fail("the broker took 40 MB")
    found = await answers(scene, lambda result: result["run_id"] in {"exact", "onemo", "much1"}, 3)
    outcome = {result["run_id"]: (result["status"], (result.get("error") or {}).get("type")) for result in found}
    print(f"\nlimit: {outcome}, {fits:,} bytes of payload fit")
    assert outcome["exact"][0] == "succeeded"
    assert outcome["onemo"] == outcome["much1"] == ("rejected", "TooLarge")
    for name in ("above", "onemo", "much1"):
        expect(scene, name)
    scene.hurt()


FAULTS = [
    Fault(name="one id a hundred times", strike=copies, short=True),
    Fault(name="shuffled, late and early", strike=shuffled, asked_again=True),
    Fault(name="an id with another payload", strike=other_payload, asked_again=True),
    Fault(name="at the size limit, above it, far above", strike=sizes, own_cluster=True),
]


async def test_odd_inputs_are_answered_once_and_hold_nobody_up(stage: Callable[[], Awaitable[Report]]) -> None:
    await stage()


def producer_of(scene: Scene) -> AIOKafkaProducer:
    return AIOKafkaProducer(**scene.traffic.settings.producer())


async def put(scene: Scene, producer: AIOKafkaProducer, value: Any, *, run_id: str, **options: Any) -> None:
    """One record under an id, which is owed an answer from now on."""
    body = value if isinstance(value, bytes) else orjson.dumps(value)
    stamp = options.get("timestamp")
    headers = [("run-id", run_id.encode())]
    millis = None if stamp is None else round(stamp * 1000)
    await producer.send_and_wait(
        scene.traffic.input, body, key=options.get("key"), headers=headers, timestamp_ms=millis
    )
    scene.traffic.sent.setdefault(run_id, time.monotonic())


async def answers(scene: Scene, wanted: Callable[[dict[str, Any]], bool], count: int) -> list[dict[str, Any]]:
    """So many results of that kind, when they are there."""
    seen: dict[str, dict[str, Any]] = {}

    def look() -> bool:
        results = (orjson.loads(record.value) for record in scene.traffic.records)
        seen.update({result["run_id"]: result for result in results if wanted(result)})
        return len(seen) >= count

    await until(look, 120, f"{count} results")
    return list(seen.values())


def expect(scene: Scene, run_id: str) -> None:
    """That run is refused, and rightly so."""
    scene.traffic.sent.setdefault(run_id, time.monotonic())
    scene.refused.add(run_id)


def padded(number: int, size: int) -> bytes:
    """A JSON event of exactly that size."""
    bare = len(orjson.dumps({"n": number, "pad": ""}))
    return orjson.dumps({"n": number, "pad": "x" * (size - bare)})


def number_of(text: str) -> int:
    return int(text.replace(",", ""))
