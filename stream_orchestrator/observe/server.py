"""The worker's HTTP port: `/health/live`, `/health/ready`, `/metrics`. Loopback unless it is told otherwise.

Promises
  * Every answer is made from memory, at once: a probe never waits for a broker.
  * 200 is yes, 503 is no, and the JSON says why; it is for people, and holds no payload and no key.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from stream_orchestrator.errors import MissingError, UsageError
from stream_orchestrator.observe.health import Verdict
from stream_orchestrator.observe.metrics import CONTENT_TYPE

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
LOOPBACK = "127.0.0.1"


def _yes() -> Verdict:
    return True, {}


class HealthServer:
    """Serves on `host:port` until stopped; port 0 picks a free one, and `address` says which."""

    def __init__(
        self,
        host: str = LOOPBACK,
        port: int = 0,
        *,
        ready: Callable[[], Verdict],
        live: Callable[[], Verdict] = _yes,
        metrics: Callable[[], bytes] = bytes,
    ) -> None:
        self._host, self._port = host, port
        self._ready, self._live, self._metrics = ready, live, metrics
        self._runner: web.AppRunner | None = None

    @property
    def address(self) -> str:
        """`host:port` as it is bound."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{host}:{self._port}"

    async def start(self) -> None:
        """Listen. A port that is taken is a `MissingError` that names it."""
        app = web.Application()
        app.router.add_get("/health/live", self._show(self._live))
        app.router.add_get("/health/ready", self._show(self._ready))
        app.router.add_get("/metrics", self._show_metrics)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host, self._port).start()
        except OSError as error:
            await self.stop()
            hint = "choose another with --http HOST:PORT; port 0 picks a free one"
            raise MissingError(f"cannot listen on {self.address}: {error.strerror or error}", hint=hint) from error
        self._port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Stop listening. Twice is once."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def _show(self, ask: Callable[[], Verdict]) -> Handler:
        async def handler(request: web.Request) -> web.Response:
            ok, details = ask()
            return web.json_response({"ok": ok, "checks": details}, status=200 if ok else 503)

        return handler

    async def _show_metrics(self, request: web.Request) -> web.Response:
        return web.Response(body=self._metrics(), headers={"content-type": CONTENT_TYPE})


def parse_address(text: str) -> tuple[str, int]:
    """`HOST:PORT`, `[::1]:PORT`, `:PORT` or `PORT`; without a host it is loopback."""
    host, _, port = text.strip().rpartition(":")
    host = host.strip("[]") or LOOPBACK
    if not port.isdecimal() or int(port) > 65_535 or not host:
        raise UsageError(f"{text!r} is not HOST:PORT", hint="for example --http 127.0.0.1:8080")
    return host, int(port)
