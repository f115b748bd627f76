"""`reconcile PIPELINE`: do the books balance, by the topics and tables themselves."""

from __future__ import annotations

import asyncio
from typing import Any

from stream_orchestrator.cli import voice
from stream_orchestrator.cli.building import command
from stream_orchestrator.cli.options import Json, KafkaBroker, Pipeline, Prefix

SHOWN = 10  # ids of lost events that are named


def reconcile(pipeline: Pipeline, broker: KafkaBroker = None, prefix: Prefix = None, as_json: Json = False) -> int:
    """Count what became of every input event

    From the topics and tables themselves, while workers run or not: input = duplicates + in flight + succeeded +
    degraded + failed + rejected + lost. Exit code 1 when anything is lost.
    """
    from stream_orchestrator.cli.broker import existing_broker
    from stream_orchestrator.cli.sources import pipeline_of
    from stream_orchestrator.cli.surroundings import configured, prefix_of
    from stream_orchestrator.streaming import reconcile as books

    slug = pipeline_of(pipeline)
    account = asyncio.run(books.reconcile(existing_broker(broker), prefix_of(prefix, configured()), slug))
    if as_json:
        voice.emit(account.as_json())
    else:
        rows = [(name.replace("_", " "), count) for name, count in account.as_json().items()]
        voice.table(("EVENTS", "COUNT"), rows, right=("COUNT",))
    _tell(account)
    return 1 if account.lost else 0


def _tell(account: Any) -> None:
    if account.copies:
        voice.say(f"{_count(account.copies, 'result')} more are copies; readers drop them by `run-id`")
    if account.older:
        voice.say(f"{_count(account.older, 'result')} are of events that the input topic no longer has; not counted")
    if account.unknown:
        voice.warn(
            f"{_count(account.unknown, 'event')} not counted: retention may have removed their results",
            hint="keep results longer than the input: retention.ms of the results topic",
        )
    if account.lost:
        named = sorted(account.lost)
        more = f" and {len(named) - SHOWN} more" if len(named) > SHOWN else ""
        voice.fail(
            f"{_count(len(named), 'event')} lost: {', '.join(named[:SHOWN])}{more}",
            hint="`audit RUN_ID` tells how far a run came; sent again under the same run id, a lost event runs",
        )


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


app = command(
    reconcile,
    "reconcile support-triage --broker kafka://localhost:9092",
    "reconcile support-triage --json --broker kafka://localhost:9092",
)
