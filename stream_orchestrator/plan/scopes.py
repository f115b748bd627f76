"""Which names a piece of Python reads without having bound them, told in the order in which it runs.

Promises
  * Comprehensions, lambdas, nested functions, classes, imports, `except ... as`, `match` and `:=` bind as in Python.
  * A name that is read before the script's own level binds it counts as read (`text = text.strip()`).
  * A builtin counts only where it is used as a value: `id(x)` is the builtin, `{"id": id}` may be an input.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

_BUILTINS = frozenset(dir(builtins))
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


@dataclass(slots=True)
class Reads:
    """The free names with the line of their first read, those called, those used, and what the top level binds."""

    free: dict[str, int] = field(default_factory=dict)
    called: set[str] = field(default_factory=set)
    used: set[str] = field(default_factory=set)
    bound: set[str] = field(default_factory=set)
    nonlocals: set[str] = field(default_factory=set)


def reads_of(body: list[ast.stmt]) -> Reads:
    """What a script body reads."""
    reader = _Reader()
    for statement in body:
        reader.visit(statement)
    while reader.later:
        reader.enter_function(*reader.later.pop(0))
    return reader.reads


def own_nodes(body: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """Every node of a level, without the bodies of the functions and classes in it."""
    for node in body:
        yield node
        if isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
            continue
        yield from own_nodes(ast.iter_child_nodes(node))


@dataclass(slots=True)
class _Scope:
    names: set[str]
    parent: _Scope | None = None
    kind: str = "function"

    def holds(self, name: str) -> bool:
        scope: _Scope | None = self
        while scope is not None:
            if name in scope.names and (scope is self or scope.kind != "class"):
                return True
            scope = scope.parent
        return False


class _Reader(ast.NodeVisitor):
    def __init__(self) -> None:
        self.reads = Reads()
        self.scope = _Scope(self.reads.bound)
        self.later: list[tuple[_Function, _Scope]] = []
        self.callee: ast.AST | None = None

    # reading and binding

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Store):
            self.bind(node.id)
        else:
            self.read(node.id, node.lineno, called=node is self.callee)

    def read(self, name: str, line: int, *, called: bool = False) -> None:
        if self.scope.holds(name) or (called and name in _BUILTINS):
            return
        self.reads.free.setdefault(name, line)
        (self.reads.called if called else self.reads.used).add(name)

    def bind(self, name: str | None) -> None:
        scope = self.scope
        while scope.kind == "comprehension" and scope.parent is not None:
            scope = scope.parent
        if name is not None:
            scope.names.add(name)

    def visit_Call(self, node: ast.Call) -> None:
        self.callee = node.func
        self.visit(node.func)
        self.callee = None
        self.visit_all([*node.args, *node.keywords])

    # statements that bind after they read

    def visit_Assign(self, node: ast.Assign) -> None:
        self.visit_all([node.value, *node.targets])

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self.visit_all([node.annotation, node.value])
        if node.value is not None or not isinstance(node.target, ast.Name):
            self.visit(node.target)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        if isinstance(node.target, ast.Name):
            self.read(node.target.id, node.lineno)
        self.visit_all([node.value, node.target])

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self.visit(node.value)
        self.bind(node.target.id)

    def visit_For(self, node: ast.For | ast.AsyncFor) -> None:
        self.visit_all([node.iter, node.target, *node.body, *node.orelse])

    visit_AsyncFor = visit_For

    def visit_Import(self, node: ast.Import | ast.ImportFrom) -> None:
        for alias in node.names:
            self.bind(alias.asname or alias.name.split(".")[0])

    visit_ImportFrom = visit_Import

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        self.visit_all([node.type])
        self.bind(node.name)
        self.visit_all(node.body)

    def visit_MatchAs(self, node: ast.MatchAs | ast.MatchStar) -> None:
        self.generic_visit(node)
        self.bind(node.name)

    visit_MatchStar = visit_MatchAs

    def visit_MatchMapping(self, node: ast.MatchMapping) -> None:
        self.generic_visit(node)
        self.bind(node.rest)

    def visit_Nonlocal(self, node: ast.Nonlocal) -> None:
        self.reads.nonlocals.update(node.names)

    # scopes

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        arguments = node.args
        annotations = [arg.annotation for arg in _arguments(arguments)]
        self.visit_all([*node.decorator_list, *arguments.defaults, *arguments.kw_defaults, *annotations, node.returns])
        self.bind(node.name)
        self.later.append((node, self.scope))

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self.visit_all([*node.args.defaults, *node.args.kw_defaults])
        self.later.append((node, self.scope))

    def enter_function(self, node: _Function, outer: _Scope) -> None:
        """A function's body runs later, when its level has bound all it will."""
        body: list[ast.AST] = [node.body] if isinstance(node, ast.Lambda) else list(node.body)
        own = {arg.arg for arg in _arguments(node.args)} | _bound_in(body)
        self.scope = _Scope(own, outer)
        self.visit_all(body)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self.visit_all([*node.decorator_list, *node.bases, *node.keywords])
        outer = self.scope
        self.scope = _Scope(set(), outer, "class")
        self.visit_all(node.body)
        self.scope = outer
        self.bind(node.name)

    def visit_ListComp(self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp) -> None:
        self.comprehend(node.generators, [node.elt])

    visit_SetComp = visit_GeneratorExp = visit_ListComp

    def visit_DictComp(self, node: ast.DictComp) -> None:
        self.comprehend(node.generators, [node.key, node.value])

    def comprehend(self, generators: list[ast.comprehension], results: list[ast.expr]) -> None:
        outer = self.scope
        self.scope = _Scope(set(), outer, "comprehension")
        for generator in generators:
            self.visit(generator.iter)
            self.scope.names.update(_bound_in([generator.target]))
            self.visit_all([generator.target, *generator.ifs])
        self.visit_all(results)
        self.scope = outer

    def visit_all(self, nodes: Iterable[ast.AST | None]) -> None:
        for node in nodes:
            if node is not None:
                self.visit(node)


def _arguments(arguments: ast.arguments) -> list[ast.arg]:
    extra = [arg for arg in (arguments.vararg, arguments.kwarg) if arg is not None]
    return [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, *extra]


def _bound_in(body: Iterable[ast.AST]) -> set[str]:
    """The names that a function binds anywhere in its own level."""
    found: set[str] = set()
    outside: set[str] = set()
    for node in own_nodes(body):
        match node:
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
                found.add(name)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                found.add(name)
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                found.add(name)
            case ast.MatchMapping(rest=str(name)):
                found.add(name)
            case ast.Import(names=names) | ast.ImportFrom(names=names):
                found.update(alias.asname or alias.name.split(".")[0] for alias in names)
            case ast.Global(names=declared) | ast.Nonlocal(names=declared):
                outside.update(declared)
    return found - outside
