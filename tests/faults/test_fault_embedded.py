"""The embedded broker is killed: nothing survives it, so everything ends, soon and with a word.

pytest -s tests/faults/test_fault_embedded.py
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from scene import LEAST_IN_FLIGHT, MOST_IN_FLIGHT, PIPELINE, start_models
from support.site import Process, Traffic, WorkerProcess, until
from test_fault_kills import children_of

from stream_orchestrator.streaming.settings import StreamSettings

pytestmark = [pytest.mark.embedded, pytest.mark.slow, pytest.mark.timeout(300)]

ENDS_WITHIN = 45.0


async def test_a_worker_whose_embedded_broker_was_killed_ends_and_says_why(embedded_site: WorkerProcess) -> None:
    settings = StreamSettings(bootstrap=address_of(embedded_site), embedded=True)
    async with Traffic(settings, "fault-proof.input", "fault-proof.results") as traffic:
        for n in range(MOST_IN_FLIGHT):
            await traffic.send({"n": n})
        await until(lambda: traffic.in_flight >= LEAST_IN_FLIGHT and bool(traffic.answered), 60, "runs in flight")
        in_flight, began = traffic.in_flight, time.monotonic()
        os.kill(broker_of(embedded_site.popen.pid), signal.SIGKILL)
    await until(lambda: not embedded_site.alive, ENDS_WITHIN, "the worker to end")
    took, code = time.monotonic() - began, embedded_site.popen.returncode
    print(f"\nkill -9 of the embedded broker: in flight {in_flight}; the worker ended after {took:.1f} s, exit {code}")
    assert code not in (0, None)
    assert "embedded broker" in embedded_site.log.read_text()


async def test_a_job_whose_embedded_broker_was_killed_ends_and_says_why(tmp_path: Path, models: Process) -> None:
    events = tmp_path / "events.jsonl"
    events.write_text("".join(f'{{"n": {n}}}\n' for n in range(400)))
    output = tmp_path / "results.jsonl"
    files = ("--input", str(events), "--output", str(output))
    arguments = ("stream_orchestrator", "run", str(PIPELINE), *files, "--broker", "embedded")
    job = Process(*arguments, env=env_of(models), log=tmp_path / "job.log")
    try:
        calls = tmp_path / "calls.jsonl"
        await until(lambda: calls.exists() and len(calls.read_text().splitlines()) > LEAST_IN_FLIGHT, 150, "calls")
        began = time.monotonic()
        os.kill(broker_of(job.popen.pid), signal.SIGKILL)
        await until(lambda: not job.alive, ENDS_WITHIN, "the job to end")
        took, code = time.monotonic() - began, job.popen.returncode
        print(f"\nkill -9 of a job's embedded broker: it ended after {took:.1f} s, exit {code}")
        assert code not in (0, None)
        assert "broker" in job.log.read_text()
    finally:
        await job.end()


@pytest.fixture
async def models(tmp_path: Path) -> AsyncIterator[Process]:
    server = await start_models(tmp_path, delay=0.2)
    yield server
    await server.end()


@pytest.fixture
async def embedded_site(tmp_path: Path, models: Process) -> AsyncIterator[WorkerProcess]:
    worker = WorkerProcess([PIPELINE], "--broker", "embedded", env=env_of(models), log=tmp_path / "worker.log")
    try:
        await worker.ready()
        yield worker
    finally:
        await worker.end()


def env_of(models: Process) -> dict[str, str]:
    return {"OPENAI_BASE_URL": models.events[0]["openai"], "OPENAI_API_KEY": "test"}


def broker_of(pid: int) -> int:
    """The broker's process, somewhere below that one."""
    below = [pid]
    for each in below:
        below += children_of(each)
        if "tansu" in Path(f"/proc/{each}/cmdline").read_text().split("\0")[0]:
            return each
    raise AssertionError("no embedded broker is below it")


def address_of(worker: WorkerProcess) -> str:
    """It says at its start how to reach its broker."""
    (line,) = [line for line in worker.log.read_text().splitlines() if "embedded broker: --broker" in line]
    return line.split("--broker ")[1].split()[0].removeprefix("embedded://")
