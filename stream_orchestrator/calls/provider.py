"""What every service that is no model is: one verb that makes one attempt, and a fault that says all of a failure."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

from stream_orchestrator.trust.masking import Masker

MIB = 1024 * 1024
MOST_THREADS = 32
MAX_SIZE = 5 * MIB  # of what is read, unless a task says otherwise
MOST_SIZE = 9 * MIB  # of what a task may say: as text of JSON it still has to fit into a record


class ServiceFault(Exception):
    """An attempt failed, and this is how: the fields of `kernel.effects.Answer` of the same names."""

    def __init__(
        self,
        error_type: str,
        message: str,
        *,
        retryable: bool = False,
        ambiguous: bool = False,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.error_type = error_type
        self.retryable = retryable
        self.ambiguous = ambiguous
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One attempt: options with their secrets filled in. `deadline` is on the loop's clock, `wall` is now."""

    operation: str
    options: Mapping[str, Any]
    call_id: str
    key: str
    deadline: float
    wall: float
    masker: Masker = field(default_factory=Masker, repr=False)  # what it hides is in no answer and no message

    @property
    def max_size(self) -> int:
        """How many bytes may be read."""
        said = self.options.get("max_size")
        return min(MAX_SIZE if said is None else int(said), MOST_SIZE)


class Threads:
    """Threads for a service that has no asynchronous client: its own, so that one that hangs holds up no other.

    Cancelling `run` leaves its thread behind; what that does goes on, and nobody hears of it.
    """

    def __init__(self, name: str) -> None:
        self._pool = ThreadPoolExecutor(MOST_THREADS, thread_name_prefix=name)

    async def run(self, work: Callable[[Job], Any], job: Job) -> Any:
        """What the work gives."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work, job)

    def close(self) -> None:
        """Take no more work; what has not begun never does."""
        self._pool.shutdown(wait=False, cancel_futures=True)


class Provider(Protocol):
    """A service. `calls.providers` lists them."""

    async def do(self, job: Job) -> Any:
        """Make one attempt; its value, as JSON. Raises `ServiceFault`, whatever the other side does.

        It is cancelled at its deadline: what it had sent may be carried out all the same.
        """

    async def close(self) -> None:
        """Give back what is open."""
