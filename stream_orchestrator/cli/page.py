"""A Markdown page about a pipeline or a component: for those who use it, pay for it, or are woken by it.

Promises
  * What is on the page comes from the document and its plan; nothing is written twice.
  * Text of authors cannot break a table, and templates in it stay as they are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from stream_orchestrator.calls import prices
from stream_orchestrator.plan import draw, names
from stream_orchestrator.plan.functions import functions_of
from stream_orchestrator.plan.lint.subject import tasks_in
from stream_orchestrator.plan.loading import Loaded
from stream_orchestrator.plan.model import START, Plan, TaskPlan, every
from stream_orchestrator.plan.models import current

TOKENS = 1000  # of the example calls in the table of costs
_RULES = ("options", "validation", "example")


def page(loaded: Loaded) -> str:
    """The page of one document that has no errors."""
    data, plan = loaded.located.data, loaded.plan
    parts: list[str] = [f"# {_text(loaded.document.name)}", *_header(data, plan)]
    if plan is not None:
        parts += ["## Graph", f"```mermaid\n{draw.mermaid(plan)}\n```"]
    parts += _variables(data)
    parts += _tasks(data, plan)
    if plan is not None:
        parts += [*_costs(plan), *_topics(plan), *_needs(plan)]
    return "\n\n".join([*parts, *_changelog(data)]) + "\n"


def _header(data: dict[str, Any], plan: Plan | None) -> Iterator[str]:
    if data.get("description"):
        yield str(data["description"]).strip()
    facts = [("version", data.get("version") or "0.0.0")]
    facts += [(key.replace("_", " "), data[key]) for key in ("author", "contact", "documentation_url") if data.get(key)]
    if plan is not None:
        facts += [("a run takes at most", _seconds(plan.timeout)), ("hash of the plan", f"`{plan.hash[:12]}`")]
    yield table(("", ""), facts)


def _variables(data: dict[str, Any]) -> Iterator[str]:
    for key, title in (("input_variables", "Inputs"), ("parameters", "Parameters")):
        variables = data.get(key)
        if isinstance(variables, dict) and variables:
            columns = ("name", "type", "default", "rules", "what it is")
            yield f"## {title}"
            yield table(columns, (_variable(name, each) for name, each in variables.items() if isinstance(each, dict)))
    if "tasks" in data and data.get("type") != "component" and not data.get("input_variables"):
        yield "## Inputs"
        yield "Any JSON object; its keys are the variables."


def _variable(name: str, given: dict[str, Any]) -> Sequence[object]:
    required = given.get("required", "default" not in given)
    default = f"`{_json(given['default'])}`" if "default" in given else "required" if required else "none"
    rules = [f"{key}: `{_json(given[key])}`" for key in _RULES if key in given]
    return (f"`{name}`", given.get("type", ""), default, "; ".join(rules), given.get("description", ""))


def _tasks(data: dict[str, Any], plan: Plan | None) -> Iterator[str]:
    yield "## Tasks"
    rows = _planned(plan.tasks, 0) if plan is not None else _written(data)
    yield table(("task", "kind", "after", "model", "when it fails", "what it does"), rows)
    output = data.get("output", data.get("outputs"))
    if output is not None:
        yield f"The output is `{_json(output)}`."


def _planned(tasks: Iterable[TaskPlan], depth: int) -> Iterator[Sequence[object]]:
    """Every task, and below a container what is inside of it."""
    for task in tasks:
        models = [str(each.options["model"]) for each in task.variants if each.options.get("model")]
        after = ", ".join(name for name in task.upstream if name != START)
        told = ", then ".join(dict.fromkeys(models))
        yield _name(task.name, depth), task.kind, after, told, _failure(task), task.description
        for body in task.bodies:
            yield from _planned(body.tasks, depth + 1)


def _failure(task: TaskPlan) -> str:
    retries = task.variants[0].retries if task.variants else 0
    said = [f"{retries} {'retry' if retries == 1 else 'retries'}"] if retries else []
    said += [f"`{variant.name}`" for variant in task.variants[1:]]
    said += [f"`{_json(task.fallback_value)}`"] if task.has_fallback_value else []
    end = {"skip": "is skipped", "continue": "is null", "abort_pipeline": ""}[task.on_failure]
    return ", then ".join([*said, end] if end else said)


def _written(data: dict[str, Any]) -> Iterator[Sequence[object]]:
    """The tasks of a component, which has no plan of its own."""
    for path, task in tasks_in(data.get("tasks"), ("tasks",)):
        if "fallback" not in path:
            depth = sum(isinstance(part, int) for part in path) - 1
            after = ", ".join(_listed(task.get("depends_on")))
            model, description = task.get("model", ""), task.get("description", "")
            yield _name(str(task.get("name", "")), depth), task.get("type", ""), after, model, "", description


def _name(name: str, depth: int) -> str:
    return f"{'↳ ' * depth}`{name}`"


def _costs(plan: Plan) -> Iterator[str]:
    variants = ((task, variant) for task in every(plan.tasks) for variant in task.variants)
    rows = [row for task, variant in variants for row in _cost(task, variant.name, variant.options)]
    if rows:
        yield "## Cost"
        yield (
            f"In US dollars, by the price table of this installation. A call: {TOKENS:,} tokens in, and the longest "
            f"answer that the task allows ({TOKENS:,} tokens where it says nothing)."
        )
        yield table(("task", "model", "1M tokens in", "1M tokens out", "a call"), rows)
        yield "A fallback is asked when its task fails. Each retry, item of a group and iteration is a call more."


def _cost(task: TaskPlan, variant: str, options: dict[str, Any]) -> Iterator[Sequence[object]]:
    model = options.get("model")
    if not isinstance(model, str) or not model:
        return
    shown = f"`{task.name}`" if variant == task.name else f"`{task.name}` (fallback `{variant}`)"
    name = current(model)
    if "{{" in model or not prices.known(name):
        yield shown, model, "unknown", "unknown", "unknown"
        return
    longest = options.get("max_tokens")
    tokens = longest if isinstance(longest, int) else TOKENS
    per_token = (prices.cost(name, TOKENS, 0) / TOKENS, prices.cost(name, 0, TOKENS) / TOKENS)
    million = [_dollars(each * 1_000_000) for each in per_token]
    yield shown, model, *million, _dollars(prices.cost(name, TOKENS, tokens))


def _topics(plan: Plan) -> Iterator[str]:
    rows = [
        (f"`{names.input_topic('', plan.slug)}`", "events come in: a JSON object each"),
        (f"`{names.results_topic('', plan.slug)}`", "one result for each event, with its key"),
        (f"`{names.dlq_topic('', plan.slug)}`", "events that failed, untouched, with the reason"),
    ]
    yield "## Topics"
    yield table(("topic", "holds"), rows)


def _needs(plan: Plan) -> Iterator[str]:
    needed, missing = functions_of(plan)
    rows = [("helper functions", ", ".join(f"`{name}`{' (missing)' if name in missing else ''}" for name in needed))]
    rows += [("services", ", ".join(each for each in plan.services if each != "offline"))]
    rows += [("environment", ", ".join(f"`{name}`" for name in plan.env))]
    rows = [(what, told) for what, told in rows if told]
    if rows:
        yield "## What it needs"
        yield table(("", ""), rows)


def _changelog(data: dict[str, Any]) -> Iterator[str]:
    log = data.get("changelog")
    rows = [
        (each.get("version", ""), each.get("date", ""), "; ".join(_listed(each.get("changes"))))
        for each in (log if isinstance(log, list) else ())
        if isinstance(each, dict)
    ]
    if rows:
        yield "## Changelog"
        yield table(("version", "date", "changes"), rows)


def _listed(value: Any) -> list[str]:
    return [str(each) for each in value] if isinstance(value, list) else [str(value)] if value else []


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; what stands in a cell cannot break it."""
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    lines += [f"| {' | '.join(_cell(value) for value in row)} |" for row in rows]
    return "\n".join(lines)


def _cell(value: object) -> str:
    return _text(str(value)).replace("|", "\\|")


def _text(value: str) -> str:
    return re.sub(r"\s+", " ", value).strip()


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else value or '""'


def _dollars(value: float) -> str:
    return f"{value:.2f}" if value >= 1 or value == 0 else f"{value:.6f}".rstrip("0")


def _seconds(value: float) -> str:
    for size, word in ((86_400, "day"), (3600, "hour"), (60, "minute"), (1, "second")):
        if value >= size and value % size == 0:
            return f"{value / size:g} {word}{'' if value == size else 's'}"
    return f"{value:g} seconds"
