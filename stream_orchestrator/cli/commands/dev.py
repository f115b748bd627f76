"""`dev PATH…`: write a pipeline, save, send, look, again."""

from __future__ import annotations

import asyncio
from typing import cast

from stream_orchestrator.cli.building import command
from stream_orchestrator.cli.options import Broker, Functions, Http, Offline, Paths, Prefix


def dev(
    paths: Paths,
    broker: Broker = None,
    offline: Offline = False,
    functions: Functions = [],  # noqa: B006  # Typer copies it
    http: Http = None,
    prefix: Prefix = None,
) -> int:
    """Serve pipelines on an embedded broker and reload them when they change

    A changed file starts the worker anew; a broken one is shown, and the last good one goes on. Ctrl-C ends it.
    """
    from stream_orchestrator.cli.reloading import Workshop, serve_and_reload

    workshop = Workshop(
        paths=tuple(paths),
        broker=broker,
        offline=offline,
        functions=tuple(functions),
        http=cast("tuple[str, int] | None", http),
        prefix=prefix,
    )
    asyncio.run(serve_and_reload(workshop))


app = command(dev, "dev pipelines/production --offline")
