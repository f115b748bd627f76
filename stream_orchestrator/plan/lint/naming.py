"""Rules about names."""

from __future__ import annotations

import re
from collections.abc import Iterator

from stream_orchestrator.plan.lint.model import Finding, Rule, Subject

TASK_NAME = Rule(
    id="task-name",
    severity="info",
    summary="a task's name is not snake_case",
    why="scripts and templates read a task's output by its name, as a plain name",
    instead="write it in lower case with underscores; change what reads it, too",
)
VARIABLE_NAME = Rule(
    id="variable-name",
    severity="info",
    summary="an input variable's or parameter's name is not snake_case",
    why="scripts read it as a plain name",
    instead="write it in lower case with underscores; whoever sends events must change with it",
)
VAGUE = Rule(
    id="vague-name",
    severity="info",
    summary="a name says nothing: `task1`, `do_everything`, `process`",
    why="results, dead letters, metrics and traces are read by this name",
    instead="name what it does to what: `extract_key_findings`",
)
RULES = (TASK_NAME, VARIABLE_NAME, VAGUE)

_SNAKE = re.compile(r"[a-z_][a-z0-9_]*")
_VAGUE = re.compile(
    r"(?:task|step|job|node|stage|foo|bar|baz|test|tmp|temp|stuff|thing|process|run|do|execute|main|handle|untitled|"
    r"do_(?:it|all|everything|stuff|things|work))s?_?\d*"
)
_EVERYTHING = re.compile(r"(?i)\b(?:everything|all[- ]in[- ]one|untitled)\b")


def check(subject: Subject) -> Iterator[Finding]:
    """All findings of these rules."""
    for task in subject.tasks:
        name = re.sub(r"\{\{.*?\}\}|\{%.*?%\}", "x", task.name)
        path = (*task.path, "name")
        if task.name and not _SNAKE.fullmatch(name):
            yield subject.find(TASK_NAME, f"the task `{task.name}` is not snake_case", path, hint=_better(task.name))
        elif _VAGUE.fullmatch(name):
            yield subject.find(VAGUE, f"`{task.name}` says nothing about what the task does", path)
    for key in ("input_variables", "parameters"):
        variables = subject.data.get(key)
        for name in variables if isinstance(variables, dict) else ():
            if not _SNAKE.fullmatch(str(name)):
                message = f"the variable `{name}` is not snake_case"
                yield subject.find(VARIABLE_NAME, message, (key, name), hint=_better(str(name)))
    if subject.kind == "pipeline" and _EVERYTHING.search(subject.name):
        yield subject.find(VAGUE, f"`{subject.name}` says nothing about what the pipeline does", ("name",))


def _better(name: str) -> str:
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", re.sub(r"\{\{.*?\}\}", "x", name))
    snake = re.sub(r"[^a-z0-9]+", "_", words.lower()).strip("_")
    return f"for example `{snake}`; change what reads it, too" if snake else TASK_NAME.instead
