"""A result beside what a test of a suite expects of it.

Promises
  * A run that ends with an error fails a test that expects none, and the other way round.
  * Every difference is told, not only the first.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from stream_orchestrator.spec.measures import Duration, Size
from stream_orchestrator.spec.testing import TestCase
from stream_orchestrator.testkit.comparing import bound, differences
from stream_orchestrator.testkit.meter import Usage
from stream_orchestrator.testkit.records import Result, ended_well, response_time

# What people call an event that was refused at the door, beside its own type.
_REFUSED = {"validation", "invalidinput", "invalid", "input", "rejected"}


def judge(case: TestCase, expected_output: Any, result: Result, usage: Usage | None) -> list[str]:
    """Everything about the result that is not as expected. `expected_output` has its templates filled in."""
    found = list(_ending(case, result))
    if "expected_output" in case.model_fields_set and (ended_well(result) or not found):
        found += differences(expected_output, result.output)
    if case.validation is not None:
        found += bound(case.validation.response_time, response_time(result), "response_time", Duration)
        if usage is not None:
            found += bound(case.validation.memory_usage, usage.peak_bytes, "memory_usage", Size)
    return found


def _ending(case: TestCase, result: Result) -> Iterator[str]:
    expects_error = case.expected_error is not None or case.error_message is not None
    if case.expected_status is not None and case.expected_status != result.status:
        yield f"status: expected {case.expected_status}, got {_ended(result)}"
    elif expects_error and ended_well(result):
        yield f"expected an error ({case.expected_error or case.error_message}), but the run {result.status}"
    elif not expects_error and case.expected_status is None and not ended_well(result):
        yield f"the run {_ended(result)}"
    if not ended_well(result):
        yield from _error(case, result.error or {}, rejected=result.status == "rejected")


def _error(case: TestCase, error: dict[str, Any], *, rejected: bool) -> Iterator[str]:
    kind, message = str(error.get("type", "")), str(error.get("message", ""))
    names = {_plain(kind)} | (_REFUSED if rejected else set())
    if case.expected_error is not None and _plain(case.expected_error) not in names:
        yield f"error: expected {case.expected_error}, got {kind}: {message}"
    if case.error_message is not None and case.error_message.casefold() not in message.casefold():
        yield f"error message: expected one that holds {case.error_message!r}, got {message!r}"


def _ended(result: Result) -> str:
    if result.error is None:
        return "was degraded" if result.status == "degraded" else result.status
    task = f" in `{result.error['task']}`" if result.error.get("task") else ""
    said = f"{result.error.get('type')}: {result.error.get('message')}"
    return f"{'was rejected' if result.status == 'rejected' else result.status}{task}: {said}"


def _plain(name: str) -> str:
    return "".join(char for char in name.lower() if char.isalnum()).removesuffix("error")
