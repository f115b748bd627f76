"""Which broker a command talks to, and the embedded one while it does.

`embedded://HOST:PORT` is an embedded broker that another process of ours started (`dev`, `worker`, `run`): the same
small broker, so its limits have to be known on both sides.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace

from stream_orchestrator.cli.logs import hush
from stream_orchestrator.cli.surroundings import configured
from stream_orchestrator.errors import MissingError
from stream_orchestrator.spec.settings import Kafka, Trust
from stream_orchestrator.streaming.settings import StreamSettings, parse_broker, settings_from
from stream_orchestrator.trust.sealing import SETTING, Seal

SHARED = "embedded://"


def given_broker(broker: str | None) -> StreamSettings | None:
    """The broker that was named, by the option or the settings; None when it is an embedded one of our own."""
    kafka = configured().section(Kafka)
    text = broker or kafka.bootstrap_servers or ""
    if text.startswith(SHARED):
        return StreamSettings(bootstrap=parse_broker(text.removeprefix(SHARED)), embedded=True, seal=_seal())
    settings = settings_from(broker, kafka)
    return settings and replace(settings, seal=_seal())


def _seal() -> Seal | None:
    trust = configured().section(Trust)
    former = (trust.former_encryption_key,) if trust.former_encryption_key else ()
    return Seal(trust.encryption_key, former) if trust.encryption_key else None


def existing_broker(broker: str | None) -> StreamSettings:
    """The broker that was named. Without one there is nobody to ask: an embedded broker lives inside one command."""
    hush()
    settings = given_broker(broker)
    if settings is None:
        raise MissingError(
            "no broker was named, and a new embedded one would be empty",
            hint="--broker kafka://host:port, or KAFKA_BOOTSTRAP_SERVERS; `dev` says how to reach its embedded one",
        )
    return settings


@asynccontextmanager
async def any_broker(broker: str | None) -> AsyncIterator[StreamSettings]:
    """The broker that was named, or an embedded one for as long as the context lasts."""
    hush()
    settings = given_broker(broker)
    if settings is not None:
        yield settings
        return
    from stream_orchestrator.streaming.brokers import EmbeddedBroker

    async with EmbeddedBroker() as embedded:
        with session_key(embedded.session_key):
            yield embedded.settings


@contextmanager
def session_key(key: str) -> Iterator[None]:
    """The embedded broker's key, for the processes that we start beside it; one that is set already stays."""
    had = SETTING in os.environ
    os.environ.setdefault(SETTING, key)
    try:
        yield
    finally:
        if not had:
            os.environ.pop(SETTING, None)


def address_of(settings: StreamSettings) -> str:
    """The `--broker` that another process of ours takes for it. Credentials stay in the environment."""
    return f"{SHARED if settings.embedded else 'kafka://'}{settings.bootstrap}"
