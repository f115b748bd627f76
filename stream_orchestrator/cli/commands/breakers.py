"""`breakers list|open|close PIPELINE`: circuit breakers, and a hand on them."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Any, Literal

import typer

from stream_orchestrator.cli import voice
from stream_orchestrator.cli.building import group
from stream_orchestrator.cli.options import Json, KafkaBroker, Pipeline, Prefix
from stream_orchestrator.errors import UsageError

Names = Annotated[
    list[str] | None, typer.Argument(metavar="NAME", help="Breakers, as `breakers list` shows them", show_default=False)
]
Every = Annotated[bool, typer.Option("--all", help="All of the pipeline's breakers")]


def list_breakers(pipeline: Pipeline, broker: KafkaBroker = None, prefix: Prefix = None, as_json: Json = False) -> int:
    """List the circuit breakers

    closed: attempts go through. open: none does. half_open: a few may try whether the service is back. By hand: it was
    opened by `breakers open`, and only `breakers close` closes it.
    """
    _show(asyncio.run(_breakers(_site(pipeline, broker, prefix))), as_json=as_json)
    return 0


def open_breakers(
    pipeline: Pipeline,
    names: Names = None,
    broker: KafkaBroker = None,
    every: Every = False,
    prefix: Prefix = None,
    as_json: Json = False,
) -> int:
    """Open circuit breakers by hand

    Attempts fall back or wait until `breakers close`, whatever happens meanwhile. Workers know within a second.
    """
    return _move(pipeline, names, broker=broker, every=every, prefix=prefix, as_json=as_json, what="open")


def close_breakers(
    pipeline: Pipeline,
    names: Names = None,
    broker: KafkaBroker = None,
    every: Every = False,
    prefix: Prefix = None,
    as_json: Json = False,
) -> int:
    """Close circuit breakers by hand

    Attempts go through again, and failures are counted from zero. Workers know within a second.
    """
    return _move(pipeline, names, broker=broker, every=every, prefix=prefix, as_json=as_json, what="close")


def _move(
    pipeline: str,
    given: list[str] | None,
    *,
    broker: str | None,
    every: bool,
    prefix: str | None,
    as_json: bool,
    what: Literal["open", "close"],
) -> int:
    if bool(given) == every:
        raise UsageError("name the breakers, or --all", hint=f"`breakers list {pipeline}` shows them")
    chosen = asyncio.run(_moved(_site(pipeline, broker, prefix), given, what))
    voice.say(f"{len(chosen)} {'opened' if what == 'open' else 'closed'}: {', '.join(each.name for each in chosen)}")
    if as_json:
        _show(chosen, as_json=True)
    return 0


async def _moved(site: Any, given: list[str] | None, what: Literal["open", "close"]) -> list[Any]:
    """Move them, and wait until their owner has; a name that no breaker has is a UsageError."""
    from stream_orchestrator.streaming.breakers import move

    known = {each.name: each for each in await _breakers(site)}
    if strangers := [name for name in given or () if name not in known]:
        raise UsageError(
            f"{site.pipeline} has no breaker `{strangers[0]}`", hint=f"it has: {', '.join(known) or 'none'}"
        )
    names = list(given or known)
    await move(site.settings, site.prefix, [known[name] for name in names], what)
    after = {}
    for _ in range(20):
        after = {each.name: each for each in await _breakers(site)}
        rows = [after[name].row for name in names]
        if all(row.held if what == "open" else row.healthy for row in rows):
            break
        await asyncio.sleep(0.25)
    else:
        voice.warn("no worker has taken the request yet", hint="it is kept, and obeyed once a worker runs")
    return [after[name] for name in names]


async def _breakers(site: Any) -> list[Any]:
    from stream_orchestrator.streaming.breakers import breakers

    plans = [each.plan for each in await site.deployed()]
    found: list[Any] = await breakers(site.settings, site.prefix, site.pipeline, plans)
    return found


def _site(pipeline: str, broker: str | None, prefix: str | None) -> Any:
    from stream_orchestrator.cli.broker import existing_broker
    from stream_orchestrator.cli.sources import pipeline_of
    from stream_orchestrator.cli.surroundings import configured, prefix_of
    from stream_orchestrator.streaming.retire import Versions

    slug = pipeline_of(pipeline)
    return Versions(settings=existing_broker(broker), prefix=prefix_of(prefix, configured()), pipeline=slug)


def _show(found: list[Any], *, as_json: bool) -> None:
    now = time.time()
    shown = [each.as_json(now) for each in found]
    if as_json:
        voice.emit({"breakers": shown})
        return
    rows = [
        (each["name"], each["state"] + (" (by hand)" if each["by_hand"] else ""), each["failures"], each["probes"])
        for each in shown
    ]
    if rows:
        voice.table(("BREAKER", "STATE", "FAILURES", "PROBES"), rows, right=("FAILURES", "PROBES"))
    voice.say(f"{len(rows) or 'no'} breaker{'' if len(rows) == 1 else 's'}")


_AT = "--broker kafka://localhost:9092"
app = group(
    "List the circuit breakers of a pipeline, and open or close them",
    {
        "list": (list_breakers, [f"breakers list support-triage {_AT}"]),
        "open": (open_breakers, [f"breakers open support-triage external_api {_AT}"]),
        "close": (close_breakers, [f"breakers close support-triage --all {_AT}"]),
    },
)
