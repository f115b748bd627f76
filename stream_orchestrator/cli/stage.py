"""A pipeline that is served on a broker for a test: a worker in the background, one sender, one reader of results.

Promises
  * It stands on topics of its own (a prefix nobody else has): no event of a test reaches a real input, no result of a
    test a real result. On a broker that stays, they are deleted in the end.
  * An event is sent once. Whoever asks for its result gets it, or the error of the worker when that has ended.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from stream_orchestrator.cli import voice
from stream_orchestrator.cli.background import BackgroundWorker
from stream_orchestrator.cli.broker import address_of
from stream_orchestrator.cli.surroundings import configured
from stream_orchestrator.errors import MissingError, OrchestratorError
from stream_orchestrator.plan import names
from stream_orchestrator.plan.model import Plan
from stream_orchestrator.streaming.client import Outgoing, Reader, administering, reading
from stream_orchestrator.streaming.records import Record
from stream_orchestrator.streaming.sending import Sender, sending
from stream_orchestrator.streaming.settings import StreamSettings

POLL = 0.1
DRAIN = 5.0  # a test has its results by then; whatever still runs is of no use to anybody


class Stage:
    """Made by `staged`."""

    def __init__(self, worker: BackgroundWorker, pid: int, sender: Sender, reader: Reader) -> None:
        self._worker, self._pid = worker, pid
        self._sender, self._reader = sender, reader
        self._waiting: dict[str, asyncio.Future[Record]] = {}

    @property
    def pid(self) -> int:
        """The serving process."""
        return self._pid

    async def ask(
        self, value: bytes, *, key: bytes | None = None, run_id: str = "", headers: tuple[tuple[str, bytes], ...] = ()
    ) -> Record:
        """Send an event; the record of its result. Without a run id it gets one of its own."""
        run_id = run_id or uuid.uuid4().hex
        coming: asyncio.Future[Record] = asyncio.get_running_loop().create_future()
        self._waiting[run_id] = coming
        try:
            await self._sender.send(Outgoing(value, key=key, headers=(*headers, ("run-id", run_id.encode()))))
            return await coming
        finally:
            del self._waiting[run_id]

    async def follow(self) -> None:
        """Hand out results until cancelled; when the worker or the broker is gone, everybody who waits is told."""
        try:
            while True:
                for record in await self._reader.poll(POLL):
                    self._hand_out(record)
                self._worker.check()
        except OrchestratorError as error:
            for coming in self._waiting.values():
                if not coming.done():
                    coming.set_exception(error)
            raise

    def _hand_out(self, record: Record) -> None:
        run_id = (record.header("run-id") or b"").decode(errors="replace")
        coming = self._waiting.get(run_id)
        if coming is not None and not coming.done():  # a copy of a result is told by nobody
            coming.set_result(record)


def given_functions(functions: Sequence[str]) -> list[str]:
    """Files and modules of helper functions on a command line."""
    return [part for name in functions for part in ("--functions", name)]


@asynccontextmanager
async def staged(
    settings: StreamSettings,
    path: Path,
    plan: Plan,
    *,
    prefix: str = "",
    options: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
) -> AsyncIterator[Stage]:
    """The pipeline, served. `options`: more of the worker's command line."""
    own = f"{prefix}test-{uuid.uuid4().hex[:8]}."
    arguments = [str(path), "--broker", address_of(settings), "--prefix", own, *configured().arguments()]
    arguments += ["--drain", f"{DRAIN:g}s"]
    worker = BackgroundWorker([*arguments, "--drain-calls", f"{DRAIN:g}s", *options], environ=environ)
    try:
        worker.start()
        ready = await worker.ready()
        async with AsyncExitStack() as stack:
            results, inputs = names.results_topic(own, plan.slug), names.input_topic(own, plan.slug)
            reader = await stack.enter_async_context(reading(settings, results, at_end=True))
            sender = await stack.enter_async_context(sending(settings, inputs))
            stage = Stage(worker, int(ready["pid"]), sender, reader)
            following = asyncio.create_task(stage.follow())
            try:
                yield stage
            finally:
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)
    finally:
        await worker.stop(patience=2 * DRAIN)
        worker.close()
        if not settings.embedded:
            await _delete_topics(settings, own)


async def _delete_topics(settings: StreamSettings, prefix: str) -> None:
    try:
        async with administering(settings) as admin:
            found = [topic["topic"] for topic in await admin.describe_topics() if topic["topic"].startswith(prefix)]
            await admin.delete_topics(found)
    except MissingError as away:
        voice.warn(f"the topics `{prefix}*` are left on {settings.bootstrap}: {away}", hint="delete them by hand")
