"""One serving process: built from what `worker` was told, ready, and drained when it is told to stop.

Promises
  * Nothing is served before every document compiles and every helper function and key is there.
  * `/health/live` answers from the beginning, `/health/ready` says yes only while all that is assigned is served.
  * The first SIGTERM (or SIGINT) drains, the second cuts. 0: nothing was cut. 1: something was, or something crashed.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Awaitable
from dataclasses import replace
from pathlib import Path
from typing import Any

from stream_orchestrator.cli import voice
from stream_orchestrator.cli.broker import given_broker
from stream_orchestrator.cli.logs import start_logging
from stream_orchestrator.cli.orders import Orders
from stream_orchestrator.cli.sources import read_sources, refuse_incomplete
from stream_orchestrator.cli.surroundings import configured, partitions_of
from stream_orchestrator.errors import HouseError, MissingError, OrchestratorError
from stream_orchestrator.spec.pipeline import Logging
from stream_orchestrator.streaming import heap
from stream_orchestrator.streaming.core.supervisor import INSTANCE_VARIABLE, broker_reachable
from stream_orchestrator.streaming.settings import StreamSettings

log = logging.getLogger(__name__)


class StopSignals:
    """Counts SIGTERM and SIGINT: the first asks to stop, the second to stop at once."""

    def __init__(self) -> None:
        self.first, self.second = asyncio.Event(), asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._came)

    def _came(self) -> None:
        (self.second if self.first.is_set() else self.first).set()


async def serve(orders: Orders) -> int:
    """Serve until told to stop, or until something of ours fails; the exit code."""
    configured([Path(path) for path in orders.paths], quietly=True)  # the parent has said what is doubtful
    stream = given_broker(orders.broker)
    assert stream is not None, "the parent has chosen a broker"
    try:
        return await _serve(orders, stream)
    except MissingError as away:
        if broker_reachable(stream):
            raise
        # Not a reason to give up: the parent tries again, and does not count it.
        voice.fail(str(away), hint=away.hint)
        return 1


async def _serve(orders: Orders, stream: StreamSettings) -> int:
    config = configured()
    signals, json_log = StopSignals(), start_logging(as_json=orders.as_json, level=config.section(Logging).level)
    for file in config.files:
        log.info("settings of %s: %s", config.env, file)
    worker, eyes = _built(orders, stream)
    server = await _listen(orders, worker, eyes)
    try:
        if not await _before(signals.first, worker.start()):
            return 0  # told to stop before anything was taken
        heap.settle()
        event = {"partitions": worker.partitions, "pid": os.getpid()}
        if json_log is not None:
            json_log.ready(event)
        else:
            voice.say(f"ready: {event['partitions']} partitions, pid {event['pid']}")
        return await _until_the_end(worker, signals)
    finally:
        await worker.close()
        if server is not None:
            await server.stop()


def _built(orders: Orders, stream: StreamSettings) -> tuple[Any, Any]:
    """The worker and its eyes; a document that is wrong, or a helper that is missing, ends here."""
    sources = read_sources([Path(path) for path in orders.paths], orders.functions)
    for problem in sources.warnings:
        log.warning("%s:%d:%d: %s", problem.file, problem.line, problem.column, problem.message)
    refuse_incomplete(sources.plans, orders.functions, offline=orders.offline)
    from stream_orchestrator.observe.watch import Eyes
    from stream_orchestrator.streaming.serving import WorkerSettings
    from stream_orchestrator.streaming.worker import Worker

    config = configured()
    settings = WorkerSettings(
        stream=replace(stream, instance_id=os.environ.get(INSTANCE_VARIABLE)),
        prefix=orders.prefix,
        config=config,
        allow_unsafe=orders.allow_unsafe,
        partitions=partitions_of(config, embedded=stream.embedded),
        drain=orders.drain,
        drain_calls=orders.drain_calls,
        functions=orders.functions,
        offline=orders.offline,
    )
    eyes = Eyes.from_env()
    return Worker(settings, sources.plans, watch=eyes), eyes


async def _listen(orders: Orders, worker: Any, eyes: Any) -> Any:
    if orders.http is None:
        return None
    from stream_orchestrator.observe.server import HealthServer

    host, port = orders.http
    server = HealthServer(host, port, ready=worker.health, metrics=eyes.metrics.render)
    await server.start()
    log.info("health and metrics on http://%s", server.address)
    return server


async def _before(event: asyncio.Event, work: Awaitable[None]) -> bool:
    """Do the work unless the event comes first: then it is cancelled, and the answer is no."""
    doing, coming = asyncio.ensure_future(work), asyncio.ensure_future(event.wait())
    await asyncio.wait({doing, coming}, return_when=asyncio.FIRST_COMPLETED)
    coming.cancel()
    if doing.done():
        doing.result()
        return True
    doing.cancel()
    await asyncio.gather(doing, return_exceptions=True)
    return False


async def _until_the_end(worker: Any, signals: StopSignals) -> int:
    crash, stop = asyncio.ensure_future(worker.crashed()), asyncio.ensure_future(signals.first.wait())
    await asyncio.wait({crash, stop}, return_when=asyncio.FIRST_COMPLETED)
    if crash.done():
        stop.cancel()
        _tell(crash.result())
        return 1
    crash.cancel()
    log.info("draining")
    whole: list[bool] = []

    async def drain() -> None:
        whole.append(await worker.drain())

    if not await _before(signals.second, drain()):
        log.error("stopped at once by a second signal; what was cut is done again by the next owner")
        return 1
    if not whole[0]:
        log.error("the time for draining is over; what was cut is done again by the next owner")
        return 1
    log.info("drained; nothing was cut")
    return 0


def _tell(error: BaseException) -> None:
    """A crash of ours: in words when we foresaw it, else with its traceback, in the log."""
    known = isinstance(error, OrchestratorError) and not isinstance(error, HouseError)
    log.error("crashed: %s: %s", type(error).__name__, error, exc_info=None if known else error)
