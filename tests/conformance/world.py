"""The document in a folder, compiled, and all its pipelines on one worker with an embedded broker.

Around them: a model server on loopback that answers, a page server, the author's secrets. Nothing leaves this machine.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from aiohttp import web
from blocks import File
from cases import CASES, OUTAGE, Event

from stream_orchestrator.plan.compile import examine
from stream_orchestrator.plan.model import Plan
from stream_orchestrator.plan.names import slug
from stream_orchestrator.spec.config import load
from stream_orchestrator.spec.documents import Document, read
from stream_orchestrator.spec.loader import load_bytes
from stream_orchestrator.spec.problems import Problem, errors_in
from stream_orchestrator.streaming.brokers import EmbeddedBroker
from stream_orchestrator.streaming.client import Outgoing, produce, reading
from stream_orchestrator.streaming.serving import WorkerSettings
from stream_orchestrator.streaming.worker import Worker
from stream_orchestrator.testkit.models import ModelServer, Seen, Status, Text

HELPERS = Path(__file__).parent / "helpers.py"
PATIENCE = 120.0
PAGE = """<!doctype html><html><head><title>Bread</title></head><body><article><h1>Bread</h1>
<p>We compared sourdough of forty bakeries by a randomised trial.</p></article></body></html>"""


@dataclass(frozen=True, slots=True)
class Compiled:
    """One file of the document: what it is, its plan, its problems, and how long compiling took."""

    file: File
    path: Path
    document: Document
    plan: Plan | None
    problems: tuple[Problem, ...]
    seconds: float

    @property
    def slug(self) -> str:
        """What names its topics."""
        return slug(self.document.name)

    @property
    def ok(self) -> bool:
        """Whether nothing is an error."""
        return not errors_in(self.problems)

    @property
    def not_yet(self) -> list[str]:
        """The keys of errors that say: not built yet."""
        return [problem.path for problem in errors_in(self.problems) if problem.rule == "not-yet-supported"]


@dataclass(frozen=True, slots=True)
class Ran:
    """An event, its result record (None: none came), and what the models were asked meanwhile."""

    event: Event
    result: dict[str, Any] | None
    asked: tuple[Seen, ...]


def staged(files: Sequence[File], folder: Path) -> list[Compiled]:
    """Every file written where it says it lives, and then compiled."""
    paths = {file.path: folder / file.path for file in files}
    for file in files:
        paths[file.path].parent.mkdir(parents=True, exist_ok=True)
        paths[file.path].write_text(file.text, encoding="utf-8")
    return [each for file in files for each in compiled(file, paths[file.path])]


def compiled(file: File, path: Path) -> list[Compiled]:
    """The documents of one file."""
    found: list[Compiled] = []
    started = time.perf_counter()
    for located in load_bytes(path.read_bytes(), file=str(path)):
        document = read(located)
        plan, problems = examine(document, functions=(str(HELPERS),))
        found.append(Compiled(file, path, document, plan, problems, time.perf_counter() - started))
        started = time.perf_counter()
    return found


async def play(plans: list[Plan], models: ModelServer, site: str) -> dict[str, list[Ran]]:
    """Every event of these pipelines through one worker: one after another, so that it is known who asked what."""
    broker = EmbeddedBroker()
    await broker.start()
    try:
        settings = WorkerSettings(
            stream=broker.settings, config=load(), partitions=2, drain=20.0, drain_calls=20.0, functions=(str(HELPERS),)
        )
        worker = Worker(settings, plans)
        try:
            await worker.start()
            found = {plan.slug: await _play(broker, plan, models, site) for plan in plans}
        finally:
            drained = await worker.drain()
        assert drained, "the drain was cut"
    finally:
        await broker.stop()
    return found


async def _play(broker: EmbeddedBroker, plan: Plan, models: ModelServer, site: str) -> list[Ran]:
    case, ran = CASES[plan.slug], []
    async with reading(broker.settings, f"{plan.slug}.results", at_end=True) as results:
        for number, together in enumerate([case.events] if case.together else [(event,) for event in case.events]):
            mark = len(models.seen)
            sent = [_outgoing(event, f"{number}-{at}", site) for at, event in enumerate(together)]
            await produce(broker.settings, f"{plan.slug}.input", sent)
            records = [record async for record in results.follow(count=len(sent), timeout=PATIENCE)]
            by_run = {record.header("run-id") or b"": orjson.loads(record.value or b"") for record in records}
            asked = tuple(models.seen[mark:])
            ran += [Ran(event, by_run.get(f"{number}-{at}".encode()), asked) for at, event in enumerate(together)]
    return ran


def _outgoing(event: Event, run_id: str, site: str) -> Outgoing:
    value = orjson.dumps(event.inputs).replace(b"{site}", site.encode())
    return Outgoing(value, key=b"k", headers=(("run-id", run_id.encode()),))


# --- what stands around them -----------------------------------------------------------------------------------------


async def answer(seen: Seen, request: web.Request) -> web.StreamResponse:
    """A model's answer: its own name and the question. One whose name stands behind `OUTAGE of` does not answer."""
    out = seen.prompt.partition(OUTAGE)[2].split()
    behaviour = Status(400) if seen.model in out else Text(f"[{seen.model}] {seen.prompt}")
    return await behaviour(seen, request)


@asynccontextmanager
async def surroundings() -> AsyncIterator[tuple[ModelServer, dict[str, str]]]:
    """The model server, and the environment in which the worker finds all that it needs."""
    async with ModelServer(default=answer) as models, _pages() as site, _clamd() as scanner:
        yield (
            models,
            {
                "OPENAI_BASE_URL": models.openai_url,
                "STREAM_ORCHESTRATOR__CALLS__BUDGETS": "unkept",
                "ANTHROPIC_BASE_URL": models.address,
                "OPENAI_API_KEY": "sk-conformance-openai",
                "ANTHROPIC_API_KEY": "sk-conformance-anthropic",
                "SECURE_API_KEY": "sk-conformance-secure",
                "DATABASE_PASSWORD": "correct horse battery staple",
                "STREAM_ORCHESTRATOR__FETCH__ALLOWED_HOSTS": "127.0.0.1",
                "STREAM_ORCHESTRATOR__SCANNER__URL": scanner,
                "SITE": site,
            },
        )


@asynccontextmanager
async def _pages() -> AsyncIterator[str]:
    async def page(request: web.Request) -> web.Response:
        return web.Response(text=PAGE, content_type="text/html")

    app = web.Application()
    app.router.add_get("/bread.html", page)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def _clamd() -> AsyncIterator[str]:
    """A scanner that reads what it is given, as clamd does, and finds nothing in it."""

    async def scan(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readuntil(b"\0") == b"zINSTREAM\0"
        while (size := struct.unpack(">I", await reader.readexactly(4))[0]) != 0:
            await reader.readexactly(size)
        writer.write(b"stream: OK\0")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(scan, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()[:2]
        yield f"tcp://{host}:{port}"
