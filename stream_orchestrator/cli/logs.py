"""A worker's log: text on stderr, or with `--json` one object a line on stdout.

Promise: the first line of JSON is `{"event": "ready", ...}`; what was logged before it comes after it.
"""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from typing import Any

import orjson

# Libraries, and the two modules of ours in whose name Faust's services tell every step of their lives.
QUIET = (
    *("faust", "mode", "kafka", "asyncio", "aiohttp", "httpx", "httpcore", "opentelemetry"),
    *("stream_orchestrator.streaming.core.faustapp", "stream_orchestrator.streaming.core.consumer"),
)

# The Kafka client shouts about what it mends by itself a moment later (a coordinator that moves, a group that
# rebalances). What it cannot mend comes to us as an exception, and is said in our words.
SHOUTING = "aiokafka"
ABOUT = ("pipeline", "task", "run_id")  # what a script's line is about


class JsonLog(logging.Handler):
    """Holds lines back until `ready` was told, then writes each as it comes."""

    def __init__(self) -> None:
        super().__init__()
        self._held: list[bytes] | None = []

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line, or keep it until we are ready."""
        try:
            line = orjson.dumps(_fields(record), default=str)
        except Exception:  # the border of logging: the library's own way to say that a line was lost
            self.handleError(record)
            return
        if self._held is None:
            _write(line)
        else:
            self._held.append(line)

    def ready(self, event: dict[str, Any]) -> None:
        """Say that we serve, then what was held back."""
        held, self._held = self._held or [], None
        _write(orjson.dumps({"event": "ready", **event}), *held)


def start_logging(*, as_json: bool, level: str | None = None) -> JsonLog | None:
    """Set up the process's log. Our own rooms speak from `level` on (`INFO`), the libraries below from `warning` on."""
    handler: logging.Handler
    if as_json:
        handler = JsonLog()
    else:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    logging.basicConfig(level=level or logging.INFO, handlers=[handler], force=True)
    for name in QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))
    logging.getLogger("mode.timers").setLevel(logging.ERROR)  # a busy machine is late: no news, and nothing to do
    hush()
    return handler if isinstance(handler, JsonLog) else None


def hush() -> None:
    """The Kafka client says nothing but what is fatal, unless its level was set on purpose."""
    shouting = logging.getLogger(SHOUTING)
    if shouting.level == logging.NOTSET:
        shouting.setLevel(logging.CRITICAL)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    at = datetime.fromtimestamp(record.created, tz=UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    fields = {"event": "log", "at": at, "level": record.levelname.lower(), "logger": record.name}
    fields["message"] = record.getMessage()
    fields |= {name: about for name in ABOUT if (about := getattr(record, name, ""))}
    if record.exc_info:
        fields["exception"] = logging.Formatter().formatException(record.exc_info)
    return fields


def _write(*lines: bytes) -> None:
    sys.stdout.buffer.write(b"".join(line + b"\n" for line in lines))
    sys.stdout.buffer.flush()
