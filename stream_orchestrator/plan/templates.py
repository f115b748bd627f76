"""Templates: `{{ }}` and `{% %}` in the values of a document.

Promises
  * A value is rendered once; what a template gives is never looked at as a template again.
  * A value that is one `{{ expr }}` keeps its native type; inside text, strings are as they are and all else is JSON.
  * A name bound to `SKIPPED` raises `SkippedReference`, an unknown one `TemplateFault`, unless a default is given.
  * Whatever a template does, it ends, and reaches nothing but the scope (`plan.sandbox`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import Any

from jinja2 import Template, TemplateError, TemplateSyntaxError, meta, nodes

from stream_orchestrator.errors import SpecError
from stream_orchestrator.plan.claims import seen_by_templates
from stream_orchestrator.plan.sandbox import ENVIRONMENT, MAX_SIZE, Render, SkippedValue, rendering
from stream_orchestrator.plan.values import SKIPPED, SkippedReference, TemplateFault, plain, text_of

__all__ = [
    "SKIPPED",
    "SkippedReference",
    "TemplateFault",
    "TemplateProblem",
    "names_in",
    "names_in_test",
    "plain",
    "references",
    "render",
    "test",
    "text_of",
]

Reference = tuple[str, str | None]
_VALUE = "__value__"
_FAULTS = (
    TemplateError,
    TypeError,
    ValueError,
    ArithmeticError,
    LookupError,
    AttributeError,
    RecursionError,
    MemoryError,
)
_FALSE = frozenset({"", "false", "0", "no", "off", "null", "none"})
_QUOTED = re.compile(r"""(?P<quote>['"]?)\{\{-?(?P<expr>.*?)-?\}\}(?P=quote)""", re.DOTALL)


class TemplateProblem(SpecError):
    """A template that cannot be compiled. `line` counts from 1 inside the text."""

    def __init__(self, message: str, *, line: int = 1, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.line = line


@dataclass(frozen=True, slots=True)
class Compiled:
    """A template that can be evaluated, and what it reads. `native`: it is one expression, and keeps its type."""

    names: frozenset[str]
    references: frozenset[Reference]
    template: Template
    native: bool

    def scope(self, given: Mapping[str, Any]) -> dict[str, Any]:
        known = ((name, given[name]) for name in self.names if name in given)
        return {
            name: SkippedValue(name) if value is SKIPPED else seen_by_templates(value, name) for name, value in known
        }

    def value(self, given: Mapping[str, Any], render: Render) -> Any:
        context = self.template.new_context(self.scope(given))
        chunks, size = [], 0
        with rendering(render):
            for chunk in self.template.root_render_func(context):
                chunks.append(chunk)
                size += len(chunk)
                if size > MAX_SIZE:
                    raise TemplateFault(f"a template gives more than {MAX_SIZE} characters")
            return plain(context.vars[_VALUE]) if self.native else "".join(chunks)


def names_in(value: Any) -> frozenset[str]:
    """The names that the templates of a value (text, list or map) read from their scope."""
    return frozenset().union(*(_compiled(text).names for text in _templates(value)))


def references(value: Any) -> frozenset[Reference]:
    """Each `(name, key)` read: `tasks.x`, `tasks['x']` give `("tasks", "x")`, a computed key `("tasks", None)`."""
    return frozenset().union(*(_compiled(text).references for text in _templates(value)))


def names_in_test(expression: str | bool) -> frozenset[str]:
    """The names that a condition reads."""
    return frozenset() if isinstance(expression, bool) else _condition(expression).names


def references_in_test(expression: str | bool) -> frozenset[Reference]:
    """The `(name, key)` pairs that a condition reads, as `references` has them."""
    return frozenset() if isinstance(expression, bool) else _condition(expression).references


def render(value: Any, scope: Mapping[str, Any]) -> Any:
    """The value with its templates filled in: lists and maps item by item (keys stay), everything else untouched."""
    if isinstance(value, str):
        return evaluate(_compiled(value), scope) if _marked(value) else value
    if isinstance(value, Mapping):
        return {key: render(item, scope) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [render(item, scope) for item in value]
    return value


def test(expression: str | bool, scope: Mapping[str, Any]) -> bool:
    """Whether a condition holds. `score > 3`, `{{ score > 3 }}` and `{{ score }} > 3` are the same condition."""
    if isinstance(expression, bool):
        return expression
    found = evaluate(_condition(expression), scope)
    return found.strip().lower() not in _FALSE if isinstance(found, str) else bool(found)


def evaluate(compiled: Compiled, scope: Mapping[str, Any], rendering: Render | None = None) -> Any:
    """What a compiled template gives. Raises TemplateFault or SkippedReference, nothing else."""
    try:
        return compiled.value(scope, rendering or Render())
    except _FAULTS as error:
        raise TemplateFault(f"a template cannot be rendered: {error}") from error


def _marked(source: str) -> bool:
    return "{{" in source or "{%" in source or "{#" in source


def _templates(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        if _marked(value):
            yield value
    elif isinstance(value, Mapping | list | tuple):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _templates(item)


@lru_cache(maxsize=4096)
def _compiled(source: str) -> Compiled:
    with problems_of(source):
        alone = ENVIRONMENT.guarded(source.strip())
        expression = _lone_expression(alone)
        if expression is not None:
            return compile_tree(_valued(expression), native=True)
        return compile_tree(ENVIRONMENT.guarded(source), native=False)


@lru_cache(maxsize=4096)
def _condition(source: str) -> Compiled:
    if not _marked(source):
        return _expression(source)
    if "{%" in source or _lone(source):
        return _compiled(source)
    return _expression(_unwrapped(source))


def _expression(source: str) -> Compiled:
    with problems_of(source):
        expression = _lone_expression(ENVIRONMENT.guarded("{{ (" + source.strip() + ") }}"))
        if expression is None:
            raise TemplateProblem(f"`{source}` is not one expression")
        return compile_tree(_valued(expression), native=True)


def _unwrapped(source: str) -> str:
    """`{{ a }} > 3 and '{{ b }}' == 'x'` as one expression: a template in a condition is an operand."""

    def operand(found: re.Match[str]) -> str:
        before = source[: found.start()]
        if before.count("'") % 2 or before.count('"') % 2:
            raise TemplateProblem("a template inside a longer quoted text in a condition", hint="join texts with `~`")
        return f"({found['expr']})"

    return _QUOTED.sub(operand, source)


def _lone(source: str) -> bool:
    with problems_of(source):
        return _lone_expression(ENVIRONMENT.guarded(source.strip())) is not None


def _lone_expression(tree: nodes.Template) -> nodes.Expr | None:
    if len(tree.body) != 1 or not isinstance(tree.body[0], nodes.Output):
        return None
    parts = tree.body[0].nodes
    return parts[0] if len(parts) == 1 and not isinstance(parts[0], nodes.TemplateData) else None


def _valued(expression: nodes.Expr) -> nodes.Template:
    target = nodes.Name(_VALUE, "store", lineno=1)
    tree = nodes.Template([nodes.Assign(target, expression, lineno=1)], lineno=1)
    return tree.set_environment(ENVIRONMENT)  # type: ignore[return-value]


def compile_tree(tree: nodes.Template, *, native: bool) -> Compiled:
    """A syntax tree of the sandbox's, compiled, with what it reads. Raises TemplateSyntaxError."""
    names = frozenset(meta.find_undeclared_variables(tree)) - ENVIRONMENT.globals.keys()
    return Compiled(names, frozenset(_pairs(tree, names)), ENVIRONMENT.from_string(tree), native)


def _pairs(tree: nodes.Template, names: frozenset[str]) -> Iterator[Reference]:
    asked = {id(call.node): call.args[:1] for call in tree.find_all(nodes.Call)}
    for node in chain[nodes.Getattr | nodes.Getitem](tree.find_all(nodes.Getattr), tree.find_all(nodes.Getitem)):
        if not isinstance(node.node, nodes.Name) or node.node.name not in names:
            continue
        if isinstance(node, nodes.Getitem):
            yield node.node.name, _literal(node.arg)
        elif node.attr == "get" and asked.get(id(node)):
            yield node.node.name, _literal(asked[id(node)][0])
        else:
            yield node.node.name, node.attr


def _literal(node: nodes.Node) -> str | None:
    return node.value if isinstance(node, nodes.Const) and isinstance(node.value, str) else None


class problems_of:
    """Turns Jinja's syntax errors into problems of ours, at the border to it. `strip`: it is compiled stripped."""

    def __init__(self, source: str, *, strip: bool = True) -> None:
        self.skipped = source[: len(source) - len(source.lstrip())].count("\n") if strip else 0

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, TemplateSyntaxError):
            message = error.message or "cannot be read"
            raise TemplateProblem(f"template: {message}", line=error.lineno + self.skipped) from error
        if isinstance(error, RecursionError):
            raise TemplateProblem("template: nested too deeply") from error
