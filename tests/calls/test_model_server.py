"""The scripted model server as a program: what a test on another process, or a user, relies on."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from stream_orchestrator.calls.service import CallService
from stream_orchestrator.calls.settings import CallSettings
from stream_orchestrator.kernel.effects import CallRequest


@pytest.fixture
async def program(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[tuple[dict[str, Any], Path]]:
    """The program with some options; what it says when it is ready, and its log."""
    log = tmp_path / "requests.jsonl"
    arguments = ["-m", "stream_orchestrator.testkit.models", "--port", "0", "--log", str(log), *request.param]
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    yield json.loads(await process.stdout.readline()), log
    process.terminate()
    await process.wait()


async def ask(ready: dict[str, Any], model: str, *, times: int = 1) -> list[Any]:
    service = CallService(CallSettings(openai_base_url=ready["openai"], anthropic_base_url=ready["anthropic"]))
    request = CallRequest(model=model, messages=({"role": "user", "content": "hello"},), deadline=time.time() + 20)
    answers = [await service.attempt(request, call_id=f"c{n}") for n in range(times)]
    await service.close()
    return answers


@pytest.mark.parametrize("program", [["--delay", "0.01"]], indirect=True)
async def test_it_answers_both_formats_and_logs_every_request_with_its_call_id(
    program: tuple[dict[str, Any], Path],
) -> None:
    ready, log = program
    assert ready["event"] == "ready"
    answers = await ask(ready, "gpt-4o") + await ask(ready, "claude-3-opus")
    assert [answer.text for answer in answers] == ["hello", "hello"]
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(line["call_id"], line["model"], line["prompt"]) for line in lines] == [
        ("c0", "gpt-4o", "hello"),
        ("c0", "claude-3-opus", "hello"),
    ]


@pytest.mark.parametrize(
    "program", [["--status", "429", "--every", "2", "--retry-after", "3", "--text", "hi"]], indirect=True
)
async def test_it_fails_as_often_as_it_is_told(program: tuple[dict[str, Any], Path]) -> None:
    answers = await ask(program[0], "gpt-4o", times=4)
    assert [answer.text for answer in answers] == ["hi", "", "hi", ""]
    assert [answer.retry_after for answer in answers] == [None, 3.0, None, 3.0]
