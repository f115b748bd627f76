"""Suites and integration tests on a broker: the same tests, with everything that Kafka brings in between.

Promises
  * One worker serves all tests that need the same of it; tests that mock helpers differently have workers of their own.
  * What cannot be mocked across processes is refused, never quietly real.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import orjson

from stream_orchestrator.api import Result
from stream_orchestrator.cli.stage import Stage, given_functions, staged
from stream_orchestrator.errors import UsageError
from stream_orchestrator.streaming.settings import StreamSettings
from stream_orchestrator.testkit.mock_server import MockServer
from stream_orchestrator.testkit.mocks import Mocks
from stream_orchestrator.testkit.running import Subject

HELPERS = '''"""Mocked helper functions of a test."""
import copy
import json

_VALUES = json.loads({values!r})


def _helper(name, given):
    def helper(*_args, **_named):
        if isinstance(given, dict) and set(given) == {{"raises"}}:
            raise RuntimeError(str(given["raises"]))
        return copy.deepcopy(given["returns"] if isinstance(given, dict) and set(given) == {{"returns"}} else given)

    helper.__name__ = name
    return helper


{definitions}
'''


class OnBroker:
    """Runs tests on a broker. Its workers start when the first test needs them, and end with `close`."""

    def __init__(self, settings: StreamSettings, *, prefix: str, offline: bool, timeout: float | None) -> None:
        self._settings, self._prefix = settings, prefix
        self._offline, self._timeout = offline, timeout
        self._stages: dict[tuple[Path, bytes, bool], Stage] = {}
        self._server: MockServer | None = None
        self._stack = AsyncExitStack()

    async def run(self, subject: Subject, inputs: Mapping[str, Any], mocks: Mocks) -> Result:
        """The result of one event."""
        stage = await self._stage(subject, mocks)
        if self._server is not None:
            self._server.answer_with(mocks.model_answers())
        async with asyncio.timeout(self._timeout):
            record = await stage.ask(orjson.dumps(inputs))
        return Result(**orjson.loads(record.value or b""))

    async def close(self) -> None:
        """No worker, server and file is left."""
        await self._stack.aclose()

    async def _stage(self, subject: Subject, mocks: Mocks) -> Stage:
        helpers = orjson.dumps(dict(mocks.functions), option=orjson.OPT_SORT_KEYS)
        named = (subject.path, helpers, bool(mocks.models))
        if named not in self._stages:
            options = [*given_functions(subject.functions), *self._helpers(mocks)]
            options += ["--offline"] if self._offline and not mocks.models else []
            environ = await self._mocked() if mocks.models else {}
            stage = staged(
                self._settings, subject.path, subject.plan, prefix=self._prefix, options=options, environ=environ
            )
            self._stages[named] = await self._stack.enter_async_context(stage)
        return self._stages[named]

    async def _mocked(self) -> dict[str, str]:
        if self._server is None:
            self._server = MockServer(offline=self._offline)
            await self._server.start()
            self._stack.push_async_callback(self._server.stop)
        return self._server.environ

    def _helpers(self, mocks: Mocks) -> list[str]:
        if not mocks.functions:
            return []
        folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="stream-orchestrator-"))
        file = Path(folder) / "mocked_helpers.py"
        names = "\n".join(f"{name} = _helper({name!r}, _VALUES[{name!r}])" for name in mocks.functions)
        values = orjson.dumps(dict(mocks.functions)).decode()
        file.write_text(HELPERS.format(values=values, definitions=names), encoding="utf-8")
        return given_functions([str(file)])


def refuse_impossible(mocks: Mocks) -> None:
    """UsageError for a mock that no worker in another process could have."""
    ours = [name for name in mocks.models if name.startswith("offline/")]
    if ours:
        raise UsageError(
            f"`mocks`: `{ours[0]}` is built in, and cannot be mocked on a broker", hint="leave --broker out"
        )
    services = sorted(mocks.services)
    if services:
        raise UsageError(
            f"`mocks`: the service `{services[0]}` cannot be mocked on a broker: a worker asks the real one",
            hint="leave --broker out, or let it find a stand-in by its settings",
        )
    turns = [name for name, given in mocks.functions.items() if isinstance(given, Mapping) and "in_turn" in given]
    if turns:
        raise UsageError(
            f"`mocks`: `{turns[0]}` cannot answer in turn on a broker: scripts run in several processes",
            hint="leave --broker out, or give it one value",
        )
