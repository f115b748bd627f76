"""What a script reaches for by a literal name: outputs of tasks, the environment, the network."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from stream_orchestrator.plan.binding import pieces

ANYTHING = ".*"
_RECORDS = frozenset(("record_circuit_breaker_success", "record_circuit_breaker_failure"))
_BREAKERS = _RECORDS | {"get_circuit_breaker_state"}
_NETWORK = frozenset(
    (
        *("aiohttp", "aiokafka", "anthropic", "asyncpg", "boto3", "botocore", "elasticsearch"),
        *("ftplib", "grpc", "http.client", "httpx", "imaplib", "kafka", "motor"),
        *("nntplib", "openai", "paramiko", "playwright", "poplib", "psycopg", "psycopg2"),
        *("pycurl", "pymongo", "pymysql", "redis", "requests", "selenium", "smtplib"),
        *("socket", "socketserver", "sqlalchemy", "telnetlib", "urllib.request", "urllib3", "websocket"),
        *("websockets", "xmlrpc.client"),
    )
)


@dataclass(frozen=True, slots=True)
class Readings:
    """`outputs` are the literal names asked of `get_task_output` and `tasks`; `patterns` are regexes of computed ones.

    `variables` are those asked of `inputs` or `get_variable` without a default; `every_variable` with, `ANYTHING` for a
    computed one. `models` are those given to
    `process_with_llm`: None for its own default, `ANYTHING` for a computed one. `context_methods` are the names asked
    of `context`, "" when it is handed on as a whole. `breakers` are the circuit breakers named (`ANYTHING`: computed),
    `records` those that the script records for.
    """

    outputs: dict[str, int]
    patterns: dict[str, int]
    env: frozenset[str]
    network: bool
    waits_for_batch: bool
    variables: dict[str, int]
    every_variable: frozenset[str]
    models: frozenset[str | None]
    context_methods: frozenset[str]
    breakers: frozenset[str]
    records: frozenset[str]


def readings_of(body: Iterable[ast.stmt]) -> Readings:
    """The readings of a script, with the lines of those that may be wrong."""
    nodes = [node for statement in body for node in ast.walk(statement)]
    outputs: dict[str, int] = {}
    patterns: dict[str, int] = {}
    for asked, line in _asked(nodes, "get_task_output", "tasks"):
        found = pattern_of(asked)
        if isinstance(found, str):
            outputs.setdefault(found, line)
        else:
            patterns.setdefault(ANYTHING.join(map(re.escape, found)), line)
    asked_for = [pattern_of(asked) for asked, _ in _asked(nodes, "get_variable", "inputs")]
    everything = any(_calls(node, "get_all_variables") for node in nodes)
    every = {name if isinstance(name, str) else ANYTHING for name in asked_for} | ({ANYTHING} if everything else set())
    variables = ((pattern_of(asked), line) for asked, line in _asked(nodes, "get_variable", "inputs", defaulted=False))
    return Readings(
        outputs,
        patterns,
        frozenset(name for node in nodes for name in _env(node)),
        any(_is_network(name) for node in nodes for name in _imports(node)),
        any(_calls(node, "get_current_batch") or _calls(node, "wait_for_batch_completion") for node in nodes),
        {name: line for name, line in variables if isinstance(name, str)},
        frozenset(every),
        frozenset(_model(node) for node in nodes if isinstance(node, ast.Call) and _asks_a_model(node)),
        _methods(nodes),
        _named(nodes, _BREAKERS),
        _named(nodes, _RECORDS),
    )


def _methods(nodes: list[ast.AST]) -> frozenset[str]:
    asked = {id(node.value): node.attr for node in nodes if isinstance(node, ast.Attribute)}
    return frozenset(asked.get(id(node), "") for node in nodes if _is_name(node, "context"))


def _named(nodes: list[ast.AST], methods: frozenset[str]) -> frozenset[str]:
    """The first arguments of these methods of `context`."""
    found = set()
    for node in nodes:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in methods:
            name = pattern_of(_first_argument(node))
            found.add(name if isinstance(name, str) else ANYTHING)
    return frozenset(found)


def _asked(
    nodes: list[ast.AST], method: str, mapping: str, *, defaulted: bool = True
) -> Iterator[tuple[ast.expr | None, int]]:
    """What is asked of `context.<method>(name)`, `<mapping>[name]` and `<mapping>.get(name)`; None when `<mapping>` is
    used as a whole. Without `defaulted`, those that bring a default are left out."""
    keyed: set[int] = set()
    for node in nodes:
        match node:
            case ast.Call(func=ast.Attribute(value=holder, attr=attr), args=args) if attr == method or (
                attr == "get" and _is_name(holder, mapping)
            ):
                keyed.add(id(holder))
                if defaulted or len(args) + len(node.keywords) < 2:
                    yield _first_argument(node), node.lineno
            case ast.Subscript(value=ast.Name(id=name) as holder, slice=key) if name == mapping:
                keyed.add(id(holder))
                yield key, node.lineno
    whole = (node for node in nodes if _is_name(node, mapping) and id(node) not in keyed)
    yield from ((None, getattr(node, "lineno", 1)) for node in whole)


def _is_name(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Load)


def _asks_a_model(node: ast.Call) -> bool:
    return isinstance(node.func, ast.Name) and node.func.id == "process_with_llm"


def _model(call: ast.Call) -> str | None:
    given = next((keyword.value for keyword in call.keywords if keyword.arg == "model"), None)
    given = given or (call.args[1] if len(call.args) > 1 else None)
    if given is None or (isinstance(given, ast.Constant) and given.value is None):
        return None
    found = pattern_of(given)
    return found if isinstance(found, str) else ANYTHING


def _calls(node: ast.AST, method: str) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == method


def _first_argument(call: ast.Call) -> ast.expr | None:
    named = (keyword.value for keyword in call.keywords if keyword.arg in ("name", "task_name"))
    return call.args[0] if call.args else next(named, None)


def pattern_of(node: ast.expr | None) -> str | list[str]:
    """A literal text, or the constant parts around what is computed (`["process_chunk_", ""]`)."""
    parts = _parts(node)
    if all(isinstance(part, str) for part in parts):
        return "".join(part for part in parts if part is not None)
    constants = [""]
    for part in parts:
        if part is None:
            constants.append("")
        else:
            constants[-1] += part
    return constants


def _parts(node: ast.expr | None) -> list[str | None]:
    match node:
        case ast.Constant(value=str(text)):
            return [part if isinstance(part, str) else None for part in pieces(text)]
        case ast.JoinedStr(values=values):
            return [part for value in values for part in _parts(value)]
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return [*_parts(left), *_parts(right)]
        case ast.BinOp(left=ast.Constant(value=str(text)), op=ast.Mod()):
            return _holes(re.split(r"%[-+ #0-9.]*[a-zA-Z]", text))
        case ast.Call(func=ast.Attribute(value=ast.Constant(value=str(text)), attr="format")):
            return _holes(re.split(r"\{[^{}]*\}", text))
        case _:
            return [None]


def _holes(constants: list[str]) -> list[str | None]:
    return [part for constant in constants for part in (None, constant)][1:]


def _env(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Call(
            func=ast.Attribute(attr="getenv") | ast.Name(id="getenv"), args=[ast.Constant(value=str(name)), *_]
        ):
            yield name
        case ast.Subscript(value=holder, slice=ast.Constant(value=str(name))) if _is_environ(holder):
            yield name
        case ast.Call(
            func=ast.Attribute(attr="get" | "pop" | "setdefault", value=holder),
            args=[ast.Constant(value=str(name)), *_],
        ) if _is_environ(holder):
            yield name


def _is_environ(node: ast.expr) -> bool:
    return "environ" in (getattr(node, "attr", None), getattr(node, "id", None))


def _imports(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Import(names=names):
            yield from (alias.name for alias in names)
        case ast.ImportFrom(module=str(module), names=names):
            yield from (f"{module}.{alias.name}" for alias in names)
        case ast.Call(
            func=ast.Name(id="__import__" | "import_module") | ast.Attribute(attr="import_module"),
            args=[ast.Constant(value=str(name)), *_],
        ):
            yield name


def _is_network(module: str) -> bool:
    parts = module.split(".")
    return any(".".join(parts[:length]) in _NETWORK for length in range(1, len(parts) + 1))
