"""`send FILE --input EVENTS.jsonl`: events onto the input topic, and nothing else."""

from __future__ import annotations

import asyncio
from pathlib import Path

from stream_orchestrator.cli import voice
from stream_orchestrator.cli.building import command
from stream_orchestrator.cli.options import File, Functions, Input, Json, KafkaBroker, KeyField, Prefix, RunIdField


def send(
    file: File,
    events: Input,
    broker: KafkaBroker = None,
    key_field: KeyField = None,
    run_id_field: RunIdField = None,
    functions: Functions = [],  # noqa: B006  # Typer copies it
    prefix: Prefix = None,
    as_json: Json = False,
) -> int:
    """Send events to a pipeline

    Returns when the broker has acknowledged all of them. Their run ids go to stdout, one a line, in the order of the
    events; nothing waits for results.
    """
    from stream_orchestrator.cli.surroundings import configured, prefix_of

    run_ids = asyncio.run(
        _send(
            file,
            events,
            broker,
            functions=functions,
            prefix=prefix_of(prefix, configured([file])),
            key_field=key_field,
            run_id_field=run_id_field,
        )
    )
    if as_json:
        voice.emit({"sent": len(run_ids), "run_ids": run_ids})
    else:
        voice.show("\n".join(run_ids))
    return 0


async def _send(
    file: Path,
    input_file: Path,
    broker: str | None,
    *,
    functions: list[str],
    prefix: str,
    key_field: str | None,
    run_id_field: str | None,
) -> list[str]:
    from stream_orchestrator.cli.broker import existing_broker
    from stream_orchestrator.cli.events import read_events
    from stream_orchestrator.cli.sending import send_events
    from stream_orchestrator.cli.sources import read_plan
    from stream_orchestrator.plan.names import input_topic

    events = read_events(input_file, key_field=key_field, run_id_field=run_id_field)
    topic = input_topic(prefix, read_plan(file, functions).slug)
    settings = existing_broker(broker)
    run_ids = [sent.run_id async for chunk in send_events(settings, topic, events) for sent in chunk]
    voice.say(f"sent {len(run_ids)} events to {topic}")
    return run_ids


app = command(
    send,
    "send pipelines/production/support-triage-v1.1.0.yaml \\\n"
    "      --input pipelines/data/tickets.jsonl --run-id-field ticket_id --broker kafka://localhost:9092",
)
