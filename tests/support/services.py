"""Services to talk to: a web server and a mail server on loopback that do as they are told, and jobs for providers."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from stream_orchestrator.calls.provider import Job

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def job(operation: str, options: dict[str, Any], *, seconds: float = 20.0, key: str = "0" * 32, **more: Any) -> Job:
    """An attempt that has `seconds`. Call it in a running loop."""
    deadline = asyncio.get_running_loop().time() + seconds
    return Job(operation=operation, options=options, call_id="c1", key=key, deadline=deadline, wall=time.time(), **more)


def says(body: str | bytes = "", status: int = 200, kind: str = "text/html", **headers: str) -> Handler:
    """A handler that always gives this answer; underscores of header names are dashes."""
    data = body.encode() if isinstance(body, str) else body
    told = {name.replace("_", "-"): value for name, value in headers.items()} | ({"content-type": kind} if kind else {})

    async def handle(_: web.Request) -> web.StreamResponse:
        return web.Response(body=data, status=status, headers=told)

    return handle


async def hangs(_: web.Request) -> web.StreamResponse:
    """Never answers."""
    await asyncio.Event().wait()
    raise AssertionError


async def hangs_up(request: web.Request) -> web.StreamResponse:
    """Takes the request and drops the line."""
    await request.read()
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


class WebServer:
    """Pages by path; what is not there is 404. `seen` are the requests, their bodies read."""

    def __init__(self, **pages: Handler) -> None:
        self.pages: dict[str, Handler | list[Handler]] = {f"/{name}": page for name, page in pages.items()}
        self.seen: list[web.Request] = []
        self.bodies: list[bytes] = []

    async def __aenter__(self) -> WebServer:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.port: int = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    def url(self, path: str = "/", host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    def paths(self) -> list[str]:
        return [request.path for request in self.seen]

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(request)
        self.bodies.append(await request.read())
        page = self.pages.get(request.path)
        if isinstance(page, list):
            page = page.pop(0) if len(page) > 1 else page[0]
        return await page(request) if page is not None else web.Response(status=404)


@dataclass
class MailServer:
    """An SMTP server. `faults` are replies by command, in turn (`DATA.` is the reply to the message; None hangs up,
    "hang" never answers); `messages` are `(sender, recipients, text)` as they were taken.
    """

    faults: dict[str, deque[str | None]] = field(default_factory=dict)
    messages: list[tuple[str, list[str], str]] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)

    async def __aenter__(self) -> MailServer:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in list(self._talks):
            task.cancel()
        await asyncio.gather(*self._talks, return_exceptions=True)

    _talks: set[asyncio.Task[Any]] = field(default_factory=set)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._talks.add(task)
        with suppress(ConnectionError, asyncio.CancelledError):
            await self._talk(reader, writer)
        self._talks.discard(task)
        writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sender, people = "", []
        if not await self._reply(writer, "CONNECT", "220 ready"):
            return
        while line := (await reader.readline()).decode().strip():
            self.commands.append(line)
            word = line.split()[0].upper()
            if word == "MAIL":
                sender, people = line[line.index("<") + 1 : line.index(">")], []
            good = {"DATA": "354 go on", "QUIT": "221 bye"}.get(word, "250 fine")
            reply = await self._reply(writer, word, good)
            if not reply or word == "QUIT":
                return
            if word == "RCPT" and reply.startswith("25"):
                people.append(line[line.index("<") + 1 : line.index(">")])
            if word == "DATA" and reply.startswith("354"):
                text = (await reader.readuntil(b"\r\n.\r\n"))[:-5].decode()
                reply = await self._reply(writer, "DATA.", "250 taken")
                if reply and reply.startswith("25"):
                    self.messages.append((sender, people, text))
                if not reply:
                    return

    async def _reply(self, writer: asyncio.StreamWriter, command: str, good: str) -> str | None:
        told = self.faults.get(command)
        reply = told.popleft() if told else good
        if reply == "hang":
            await asyncio.Event().wait()
        if reply is None:
            writer.transport.abort()
            return None
        writer.write(f"{reply}\r\n".encode())
        await writer.drain()
        return reply
