"""Who runs a script that lies in the pipe to a sandbox process: whoever reads its token."""

from __future__ import annotations

import os
from collections.abc import Sequence

from stream_orchestrator.trust.child.wire import TOKEN

_MOST = 1_024 * TOKEN.size


class Tokens:
    """A pipe of tokens, of which both the worker and the process have the end to read.

    The process reads one before it begins a step; what the worker reads first, the process will not begin. The kernel
    gives every byte to one of them: no step runs in two places, and none that was taken back runs at all.
    """

    def __init__(self) -> None:
        self.theirs, self._ours = os.pipe()
        self._open = True
        for end in (self.theirs, self._ours):
            os.set_blocking(end, False)

    def put(self, tokens: Sequence[int]) -> None:
        """Before the steps themselves, or the process would not find them."""
        os.write(self._ours, b"".join(map(TOKEN.pack, tokens)))

    def take_back(self) -> frozenset[int]:
        """Those that were not read yet."""
        if not self._open:
            return frozenset()
        try:
            return frozenset(token for (token,) in TOKEN.iter_unpack(os.read(self.theirs, _MOST)))
        except BlockingIOError:
            return frozenset()

    def close(self) -> None:
        """Once is enough."""
        if self._open:
            self._open = False
            os.close(self.theirs)
            os.close(self._ours)
