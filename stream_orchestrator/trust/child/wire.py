"""The pipe between the worker and a sandbox process: a length, the step it is about, then JSON.

Neither side ever unpickles anything. Several steps may lie in the pipe; the token of each lies in a pipe of its own.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections import deque
from typing import Any

import orjson

HEADER = struct.Struct(">II")
TOKEN = struct.Struct(">I")
NO_STEP = 0  # the token of what is no step, nor about one
MAX_FRAME = 72 * 1024 * 1024  # a value is 64 MB at most, and what is around it is small


def pack(message: Any, token: int = NO_STEP) -> bytes:
    """The frame of a message; raises TypeError for what is not JSON."""
    body = orjson.dumps(message)
    return HEADER.pack(len(body), token) + body


class AskFailed(Exception):
    """The worker could not answer. `error_type` is the class name of what went wrong there."""

    def __init__(self, error_type: str, message: str) -> None:
        super().__init__(message)
        self.error_type = error_type


class Wire:
    """The child's end. Blocking; a frame is never torn by another thread of the script."""

    def __init__(self, sock: socket.socket, tokens: int) -> None:
        self.sock = sock
        self._input = sock.makefile("rb", 64 * 1024)
        self._lock = threading.RLock()
        self._tokens = socket.socket(fileno=tokens)
        self.torn = False  # a question was left before its answer had come: nobody knows what lies in the pipe
        self._token = self._held = NO_STEP  # of the step that runs; one that was read and is of a later step
        self._ahead: deque[tuple[int, bytes]] = deque()  # steps that lay before an answer

    def send(self, message: Any) -> None:
        frame = pack(message, self._token)
        with self._lock:
            self.sock.sendall(frame)

    def receive(self) -> Any:
        """The next message; EOFError when the worker is gone."""
        return orjson.loads(self._read()[1])

    def step(self) -> Any:
        """The next step that is still ours; EOFError when the worker is gone."""
        while True:
            token, body = self._ahead.popleft() if self._ahead else self._read()
            if self._ours(token):
                self._token = token
                return orjson.loads(body)

    def ask(self, what: str, **details: Any) -> Any:
        """Ask the worker something in the middle of a script, and wait for its answer."""
        with self._lock:
            if self.torn:
                raise AskFailed("RuntimeError", "this script left an earlier question before its answer had come")
            self.torn = True
            self.send({"op": "ask", "what": what, **details})
            while (frame := self._read())[0] != NO_STEP:
                self._ahead.append(frame)
            self.torn = False
        answer = orjson.loads(frame[1])
        if "error_type" in answer:
            raise AskFailed(answer["error_type"], answer["message"])
        return answer["value"]

    def _ours(self, token: int) -> bool:
        """Whether the worker has left us a step: who reads its token has it. Tokens come in the order of the steps."""
        if self._held == NO_STEP:
            try:
                self._held = TOKEN.unpack(self._tokens.recv(TOKEN.size, socket.MSG_DONTWAIT))[0]
            except BlockingIOError:
                return False
        if self._held != token:
            return False
        self._held = NO_STEP
        return True

    def _read(self) -> tuple[int, bytes]:
        header = self._input.read(HEADER.size)
        if len(header) < HEADER.size:
            raise EOFError("the worker is gone")
        size, token = HEADER.unpack(header)
        return token, self._input.read(size)
