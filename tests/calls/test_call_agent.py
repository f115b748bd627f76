"""The call agent with attempts under way while its partition goes away, and comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Any

import pytest

from stream_orchestrator.calls import rows
from stream_orchestrator.calls.agent import CallAgent
from stream_orchestrator.kernel import events
from stream_orchestrator.kernel.effects import Answer, CallRequest
from stream_orchestrator.kernel.events import Reply
from stream_orchestrator.kernel.wires import CallEvent, encode_call
from stream_orchestrator.streaming.records import Record


@dataclass
class Part:
    """One partition whose writes are durable at once."""

    number: int = 3
    rows: dict[bytes, Any] = field(default_factory=dict)
    durable: dict[bytes, bytes] = field(default_factory=dict)
    published: list[bytes] = field(default_factory=list)
    spawned: list[Awaitable[None]] = field(default_factory=list)
    owned: bool = True

    def get(self, key: bytes) -> Any:
        return self.rows.get(key)

    def set(self, key: bytes, row: Any) -> None:
        self.rows[key] = row

    def keys(self) -> list[bytes]:
        return list(self.rows)

    def write(self, key: bytes) -> asyncio.Future[Any]:
        self.durable[key] = rows.encode(self.rows[key])
        return done()

    def publish(self, _topic: str, *, value: bytes, **_: Any) -> asyncio.Future[Any]:
        self.published.append(value)
        return done()

    def spawn(self, work: Awaitable[None]) -> None:
        self.spawned.append(work)

    def now(self) -> float:
        return 10.0

    def lose(self, work: asyncio.Task[None]) -> Part:
        """It is somebody else's; the partition as its next owner recovers it."""
        self.owned = False
        work.cancel()
        return Part(rows={key: rows.decode(data) for key, data in self.durable.items()}, durable=dict(self.durable))


def done() -> asyncio.Future[Any]:
    future = asyncio.get_running_loop().create_future()
    future.set_result(None)
    return future


class House:
    """A process with one agent, whose service answers when the test says so."""

    def __init__(self, instance: str) -> None:
        self.asked: list[str] = []
        self.sent: list[bytes] = []
        self.may_answer = asyncio.Event()
        self.agent = CallAgent(
            topic="calls", answers="answers", letters="letters", attempt=self.attempt, send=self.send, instance=instance
        )

    async def attempt(self, _request: CallRequest, call_id: str) -> Answer:
        self.asked.append(call_id)
        await self.may_answer.wait()
        return Answer(text="yes", model="m")

    async def send(self, _topic: str, _partition: int, _key: bytes, value: bytes) -> None:
        self.sent.append(value)

    async def take(self, part: Part, value: bytes) -> asyncio.Task[None]:
        """Deliver a call, or an answer that was sent on, and let it go as far as it can."""
        inbox = self.agent if value == CALL else self.agent.moved_answers
        record = Record(inbox.topic, 3, 7, 0, b"c1", value, ())
        task = asyncio.create_task(settle(inbox.receive(record, part)))  # type: ignore[arg-type]
        for _ in range(5):
            await asyncio.sleep(0)
        return task


async def settle(work: Awaitable[None] | None) -> None:
    if work is not None:
        await work


REQUEST = CallRequest(model="m", messages=({"role": "user", "content": "?"},))
CALL = encode_call(
    CallEvent(call_id="c1", run_id="r1", task="t", reply_topic="p.t", reply_partition=0, request=REQUEST)
)


async def moved(house: House) -> Part:
    """A partition that went away with a call under way; as its next owner finds it."""
    first = Part()
    work = await house.take(first, CALL)
    assert house.asked == ["c1"]
    await settle(house.agent.on_revoking(first))  # type: ignore[arg-type]
    found = first.lose(work)
    with pytest.raises(asyncio.CancelledError):
        await work
    return found


@pytest.mark.parametrize("record_comes_again", [True, False])
async def test_a_partition_that_comes_back_finds_its_call_still_under_way(record_comes_again: bool) -> None:
    house = House("a")
    back = await moved(house)
    house.agent.on_recovered(back)  # type: ignore[arg-type]
    if record_comes_again:
        await (await house.take(back, CALL))
    assert back.spawned == []
    assert house.asked == ["c1"]
    house.may_answer.set()
    while not house.sent:
        await asyncio.sleep(0)
    await (await house.take(back, house.sent[0]))
    assert house.asked == ["c1"]
    (reply,) = (events.decode(value) for value in back.published)
    assert isinstance(reply, Reply)
    assert reply.answer.text == "yes"


async def test_another_owner_waits_for_a_call_that_is_under_way_elsewhere() -> None:
    house, other = House("a"), House("b")
    taken = await moved(house)
    other.agent.on_recovered(taken)  # type: ignore[arg-type]
    await (await other.take(taken, CALL))
    assert other.asked == []
    house.may_answer.set()
    while not house.sent:
        await asyncio.sleep(0)
    await (await other.take(taken, house.sent[0]))
    assert other.asked == []
    assert len(taken.published) == 1


@pytest.mark.parametrize("value", [b"", b"{}", b'{"answer":{"call_id":"c1"}}', b"\xff"])
async def test_what_is_no_answer_is_put_aside(value: bytes) -> None:
    house, part = House("a"), Part()
    await (await house.take(part, value))
    assert part.published == [value]
    assert part.rows == {}
