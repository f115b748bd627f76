"""`audit RUN_ID`: the story of one run, from the audit topic."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

import typer

from stream_orchestrator.cli import voice
from stream_orchestrator.cli.building import command
from stream_orchestrator.cli.options import Json, KafkaBroker, Prefix

RunId = Annotated[
    str, typer.Argument(metavar="RUN_ID", help="As `send` printed it, or as a result says", show_default=False)
]


def audit(run_id: RunId, broker: KafkaBroker = None, prefix: Prefix = None, as_json: Json = False) -> int:
    """Tell what happened to a run

    Every step of it in the order of time. Exit code 1 when nothing is known of the run.
    """
    from stream_orchestrator.cli.broker import existing_broker
    from stream_orchestrator.cli.surroundings import configured, prefix_of

    topic_prefix = prefix_of(prefix, configured())
    story = asyncio.run(_story(run_id, existing_broker(broker), topic_prefix))
    if as_json:
        voice.emit(story)
    elif story["events"]:
        rows = [_row(event) for event in story["events"]]
        voice.table(("AT", "TASK", "ATTEMPT", "WHAT", "DETAILS"), rows)
    if not story["events"]:
        voice.fail(
            f"nothing is known of run `{run_id}`", hint="is the id whole, and the prefix right? the audit keeps 30 days"
        )
        return 1
    return 0


async def _story(run_id: str, settings: Any, prefix: str) -> dict[str, Any]:
    from stream_orchestrator.observe.audit import read_run
    from stream_orchestrator.plan.names import audit_topic
    from stream_orchestrator.streaming.client import reading
    from stream_orchestrator.streaming.records import Record

    async def records() -> AsyncIterator[Record]:
        async with reading(settings, audit_topic(prefix)) as reader:
            for record in await reader.all():
                yield record

    return await read_run(run_id, records())


def _row(event: dict[str, Any]) -> tuple[Any, ...]:
    details = json.dumps(event["details"], ensure_ascii=False) if event["details"] else ""
    return event["at"], event["task"] or "-", event["attempt"], event["kind"], details


app = command(audit, "audit 0123456789abcdef0123456789abcdef --broker kafka://localhost:9092")
