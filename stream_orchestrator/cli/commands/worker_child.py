"""`worker-child`: the process that serves. `worker` starts it and keeps it alive; not for people."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from stream_orchestrator.cli.building import command


def worker_child(orders: Annotated[str, typer.Argument(help="What `worker` was told, as JSON")]) -> int:
    """Serve, as `worker` says"""
    from stream_orchestrator.cli.orders import Orders
    from stream_orchestrator.cli.serving import serve

    return asyncio.run(serve(Orders.from_json(orders)))


app = command(worker_child)
