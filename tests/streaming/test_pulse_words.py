"""A broker that goes away: what the log says of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from stream_orchestrator.errors import MissingError
from stream_orchestrator.streaming import pulse
from stream_orchestrator.streaming.settings import StreamSettings


class Broker:
    """There or not, one look after another; then the looking is cancelled."""

    def __init__(self, *there: bool) -> None:
        self._there = iter(there)

    @asynccontextmanager
    async def reading(self, *_: object) -> AsyncIterator[Broker]:
        await self.bounds()
        yield self

    async def bounds(self) -> dict[Any, Any]:
        match next(self._there, None):
            case None:
                raise asyncio.CancelledError
            case False:
                raise MissingError("no Kafka answers at a:1")
        return {}


async def test_a_broker_that_is_away_is_told_once_and_once_that_it_is_back(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(pulse, "reading", Broker(True, True, False, False, False, True, True).reading)
    monkeypatch.setattr(pulse, "LOOK_EVERY", 0)
    with caplog.at_level(logging.INFO), pytest.raises(asyncio.CancelledError):
        await pulse.Pulse().follow(StreamSettings(bootstrap="a:1"), tuple)
    assert [record.message for record in caplog.records] == ["work waits: no Kafka answers at a:1", "work goes on"]
