"""A pipeline as it is written, before it is known to be right: its tasks, and every text in them that is compiled.

Reads the raw data, so that all that is wrong is found in one pass, whatever else is wrong beside it.

Promises
  * A text that cannot be compiled is reported once, at its own line, and reads nothing.
  * What a fallback reads counts as read by the task it stands in for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from stream_orchestrator.plan import templates
from stream_orchestrator.plan.scripts import Script, ScriptProblem
from stream_orchestrator.plan.templates import Reference, TemplateProblem
from stream_orchestrator.spec.located import Located, Mark, Path
from stream_orchestrator.spec.problems import Problems

RENDERED = (
    *("prompt", "system", "system_message", "model", "max_tokens", "temperature", "top_p", "stop", "seed"),
    *("frequency_penalty", "presence_penalty", "fallback_models"),
)
Kind = Literal["template", "condition", "script"]


@dataclass(frozen=True, slots=True)
class Text:
    """One template, condition or script, and what it reads. `local` names are those of the task's own `inputs`."""

    path: Path
    kind: Kind
    source: Any
    names: frozenset[str] = frozenset()
    references: frozenset[Reference] = frozenset()
    script: Script | None = None
    local: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Draft:
    """A task or a fallback of one."""

    name: str
    path: Path
    data: dict[str, Any]
    texts: tuple[Text, ...]
    fallbacks: tuple[Draft, ...] = ()
    depends_on: tuple[tuple[str, Path], ...] = ()

    def every_text(self) -> Iterator[Text]:
        """Its own texts and those of its fallbacks."""
        yield from self.texts
        for fallback in self.fallbacks:
            yield from fallback.every_text()


@dataclass(frozen=True, slots=True)
class Sketch:
    """All of a document that the graph is made of."""

    located: Located
    tasks: tuple[Draft, ...]
    inputs: dict[str, Any] | None
    output: tuple[Text, ...] = field(default=())

    @property
    def names(self) -> dict[str, Draft]:
        """The tasks by name; of two with one name, the first."""
        found: dict[str, Draft] = {}
        for task in self.tasks:
            found.setdefault(task.name, task)
        return found

    @property
    def declared(self) -> bool:
        """Whether the document says what its input is; otherwise every unknown name is a key of the payload."""
        return self.inputs is not None


def sketch(located: Located, problems: Problems) -> Sketch:
    """Read the document; what cannot be compiled goes to `problems`."""
    data = located.data if isinstance(located.data, dict) else {}
    reader = _Reader(located, problems)
    output = [text for key in ("output", "outputs") if key in data for text in reader.templates((key,), data[key])]
    variables = data.get("input_variables")
    tasks = tuple(reader.tasks(("tasks",), data.get("tasks")))
    return Sketch(located, tasks, variables if isinstance(variables, dict) else None, tuple(output))


@dataclass(frozen=True, slots=True)
class _Reader:
    located: Located
    problems: Problems

    def tasks(self, path: Path, items: Any) -> Iterator[Draft]:
        if isinstance(items, dict):
            yield from self.task(path, items)
        for index, item in enumerate(items) if isinstance(items, list) else ():
            yield from self.task((*path, index), item)

    def task(self, path: Path, data: Any) -> Iterator[Draft]:
        if not isinstance(data, dict) or not isinstance(data.get("name"), str):
            return
        errors = data.get("error_handling")
        errors = errors if isinstance(errors, dict) else {}
        fallbacks = self.tasks((*path, "error_handling", "fallback"), errors.get("fallback"))
        waits = data.get("depends_on")
        listed = [(waits, ("depends_on",))] if isinstance(waits, str) else _numbered(waits)
        depends_on = tuple((name, (*path, *place)) for name, place in listed if isinstance(name, str))
        yield Draft(data["name"], path, data, tuple(self.texts(path, data)), tuple(fallbacks), depends_on)

    def texts(self, path: Path, data: dict[str, Any]) -> Iterator[Text]:
        given = data.get("inputs")
        local = frozenset(given) if isinstance(given, dict) else frozenset()
        yield from self.templates((*path, "inputs"), given)
        for key in RENDERED:
            yield from self.templates((*path, key), data.get(key), local=local)
        if isinstance(data.get("condition"), str):
            yield from self.condition((*path, "condition"), data["condition"], local)
        if isinstance(data.get("script"), str):
            yield from self.script((*path, "script"), data["script"], local)

    def templates(self, path: Path, value: Any, *, local: frozenset[str] = frozenset()) -> Iterator[Text]:
        if isinstance(value, dict):
            for key, item in value.items():
                yield from self.templates((*path, key), item, local=local)
        elif isinstance(value, list):
            for index, item in enumerate(value):
                yield from self.templates((*path, index), item, local=local)
        elif isinstance(value, str):
            try:
                names, references = templates.names_in(value), templates.references(value)
            except TemplateProblem as problem:
                self.report("bad-template", path, problem)
            else:
                yield Text(path, "template", value, names, references, local=local)

    def condition(self, path: Path, value: str, local: frozenset[str]) -> Iterator[Text]:
        try:
            names, references = templates.names_in_test(value), templates.references_in_test(value)
        except TemplateProblem as problem:
            self.report("bad-condition", path, problem)
        else:
            yield Text(path, "condition", value, names, references, local=local)

    def script(self, path: Path, value: str, local: frozenset[str]) -> Iterator[Text]:
        try:
            script = Script.parse(value)
        except ScriptProblem as problem:
            self.report("bad-script", path, problem)
        except TemplateProblem as problem:
            self.report("bad-template", path, problem)
        else:
            yield Text(path, "script", value, script.template_names, script.template_references, script, local)

    def report(self, rule: str, path: Path, problem: TemplateProblem | ScriptProblem) -> None:
        hint = problem.hint or _HINTS[rule]
        mark = self.located.inside(path, problem.line)
        self.problems.add(self.located.problem(rule, str(problem), path=path, hint=hint, mark=mark))


_HINTS = {
    "bad-template": "a value is written `{{ name }}`; text that holds braces of its own stands in `{% raw %}`",
    "bad-condition": "write an expression that is true or false, such as `score > 3 and kind == 'new'`",
    "bad-script": "a script is the body of a Python function",
}


def place_of(located: Located, text: Text, name: str) -> Mark:
    """Where a text reads a name: the line in a script, else the first line that holds it."""
    if text.script is not None and name in text.script.lines:
        return located.inside(text.path, text.script.lines[name])
    lines = str(text.source).split("\n")
    for number, line in enumerate(lines, 1):
        if name in line:
            return located.inside(text.path, number, column=line.index(name) + 1, width=len(name))
    return located.mark(text.path)


def _numbered(items: Any) -> list[tuple[Any, Path]]:
    return [(item, ("depends_on", index)) for index, item in enumerate(items)] if isinstance(items, list) else []
