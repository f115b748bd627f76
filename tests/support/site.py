"""A whole site in real processes: workers as users start them, a model server, a feeder and a reader. For fault tests.

Everything is ended by its id, and with this process. Nothing here knows how the product works inside: it starts
commands, kills them, and reads topics.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from stream_orchestrator.kernel.ids import run_id_of
from stream_orchestrator.streaming.settings import StreamSettings

READY_WITHIN = 180.0  # seconds; some five, on a machine that has nothing else to do


class Process:
    """A command of ours; its stdout's JSON lines are `events`, the others `broken`. The log has its stderr."""

    def __init__(self, *arguments: str, env: dict[str, str], log: Path) -> None:
        self.log = log
        self.events: list[dict[str, Any]] = []
        self.broken: list[bytes] = []
        with log.open("ab") as stderr:
            self.popen = subprocess.Popen(
                [sys.executable, "-m", *arguments],
                stdout=subprocess.PIPE,
                stderr=stderr,
                env={**os.environ, **env},
                start_new_session=True,
            )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.popen.stdout is not None
        with self.popen.stdout as lines:
            for line in lines:
                try:
                    self.events.append(json.loads(line))
                except json.JSONDecodeError:
                    self.broken.append(line)

    @property
    def alive(self) -> bool:
        return self.popen.poll() is None

    def signal(self, number: int) -> None:
        self.popen.send_signal(number)

    async def end(self, patience: float = 20.0) -> int | None:
        """Ask it to stop; kill what does not."""
        if self.alive:
            self.popen.terminate()
            try:
                await asyncio.to_thread(self.popen.wait, patience)
            except subprocess.TimeoutExpired:
                self.popen.kill()
                await asyncio.to_thread(self.popen.wait)
        await asyncio.to_thread(self._reader.join, patience)
        return self.popen.wait()


class WorkerProcess(Process):
    """`stream-orchestrator worker`: a parent, and the child that serves."""

    def __init__(self, paths: Sequence[str | Path], *flags: str, env: dict[str, str], log: Path) -> None:
        arguments = ("stream_orchestrator", "worker", *map(str, paths), "--json", "--http", "127.0.0.1:0", *flags)
        super().__init__(*arguments, env=env, log=log)

    @property
    def children(self) -> list[int]:
        """The serving children so far, by their ready lines."""
        return [event["pid"] for event in self.events if event.get("event") == "ready"]

    async def ready(self, times: int = 1) -> None:
        """Wait until a child has been ready that often."""
        await until(lambda: len(self.children) >= times or not self.alive, READY_WITHIN, "a worker to be ready")
        if len(self.children) < times:
            raise AssertionError(f"the worker ended with {self.popen.returncode}: {self.log.read_text()[-2000:]}")

    def kill_child(self) -> int:
        """SIGKILL to the serving child; its id."""
        pid = self.children[-1]
        os.kill(pid, signal.SIGKILL)
        return pid

    def kill_whole(self) -> None:
        """SIGKILL to parent and child, as a machine that is gone."""
        self.popen.kill()
        for pid in self.children[-1:]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


async def until(condition: Callable[[], bool], within: float, what: str) -> float:
    """Wait for a state; how long it took."""
    started = time.monotonic()
    while not condition():
        if time.monotonic() - started > within:
            raise AssertionError(f"waited {within:g} s for {what}")
        await asyncio.sleep(0.02)
    return time.monotonic() - started


@dataclass
class Traffic:
    """Sends events and reads results beside each other; knows what is in flight."""

    settings: StreamSettings
    input: str
    results: str
    sent: dict[str, float] = field(default_factory=dict)
    answered: dict[str, float] = field(default_factory=dict)
    records: list[Any] = field(default_factory=list)
    _producer: AIOKafkaProducer | None = None
    _task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Traffic:
        self._producer = AIOKafkaProducer(**self.settings.connection(), acks="all")
        await self._producer.start()
        self._task = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._producer is not None
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._producer.stop()

    @property
    def in_flight(self) -> int:
        return len(self.sent.keys() - self.answered.keys())

    async def send(self, value: Any, *, run_id: str | None = None, key: bytes | None = None) -> str:
        """One event, acknowledged; its run id."""
        assert self._producer is not None
        body = value if isinstance(value, bytes) else orjson.dumps(value)
        headers = [("run-id", run_id.encode())] if run_id else []
        done = await self._producer.send_and_wait(self.input, body, key=key, headers=headers)
        name = run_id or run_id_of(None, None, f"{done.topic}/{done.partition}/{done.offset}")
        self.sent[name] = time.monotonic()
        return name

    async def feed(self, events: Iterable[Any], *, most_in_flight: int, named: Callable[[int], str | None]) -> None:
        """Send all, never more in flight than that."""
        for number, event in enumerate(events):
            while self.in_flight >= most_in_flight:
                await asyncio.sleep(0.01)
            await self.send(event, run_id=named(number))

    async def all_answered(self, within: float) -> None:
        await until(lambda: self.in_flight == 0, within, f"{self.in_flight} results")

    async def _read(self) -> None:
        parts = await partitions(self.settings, self.results)
        async with AIOKafkaConsumer(**self.settings.connection(), enable_auto_commit=False) as consumer:
            consumer.assign(parts)
            await consumer.seek_to_beginning(*parts)
            while True:
                found = await consumer.getmany(timeout_ms=200)
                for record in (record for records in found.values() for record in records):
                    self.records.append(record)
                    self.answered.setdefault(dict(record.headers)["run-id"].decode(), time.monotonic())


async def partitions(settings: StreamSettings, topic: str) -> list[TopicPartition]:
    admin = AIOKafkaAdminClient(**settings.connection())
    await admin.start()
    try:
        described = {found["topic"]: found["partitions"] for found in await admin.describe_topics()}
    finally:
        await admin.close()
    return [TopicPartition(topic, part["partition"]) for part in described[topic]]


async def first_of(*works: Awaitable[Any]) -> None:
    """Wait for the first to end; its failure is ours."""
    tasks = [asyncio.ensure_future(work) for work in works]
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    for task in done:
        task.result()
