"""`topics list|diff|apply PATH…`: what the topics should be, what they are, and making them so."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from stream_orchestrator.cli import voice
from stream_orchestrator.cli.building import group
from stream_orchestrator.cli.options import AllowUnsafe, Json, KafkaBroker, Offline, Paths, Prefix

REFUSED = ("wrong_partitions", "too_weak", "kept_too_long")  # what a worker would not start with


def list_topics(
    paths: Paths, broker: KafkaBroker = None, offline: Offline = False, prefix: Prefix = None, as_json: Json = False
) -> int:
    """List the topics that pipelines need, as they would be made

    Asks no broker.
    """
    from stream_orchestrator.cli import topic_plans

    specs = topic_plans.wanted(_order(paths, broker, prefix, offline=offline))
    _show([{"name": s.name, "partitions": s.partitions, "config": s.config, "state": "wanted"} for s in specs], as_json)
    return 0


def diff(
    paths: Paths,
    broker: KafkaBroker = None,
    offline: Offline = False,
    prefix: Prefix = None,
    allow_unsafe: AllowUnsafe = False,
    as_json: Json = False,
) -> int:
    """Compare the topics that pipelines need with those of the broker

    Changes nothing. Exit code 1 when a topic is such that a worker would not start.
    """
    from stream_orchestrator.cli import topic_plans

    order = _order(paths, broker, prefix, offline=offline, allow_unsafe=allow_unsafe)
    states = asyncio.run(topic_plans.compare(order))
    _show_states(states, as_json)
    return 1 if any(state.state in REFUSED for state in states) else 0


def apply(
    paths: Paths,
    broker: KafkaBroker = None,
    offline: Offline = False,
    prefix: Prefix = None,
    allow_unsafe: AllowUnsafe = False,
    as_json: Json = False,
) -> int:
    """Make the topics that pipelines need

    Makes what is missing and mends the settings of topics that are ours alone. Never deletes, and never changes a
    partition count: that is refused, with the command that does it.
    """
    from stream_orchestrator.cli import topic_plans

    order = _order(paths, broker, prefix, offline=offline, allow_unsafe=allow_unsafe)
    _show_states(asyncio.run(topic_plans.make(order)), as_json)
    return 0


def _order(paths: Paths, broker: str | None, prefix: str | None, **more: Any) -> Any:
    from stream_orchestrator.cli import topic_plans
    from stream_orchestrator.cli.sources import read_sources
    from stream_orchestrator.cli.surroundings import configured, prefix_of

    plans = read_sources(paths).plans
    return topic_plans.Order(plans=plans, broker=broker, prefix=prefix_of(prefix, configured(paths)), **more)


def _show_states(states: Sequence[Any], as_json: bool) -> None:
    _show([state.as_json() for state in states], as_json)
    alike: dict[str, list[Any]] = {}
    for state in states:
        for difference in state.differences:
            alike.setdefault(difference, []).append(state)
    for difference, those in alike.items():
        _warn(difference, those)


def _warn(difference: str, those: Sequence[Any]) -> None:
    """What is wrong with these topics, said once: thirty that are alike would hide the one that is not."""
    name, mend = those[0].name, those[0].mend
    if len(those) == 1:
        voice.warn(f"`{name}` {difference}", hint=mend)
    else:
        more = "\nand the same for each of the others" if mend else ""
        voice.warn(f"{len(those)} topics, `{name}` first: {difference}", hint=mend + more)


def _show(topics: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        voice.emit({"topics": topics})
        return
    rows = [(topic["state"], topic["partitions"], topic["name"], _settings(topic["config"])) for topic in topics]
    voice.table(("STATE", "PARTITIONS", "TOPIC", "KEPT"), rows, right=("PARTITIONS",))


def _settings(config: dict[str, str]) -> str:
    if "compact" in config.get("cleanup.policy", ""):
        return "the newest of each key"
    kept = int(config.get("retention.ms", "-1"))
    return "all" if kept < 0 else f"{kept / 86_400_000:g} days"


_EXAMPLE = "pipelines/production --broker kafka://localhost:9092"
app = group(
    "List, compare and make the topics of pipelines",
    {
        "list": (list_topics, ["topics list pipelines/production"]),
        "diff": (diff, [f"topics diff {_EXAMPLE}"]),
        "apply": (apply, [f"topics apply {_EXAMPLE}", f"topics apply {_EXAMPLE} --env production"]),
    },
)
