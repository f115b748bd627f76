"""`worker-child`: the process that serves. `worker` starts it and keeps it alive; not for people."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any

import typer

from stream_orchestrator.cli.building import command

PATIENCE = 5.0
log = logging.getLogger(__name__)


def worker_child(orders: Annotated[str, typer.Argument(help="What `worker` was told, as JSON")]) -> int:
    """Serve, as `worker` says"""
    from stream_orchestrator.cli.orders import Orders
    from stream_orchestrator.cli.serving import serve
    from stream_orchestrator.cli.surroundings import choose

    told = Orders.from_json(orders)
    choose(told.env, Path(told.config) if told.config else None)
    return ended(serve(told))


def ended(serving: Coroutine[Any, Any, int]) -> int:
    """Run it; the exit code. What will not end when it is told to is left behind, and the process ends all the same:
    `asyncio.run` would wait for ever, for example for a client whose broker is away.
    """
    runner = asyncio.Runner()
    code = 1
    try:
        code = runner.run(serving)
    finally:
        reluctant = runner.run(_told_to_end())
        if reluctant:
            log.warning("%d tasks would not end and are left behind: %s", len(reluctant), ", ".join(reluctant)[:500])
            logging.shutdown()
            os._exit(code)
        runner.close()
    return code


async def _told_to_end() -> list[str]:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    pending = (await asyncio.wait(others, timeout=PATIENCE))[1] if others else set()
    return [task.get_name() for task in pending]


app = command(worker_child)
