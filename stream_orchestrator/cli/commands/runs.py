"""`runs list|cancel PIPELINE`: what is in flight, where it is, and an end to it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from stream_orchestrator.cli import voice
from stream_orchestrator.cli.building import group
from stream_orchestrator.cli.options import Json, KafkaBroker, Pipeline, Prefix, seconds
from stream_orchestrator.errors import UsageError

Stuck = Annotated[
    bool, typer.Option("--stuck", help="Only runs older than 10 minutes that no record, call or time will move")
]
RunIds = Annotated[
    list[str] | None, typer.Argument(metavar="RUN_ID", help="Runs, as `runs list` shows them", show_default=False)
]
Wait = Annotated[float, typer.Option("--timeout", metavar="S", parser=seconds, help="Wait so long for them to end")]
WAIT = 30.0


def list_runs(
    pipeline: Pipeline, broker: KafkaBroker = None, stuck: Stuck = False, prefix: Prefix = None, as_json: Json = False
) -> int:
    """List the runs in flight

    The oldest first, each with the task it is at. running: work of it is under way. calling: it waits for an answer.
    parked: it waits for a time. waiting: it waits for other tasks, or to begin.
    """
    site = _site(pipeline, broker, prefix)
    found, told = asyncio.run(_told(site, stuck=stuck))
    _show(found, as_json=as_json, told=told)
    return 0


def cancel(
    pipeline: Pipeline,
    run_ids: RunIds = None,
    broker: KafkaBroker = None,
    stuck: Stuck = False,
    timeout: Wait = WAIT,
    prefix: Prefix = None,
    as_json: Json = False,
) -> int:
    """End runs as cancelled

    Each fails with the reason cancelled, and its event is a dead letter that can be redriven. Exit code 1 when one was
    not in flight, or has not ended in time.
    """
    wanted = set(run_ids or ())
    if bool(wanted) == stuck:
        raise UsageError("name the runs to cancel, or --stuck", hint=f"`runs list {pipeline}` shows what is in flight")
    site = _site(pipeline, broker, prefix)
    chosen, left = asyncio.run(_cancel(site, wanted, timeout=timeout))
    _show(chosen, as_json=as_json)
    absent = sorted(wanted - {flight.run_id for flight in chosen})
    for run_id in absent:
        voice.fail(f"run `{run_id}` is not in flight", hint=f"`audit {run_id}` tells what happened to it")
    if left:
        voice.fail(
            f"{len(left)} of {len(chosen)} have not ended after {timeout:g} s: {', '.join(sorted(left)[:10])}",
            hint="the request is kept, and ends them once a worker serves their version",
        )
    voice.say(f"{len(chosen) - len(left)} cancelled")
    return 1 if absent or left else 0


async def _flights(site: Any, *, stuck: bool) -> list[Any]:
    from stream_orchestrator.streaming import flights

    look = flights.stuck if stuck else flights.flights
    return await look(site.settings, site.prefix, await site.deployed())


async def _told(site: Any, *, stuck: bool) -> tuple[list[Any], dict[str, Any]]:
    """The runs, and how far their scripts say they are."""
    from stream_orchestrator.streaming.breakers import progress

    found = await _flights(site, stuck=stuck)
    return found, await progress(site.settings, site.prefix, site.pipeline) if found else {}


async def _cancel(site: Any, wanted: set[str], *, timeout: float) -> tuple[list[Any], set[str]]:
    """The runs that were asked to end, and the ids of those that have not."""
    from stream_orchestrator.streaming import flights

    found = await _flights(site, stuck=not wanted)
    chosen = [flight for flight in found if not wanted or flight.run_id in wanted]
    await flights.cancel(site.settings, site.prefix, chosen)
    return chosen, await flights.going_on(site.settings, site.prefix, chosen, timeout=timeout)


def _site(pipeline: str, broker: str | None, prefix: str | None) -> Any:
    from stream_orchestrator.cli.broker import existing_broker
    from stream_orchestrator.cli.sources import pipeline_of
    from stream_orchestrator.cli.surroundings import configured, prefix_of
    from stream_orchestrator.streaming.retire import Versions

    slug = pipeline_of(pipeline)
    return Versions(settings=existing_broker(broker), prefix=prefix_of(prefix, configured()), pipeline=slug)


def _show(found: Sequence[Any], *, as_json: bool, told: dict[str, Any] | None = None) -> None:
    now, told = time.time(), told or {}
    shown = [
        {
            "run_id": flight.run_id,
            "version": flight.plan.version,
            "status": flight.status,
            "task": flight.task,
            "age_seconds": round(flight.age(now), 3),
            **({"progress": told[place]} if (place := f"{flight.run_id}/{flight.task}") in told else {}),
        }
        for flight in found
    ]
    if as_json:
        voice.emit({"runs": shown})
        return
    if shown:
        columns = ("run_id", "version", "status", "task", "age_seconds")
        rows = [(*(each[name] for name in columns), _progress(each.get("progress"))) for each in shown]
        voice.table(("RUN", "VERSION", "STATUS", "TASK", "AGE (S)", "PROGRESS"), rows, right=("AGE (S)",))
    voice.say(f"{len(shown) or 'no'} run{'' if len(shown) == 1 else 's'}")


def _progress(told: dict[str, Any] | None) -> str:
    return "" if told is None else f"{told['share']:.0%} {told['message']}".rstrip()


_AT = "--broker kafka://localhost:9092"
app = group(
    "List the runs in flight, and end them",
    {
        "list": (list_runs, [f"runs list support-triage {_AT}", f"runs list support-triage --stuck {_AT}"]),
        "cancel": (
            cancel,
            [f"runs cancel support-triage 0123456789abcdef {_AT}", f"runs cancel support-triage --stuck {_AT}"],
        ),
    },
)
