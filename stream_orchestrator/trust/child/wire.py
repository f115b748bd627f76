"""The pipe between the worker and a sandbox process: a length, then JSON. Neither side ever unpickles anything."""

from __future__ import annotations

import socket
import struct
import threading
from typing import Any

import orjson

HEADER = struct.Struct(">I")
MAX_FRAME = 72 * 1024 * 1024  # a value is 64 MB at most, and what is around it is small


def pack(message: Any) -> bytes:
    """The frame of a message; raises TypeError for what is not JSON."""
    body = orjson.dumps(message)
    return HEADER.pack(len(body)) + body


class AskFailed(Exception):
    """The worker could not answer. `error_type` is the class name of what went wrong there."""

    def __init__(self, error_type: str, message: str) -> None:
        super().__init__(message)
        self.error_type = error_type


class Wire:
    """The child's end. Blocking; a frame is never torn by another thread of the script."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._input = sock.makefile("rb")
        self._lock = threading.RLock()

    def send(self, message: Any) -> None:
        frame = pack(message)
        with self._lock:
            self.sock.sendall(frame)

    def receive(self) -> Any:
        """The next message; EOFError when the worker is gone."""
        header = self._input.read(HEADER.size)
        if len(header) < HEADER.size:
            raise EOFError("the worker is gone")
        return orjson.loads(self._input.read(HEADER.unpack(header)[0]))

    def ask(self, what: str, **details: Any) -> Any:
        """Ask the worker something in the middle of a script, and wait for its answer."""
        with self._lock:
            self.send({"op": "ask", "what": what, **details})
            answer = self.receive()
        if "error_type" in answer:
            raise AskFailed(answer["error_type"], answer["message"])
        return answer["value"]
