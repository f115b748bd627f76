"""How values flow through a script: labels that stick to a value, and the places where a labelled value is used.

Promises
  * Statements are followed in order: a name that is bound again has the labels of its last value.
  * Branches are joined and loops are run until nothing is new, so what may happen on some way counts as happening.
  * A call of a function that is not known gives an unlabelled value: advice should not cry wolf.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from stream_orchestrator.plan.lint.values import (
    CARRIED,
    NOTHING,
    PASSING_METHODS,
    TEXT_METHODS,
    Labels,
    Sources,
    arithmetic,
    called,
    dotted,
)

_MUTATORS = frozenset({"append", "add", "extend", "update", "insert", "setdefault", "write", "appendleft"})
Kind = Literal["return", "call", "iterate", "raise", "step"]
Env = dict[str, Labels]


@dataclass(frozen=True, slots=True)
class Use:
    """A labelled value that is returned, handed to `callee`, iterated, raised, or used as a step or divisor."""

    kind: Kind
    labels: Labels
    line: int
    callee: str = ""


def uses_of(body: Sequence[ast.stmt], sources: Sources) -> tuple[Use, ...]:
    """Every use of a labelled value in a script, in order."""
    flow = _Flow(sources)
    flow.block(body)
    if body and isinstance(body[-1], ast.Expr):  # the value of the last expression is the output
        flow.use("return", flow.value(body[-1].value), body[-1])
    return tuple(flow.uses)


@dataclass(slots=True)
class _Flow:
    sources: Sources
    env: Env = field(default_factory=dict)
    uses: dict[Use, None] = field(default_factory=dict)
    functions: Env = field(default_factory=dict)
    returned: Labels | None = None  # of the nested function that is followed

    def use(self, kind: Kind, labels: Labels, node: ast.stmt | ast.expr, callee: str = "") -> None:
        if labels:
            self.uses.setdefault(Use(kind, labels, node.lineno, callee))

    # statements

    def block(self, body: Iterable[ast.stmt]) -> None:
        for statement in body:
            self.statement(statement)

    def statement(self, node: ast.stmt) -> None:
        match node:
            case ast.Assign(targets=targets, value=value):
                for target in targets:
                    self.assign(target, value)
            case ast.AnnAssign(target=target, value=ast.expr() as value):
                self.assign(target, value)
            case ast.AugAssign(target=target, value=value):
                self.bind(target, self.value(value) | self.value(target), more=True)
            case ast.Return(value=value):
                self.leave(self.value(value), node)
            case ast.Raise() | ast.Assert():
                said = node.exc if isinstance(node, ast.Raise) else node.msg
                self.use("raise", self.thrown(said), node)
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                self.function(node)
            case _:
                self.compound(node)

    def compound(self, node: ast.stmt) -> None:
        match node:
            case ast.If(test=test, body=body, orelse=other):
                self.value(test)
                self.either([body, other])
                self.tested(test)
            case ast.For(target=target, iter=items) | ast.AsyncFor(target=target, iter=items):
                self.bind(target, self.iterated(items))
                self.loop(node.body, node.orelse)
            case ast.While(test=test):
                self.value(test)
                self.loop(node.body, node.orelse)
            case ast.With(items=items, body=body) | ast.AsyncWith(items=items, body=body):
                for item in items:
                    labels = self.value(item.context_expr)
                    if item.optional_vars is not None:
                        self.bind(item.optional_vars, labels)
                self.block(body)
            case ast.Try() | ast.TryStar():
                self.attempt(node)
            case ast.Match(subject=subject, cases=cases):
                self.value(subject)
                self.either([case.body for case in cases] + [[]])
            case _:
                for child in ast.iter_child_nodes(node):
                    if isinstance(child, ast.expr):
                        self.value(child)

    def leave(self, labels: Labels, node: ast.stmt) -> None:
        if self.returned is None:
            self.use("return", labels, node)
        else:
            self.returned |= labels

    def thrown(self, node: ast.expr | None) -> Labels:
        """An error carries what it was given."""
        if isinstance(node, ast.Call):
            return self.value(node) | self.given(node)
        return self.value(node)

    def either(self, ways: Iterable[Sequence[ast.stmt]]) -> None:
        before, after = self.env, list[Env]()
        for way in ways:
            self.env = dict(before)
            self.block(way)
            if not way or not isinstance(way[-1], ast.Return | ast.Raise | ast.Continue | ast.Break):
                after.append(self.env)
        self.env = _joined(after or [before])

    def loop(self, body: Sequence[ast.stmt], other: Sequence[ast.stmt]) -> None:
        for _ in range(4):  # labels only grow; four rounds carry one through a chain of as many names
            before = dict(self.env)
            self.either([body, []])
            if self.env == before:
                break
        self.block(other)

    def attempt(self, node: ast.Try | ast.TryStar) -> None:
        before = dict(self.env)
        self.block(node.body)
        self.block(node.orelse)
        done = self.env
        self.env = _joined([before, done])
        self.either([handler.body for handler in node.handlers] or [[]])
        self.env = _joined([self.env, done])
        self.block(node.finalbody)

    def function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        outer, returned = dict(self.env), self.returned
        self.returned = NOTHING
        self.block(node.body)
        self.functions[node.name] = self.returned
        self.env, self.returned = outer, returned

    def tested(self, test: ast.expr) -> None:
        """After a test of a name that may be zero, the author has thought of it."""
        for node in ast.walk(test):
            if isinstance(node, ast.Name) and node.id in self.env:
                self.env[node.id] -= {"zero"}

    def assign(self, target: ast.expr, value: ast.expr) -> None:
        match target, value:
            case ast.Tuple(elts=names), ast.Tuple(elts=values) if len(names) == len(values):
                for one, its in zip(names, values, strict=True):
                    self.assign(one, its)
            case _:
                self.bind(target, self.value(value) | self.sources.of_assignment(target, value))

    def bind(self, target: ast.expr, labels: Labels, *, more: bool = False) -> None:
        match target:
            case ast.Name(id=name):
                self.env[name] = labels | (self.env.get(name, NOTHING) if more else NOTHING)
            case ast.Tuple(elts=parts) | ast.List(elts=parts):
                for part in parts:
                    self.bind(part, labels & CARRIED, more=more)
            case ast.Starred(value=inner):
                self.bind(inner, labels & CARRIED, more=more)
            case ast.Subscript(value=holder) | ast.Attribute(value=holder):
                self.value(target)
                self.bind(holder, labels & CARRIED, more=True)

    # expressions

    def value(self, node: ast.expr | None) -> Labels:
        """The labels of an expression; its uses are noted on the way."""
        if node is None:
            return NOTHING
        return self.computed(node) | self.sources.of(node)

    def computed(self, node: ast.expr) -> Labels:
        match node:
            case ast.Name(id=name):
                return self.env[name] if name in self.env else self.sources.of_name(name)
            case ast.Call():
                return self.call(node)
            case ast.BinOp():
                return self.binary(node)
            case ast.BoolOp(values=values):
                labels = self.all(values)
                sure = isinstance(node.op, ast.Or) and isinstance(values[-1], ast.Constant) and bool(values[-1].value)
                return labels - {"zero"} if sure else labels
            case ast.IfExp(test=test, body=body, orelse=other):
                self.value(test)
                return self.all([body, other]) - {"zero"}
            case ast.Compare() | ast.UnaryOp(op=ast.Not()):
                self.all(child for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr))
                return NOTHING
            case ast.UnaryOp(operand=operand):
                return self.value(operand) - {"zero"}  # -(-a // b) rounds up
            case ast.NamedExpr(target=target, value=value):
                labels = self.value(value) | self.sources.of_assignment(target, value)
                self.bind(target, labels)
                return labels
            case ast.Await(value=inner):
                return self.value(inner)
            case ast.JoinedStr(values=values):
                return self.all(values) & CARRIED
            case _:
                return self.structure(node)

    def structure(self, node: ast.expr) -> Labels:
        match node:
            case ast.ListComp() | ast.SetComp() | ast.GeneratorExp() | ast.DictComp():
                for part in node.generators:
                    self.bind(part.target, self.iterated(part.iter))
                    self.all(part.ifs)
                made = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
                return self.all(made) & CARRIED
            case ast.Starred(value=inner):
                return self.iterated(inner)
            case ast.Lambda(body=body):
                self.value(body)
                return NOTHING
            case _:
                children = (child for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr))
                return self.all(children) & CARRIED

    def all(self, nodes: Iterable[ast.expr]) -> Labels:
        return NOTHING.union(*[self.value(node) for node in nodes])

    def iterated(self, node: ast.expr) -> Labels:
        labels = self.value(node)
        self.use("iterate", labels & {"text"}, node)
        return labels & CARRIED

    def binary(self, node: ast.BinOp) -> Labels:
        left, right = self.value(node.left), self.value(node.right)
        if isinstance(node.op, ast.Div | ast.FloorDiv | ast.Mod):
            self.use("step", right & {"zero"}, node)
        return arithmetic(node, left, right)

    def given(self, node: ast.Call) -> Labels:
        return self.all([*node.args, *(keyword.value for keyword in node.keywords)])

    def call(self, node: ast.Call) -> Labels:
        name, given = dotted(node.func), self.given(node)
        self.use("call", given, node, name)
        if name == "range" and len(node.args) == 3:
            self.use("step", self.value(node.args[2]) & {"zero"}, node)
        if name in self.functions:
            return self.functions[name]
        if isinstance(node.func, ast.Attribute):
            return self.method(node, node.func, name, given)
        return called(name, node, given)

    def method(self, node: ast.Call, func: ast.Attribute, name: str, given: Labels) -> Labels:
        holder = self.value(func.value)
        if func.attr in _MUTATORS:
            self.bind(func.value, given & CARRIED, more=True)
            self.use("iterate", given & {"text"} if func.attr == "extend" else NOTHING, node)
        own = holder & CARRIED if func.attr in PASSING_METHODS else NOTHING
        if func.attr in TEXT_METHODS:
            own |= (holder & {"text"}) | (given & CARRIED)
        return own | called(name, node, given)


def _joined(ways: Sequence[Mapping[str, Labels]]) -> Env:
    names = {name for way in ways for name in way}
    return {name: NOTHING.union(*(way.get(name, NOTHING) for way in ways)) for name in names}
