"""One broker connection: the worker's producer, and all its apps in this process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection

from aiokafka.errors import KafkaError

from stream_orchestrator.kernel.watch import Blind, Watch
from stream_orchestrator.streaming.core.app import App
from stream_orchestrator.streaming.core.check import check_topics
from stream_orchestrator.streaming.core.model import AppSpec
from stream_orchestrator.streaming.core.producer import Producer
from stream_orchestrator.streaming.settings import StreamSettings

STOP_BUDGET = 5.0


class Stream:
    """The apps of one process.

    Promises
      * `crashed` returns when something of ours failed; the process must end then, and nothing unfinished was acked.
      * `drain` ends within its budget and a little, and says whether anything was cut.
    """

    def __init__(
        self, settings: StreamSettings, *, watch: Watch | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self._settings = settings
        self._watch = watch or Blind()
        self._clock = clock
        self._producer = Producer(settings)
        self._apps: dict[str, App] = {}
        self._crash: asyncio.Future[BaseException] | None = None

    async def start(self) -> None:
        """Connect, and start the producer."""
        self._crash = asyncio.get_running_loop().create_future()
        await self._producer.start()

    def seal_in(self, topics: Collection[str]) -> None:
        """Seal whatever goes to topics that begin so."""
        self._producer.seal_in(topics)

    async def add(self, spec: AppSpec) -> App:
        """Check the topics and join; `App.ready` is set when the first assignment is served."""
        await check_topics(self._settings, spec)
        app = App(spec, self._settings, self._producer, fail=self._fail, watch=self._watch, clock=self._clock)
        self._apps[spec.id] = app
        await app.start()
        return app

    async def publish(self, topic: str, *, partition: int, key: bytes, value: bytes) -> None:
        """Append a record that belongs to no partition of ours; ends when it is acknowledged."""
        sent = await self._producer.append(topic, partition=partition, key=key, value=value, headers=())
        try:
            await sent
        except KafkaError as fault:
            raise self._producer.ours(fault) from fault

    async def remove(self, app: App, budget: float) -> bool:
        """Let one app stop well, for good. True: nothing was cut."""
        whole = await app.drain(budget)
        self._apps.pop(app.spec.id, None)
        return whole

    @property
    def apps(self) -> tuple[App, ...]:
        """The apps added."""
        return tuple(self._apps.values())

    async def drain(self, budget: float) -> bool:
        """Stop well: pull nothing more, finish slots, hand over, commit, leave. True: nothing was cut."""
        wholes = await asyncio.gather(*(app.drain(budget) for app in self._apps.values()))
        await self._producer.stop(STOP_BUDGET)
        return all(wholes)

    async def close(self) -> None:
        """Stop at once, as a crash would; what is unfinished is read again."""
        await asyncio.gather(*(app.close() for app in self._apps.values()))
        await self._producer.stop(STOP_BUDGET)

    async def crashed(self) -> BaseException:
        """Wait for the first failure of ours."""
        if self._crash is None:
            raise RuntimeError("the stream is not started")
        return await asyncio.shield(self._crash)

    def _fail(self, fault: BaseException) -> None:
        if self._crash is not None and not self._crash.done():
            self._crash.set_result(fault)
