"""`worker PATH…`: what stands between Kafka and your pipelines, for as long as it is wanted."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, cast

import typer

from stream_orchestrator.cli.building import command
from stream_orchestrator.cli.options import AllowUnsafe, Broker, Functions, Http, Offline, Paths, Prefix, seconds
from stream_orchestrator.cli.orders import Orders
from stream_orchestrator.cli.surroundings import configured, prefix_of

LONGEST_CALL = 300.0  # no call has a longer deadline

Drain = Annotated[
    float,
    typer.Option(
        metavar="TIME",
        parser=seconds,
        help="How long tasks may take to end when told to stop  [default: 30s]",
        show_default=False,
    ),
]
DrainCalls = Annotated[
    float,
    typer.Option(
        metavar="TIME",
        parser=seconds,
        help="How long calls to models may, at most 300s  [default: 300s]",
        show_default=False,
    ),
]
InstanceId = Annotated[
    str | None,
    typer.Option(
        metavar="ID", help="The same after every restart, where the platform gives such a name", show_default=False
    ),
]
Json = Annotated[bool, typer.Option("--json", help="The log as JSON Lines on stdout, the first line says ready")]


def worker(
    paths: Paths,
    broker: Broker = None,
    offline: Offline = False,
    functions: Functions = [],  # noqa: B006  # Typer copies it
    http: Http = None,
    drain: Drain = 30.0,
    drain_calls: DrainCalls = 300.0,
    instance_id: InstanceId = None,
    prefix: Prefix = None,
    allow_unsafe: AllowUnsafe = False,
    as_json: Json = False,
) -> int:
    """Serve pipelines until told to stop

    Start as many as you like: they share the work, and take over from each other. SIGTERM drains: exit code 0 says that
    nothing was cut, 1 that something was or that it crashed.
    """
    from stream_orchestrator.cli.parent import keep_serving

    config = configured(paths)
    orders = Orders(
        paths=tuple(str(path) for path in paths),
        broker="",  # the parent chooses
        functions=tuple(functions),
        prefix=prefix_of(prefix, config),
        env=config.env,
        config=str(Path(config.files[0]).absolute()) if config.files else "",
        offline=offline,
        allow_unsafe=allow_unsafe,
        drain=drain,
        drain_calls=min(drain_calls, LONGEST_CALL),
        http=cast("tuple[str, int] | None", http),
        as_json=as_json,
    )
    return keep_serving(orders, broker=broker, instance_id=instance_id or "")


app = command(
    worker,
    "worker pipelines/production --broker kafka://localhost:9092 --http 127.0.0.1:8080",
    "worker pipelines/production --offline",
)
