"""Everything we raise on purpose. The branch decides what happens next.

OrchestratorError
├── SpecError         a document is wrong            nothing starts            exit 2
├── UsageError        the command line is wrong      nothing starts            exit 2
├── MissingError      something around is missing    nothing starts            exit 3
├── RunError          this run cannot go on          fallback, dead letter
│   └── PassingFault  ... but may, later             the only kind retry looks at
└── HouseError        our own machinery failed       the process ends, nothing is acked
"""

from __future__ import annotations


class OrchestratorError(Exception):
    """The root. `hint` is the next thing to do, in the user's words; renderers print it after the message."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class SpecError(OrchestratorError):
    """A document is wrong. Carries every problem found in it (`spec.problems.Problem`), never only the first."""

    exit_code = 2

    def __init__(self, message: str, *, problems: tuple[object, ...] = (), hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.problems = problems


class UsageError(OrchestratorError):
    """The command line or its files are wrong; nothing was started."""

    exit_code = 2


class MissingError(OrchestratorError):
    """A broker, a helper function, a key that must be around is not; nothing was lost."""

    exit_code = 3


class RunError(OrchestratorError):
    """This run cannot go on: the task's fallback answers, or the run ends as a dead letter."""


class PassingFault(RunError):
    """A fault that may pass; the only kind that a retry looks at. `retry_after`: seconds, when the service said so."""

    def __init__(self, message: str, *, retry_after: float | None = None, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after


class HouseError(OrchestratorError):
    """Our own machinery failed. The process ends with the event unacked, so that it is read again."""
