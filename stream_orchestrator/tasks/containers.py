"""Containers: tasks that run other tasks, once per item. What they share is how items are begun and gathered
(`kernel.items`); each kind here only says which items there are, and what their outputs come to.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from typing import Any

import orjson

from stream_orchestrator.errors import RunError
from stream_orchestrator.kernel.effects import Answer, ScriptDone
from stream_orchestrator.kernel.events import Report
from stream_orchestrator.kernel.kinds import Again, Attempt, Fault, Gathered, Item, Spread, Step
from stream_orchestrator.kernel.outcomes import shown_by
from stream_orchestrator.kernel.outside import DEEPEST, depth_of
from stream_orchestrator.plan import templates
from stream_orchestrator.plan.bodies import MOST_ARRIVING
from stream_orchestrator.plan.claims import TooLarge, is_claim
from stream_orchestrator.plan.templates import SKIPPED
from stream_orchestrator.spec.fields import kind_name
from stream_orchestrator.spec.inputs import InputRules, InvalidInput
from stream_orchestrator.tasks import arriving

MOST_AT_ONCE = 100  # items of one container, unless it says otherwise
MOST_ITEMS = 100_000
_SPOKEN = {str: "text", float: "a fraction", bool: "true or false", type(None): "null"}


class _Container(ABC):
    """A kind of task that runs other tasks."""

    def begin(self, attempt: Attempt) -> Step:
        """Ask for the first items."""
        return self.spread(attempt)

    @abstractmethod
    def spread(self, attempt: Attempt) -> Step:
        """The items."""

    def answered(self, attempt: Attempt, answer: Answer) -> Step:
        """A container asks no service; this is never asked of it."""
        raise AssertionError("a container has no calls")

    def scripted(self, attempt: Attempt, done: ScriptDone) -> Step:
        """A container has no script; this is never asked of it."""
        raise AssertionError("a container has no script")


class ParallelGroup(_Container):
    """Runs its children side by side; one with `for_each` is repeated for every element of a list."""

    name = "parallel_group"
    summary = "Runs tasks side by side, or one task for every element of a list, at most `max_concurrency` at once."
    guarantees = (
        "Each child ends once, and is not run again when it has ended. At no time do more than `max_concurrency` of a "
        "run's children run, whoever runs them. The output is the list of theirs, in order."
    )
    example = """\
name: "Lengths"
input_variables:
  texts: {type: array}
tasks:
  - name: "measure"
    type: "parallel_group"
    max_concurrency: 4
    tasks:
      - name: "measure_{{ item.index }}"
        type: "python_task"
        for_each: "{{ texts }}"
        script: "return len(item['value'])"
"""

    def spread(self, attempt: Attempt) -> Step:
        """A child each, or one per element of its list."""
        items = tuple(
            item for body, each in enumerate(attempt.variant.options["each"]) for item in self._of(attempt, body, each)
        )
        names = Counter(item.name for item in items if item.name not in self._lists(attempt))
        twice = next((name for name, count in names.items() if name and count > 1), None)
        if twice is not None:
            raise RunError(f"two children would be named `{twice}`; put `{{{{ item.index }}}}` into their name")
        return Spread(items=items, limit=self._limit(attempt), timeout=attempt.variant.options.get("child_timeout"))

    def _limit(self, attempt: Attempt) -> int:
        """The group's, or that of a child that is repeated if it is less: the items of all are one line."""
        given = (_number(attempt, each, "max_concurrency") for each in attempt.variant.options.get("limits", ()))
        return min((_limit(attempt), *(limit for limit in given if limit is not None)))

    def _lists(self, attempt: Attempt) -> frozenset[str]:
        """The names of children that are repeated under one plain name: each stands for the list of its outputs."""
        bodies = zip(attempt.task.bodies, attempt.variant.options["each"], strict=True)
        return frozenset(body.name for body, each in bodies if each is not None and "{{" not in body.name) - {""}

    def _of(self, attempt: Attempt, body: int, each: Any) -> list[Item]:
        name = attempt.task.bodies[body].name
        if each is None:
            return [Item(body=body, name=name)]
        found = []
        for index, value in enumerate(self._elements(attempt, each)):
            names = {"item": {"index": index, "value": value}}
            called = templates.render(name, {**attempt.scope, **names}) if name else ""
            found.append(Item(body=body, names=names, name=str(called), spread=True))
        return found

    def _elements(self, attempt: Attempt, each: Any) -> list[Any]:
        """A child whose list was skipped is skipped: its siblings are not, and alone it is the whole group."""
        try:
            return _elements(attempt, each, "for_each")
        except templates.SkippedReference:
            if len(attempt.task.bodies) == 1:
                raise
            return []

    def gathered(self, attempt: Attempt, reports: Sequence[Report]) -> Step:
        """Their outputs, in order."""
        asked = any(body.name for body in attempt.task.bodies)
        spread = self.spread(attempt) if asked else None
        items = spread.items if isinstance(spread, Spread) else ()
        shown: dict[str, list[Any]] = {name: [] for name in self._lists(attempt)}
        for item, report in zip(items, reports, strict=False):
            if item.name in shown:
                shown[item.name].append(report.output)
        names = tuple("" if item.name in shown else item.name for item in items)
        skipped = [name for name, report in zip(names, reports, strict=False) if report.kind == "skipped" and name]
        return Gathered(value=[report.output for report in reports], names=names, shown=shown, hidden=tuple(skipped))


class Condition(_Container):
    """Runs one of two lists of tasks."""

    name = "condition"
    summary = "Runs the tasks under `then` when its condition holds, else those under `else`."
    guarantees = "Exactly one of the two runs; the tasks of the other are skipped, and so is what needs them."
    example = """\
name: "Triage"
input_variables:
  text: {type: string}
tasks:
  - name: "triage"
    type: "condition"
    condition: "{{ text | length > 100 }}"
    then:
      - {name: "long", type: "python_task", script: "return 'long'"}
    else:
      - {name: "short", type: "python_task", script: "return 'short'"}
"""

    def spread(self, attempt: Attempt) -> Step:
        """The branch that is taken; none when there is nothing to do in it."""
        options = attempt.variant.options
        branch = options["then"] if templates.test(options["condition"], attempt.scope) else options["else"]
        return Spread(items=() if branch is None else (Item(body=branch),), limit=1)

    def gathered(self, attempt: Attempt, reports: Sequence[Report]) -> Step:
        """What the branch gave."""
        if not reports:
            return Gathered(value=None, skipped=True, hidden=shown_by(attempt.task))
        (report,) = reports
        hidden = tuple(name for name in shown_by(attempt.task) if name not in report.shown)
        return Gathered(value=report.output, skipped=report.kind == "skipped", shown=report.shown, hidden=hidden)


class ForLoop(_Container):
    """Runs its tasks for every element of a list, one after another."""

    name = "for_loop"
    summary = "Runs its tasks for every element of a list, one after another unless `max_concurrency` says otherwise."
    guarantees = "An iteration begins when the one before it has ended. The output is the list of theirs, in order."
    example = """\
name: "Greetings"
input_variables:
  people: {type: array}
tasks:
  - name: "greet_all"
    type: "for_loop"
    iterate_over: "{{ people }}"
    item_variable: "person"
    tasks:
      - {name: "greet", type: "python_task", script: "return 'Hello ' + person"}
"""

    def spread(self, attempt: Attempt) -> Step:
        """An item per element."""
        options = attempt.variant.options
        values = _elements(attempt, options["iterate_over"], "iterate_over")
        most = _count(attempt, "max_iterations")
        if most is not None and len(values) > most:
            return Fault(
                type="LoopLimit", message=f"the list has {len(values)} elements, and `max_iterations` is {most}"
            )
        limit = _limit(attempt, default=1)
        keeps = bool(options.get("item_variable")) and "item" in attempt.around.names
        items = (
            Item(names=_loop_names(options, index, value, len(values), keeps=keeps), spread=limit > 1)
            for index, value in enumerate(values)
        )
        return Spread(items=tuple(items), limit=limit)

    def gathered(self, attempt: Attempt, reports: Sequence[Report]) -> Step:
        """Their outputs, in order."""
        last = reports[-1] if reports else None
        hidden = tuple(name for name in shown_by(attempt.task) if last is None or name not in last.shown)
        return Gathered(value=[report.output for report in reports], shown=last.shown if last else {}, hidden=hidden)


class WhileLoop(_Container):
    """Runs its tasks as long as its condition holds."""

    name = "while_loop"
    summary = "Runs its tasks again and again as long as its condition holds, at most `max_iterations` times."
    guarantees = (
        "The condition is looked at before each iteration. What the tasks return under the names of `loop_state` is "
        "there in the next one. The output is that of the last iteration, or `loop_state` when there was none."
    )
    example = """\
name: "Countdown"
input_variables:
  start: {type: integer}
tasks:
  - name: "count_down"
    type: "while_loop"
    condition: "{{ loop_state.n > 0 }}"
    max_iterations: 20
    loop_state: {n: "{{ start }}"}
    tasks:
      - {name: "step", type: "python_task", script: "return {'n': loop_state['n'] - 1}"}
"""

    def spread(self, attempt: Attempt) -> Step:
        """One more iteration, if the condition wants one."""
        options, carry = attempt.variant.options, self._carry(attempt)
        iteration = attempt.row.wave
        names = {**carry["state"], "loop_state": carry["state"], "loop": _loop(iteration, carry["state"])}
        if not self._goes_on(attempt, carry, names):
            return Spread(items=(), limit=1)
        if iteration >= (_count(attempt, "max_iterations") or 1):
            if options["bounded"]:
                return Spread(items=(), limit=1)
            message = f"the condition still holds after {iteration} iterations; set `max_iterations` if that is meant"
            return Fault(type="LoopLimit", message=message)
        return Spread(items=(Item(names=names),), limit=1)

    def _goes_on(self, attempt: Attempt, carry: dict[str, Any], names: dict[str, Any]) -> bool:
        hidden = dict.fromkeys(shown_by(attempt.task), SKIPPED)
        scope = {**attempt.scope, **hidden, **carry["shown"], **names}
        try:
            return templates.test(attempt.variant.options["condition"], scope)
        except templates.SkippedReference:
            return attempt.row.wave == 0  # it asks for what only an iteration gives

    def _carry(self, attempt: Attempt) -> dict[str, Any]:
        if attempt.row.carry is not None:
            found: dict[str, Any] = attempt.row.carry
            return found
        state = templates.render(attempt.variant.options["loop_state"], attempt.scope)
        return {"state": state, "last": None, "shown": {}}

    def gathered(self, attempt: Attempt, reports: Sequence[Report]) -> Step:
        """The next iteration, or the output of the last."""
        carry = self._carry(attempt)
        if not reports:
            hidden = tuple(name for name in shown_by(attempt.task) if name not in carry["shown"])
            last = carry["state"] or None if attempt.row.wave == 0 else carry["last"]
            return Gathered(value=last, shown=carry["shown"], hidden=hidden)
        (report,) = reports
        if carry["state"] and is_claim(report.output):
            raise TooLarge(f"{attempt.task.name}: loop_state")
        given = report.output if isinstance(report.output, dict) else {}
        state = {name: given.get(name, value) for name, value in carry["state"].items()}
        return Again({"state": state, "last": report.output, "shown": report.shown})


class Component(_Container):
    """Runs a component's tasks, which see its parameters and inputs, and nothing else."""

    name = "component"
    summary = "Runs the tasks of a component, a part that many pipelines share, with values for its parameters."
    guarantees = "Its tasks see its parameters and inputs and nothing else. The output is that of its last task."
    example = """\
name: "Sign up"
input_variables:
  customer: {type: object}
tasks:
  - name: "check"
    type: "component"
    component: "components/data-validation.yaml"
    parameters:
      data_schema: {type: object, required: [email]}
    inputs:
      input_data: "{{ customer }}"
"""

    def spread(self, attempt: Attempt) -> Step:
        """One item, with the component's parameters, checked, and its inputs."""
        options = attempt.variant.options
        inputs = templates.render(options["inputs"], attempt.scope)
        given = templates.render(options["parameters"], attempt.scope)
        declared = {name: rule for name, rule in options["declared"].items() if name not in inputs}
        try:
            values = InputRules.from_plan(declared, {}).check(orjson.dumps(given))
        except InvalidInput as error:
            return Fault(type="InvalidParameters", message=str(error), reason="invalid_input")
        return Spread(items=(Item(values={**values, **inputs}),), limit=1, timeout=attempt.variant.timeout)

    def gathered(self, attempt: Attempt, reports: Sequence[Report]) -> Step:
        """The component's output."""
        (report,) = reports
        return Gathered(value=report.output, skipped=report.kind == "skipped")


class DynamicTaskGroup(_Container):
    """Runs tasks that arrive as data."""

    name = "dynamic_task_group"
    summary = "Runs tasks that an earlier task, or the event, describes: checked like a file, then run as a graph."
    guarantees = (
        "Nothing runs unless every task is right. They may use what the pipeline allows: its sandbox, its helpers, the "
        "services that it was deployed with. The output is that of the last task."
    )
    example = """\
name: "Planned work"
input_variables:
  steps: {type: array}
tasks:
  - name: "work"
    type: "dynamic_task_group"
    tasks: "{{ steps }}"
    max_tasks: 10
"""

    def spread(self, attempt: Attempt) -> Step:
        """One item, which brings the compiled tasks."""
        options = attempt.variant.options
        given = templates.render(options["tasks"], attempt.scope)
        tasks = given.get("tasks") if isinstance(given, dict) else given
        most = _count(attempt, "max_tasks") or MOST_ARRIVING
        if not isinstance(tasks, list):
            raise RunError(f"the tasks must be a list of maps, or a map with `tasks`, and are {kind_name(given)}")
        if not tasks:
            return Spread(items=(), limit=1)
        if len(tasks) > most:
            return Fault(type="TooManyTasks", message=f"{len(tasks)} tasks arrived, and `max_tasks` is {most}")
        compiled = arriving.compiled(attempt, tasks)
        return compiled if isinstance(compiled, Fault) else Spread(items=(Item(tasks=compiled),), limit=1)

    def gathered(self, attempt: Attempt, reports: Sequence[Report]) -> Step:
        """What the last of them gave."""
        if not reports:
            return Gathered(value=None, skipped=True)
        return Gathered(value=reports[0].output, skipped=reports[0].kind == "skipped")


class PipelineGroup(_Container):
    """Runs other pipelines."""

    name = "pipeline_group"
    summary = "Runs other pipelines, each by an event on its input topic, and waits for their results."
    guarantees = (
        "Each gets its event once for every attempt, under an id of its own: sent again after a crash, it is the same "
        "run. A failed or rejected one fails the task. When this run is cancelled, those go on and end by themselves."
    )
    example = """\
name: "Digest and file"
input_variables:
  text: {type: string}
tasks:
  - name: "digest"
    type: "pipeline_group"
    pipeline: "Literature digest"
    inputs: {text: "{{ text }}"}
"""

    def spread(self, attempt: Attempt) -> Step:
        """An event for each pipeline."""
        if depth_of(attempt.around.run) >= DEEPEST:
            message = f"pipelines run each other {DEEPEST} deep; take the circle out"
            return Fault(type="PipelineCycle", message=message)
        options, slugs = attempt.variant.options, attempt.task.pipelines
        items = tuple(
            Item(
                pipeline=slug,
                values=templates.render(member["inputs"], attempt.scope),
                name=member["name"] or slug,
            )
            for slug, member in zip(slugs, options["members"], strict=True)
        )
        return Spread(items=items, limit=_limit(attempt))

    def gathered(self, attempt: Attempt, reports: Sequence[Report]) -> Step:
        """Their outputs by name, or that of the one."""
        members = zip(attempt.task.pipelines, attempt.variant.options["members"], strict=True)
        names = [member["name"] or slug for slug, member in members]
        outputs = {name: report.output for name, report in zip(names, reports, strict=True)}
        one = attempt.variant.options["one"]
        shown = {} if one else outputs
        return Gathered(value=reports[0].output if one else outputs, shown=shown)


CONTAINERS = (
    *(ParallelGroup(), Condition(), ForLoop(), WhileLoop(), Component()),
    *(DynamicTaskGroup(), PipelineGroup()),
)


def _limit(attempt: Attempt, default: int = MOST_AT_ONCE) -> int:
    return _count(attempt, "limit", told="max_concurrency") or default


def _count(attempt: Attempt, option: str, *, told: str = "") -> int | None:
    """A number that may be a template; None where none is given."""
    return _number(attempt, attempt.variant.options.get(option), told or option)


def _number(attempt: Attempt, template: Any, key: str) -> int | None:
    given = templates.render(template, attempt.scope)
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, int) or given < 1:
        raise RunError(f"`{key}` must be a whole number above zero, and is {given!r}")
    return given


def _elements(attempt: Attempt, template: Any, key: str) -> list[Any]:
    """What is gone through: a list; a map is a list of `{key, value}`; a number n counts from 0 to n - 1."""
    given = templates.render(template, attempt.scope)
    if is_claim(given):
        raise TooLarge(f"{key}: {template}")
    if isinstance(given, dict):
        given = [{"key": name, "value": value} for name, value in given.items()]
    if isinstance(given, int) and not isinstance(given, bool):
        given = list(range(min(given, MOST_ITEMS + 1)))
    if not isinstance(given, list):
        raise RunError(
            f"`{key}` must be a list, a map or a number, and is {_SPOKEN.get(type(given), 'something else')}"
        )
    if len(given) > MOST_ITEMS:
        raise RunError(f"`{key}` has more than {MOST_ITEMS:,} elements")
    return given


def _loop(index: int, variables: dict[str, Any], length: int | None = None) -> dict[str, Any]:
    told = {"index": index, "iteration": index + 1, "first": index == 0, "variables": variables}
    return told if length is None else {**told, "last": index == length - 1, "length": length}


def _loop_names(options: dict[str, Any], index: int, value: Any, length: int, *, keeps: bool) -> dict[str, Any]:
    """What an iteration sees. `keeps`: the `item` of what is around it stays."""
    own = {options["item_variable"]: value} if options.get("item_variable") else {}
    if options.get("index_variable"):
        own[options["index_variable"]] = index
    item = {} if keeps else {"item": {"index": index, "value": value}}
    return {**item, "loop": _loop(index, own, length), **own}
