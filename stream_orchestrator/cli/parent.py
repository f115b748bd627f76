"""The parent side of `worker`: chooses the broker, then keeps one serving child alive under one instance id.

Promise: a Kafka that is away is waited for; an embedded broker that is gone has taken everything with it, so that ends
the worker, with a word.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from stream_orchestrator.cli import voice
from stream_orchestrator.cli.broker import address_of, given_broker, session_key
from stream_orchestrator.cli.orders import Orders
from stream_orchestrator.streaming.core.supervisor import Patience, Supervisor, broker_reachable
from stream_orchestrator.streaming.settings import StreamSettings

INTERRUPTED = 130
OURS = (0, 1, 2, 3)
# A child that was told to stop before it could listen: it had taken nothing, so nothing was cut.
UNPREPARED = 128 + signal.SIGTERM
# A child that dies ten times at once has had a minute of trying; one that is killed now and then goes on for ever.
LOOK_EVERY, REFUSALS = 0.5, 4  # seconds between looks at an embedded broker; refused so often in turn, it is gone
PATIENCE = Patience(exits=10, within=60.0, healthy_after=5.0)


def keep_serving(orders: Orders, *, broker: str | None, instance_id: str) -> int:
    """Serve until told to stop; the exit code. A broker that is not there is said before anything starts."""
    with _broker(broker) as settings:
        command = [sys.executable, "-m", "stream_orchestrator", "worker-child"]
        supervisor = Supervisor(
            [*command, replace(orders, broker=address_of(settings)).to_json()],
            instance_id=instance_id,
            reachable=lambda: broker_reachable(settings),
            say=voice.warn,
            patience=PATIENCE,
        )
        with _watching(settings, supervisor):
            code = supervisor.run()
    if supervisor.stopped_by and code == UNPREPARED:
        code = 0
    if code == 0 and supervisor.stopped_by == signal.SIGINT:
        return INTERRUPTED
    return code if code in OURS else 1


@contextmanager
def _watching(settings: StreamSettings, supervisor: Supervisor) -> Iterator[None]:
    """An embedded broker never comes back: notice that it is gone."""
    if not settings.embedded:
        yield
        return
    over = threading.Event()

    def look() -> None:
        refusals = 0
        while refusals < REFUSALS and not over.wait(LOOK_EVERY):
            refusals = 0 if broker_reachable(settings) else refusals + 1
        if not over.is_set():
            supervisor.give_up("the embedded broker is gone, and all that was in flight with it; start again")

    watcher = threading.Thread(target=look, name="embedded broker", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


@contextmanager
def _broker(broker: str | None) -> Iterator[StreamSettings]:
    settings = given_broker(broker)
    if settings is not None:
        if not broker_reachable(settings):
            from stream_orchestrator.streaming.faults import unreachable

            raise unreachable(settings.bootstrap)
        yield settings
        return
    from stream_orchestrator.streaming.brokers import EmbeddedBroker

    embedded = EmbeddedBroker()
    asyncio.run(embedded.start())
    try:
        voice.say(f"embedded broker: --broker {address_of(embedded.settings)} reaches it while this runs")
        with session_key(embedded.session_key):
            yield embedded.settings
    finally:
        asyncio.run(embedded.stop())
