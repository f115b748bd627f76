"""Where tests run a pipeline: in memory, by the same kernel. `--broker` brings another `Runner` for the same tests."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from stream_orchestrator.api import Function, Models, Pipeline
from stream_orchestrator.calls import offline
from stream_orchestrator.calls.service import CallService
from stream_orchestrator.calls.settings import CallSettings, missing_keys
from stream_orchestrator.errors import MissingError
from stream_orchestrator.kernel.effects import Answer, CallRequest
from stream_orchestrator.plan.functions import functions_of
from stream_orchestrator.plan.loading import load_plan
from stream_orchestrator.plan.model import Plan
from stream_orchestrator.spec.config import Configuration
from stream_orchestrator.testkit.mocks import ANY_MODEL, Mocks
from stream_orchestrator.testkit.records import Result


@dataclass(frozen=True, slots=True)
class Subject:
    """The pipeline of a test: its file, its plan, and the files of helper functions that come with the test."""

    path: Path
    plan: Plan
    functions: tuple[str, ...] = ()

    @classmethod
    def load(cls, path: Path, functions: Sequence[str] = (), config: Configuration | None = None) -> Subject:
        """The pipeline as it stands in the environment of a `config`. SpecError with every problem of it."""
        return cls(path, load_plan(path, functions=functions, config=config), tuple(functions))

    @property
    def title(self) -> str:
        """For reports."""
        return f"{self.plan.slug} {self.plan.version}"

    def refuse_incomplete(self, mocks: Mocks, *, offline: bool) -> None:
        """MissingError for a helper or a key that a test needs and does not mock."""
        plan = self.plan
        if helpers := [name for name in functions_of(plan, self.functions)[1] if name not in mocks.functions]:
            raise MissingError(
                f"helper functions are not there: {plan.title!r} calls {', '.join(f'`{name}`' for name in helpers)}",
                hint="--functions FILE.py defines them; `mocks: {functions: {name: value}}` stands in for them",
            )
        asked = [model for model in plan.models if not mocks.mocks_model(model)]
        if keys := missing_keys(asked, CallSettings.from_env(offline=offline)):
            raise MissingError(
                f"{' and '.join(keys)} must be set to ask {', '.join(f'`{model}`' for model in sorted(set(asked)))}",
                hint="set it, mock the model, or answer every model by the built-in one: --offline",
            )


class Runner(Protocol):
    """Runs one event of a test."""

    async def run(self, subject: Subject, inputs: Mapping[str, Any], mocks: Mocks) -> Result:
        """The result, whatever became of the run. TimeoutError when there is none in time."""
        ...

    async def close(self) -> None:
        """Nothing is left of it."""
        ...


class InMemory:
    """`Pipeline.run`: no broker, the same kernel, the same sandbox. `timeout`: seconds for one run."""

    def __init__(self, *, offline: bool, timeout: float | None = None) -> None:
        self._offline = offline
        self._timeout = timeout
        self._service: CallService | None = None

    async def run(self, subject: Subject, inputs: Mapping[str, Any], mocks: Mocks) -> Result:
        """The result of one event."""
        functions: list[Function] = [*subject.functions, *mocks.callables()]
        async with asyncio.timeout(self._timeout):
            services = mocks.service_answers() or None
            pipeline = Pipeline(subject.plan)
            return await pipeline.run(inputs, functions=functions, models=self._models(mocks), services=services)

    async def close(self) -> None:
        """Close what was opened to ask models."""
        if self._service is not None:
            await self._service.close()
            self._service = None

    def _models(self, mocks: Mocks) -> Models | None:
        answers: dict[str, Any] = dict(mocks.model_answers())
        if self._offline:
            return {ANY_MODEL: offline.answer, **answers}
        return {ANY_MODEL: self._ask, **answers} if answers else None

    async def _ask(self, request: CallRequest) -> Answer:
        if self._service is None:
            self._service = CallService(CallSettings.from_env())
        return await self._service.attempt(request, call_id=uuid.uuid4().hex)
