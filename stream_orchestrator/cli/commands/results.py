"""`results PIPELINE`: what came out, as it stands on the results topic."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Annotated, TypeGuard

import orjson
import typer

from stream_orchestrator.cli import voice
from stream_orchestrator.cli.building import command
from stream_orchestrator.cli.options import JsonLines, KafkaBroker, Pipeline, Prefix, Timeout

if TYPE_CHECKING:
    from stream_orchestrator.streaming.records import Record


def results(
    pipeline: Pipeline,
    broker: KafkaBroker = None,
    follow: Annotated[bool, typer.Option("--follow", help="Go on as results come")] = False,
    count: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Wait for so many, and stop", show_default=False)
    ] = None,
    timeout: Timeout = None,
    prefix: Prefix = None,
    as_json: JsonLines = False,
) -> int:
    """Read the results of a pipeline

    From the beginning of the topic, one JSON object a line, copies included. Without --follow, --count and --timeout:
    what is there now. Exit code 1 when --count were not there in time.
    """
    from stream_orchestrator.cli.broker import existing_broker
    from stream_orchestrator.cli.sources import pipeline_of
    from stream_orchestrator.cli.surroundings import configured, prefix_of
    from stream_orchestrator.plan.names import results_topic

    topic = results_topic(prefix_of(prefix, configured()), pipeline_of(pipeline))
    waits = follow or count is not None or timeout is not None
    read = asyncio.run(_read(existing_broker(broker), topic, waits=waits, count=count, timeout=timeout))
    if count is not None and read < count:
        voice.fail(
            f"{read} of {count} results were there after {timeout:g} s",
            hint="is a worker serving? `audit RUN_ID` tells what happened to a run",
        )
        return 1
    return 0


async def _read(settings: object, topic: str, *, waits: bool, count: int | None, timeout: float | None) -> int:
    from stream_orchestrator.streaming.client import reading
    from stream_orchestrator.streaming.settings import StreamSettings

    assert isinstance(settings, StreamSettings)
    read = 0
    async with reading(settings, topic) as reader:
        if not waits:
            return sum(_line(record) for record in await reader.all())
        async for record in reader.follow(timeout=timeout):
            read += _line(record)
            if read == count:
                break
    return read


def _line(record: Record) -> bool:
    """A result goes out, byte for byte; what somebody else put there is passed over, or it would break every reader."""
    if not _is_result(record.value):
        place = f"{record.topic}/{record.partition}/{record.offset}"
        voice.warn(f"{place} is not a result and is left out: somebody else wrote to the topic")
        return False
    sys.stdout.buffer.write(record.value + b"\n")
    sys.stdout.buffer.flush()
    return True


def _is_result(value: bytes | None) -> TypeGuard[bytes]:
    try:
        found = orjson.loads(value or b"")
    except orjson.JSONDecodeError:
        return False
    return isinstance(found, dict) and "run_id" in found and "status" in found and b"\n" not in (value or b"")


app = command(
    results,
    "results support-triage --broker kafka://localhost:9092",
    "results support-triage --count 28 --timeout 60s --broker kafka://localhost:9092",
)
