"""The text of a script, its values replaced by marks, becomes a Python module whose values are bound names.

Promises
  * No value is ever part of the source; a mark becomes `__b__["v3"]` (a value) or `__b__["t3"]` (text in a literal).
  * A mark anywhere else (glued to a name, assigned to, in a pattern) is refused, with its line.
  * The source is a function of the text alone: the same in every process. Line k of the text is line k + HEADER of it.
"""

from __future__ import annotations

import ast
import copy
import re
import secrets
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

from stream_orchestrator.plan.scopes import Reads, own_nodes, reads_of

HEADER = 2  # `def` and `global` stand before the first line of the script
_NONCE = secrets.token_hex(8)  # nobody outside this process can write a mark
_MARK = re.compile(rf"_b{_NONCE}_(\d+)_")
_RESERVED = frozenset({"__b__", "__step__", "__lines__"})
_GLUED = "a template must stand alone as a value, or inside a string"
_STRINGS = (ast.Constant, ast.JoinedStr)


class Misplaced(Exception):
    """The text cannot become a script. `line` is a line of the text."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


@dataclass(frozen=True, slots=True)
class Bound:
    """A script as a module. `values` and `texts` are the numbers of the marks that are used as value or as text."""

    source: str
    values: tuple[int, ...]
    texts: tuple[int, ...]
    body: tuple[ast.stmt, ...] = field(repr=False)
    reads: Reads = field(repr=False)


def mark(number: int) -> str:
    """What stands in the text for the value of that number."""
    return f"_b{_NONCE}_{number}_"


def pieces(text: str) -> list[str | int]:
    """A text with marks as its constant parts and the numbers between them."""
    parts = _MARK.split(text)
    return [int(part) if place % 2 else part for place, part in enumerate(parts) if part or place % 2]


@lru_cache(maxsize=1024)
def bind(text: str, shared: frozenset[str] = frozenset()) -> Bound:
    """The module of a script. `shared` are names set from outside: they can be read before they are assigned.

    Raises Misplaced.
    """
    code, body, indent = _parsed(text.replace("\r\n", "\n").replace("\r", "\n"))
    _check(body)
    reads = reads_of(body)
    binder = _Binder()
    binder.place(body)
    lines = binder.applied(code)
    head = f"{'async ' if _waits(body) else ''}def __step__(__b__):"
    names = sorted((reads.bound & shared) - reads.nonlocals)
    lines = [
        head,
        f"{indent or '    '}{'global ' + ', '.join(names) if names else 'pass'}",
        *_indented(lines, body, indent),
    ]
    source = _MARK.sub(lambda found: f"b{found[1]}", "\n".join(lines) + "\n")
    _compiles(source)
    return Bound(source, tuple(sorted(binder.values)), tuple(sorted(binder.texts)), tuple(body), reads)


def _parsed(code: str) -> tuple[str, list[ast.stmt], str]:
    """The text, its statements, and the indentation that they all have."""
    try:
        return code, _parse(code).body, ""
    except IndentationError as error:
        first = re.match(r"(?:[ \t]*(?:#[^\n]*)?\n)*([ \t]+)(?=\S)", code)
        if first is None:
            raise _broken(error) from error
    start, indent = first.start(1), first[1]
    try:
        wrapped = ast.parse("if 1:\n" + code)
        if len(wrapped.body) == 1 and isinstance(wrapped.body[0], ast.If):
            return code, [ast.increment_lineno(statement, -1) for statement in wrapped.body[0].body], indent
    except IndentationError:
        pass  # only the first line is indented, or the script is broken: the next try tells
    except SyntaxError as error:
        raise _broken(error, shift=1) from error
    code = code[:start] + code[start + len(indent) :]
    try:
        return code, _parse(code).body, ""
    except SyntaxError as error:
        raise _broken(error) from error


def _parse(code: str) -> ast.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # `"\d"` is the author's; it works
            return ast.parse(code)
    except IndentationError:
        raise
    except SyntaxError as error:
        raise _broken(error) from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise Misplaced(f"the script cannot be parsed: {error}", 1) from error


def _broken(error: SyntaxError, *, shift: int = 0) -> Misplaced:
    glued = error.text is not None and _MARK.search(error.text)
    message = _MARK.sub("{{ … }}", error.msg)
    return Misplaced(
        f"the script is not Python: {message}{f' ({_GLUED})' if glued else ''}", (error.lineno or 1) - shift
    )


def _compiles(source: str) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(source, "<script>", "exec", dont_inherit=True)
    except SyntaxError as error:
        raise _broken(error, shift=HEADER) from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise Misplaced(f"the script cannot be compiled: {error}", 1) from error


def _check(body: list[ast.stmt]) -> None:
    """Refuses what a step cannot be, and marks where no value can go."""
    for node in own_nodes(body):
        if isinstance(node, ast.Yield | ast.YieldFrom):
            raise Misplaced("a script returns its output; it cannot `yield`", node.lineno)
    for statement in body:
        for node, line in _lined(statement, statement.lineno):
            alone = isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and _MARK.fullmatch(node.id)
            pattern = isinstance(node, ast.MatchValue | ast.MatchMapping) and _marked(node)
            for name in _identifiers(node):
                if name in _RESERVED:
                    raise Misplaced(f"the name `{name}` is ours", line)
                if pattern or (_MARK.search(name) and not alone):
                    raise Misplaced(_GLUED, line)
            if pattern:
                raise Misplaced("a template cannot be a pattern of `case`", line)


def _lined(node: ast.AST, line: int) -> Iterator[tuple[ast.AST, int]]:
    line = getattr(node, "lineno", line)
    yield node, line
    for child in ast.iter_child_nodes(node):
        yield from _lined(child, line)


def _identifiers(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Constant):
        return
    for _name, value in ast.iter_fields(node):
        yield from (item for item in (value if isinstance(value, list) else [value]) if isinstance(item, str))


def _waits(body: list[ast.stmt]) -> bool:
    waiting = (ast.Await, ast.AsyncFor, ast.AsyncWith)
    return any(isinstance(node, waiting) or getattr(node, "is_async", 0) for node in own_nodes(body))


class _Binder(ast.NodeTransformer):
    """Finds what must be replaced, and writes what replaces it. Positions are of the bytes of the text."""

    def __init__(self) -> None:
        self.values: set[int] = set()
        self.texts: set[int] = set()
        self.edits: list[tuple[int, int, int, int, str]] = []

    def place(self, body: list[ast.stmt]) -> None:
        for statement in body:
            self._find(statement)
        if body and isinstance(body[-1], ast.Expr):
            line, column = body[-1].lineno, body[-1].col_offset
            self.edits.append((line, column, line, column, "return "))

    def replace(self, node: ast.expr, new: str) -> None:
        end = node.end_lineno or node.lineno, node.end_col_offset or node.col_offset
        self.edits.append((node.lineno, node.col_offset, *end, new))

    def _find(self, node: ast.AST) -> None:
        if isinstance(node, ast.Name) and _MARK.fullmatch(node.id):
            self.replace(node, self.value(node.id))
        elif isinstance(node, _STRINGS):
            if _marked(node):
                self.replace(node, self.written(node))
        else:
            for child in ast.iter_child_nodes(node):
                self._find(child)

    def value(self, name: str) -> str:
        number = int(_MARK.fullmatch(name)[1])  # type: ignore[index]
        self.values.add(number)
        return f'__b__["v{number}"]'

    def written(self, node: ast.expr) -> str:
        """A literal as an expression that puts its texts in at run time."""
        if isinstance(node, ast.Constant) and isinstance(node.value, bytes):
            parts = self.spliced(node.value.decode("latin-1"))
            return _joined([part if part[0] == "_" else f"b{_latin(part)}" for part in parts], encode=True)
        if isinstance(node, ast.Constant):
            return _joined(self.spliced(node.value))
        parts = []
        for value in node.values:  # type: ignore[attr-defined]
            parts.extend(self.spliced(value.value) if isinstance(value, ast.Constant) else [self.formatted(value)])
        return _joined(parts)

    def spliced(self, text: object) -> list[str]:
        found = pieces(str(text))
        self.texts.update(part for part in found if isinstance(part, int))
        return [f'__b__["t{part}"]' if isinstance(part, int) else repr(part) for part in found]

    def formatted(self, node: ast.FormattedValue) -> str:
        # `str.format` of a literal, not an f-string: before 3.12 those cannot hold every quote and backslash
        value = ast.unparse(self.visit(copy.deepcopy(node.value)))
        conversion = f"!{chr(node.conversion)}" if node.conversion != -1 else ""
        if node.format_spec is None:
            return f'"{{{conversion}}}".format({value})'
        return f'"{{{conversion}:{{}}}}".format({value}, {self.written(node.format_spec)})'

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return _expression(self.value(node.id)) if _MARK.fullmatch(node.id) else node

    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        return _expression(self.written(node)) if _marked(node) else node

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.expr:
        return _expression(self.written(node))

    def applied(self, code: str) -> list[str]:
        """The lines with every edit made, last first, none gained and none lost."""
        lines = code.split("\n")
        for first, start, last, end, new in sorted(self.edits, reverse=True):
            before = lines[first - 1].encode()[:start].decode()
            after = lines[last - 1].encode()[end:].decode()
            if first == last:
                lines[first - 1] = before + new + after
            else:  # brackets keep the lines that the literal had
                lines[last - 1] = f"){after}"
                lines[first - 1 : last - 1] = [f"{before}({new}", *[""] * (last - first - 1)]
        return lines


def _marked(node: ast.AST) -> bool:
    if isinstance(node, ast.Constant):
        text = node.value.decode("latin-1") if isinstance(node.value, bytes) else node.value
        return isinstance(text, str) and _MARK.search(text) is not None
    return _MARK.search(ast.dump(node)) is not None


def _joined(parts: list[str], *, encode: bool = False) -> str:
    if encode:
        parts = [f"{part}.encode()" if part[0] == "_" else part for part in parts]
    if len(parts) == 1:
        return parts[0]
    return f'{"b" if encode else ""}"".join(({", ".join(parts)}{"," if parts else ""}))'


def _latin(literal: str) -> str:
    return repr(ast.literal_eval(literal).encode("latin-1"))[1:]


def _expression(source: str) -> ast.expr:
    return ast.parse(source, mode="eval").body


def _indented(lines: list[str], body: list[ast.stmt], indent: str) -> list[str]:
    """The lines one level in. Those that begin inside a string stay as they are, or the string would change."""
    if indent:
        return lines
    nodes = (node for statement in body for node in ast.walk(statement) if isinstance(node, _STRINGS))
    inside = {line for node in nodes for line in range(node.lineno + 1, (node.end_lineno or node.lineno) + 1)}
    return [line if number in inside or not line.strip() else f"    {line}" for number, line in enumerate(lines, 1)]
