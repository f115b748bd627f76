"""`run FILE --input EVENTS.jsonl`: a whole job, from events to results, in one command."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from stream_orchestrator.cli.building import command
from stream_orchestrator.cli.options import (
    AllowUnsafe,
    Broker,
    File,
    Functions,
    Input,
    Json,
    KeyField,
    Offline,
    Prefix,
    RunIdField,
    Timeout,
)

Output = Annotated[
    Path | None,
    typer.Option(metavar="RESULTS.jsonl", help="Where results go, one a line; - is stdout", show_default=False),
]


def run(
    file: File,
    events: Input,
    output: Output = None,
    broker: Broker = None,
    offline: Offline = False,
    functions: Functions = [],  # noqa: B006  # Typer copies it
    key_field: KeyField = None,
    run_id_field: RunIdField = None,
    timeout: Timeout = None,
    prefix: Prefix = None,
    allow_unsafe: AllowUnsafe = False,
    as_json: Json = False,
) -> int:
    """Send events through a pipeline and collect every result

    Starts a worker, sends, waits for the result of every event, and stops the worker. Exit code 1 when a run
    failed or an event was rejected.
    """
    from stream_orchestrator.cli.job import Job, run_job

    job = Job(
        file=file,
        events=events,
        output=output,
        broker=broker,
        offline=offline,
        functions=tuple(functions),
        key_field=key_field,
        run_id_field=run_id_field,
        timeout=timeout,
        prefix=prefix,
        allow_unsafe=allow_unsafe,
        as_json=as_json,
    )
    return asyncio.run(run_job(job))


app = command(
    run,
    "run pipelines/production/support-triage-v1.1.0.yaml \\\n"
    "      --input pipelines/data/tickets.jsonl --output triaged.jsonl --offline",
    "run pipelines/production/literature-digest-v1.0.0.yaml \\\n"
    "      --input pipelines/data/literature.jsonl --output - --offline | head -n 1",
)
