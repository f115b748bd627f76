"""Who runs a script that lies in the pipe to a sandbox process: whoever reads its token."""

from __future__ import annotations

import socket
from collections.abc import Sequence

from stream_orchestrator.trust.child.wire import TOKEN

_MOST = 1_024 * TOKEN.size


class Tokens:
    """A pipe of tokens, of which both the worker and the process have the end to read.

    The process reads one before it begins a step; what the worker reads first, the process will not begin. The kernel
    gives every byte to one of them: no step runs in two places, and none that was taken back runs at all.
    A socket, so that we never wait, whatever a script does to the flags of a descriptor that it shares with us.
    """

    def __init__(self) -> None:
        self._ours, self.theirs = socket.socketpair()

    def put(self, tokens: Sequence[int]) -> None:
        """Before the steps themselves, or the process would not find them."""
        self._ours.send(b"".join(map(TOKEN.pack, tokens)), socket.MSG_DONTWAIT)

    def take_back(self) -> frozenset[int]:
        """Those that were not read yet. Where a script has read a part of one, the rest mean nothing."""
        try:
            data = self.theirs.recv(_MOST, socket.MSG_DONTWAIT)
        except OSError:  # there are none, or it is closed
            return frozenset()
        return frozenset(token for (token,) in TOKEN.iter_unpack(data[: len(data) // TOKEN.size * TOKEN.size]))

    def close(self) -> None:
        """Once is enough."""
        self.theirs.close()
        self._ours.close()
