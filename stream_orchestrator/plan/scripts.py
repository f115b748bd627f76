"""Scripts: Python with `{{ }}` values that are bound, never pasted.

Promises
  * Whatever a value holds, it arrives as data: no value is ever part of the source.
  * `{% if %}` and `{% for %}` choose which lines run; each distinct shape is compiled once (and kept, bounded).
  * `return` gives the output; without one it is the value of the last expression.
  * Line k of a prepared source is line `lines[k - 1]` of the script. A script without `{% %}` has k - HEADER, and so
    has the sandbox, which sees only the source; else the source ends with `__lines__`, the same table.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from jinja2 import nodes

from stream_orchestrator.errors import SpecError
from stream_orchestrator.plan import templates
from stream_orchestrator.plan.binding import HEADER, Bound, Misplaced, bind, mark
from stream_orchestrator.plan.claims import TooLarge
from stream_orchestrator.plan.readings import readings_of
from stream_orchestrator.plan.sandbox import ENVIRONMENT, Render
from stream_orchestrator.plan.templates import Compiled, TemplateFault, TemplateProblem, compile_tree, problems_of
from stream_orchestrator.plan.values import text_of

__all__ = ["HEADER", "TEXT", "Prepared", "Script", "ScriptProblem", "trees"]

TEXT = "t"  # how the bindings begin whose values stand in text
_REFUSED = (nodes.Macro, nodes.CallBlock, nodes.FilterBlock, nodes.AssignBlock, nodes.Block)


class ScriptProblem(SpecError):
    """A script that cannot be compiled. `line` counts from 1 inside its text."""

    def __init__(self, message: str, *, line: int = 1, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.line = line


@dataclass(frozen=True, slots=True)
class Prepared:
    """A script that can run. `names` are those of the scope that it reads; the sandbox sets them as globals."""

    source: str
    digest: str
    bindings: dict[str, Any]
    names: frozenset[str]
    lines: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Script:
    """A script as written, and what it reads; `lines` tells where (by name, output, pattern, variable).

    `free_names` are read before they are bound; `called_names` are those that are only ever called. `task_outputs` and
    `dynamic_task_outputs` come from `context.get_task_output` and `tasks[...]`; the second are regexes. See `Readings`.
    """

    text: str
    free_names: frozenset[str]
    called_names: frozenset[str]
    task_outputs: frozenset[str]
    dynamic_task_outputs: frozenset[str]
    env_names: frozenset[str]
    uses_network: bool
    uses_batch: bool
    variables: frozenset[str]
    every_variable: frozenset[str]
    models: frozenset[str | None]
    context_methods: frozenset[str]
    breakers: frozenset[str]
    records: frozenset[str]
    template_names: frozenset[str]
    template_references: frozenset[tuple[str, str | None]]
    lines: Mapping[str, int] = field(compare=False, repr=False)
    template: Compiled | None = field(compare=False, repr=False)

    @staticmethod
    def parse(text: str) -> Script:
        """Read once, kept. Raises ScriptProblem or TemplateProblem, with the line inside the text."""
        return _parsed(text)

    def prepare(self, scope: Mapping[str, Any]) -> Prepared:
        """The module to run for these values. Raises TemplateFault or SkippedReference."""
        shape = _Shape()
        if self.template is None:
            shape.code(self.text, 1)
        else:
            templates.evaluate(self.template, scope, Render(sink=shape.value, code=shape.code))
        text = shape.text()
        try:
            source, digest, lines, bound = _module(text, shape.lines(), _assigned(text, scope))
        except Misplaced as problem:
            line = shape.line(problem.line)
            raise TemplateFault(f"line {line}: {problem}, as its templates fill it in") from problem
        bindings = {f"v{number}": shape.values[number] for number in bound.values}
        bindings.update({f"{TEXT}{number}": _text_form(shape.values[number]) for number in bound.texts})
        wanted = (bound.reads.free.keys() | bound.reads.bound) & scope.keys()
        return Prepared(source, digest, bindings, frozenset(wanted), lines)


def trees(text: str) -> Iterator[tuple[tuple[ast.stmt, ...], Callable[[int], int]]]:
    """The statements as each branch of the templates would have them, and a map from their lines to the script's.

    Raises ScriptProblem or TemplateProblem.
    """
    for bound, shape in _variants(text, _tree(text) if _is_templated(text) else None):
        yield bound.body, shape.line


def _text_form(value: Any) -> Any:
    """A value as text; where it is kept outside records, its claim check, which who follows it makes text of."""
    try:
        return text_of(value)
    except TooLarge:
        return value


def _assigned(text: str, scope: Mapping[str, Any]) -> frozenset[str]:
    """The names that the script assigns although they come from outside."""
    return frozenset(bind(text).reads.bound & scope.keys())


class _Shape:
    """The text of one rendering with a mark for every value, and for each of its lines the line of the script."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.values: list[Any] = []
        self._lines: list[int] = [1]
        self._blank = True

    def code(self, text: str, line: int) -> None:
        self.parts.append(text)
        for place, part in enumerate(text.replace("\r\n", "\n").replace("\r", "\n").split("\n")):
            if place:
                self._lines.append(line + place)
                self._blank = True
            elif self._blank:
                self._lines[-1] = line
            self._blank = self._blank and not part.strip()

    def value(self, value: Any) -> str:
        self.parts.append(mark(len(self.values)))
        self.values.append(value)
        self._blank = False
        return ""

    def text(self) -> str:
        return "".join(self.parts)

    def lines(self) -> tuple[int, ...]:
        return tuple(self._lines)

    def line(self, number: int) -> int:
        return self._lines[min(max(number, 1), len(self._lines)) - 1]


@lru_cache(maxsize=1024)
def _module(text: str, lines: tuple[int, ...], shared: frozenset[str]) -> tuple[str, str, tuple[int, ...], Bound]:
    bound = bind(text, shared)
    source, table = bound.source, (*[lines[0]] * HEADER, *lines)
    if lines != tuple(range(1, len(lines) + 1)):
        source += f"__lines__ = {table!r}\n"
    return source, hashlib.sha256(source.encode("utf-8", "surrogatepass")).hexdigest(), table, bound


@lru_cache(maxsize=2048)
def _parsed(text: str) -> Script:
    tree = _tree(text) if _is_templated(text) else None
    bounds = list(_variants(text, tree))
    template = None if tree is None else _template(text, tree)
    found = [(readings_of(bound.body), bound.reads, shape) for bound, shape in bounds]
    lines: dict[str, int] = {}
    for readings, reads, shape in found:
        for where in (reads.free, readings.outputs, readings.patterns, readings.variables):
            for name, line in where.items():
                lines.setdefault(name, shape.line(line))
    return Script(
        text=text,
        free_names=frozenset().union(*(reads.free for _, reads, _ in found)) - _marks(bounds),
        called_names=frozenset().union(*(reads.called - reads.used for _, reads, _ in found)),
        task_outputs=frozenset().union(*(readings.outputs for readings, _, _ in found)),
        dynamic_task_outputs=frozenset().union(*(readings.patterns for readings, _, _ in found)),
        env_names=frozenset().union(*(readings.env for readings, _, _ in found)),
        uses_network=any(readings.network for readings, _, _ in found),
        uses_batch=any(readings.waits_for_batch for readings, _, _ in found),
        variables=frozenset().union(*(readings.variables for readings, _, _ in found)),
        every_variable=frozenset().union(*(readings.every_variable for readings, _, _ in found)),
        models=frozenset().union(*(readings.models for readings, _, _ in found)),
        context_methods=frozenset().union(*(readings.context_methods for readings, _, _ in found)),
        breakers=frozenset().union(*(readings.breakers for readings, _, _ in found)),
        records=frozenset().union(*(readings.records for readings, _, _ in found)),
        template_names=template.names if template else frozenset(),
        template_references=template.references if template else frozenset(),
        lines=lines,
        template=template,
    )


def _is_templated(text: str) -> bool:
    return "{{" in text or "{%" in text or "{#" in text


def _marks(bounds: list[tuple[Bound, _Shape]]) -> frozenset[str]:
    return frozenset(mark(number) for _, shape in bounds for number in range(len(shape.values)))


def _tree(text: str) -> nodes.Template:
    with problems_of(text, strip=False):
        tree = ENVIRONMENT.guarded(text)
    for node in tree.find_all(_REFUSED):
        kind = {nodes.AssignBlock: "set", nodes.FilterBlock: "filter", nodes.CallBlock: "call"}.get(type(node), "macro")
        hint = (
            "in scripts `{% if %}`, `{% for %}` and `{% set name = value %}` choose lines; text is never made of text"
        )
        raise TemplateProblem(f"`{{% {kind} %}}` is not available in a script", line=node.lineno, hint=hint)
    return tree


def _variants(text: str, tree: nodes.Template | None) -> Iterator[tuple[Bound, _Shape]]:
    """The script as each branch would have it, loops once. Raises ScriptProblem when one of them is not Python."""
    branches = 1 if tree is None else max([1, *(2 + len(node.elif_) for node in tree.find_all(nodes.If))])
    for branch in range(branches):
        shape = _Shape()
        if tree is None:
            shape.code(text, 1)
        else:
            _walk(tree.body, shape, branch)
        try:
            yield bind(shape.text()), shape
        except Misplaced as problem:
            raise ScriptProblem(str(problem), line=shape.line(problem.line)) from problem


def _walk(body: list[nodes.Node], shape: _Shape, branch: int) -> None:
    for node in body:
        if isinstance(node, nodes.Output):
            for child in node.nodes:
                if isinstance(child, nodes.TemplateData):
                    shape.code(child.data, child.lineno)
                else:
                    shape.value(None)
        elif isinstance(node, nodes.If):
            taken = [node.body, *(other.body for other in node.elif_), node.else_]
            _walk(taken[min(branch, len(taken) - 1)], shape, branch)
        else:
            _walk(getattr(node, "body", []), shape, branch)


def _template(text: str, tree: nodes.Template) -> Compiled:
    with problems_of(text, strip=False):
        return compile_tree(_coded(tree), native=False)


def _coded(tree: nodes.Template) -> nodes.Template:
    """The tree with the script's own text handed over with its line, so that a rendering can tell it from values."""
    for output in tree.find_all(nodes.Output):
        output.nodes = [
            _handed_over(child) if isinstance(child, nodes.TemplateData) else child for child in output.nodes
        ]
    return tree.set_environment(ENVIRONMENT)  # type: ignore[return-value]


def _handed_over(data: nodes.TemplateData) -> nodes.Expr:
    line = data.lineno
    arguments: list[nodes.Expr] = [nodes.Const(data.data, lineno=line), nodes.Const(line, lineno=line)]
    return nodes.Call(nodes.EnvironmentAttribute("code", lineno=line), arguments, [], None, None, lineno=line)
