"""`test FILE…`: suites, integration tests, load tests and replays of pipelines."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from stream_orchestrator.cli.building import command
from stream_orchestrator.cli.options import Broker, Functions, Json, Offline, Prefix, Timeout

Files = Annotated[
    list[Path], typer.Argument(metavar="FILE", help="Test documents, and folders with some", show_default=False)
]
Junit = Annotated[Path | None, typer.Option(metavar="FILE", help="Write the outcomes as JUnit XML", show_default=False)]
TimeScale = Annotated[
    float, typer.Option(metavar="F", help="Durations of load tests times so much; 0.01 makes 10 minutes 6 seconds")
]


def play(
    files: Files,
    functions: Functions = [],  # noqa: B006  # Typer copies it
    broker: Broker = None,
    offline: Offline = False,
    timeout: Timeout = None,
    time_scale: TimeScale = 1.0,
    prefix: Prefix = None,
    junit: Junit = None,
    as_json: Json = False,
) -> int:
    """Run the test documents of pipelines

    Suites and integration tests run in memory, by the same kernel; with --broker on that broker. Load tests run on
    the broker, the embedded one unless another is named. A replay reads the broker that --broker names and runs on an
    embedded one of its own. Exit code 1 when a test failed.
    """
    from stream_orchestrator.cli.testing import TestJob, run_tests

    job = TestJob(
        files=tuple(files),
        functions=tuple(functions),
        broker=broker,
        offline=offline,
        timeout=timeout,
        time_scale=time_scale,
        prefix=prefix,
        junit=junit,
        as_json=as_json,
    )
    return asyncio.run(run_tests(job))


app = command(
    play,
    "test pipelines/tests/test_support_triage.yaml --offline",
    "test pipelines/tests --offline --junit tests.xml",
    "test pipelines/tests/load_support_triage.yaml --offline --time-scale 0.1",
)
