"""Setup, teardown and checks of integration tests: functions of the tester, called by name in this process.

Promises
  * All that a document names is there before the first step runs; else there is a `MissingError` that names each.
  * They run here, not in the sandbox: what a setup step opens, a teardown step can close. They are the tester's code.
  * A check that returns nothing has checked nothing, and fails.
  * A function that wants to leave (`sys.exit`, whatever the code) leaves its step only: it raised, as any error does.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from stream_orchestrator.errors import MissingError, UsageError
from stream_orchestrator.testkit.comparing import differences
from stream_orchestrator.testkit.records import Result, response_time
from stream_orchestrator.trust.child.functions import FunctionsFailed, load_functions

Step = str | Mapping[str, Any]
BUILT_IN: dict[str, Callable[[Result], Any]] = {
    "processing_time": response_time,
    "api_calls_made": lambda result: result.usage.get("calls", 0),
    "cost": lambda result: result.cost.get("usd", 0.0),
}
_NOTHING = object()


class Steps:
    """The functions of a functions list."""

    def __init__(self, sources: Sequence[str]) -> None:
        try:
            self._functions = {name: each for name, each in load_functions(sources).items() if callable(each)}
        except FunctionsFailed as failed:
            raise MissingError(str(failed), hint="mend the file; steps and checks are functions in it") from failed

    def refuse_missing(self, steps: Iterable[Step], checks: Iterable[Step], *, document: str) -> None:
        """MissingError with every step and check that nobody defines; UsageError for a check without its bound."""
        bare = [name for name, given in map(parts, checks) if name in BUILT_IN and given is _NOTHING]
        if bare and bare[0] not in self._functions:
            raise UsageError(f"{document}: the check `{bare[0]}` has no bound", hint=f'write `- {bare[0]}: "< 10"`')
        wanted = [parts(each)[0] for each in steps]
        wanted += [name for name, _ in map(parts, checks) if name not in BUILT_IN]
        missing = sorted(set(wanted) - set(self._functions))
        if missing:
            nearest = get_close_matches(missing[0], [*self._functions, *BUILT_IN], 1)
            guess = f"did you mean `{nearest[0]}`?\n" if nearest else ""
            named = ", ".join(f"`{name}`" for name in missing)
            raise MissingError(
                f"{document}: nobody defines the steps {named}",
                hint=f"{guess}list their file under `functions:`, or give it with --functions FILE.py",
            )

    async def call(self, step: Step) -> Any:
        """Run a step: a map it is given is its named arguments, a list its arguments, anything else its only one."""
        name, given = parts(step)
        function = self._functions[name]
        if given is _NOTHING or given is None:
            return await _called(function)
        if isinstance(given, Mapping):
            return await _called(function, **{str(key): value for key, value in given.items()})
        return await _called(function, *(given if isinstance(given, list) else [given]))

    async def check(self, step: Step, result: Result) -> list[str]:
        """What a check has to say; empty when it holds. A function that raises fails its check."""
        name, expected = parts(step)
        if name not in self._functions:
            return differences(expected, BUILT_IN[name](result), name)
        try:
            said = await self._ask(self._functions[name], expected, result)
        except Exception as error:  # the border to the tester's code: it is reported as the failure that it is
            return [f"{name}: {type(error).__name__}: {error}"]
        if said is None:
            return [f"{name}: the check returned nothing; it returns true or false, or a value to compare"]
        if isinstance(said, bool) and not isinstance(expected, bool):
            return [] if said else [f"{name}: does not hold" + ("" if expected is _NOTHING else f" for {expected!r}")]
        return differences(True if expected is _NOTHING else expected, said, name)

    async def _ask(self, function: Callable[..., Any], expected: Any, result: Result) -> Any:
        """A check takes the expected value first, and `result` by name, as far as it wants them."""
        named = _parameters(function)
        wants = [name for name in named if name != "result"]
        arguments = [expected] if wants and expected is not _NOTHING else []
        return await _called(function, *arguments, **({"result": result} if "result" in named else {}))


def parts(step: Step) -> tuple[str, Any]:
    """The name of a step, and what it is given."""
    if isinstance(step, str):
        return step, _NOTHING
    ((name, given),) = step.items()
    return str(name), given


class StepLeft(Exception):
    """A step raised what no loop can carry as the error that it is."""


async def _called(function: Callable[..., Any], *args: Any, **named: Any) -> Any:
    try:
        if inspect.iscoroutinefunction(function):
            return await function(*args, **named)
        # In a thread: a step that waits for a container must not stop what else runs here.
        said = await asyncio.to_thread(_contained, function, *args, **named)
        return await said if inspect.isawaitable(said) else said
    except SystemExit as left:
        raise StepLeft(_left(left)) from left


def _contained(function: Callable[..., Any], *args: Any, **named: Any) -> Any:
    """Call it; what it raises can be handed over to the loop."""
    try:
        return function(*args, **named)
    except (SystemExit, StopIteration) as left:  # the loop would end at the one, and wait forever at the other
        raise StepLeft(_left(left)) from left


def _left(left: BaseException) -> str:
    return f"{type(left).__name__}({', '.join(map(repr, left.args))})"


def _parameters(function: Callable[..., Any]) -> list[str]:
    try:
        return list(inspect.signature(function).parameters)
    except (TypeError, ValueError):  # some built-in functions tell nobody
        return ["value"]
