"""The Jinja2 environment that every template of a pipeline runs in.

Promises
  * No attribute is reachable but keys of maps, items of lists and the harmless methods listed here.
  * A render ends: loops and calls are counted, and what would multiply in memory is measured before it is made.
  * Text is JSON wherever a value becomes text (output, `~`, `%`, `format`, the text filters), never a repr.
"""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from string import Formatter
from typing import Any

from jinja2 import StrictUndefined, TemplateSyntaxError, Undefined, nodes, pass_context
from jinja2.compiler import CodeGenerator, Frame
from jinja2.filters import FILTERS, make_attrgetter
from jinja2.runtime import Context, LoopContext, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment, SandboxedFormatter
from jinja2.utils import Cycler, Joiner, Namespace

from stream_orchestrator.plan.claims import Unseen
from stream_orchestrator.plan.values import SKIPPED, SkippedReference, TemplateFault, json_text, plain, text_of

MAX_SIZE = 4_000_000  # characters or items: a quarter of the largest message, for letters of four bytes
MAX_STEPS = 100_000  # loop rounds and calls of one render: well under a second
MAX_BITS = 4_096  # of a whole number
_STR_METHODS = frozenset(
    """capitalize casefold center count endswith expandtabs find format format_map index isalnum isalpha isascii
    isdecimal isdigit isidentifier islower isnumeric isprintable isspace istitle isupper join ljust lower lstrip
    partition removeprefix removesuffix replace rfind rindex rjust rpartition rsplit rstrip split splitlines startswith
    strip swapcase title upper zfill""".split()  # noqa: SIM905
)
_METHODS: dict[type, frozenset[str]] = {
    str: _STR_METHODS,
    Mapping: frozenset({"items", "keys", "values", "get"}),
    list: frozenset({"index", "count"}),
    tuple: frozenset({"index", "count"}),
    float: frozenset({"is_integer"}),
}
_RUNTIME = (LoopContext, Macro, Cycler, Joiner, Namespace)
_TEXT_FILTERS = (
    *("upper", "lower", "title", "capitalize", "center", "indent", "trim", "truncate", "wordwrap"),
    *("wordcount", "striptags", "escape", "e", "forceescape", "replace", "format"),
)
_SIZED_FILTERS = ["center", "indent", "batch", "slice", "truncate", "wordwrap"]
_REFUSED = (nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)
_BLIND_TESTS = frozenset({"defined", "undefined", "none", "filter", "test"})  # these do not look at what a value is
_WIDE = re.compile(r"\d{5,}|%[^a-zA-Z%]*\*")


@dataclass(slots=True)
class Render:
    """One render: what it may still spend, and where its values go when a script is rendered."""

    steps: int = MAX_STEPS
    sink: Callable[[Any], str] | None = None
    code: Callable[[str, int], None] | None = None

    def spend(self, steps: int) -> None:
        self.steps -= steps
        if self.steps < 0:
            raise TemplateFault(f"a template takes more than {MAX_STEPS} steps")


_render: ContextVar[Render] = ContextVar("_render")


@contextmanager
def rendering(render: Render) -> Iterator[None]:
    """Everything the environment does inside belongs to this render."""
    token = _render.set(render)
    try:
        yield
    finally:
        _render.reset(token)


class Missing(StrictUndefined):
    """A name or key that is not there: any use fails, except `is defined` and `default`."""

    @property
    def _undefined_message(self) -> str:
        if self._undefined_hint:
            return self._undefined_hint
        name, holder = self._undefined_name, self._undefined_obj
        if isinstance(holder, Mapping):
            near = difflib.get_close_matches(str(name), [str(key) for key in holder], n=1)
            return f"there is no `{name}` in the value" + (f"; did you mean `{near[0]}`?" if near else "")
        if isinstance(holder, str | list | tuple | int | float | None):
            return f"`{name}` asked of {_kind(holder)}"
        return f"`{name}` is not known here"


class SkippedValue(StrictUndefined):
    """A skipped task's output: any use skips the reader too, except `is defined` and `default`."""

    def __init__(self, name: str) -> None:
        super().__init__(hint=name, name=name, exc=SkippedReference)  # type: ignore[arg-type]


class Code(str):
    """Text of a script's own, between its values, with the line it stands on."""

    __slots__ = ("line",)
    line: int


class _Generator(CodeGenerator):
    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:
        self.write("environment.joined((")
        for child in node.nodes:
            self.visit(child, frame)
            self.write(", ")
        self.write("))")


class _Formatter(SandboxedFormatter):
    def format_field(self, value: Any, format_spec: str) -> str:
        if _WIDE.search(format_spec):
            raise TemplateFault("a format in a template asks for more than 9999 places")
        return str(super().format_field(_formattable(value), format_spec))


class Sandbox(ImmutableSandboxedEnvironment):
    """See the module. One instance serves all templates; everything that belongs to one render is in `Render`."""

    code_generator_class = _Generator
    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self) -> None:
        super().__init__(
            undefined=Missing,
            finalize=_finalize,
            optimized=False,
            keep_trailing_newline=True,
            cache_size=0,
            autoescape=False,
        )
        del self.globals["lipsum"], self.filters["random"]  # a redelivered event must render the same
        self.globals["null"] = None
        self.filters.update(_filters())
        self.tests.update({name: _looking(test) for name, test in self.tests.items() if name not in _BLIND_TESTS})
        self.tests["none"] = _is_none
        self.binop_table.update({"+": _add, "*": _multiply, "**": _power, "%": _modulo})

    def guarded(self, source: str) -> nodes.Template:
        """The syntax tree with its loops counted. Raises TemplateSyntaxError, also for tags that read other files."""
        tree = self.parse(source)
        for node in tree.find_all(_REFUSED):
            raise TemplateSyntaxError(f"`{type(node).__name__.lower()}` is not available here", node.lineno)
        for loop in tree.find_all(nodes.For):
            counted = nodes.EnvironmentAttribute("counted", lineno=loop.lineno)
            loop.iter = nodes.Call(counted, [loop.iter], [], None, None, lineno=loop.lineno)
        return tree.set_environment(self)  # type: ignore[return-value]

    def getattr(self, obj: Any, attribute: str) -> Any:
        """A key before a method: data may be called `items`."""
        if isinstance(obj, Undefined):
            return obj
        if isinstance(obj, Unseen):
            obj.refuse()
        if isinstance(obj, Mapping) and attribute in obj:
            return self._seen(obj[attribute], attribute)
        if isinstance(obj, Mapping) and attribute not in _METHODS[Mapping]:
            return (
                self.undefined(obj=obj, name=attribute)
                if attribute[:1] != "_"
                else self.unsafe_undefined(obj, attribute)
            )
        return super().getattr(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """An item, never an attribute."""
        if isinstance(obj, Undefined):
            return obj
        try:
            return self._seen(obj[argument], argument)
        except (TypeError, LookupError):
            return self.undefined(obj=obj, name=argument)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        if isinstance(obj, _RUNTIME):
            return super().is_safe_attribute(obj, attr, value)
        kinds = (methods for kind, methods in _METHODS.items() if isinstance(obj, kind))
        return any(attr in methods for methods in kinds)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        owner = getattr(value, "__self__", None)
        if not isinstance(owner, str) or getattr(value, "__name__", "") not in ("format", "format_map"):
            return None
        formatter: Formatter = _Formatter(self)
        if value.__name__ == "format":
            return lambda *args, **kwargs: formatter.vformat(owner, args, kwargs)
        return lambda mapping: formatter.vformat(owner, (), mapping)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        _render.get().spend(1)
        owner = getattr(__obj, "__self__", None)
        if isinstance(owner, str):
            _measure_method(owner, __obj.__name__, args)
        return super().call(__context, __obj, *args, **kwargs)

    def counted(self, items: Any) -> Any:
        """What a loop goes over, paid for in advance where its length is known."""
        if isinstance(items, Sized):
            _render.get().spend(len(items))
            return items
        return _paid(items)

    def joined(self, parts: Iterable[Any]) -> str:
        """`a ~ b`."""
        texts = [text_of(part) for part in parts]
        _fits(sum(map(len, texts)))
        return "".join(texts)

    def code(self, data: str, line: int) -> Code:
        """A script's own text, told apart from values; the compiled template calls it, no template can."""
        made = Code(data)
        made.line = line
        return made

    def _seen(self, value: Any, name: Any) -> Any:
        return SkippedValue(str(name)) if value is SKIPPED else value


@pass_context
def _finalize(_context: Context, value: Any) -> str:
    render = _render.get()
    if isinstance(value, Code) and render.code is not None:
        render.code(str(value), value.line)
        return ""
    return text_of(value) if render.sink is None else render.sink(plain(value))


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    return "text" if isinstance(value, str) else "a list" if isinstance(value, list | tuple) else "a number"


def _is_none(value: Any) -> bool:
    return plain(value) is None if isinstance(value, Undefined) else value is None


def _looking(test: Any) -> Callable[..., bool]:
    """A test that looks into its value, which it would be wrong about if it cannot."""

    @functools.wraps(test)
    def tested(*args: Any, **kwargs: Any) -> bool:
        for value in args[:2]:  # the environment may come first
            if isinstance(value, Unseen):
                value.refuse()
        return bool(test(*args, **kwargs))

    return tested


def _paid(items: Iterable[Any]) -> Iterator[Any]:
    for item in items:
        _render.get().spend(1)
        yield item


def _fits(size: int) -> None:
    if size > MAX_SIZE:
        raise TemplateFault(f"a template makes a value of more than {MAX_SIZE} characters or items")


def _size(value: Any) -> int:
    return len(value) if isinstance(value, str | list | tuple) else 0


def _add(left: Any, right: Any) -> Any:
    _fits(_size(left) + _size(right))
    return left + right


def _multiply(left: Any, right: Any) -> Any:
    for series, times in ((left, right), (right, left)):
        if isinstance(times, int):
            _fits(_size(series) * times)
    if isinstance(left, int) and isinstance(right, int) and left.bit_length() + right.bit_length() > MAX_BITS:
        raise TemplateFault(f"a template makes a number of more than {MAX_BITS} bits")
    return left * right


def _power(left: Any, right: Any) -> Any:
    if isinstance(left, int) and isinstance(right, int) and left.bit_length() * abs(right) > MAX_BITS:
        raise TemplateFault(f"a template makes a number of more than {MAX_BITS} bits")
    return left**right


def _modulo(left: Any, right: Any) -> Any:
    if not isinstance(left, str):
        return left % right
    if _WIDE.search(left):
        raise TemplateFault("a format in a template asks for more than 9999 places")
    if isinstance(right, tuple):
        return left % tuple(map(_formattable, right))
    return left % (
        {key: _formattable(item) for key, item in right.items()} if isinstance(right, dict) else _formattable(right)
    )


def _formattable(value: Any) -> Any:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else text_of(value)


def _measure_method(owner: str, method: str, args: tuple[Any, ...]) -> None:
    """Refuses the string methods that multiply before they do."""
    if method in ("center", "ljust", "rjust", "zfill") and args and isinstance(args[0], int):
        _fits(args[0])
    elif method == "expandtabs":
        _fits(len(owner) * max([8, *(arg for arg in args if isinstance(arg, int))]))
    elif method == "replace" and len(args) > 1 and isinstance(args[1], str):
        _fits(len(owner) + owner.count(str(args[0])) * len(args[1]))
    elif method == "join" and args and isinstance(args[0], list | tuple):
        _fits(len(owner) * len(args[0]) + sum(map(_size, args[0])))


def _on_text(function: Callable[..., Any]) -> Callable[..., Any]:
    place = 1 if hasattr(function, "jinja_pass_arg") else 0

    @functools.wraps(function)
    def filtered(*args: Any, **kwargs: Any) -> Any:
        given = list(args)
        given[place] = text_of(given[place])
        return str(function(*given, **kwargs))

    return filtered


def _bounded(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def filtered(*args: Any, **kwargs: Any) -> Any:
        if any(isinstance(arg, int) and arg > 10_000 for arg in (*args, *kwargs.values())):
            raise TemplateFault("a filter in a template asks for more than 10000 places")
        return function(*args, **kwargs)

    return filtered


def _filters() -> dict[str, Callable[..., Any]]:
    made: dict[str, Callable[..., Any]] = {name: _on_text(FILTERS[name]) for name in _TEXT_FILTERS}
    made["replace"] = _replace
    made["format"] = _format
    made["wordcount"] = lambda value: len(text_of(value).split())
    made.update({name: _bounded(made.get(name, FILTERS[name])) for name in _SIZED_FILTERS})
    made.update(string=text_of, join=_join, tojson=_tojson, pprint=functools.partial(_tojson, indent=2))
    return made


def _replace(value: Any, old: Any, new: Any, count: int = -1) -> str:
    source, mark, put = text_of(value), text_of(old), text_of(new)
    _measure_method(source, "replace", (mark, put))
    return source.replace(mark, put, -1 if count is None else count)


def _format(value: Any, *args: Any, **kwargs: Any) -> str:
    return str(_modulo(text_of(value), kwargs or args))


def _join(value: Iterable[Any], separator: Any = "", attribute: str | int | None = None) -> str:
    found = value if attribute is None else map(make_attrgetter(ENVIRONMENT, attribute), value)
    parts, glue = [text_of(item) for item in found], text_of(separator)
    _fits(sum(map(len, parts)) + len(glue) * len(parts))
    return glue.join(parts)


def _tojson(value: Any, indent: int | None = None) -> str:
    return json_text(value, indent=None if indent is None else min(indent, 16))


ENVIRONMENT = Sandbox()
