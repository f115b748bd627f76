"""`versions list|drain|retire PIPELINE`: what is deployed, and how a version comes to its end."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated, Any

import typer

from stream_orchestrator.cli import voice
from stream_orchestrator.cli.building import group
from stream_orchestrator.cli.options import Json, KafkaBroker, Pipeline, Prefix, Timeout
from stream_orchestrator.errors import UsageError

Version = Annotated[
    str | None,
    typer.Argument(
        metavar="VERSION",
        help="Its number, or its hash (8 characters do)  [default: the one that takes no new runs]",
        show_default=False,
    ),
]
Yes = Annotated[bool, typer.Option("--yes", help="Delete its topics without asking")]


def list_versions(pipeline: Pipeline, broker: KafkaBroker = None, prefix: Prefix = None, as_json: Json = False) -> int:
    """List the versions of a pipeline

    With their runs in flight and the topics that are theirs alone. Every version but the active one only finishes the
    runs that it has.
    """
    states = asyncio.run(_versions(pipeline, broker, prefix).states())
    _show(states, as_json=as_json)
    return 0


def drain(
    pipeline: Pipeline,
    version: Version = None,
    broker: KafkaBroker = None,
    timeout: Timeout = None,
    prefix: Prefix = None,
    as_json: Json = False,
) -> int:
    """Let a version take no new runs, and wait until its last one has ended

    If it is the one that takes new runs, the highest other one takes them from now on. Exit code 1 when there is no
    other, or when runs are still in flight after --timeout.
    """
    versions = _versions(pipeline, broker, prefix)
    state, empty = asyncio.run(_drain(versions, version, timeout))
    _show([state], as_json=as_json)
    if not empty:
        voice.fail(
            f"{state.in_flight} in flight on {state.deployed.plan.version} after {timeout:g} s",
            hint="call it again to go on waiting; `runs list` shows where they are",
        )
    return 0 if empty else 1


def retire(
    pipeline: Pipeline,
    version: Version = None,
    broker: KafkaBroker = None,
    yes: Yes = False,
    prefix: Prefix = None,
    as_json: Json = False,
) -> int:
    """Delete a version with its topics

    Refused with exit code 1 while runs of it are in flight, and while it takes new runs. Results, dead letters and the
    audit stay. Copies of its events that still come are rejected as `unknown_version`.
    """
    versions = _versions(pipeline, broker, prefix)
    state = asyncio.run(versions.find(version))
    if not state.in_flight and not yes and not state.active and not _agreed(state):
        voice.say("nothing was deleted")
        return 1
    asyncio.run(versions.retire(state))
    _show([state], as_json=as_json)
    voice.say(f"version {state.deployed.plan.version} is retired; {len(state.topics)} topics are deleted")
    return 0


async def _drain(versions: Any, wanted: str | None, timeout: float | None) -> tuple[Any, bool]:
    state = await versions.find(wanted)
    if not state.retiring:
        taking = await versions.close(state)
        voice.say(f"new runs begin with {taking.plan.version}")
        if not await versions.served(taking):
            voice.warn(
                f"no worker serves {taking.plan.version} now",
                hint="start one with its file, or restart a worker: it serves what is active",
            )
    empty = await versions.emptied(state, lambda left: voice.say(f"{left} in flight"), timeout=timeout)
    return await versions.find(state.deployed.id), empty


def _agreed(state: Any) -> bool:
    plan = state.deployed.plan
    if not sys.stdin.isatty():
        raise UsageError(f"--yes is needed to delete {len(state.topics)} topics", hint="nobody is there to be asked")
    for topic in state.topics:
        voice.say(f"  {topic}")
    sys.stderr.write(f"delete version {plan.version} of {plan.slug} with these {len(state.topics)} topics? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _versions(pipeline: str, broker: str | None, prefix: str | None) -> Any:
    from stream_orchestrator.cli.broker import existing_broker
    from stream_orchestrator.cli.sources import pipeline_of
    from stream_orchestrator.cli.surroundings import configured, prefix_of
    from stream_orchestrator.streaming.retire import Versions

    slug = pipeline_of(pipeline)
    return Versions(settings=existing_broker(broker), prefix=prefix_of(prefix, configured()), pipeline=slug)


def _show(states: list[Any], *, as_json: bool) -> None:
    if as_json:
        voice.emit({"versions": [state.as_json() for state in states]})
        return
    rows = [
        (
            state.deployed.plan.version,
            state.deployed.plan.hash[:8],
            "new runs" if state.active else "retiring" if state.retiring else "old runs",
            state.in_flight,
            len(state.topics),
        )
        for state in states
    ]
    voice.table(("VERSION", "HASH", "TAKES", "IN FLIGHT", "TOPICS"), rows, right=("IN FLIGHT", "TOPICS"))


_AT = "--broker kafka://localhost:9092"
app = group(
    "List the versions of a pipeline, and bring one to its end",
    {
        "list": (list_versions, [f"versions list support-triage {_AT}"]),
        "drain": (drain, [f"versions drain support-triage 1.0.0 --timeout 10m {_AT}"]),
        "retire": (retire, [f"versions retire support-triage 1.0.0 --yes {_AT}"]),
    },
)
