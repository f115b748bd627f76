"""Pipelines out of a seed, and what each must answer: a small evaluator of its own, to hold the product against.

It knows only the dialect: values, nulls, skips, faults, policies. Its scripts are real ones, small and deterministic.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import yaml

WORDS = ("ash", "birch", "cedar", "dürre", "eiche")
NUM = """
def num(value):
    if value is None:
        return 0
    return len(value) if isinstance(value, str) else value["n"]
"""


class Skipped(Exception):
    """What was read belongs to a skipped task, and had no default."""


class Faulty(Exception):
    """A task's way has failed. `kind` is the error's type (empty: any), `says` a part of its message."""

    def __init__(self, kind: str, says: str = "") -> None:
        super().__init__(kind)
        self.kind, self.says, self.attempts = kind, says, 0


SKIPPED = object()
Names = dict[str, Any]
Compute = Callable[[Names], Any]


@dataclass(frozen=True)
class Way:
    """A task, or one of its fallbacks: its YAML, and what it gives."""

    name: str
    body: dict[str, Any]
    compute: Compute


@dataclass(frozen=True)
class Node:
    """A task of a made pipeline. `upstream` are its edges, however the document draws them."""

    name: str
    upstream: tuple[str, ...]
    ways: tuple[Way, ...]
    condition: tuple[str, Compute] | None
    on_failure: str | None
    fallback_value: Any  # SKIPPED: it has none

    def document(self) -> dict[str, Any]:
        body = dict(self.ways[0].body)
        if self.condition is not None:
            body["condition"] = self.condition[0]
        errors = body.pop("error_handling", {})
        if len(self.ways) > 1:
            others = [way.body for way in self.ways[1:]]
            errors["fallback"] = others[0] if len(others) == 1 else others
        if self.on_failure is not None:
            errors["on_failure"] = self.on_failure
        if self.fallback_value is not SKIPPED:
            errors["fallback_value"] = self.fallback_value
        return {**body, "error_handling": errors} if errors else body


@dataclass
class Expected:
    """What a run must give. Without `failures` (by task: type, text, attempts), all of it is determinate."""

    status: str
    output: Any = None
    outputs: dict[str, Any] = field(default_factory=dict)
    degraded: list[tuple[str, str]] = field(default_factory=list)
    failures: dict[str, tuple[str, str, int]] = field(default_factory=dict)
    attempts: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Made:
    """A pipeline document and its meaning."""

    seed: int
    name: str
    text: str
    nodes: tuple[Node, ...]
    output: tuple[str, ...] | None

    def events(self, count: int) -> list[dict[str, Any]]:
        """Events out of the same seed; now and then one that must be rejected."""
        chance = random.Random(f"{self.seed} events")
        return [_event(chance) for _ in range(count)]

    def ancestors(self, name: str) -> set[str]:
        """All that a task comes after."""
        of = {node.name: node.upstream for node in self.nodes}
        found, todo = set[str](), list(of[name])
        while todo:
            each = todo.pop()
            if each not in found:
                found.add(each)
                todo.extend(of[each])
        return found

    def expect(self, event: dict[str, Any]) -> Expected:
        """What the dialect says of this event."""
        if not isinstance(event["n"], int):
            return Expected("rejected")
        expected = Expected("succeeded")
        known: Names = {**event}
        cancelled = set[str]()
        for node in self.nodes:
            if cancelled & set(node.upstream):
                cancelled.add(node.name)
                continue
            _play(node, known, expected)
            if node.name in expected.failures:
                cancelled.add(node.name)
        if expected.failures:
            return replace(expected, status="failed", output=None)
        expected.outputs = {name: value for name, value in expected.outputs.items() if name not in cancelled}
        expected.output = self._output(known)
        expected.status = "degraded" if expected.degraded else "succeeded"
        return expected

    def _output(self, known: Names) -> Any:
        if self.output is not None:
            values = {f"o{number}": known[name] for number, name in enumerate(self.output)}
            return None if SKIPPED in values.values() else values
        read = {name for node in self.nodes for name in node.upstream}
        last = {node.name: _null(known[node.name]) for node in self.nodes if node.name not in read}
        return next(iter(last.values())) if len(last) == 1 else last


def make(seed: int, *, name: str = "", most: int = 30) -> Made:
    """The pipeline of a seed: up to `most` tasks."""
    chance = random.Random(seed)
    name = name or f"made-{seed}"
    nodes: list[Node] = []
    for number in range(chance.randint(max(1, most // 3), most)):
        nodes.append(_node(chance, number, nodes))
    output = tuple(chance.sample([node.name for node in nodes], min(3, len(nodes)))) if chance.random() < 0.5 else None
    document: dict[str, Any] = {
        "name": name,
        "version": "1.0.0",
        "input_variables": {"n": {"type": "integer"}, "word": {"type": "string", "default": "none"}},
        "tasks": chance.sample([node.document() for node in nodes], len(nodes)),  # position in the file means nothing
    }
    if output is not None:
        document["output"] = {f"o{place}": _read(each) for place, each in enumerate(output)}
    text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=10_000)
    return Made(seed, name, text, tuple(nodes), output)


# --- making ----------------------------------------------------------------------------------------------------------


def _event(chance: random.Random) -> dict[str, Any]:
    n: Any = str(chance.randint(0, 9)) if chance.random() < 0.12 else chance.randint(0, 9)
    return {"n": n, "word": chance.choice(WORDS)}


def _node(chance: random.Random, number: int, earlier: list[Node]) -> Node:
    name = chance.choice((f"t{number}", f"t{number}", f"Step {number}", f"schritt-{number}"))
    upstream = tuple(node.name for node in chance.sample(earlier, min(len(earlier), chance.choice((0, 1, 1, 2, 3)))))
    others = 0 if chance.random() < 0.7 else chance.randint(1, 2)
    ways = [_way(chance, name, upstream, trouble=0.25)]
    ways += [_way(chance, f"{name} way {way}", upstream, trouble=0.4, primary=False) for way in range(others)]
    return Node(
        name=name,
        upstream=upstream,
        ways=tuple(ways),
        condition=_condition(chance, upstream) if chance.random() < 0.25 else None,
        on_failure=chance.choice((None, "abort_pipeline", "skip", "skip", "continue", "continue", "continue")),
        fallback_value=chance.choice(({"n": 7, "by": "nobody"}, "stand-in", None))
        if chance.random() < 0.3
        else SKIPPED,
    )


def _way(chance: random.Random, name: str, upstream: tuple[str, ...], *, trouble: float, primary: bool = True) -> Way:
    make_one = chance.choice((_script, _script, _script, _prompt, _asking))
    body, compute = make_one(chance, name, upstream, trouble)
    retries = chance.choice((0, 0, 1, 2))
    if "error_handling" not in body:
        body["error_handling"] = {"retry_count": retries, "retry_delay": chance.choice((0, 0.01, "10 ms"))}
    if upstream and primary:
        body["depends_on"] = list(upstream) if len(upstream) > 1 or chance.random() < 0.5 else upstream[0]
    return Way(name, {"name": name, **body}, compute)


def _condition(chance: random.Random, upstream: tuple[str, ...]) -> tuple[str, Compute]:
    limit = chance.randint(1, 8)
    if not upstream or chance.random() < 0.5:
        shape = chance.choice(("n > {}", "{{{{ n > {} }}}}", "{{{{ n }}}} > {}"))
        return shape.format(limit), lambda known: known["n"] > limit
    name = chance.choice(upstream)
    return (
        f"{{{{ ({_path(name)} | string | length) > {limit} }}}}",
        lambda known: len(_string(_given(known, name))) > limit,
    )


def _script(
    chance: random.Random, name: str, upstream: tuple[str, ...], trouble: float
) -> tuple[dict[str, Any], Compute]:
    factor, add = chance.randint(2, 9), chance.randint(0, 99)
    reads = [_reading(chance, each) for each in upstream]
    lines = [NUM.strip(), f"total = n * {factor} + {add}"]
    fails = _failing(chance, trouble)
    if fails is not None:
        lines += [f"if {fails[0]}:", f"    raise {fails[1]}(f'{name}: {{word}} does not do')"]
    lines += [f"total += num({text})" for text, _ in reads]
    lines.append(chance.choice(_ENDS).format(name=name))

    def compute(known: Names) -> Any:
        values = [value(known) for _, value in reads]  # bound before the script runs
        if fails is not None and fails[2](known["n"]):
            raise Faulty(fails[1], f"{name}: {known['word']} does not do")
        return {"n": (known["n"] * factor + add + sum(map(_num, values))) % 997, "by": f"{name}/{known['word']}"}

    return {"type": "python_task", "script": "\n".join(lines) + "\n"}, compute


_ENDS = (
    "return {{'n': total % 997, 'by': f'{name}/{{word}}'}}",
    "{{'n': total % 997, 'by': '{name}/{{{{ word }}}}'}}",
    "import json\nreturn json.loads(json.dumps({{'n': total % 997, 'by': '{name}/' + {{{{ word }}}}}}))",
)


def _failing(chance: random.Random, trouble: float) -> tuple[str, str, Callable[[int], bool]] | None:
    if chance.random() > trouble:
        return None
    of, kind = chance.choice((1, 2, 3, 5)), chance.choice(("ValueError", "KeyError", "RuntimeError"))
    return f"n % {of} == 0", kind, lambda n: n % of == 0


def _reading(chance: random.Random, name: str) -> tuple[str, Compute]:
    """How a script reads a task, and what it gets."""
    soft: Compute = lambda known: _null(known[name])  # noqa: E731
    hard: Compute = lambda known: _given(known, name)  # noqa: E731
    ways: list[tuple[str, Compute]] = [
        (f"context.get_task_output('{name}')", soft),
        (f"{{{{ {_path(name)} }}}}", hard),
        (f"{{{{ {_path(name)} | default(none) }}}}", soft),
        (f"{{{{ {_path(name)} | default(none, true) }}}}", lambda known: _null(known[name]) or None),
    ]
    if name.isidentifier():
        ways.append((name, soft))
    return chance.choice(ways)


def _prompt(
    chance: random.Random, name: str, upstream: tuple[str, ...], trouble: float
) -> tuple[dict[str, Any], Compute]:
    fails = chance.random() < trouble
    pieces: list[tuple[str, Compute]] = [("{{ word }} {{ n }}", lambda known: f"{known['word']} {known['n']}")]
    for each in upstream:
        pieces.append(_piece(chance, each))
    retries = chance.choice((0, 1, 2))
    body = {
        "type": "llm_task",
        "model": "offline/fail" if fails else "offline/echo",
        "prompt": " | ".join(text for text, _ in pieces),
        "error_handling": {"retry_count": retries, "retry_delay": 0.01},
    }

    def compute(known: Names) -> Any:
        said = " | ".join(value(known) for _, value in pieces)
        if fails:
            raise Faulty("offline_fault", "always fails")
        return said

    return body, compute


def _piece(chance: random.Random, name: str) -> tuple[str, Compute]:
    if chance.random() < 0.5:
        return f"{{{{ {_path(name)} }}}}", lambda known: _text(_given(known, name))
    default = f"{{{{ {_path(name)} | default('gone', true) }}}}"
    return default, lambda known: _text(_null(known[name]) or "gone")


def _asking(
    chance: random.Random, name: str, upstream: tuple[str, ...], trouble: float
) -> tuple[dict[str, Any], Compute]:
    fails = chance.random() < trouble
    reads = [_reading(chance, each) for each in upstream]
    script = [NUM.strip(), f"total = {' + '.join(f'num({text})' for text, _ in reads) or '0'}"]
    script += ["first = process_with_llm(f'{word} {total}', model='offline/echo')"]
    script += [f"second = process_with_llm(first['text'] + '!', model='offline/{'fail' if fails else 'echo'}')"]
    script += ["return {'n': total, 'by': second['text']}"]
    body = {"type": "llm_task", "model": "offline/summary", "script": "\n".join(script) + "\n"}

    def compute(known: Names) -> Any:
        total = sum(_num(value(known)) for _, value in reads)
        if fails:
            raise Faulty("", "always fails")  # what a script sees of a call that failed is the sandbox's to name
        return {"n": total, "by": f"{known['word']} {total}!"}

    return body, compute


# --- meaning ---------------------------------------------------------------------------------------------------------


def _play(node: Node, known: Names, expected: Expected) -> None:
    """One task: its value into `known`, and what is to be seen of it into `expected`."""
    attempts = 0
    try:
        value, attempts = _answer(node, known, expected)
    except Skipped:
        value = SKIPPED
    except Faulty as fault:
        attempts = fault.attempts
        expected.failures[node.name] = (fault.kind, fault.says, attempts)
        return
    known[node.name] = value
    expected.outputs[node.name] = _null(value)
    if attempts:
        expected.attempts[node.name] = attempts


def _answer(node: Node, known: Names, expected: Expected) -> tuple[Any, int]:
    if node.upstream and all(known[name] is SKIPPED for name in node.upstream):
        raise Skipped
    if node.condition is not None and not node.condition[1](known):
        raise Skipped
    attempts = 0
    fault: Faulty | None = None
    for way in node.ways:
        attempts += 1
        try:
            value = way.compute(known)
        except Faulty as raised:
            fault = raised
            attempts += int(way.body["error_handling"]["retry_count"])
            continue
        except Skipped:
            value = SKIPPED
        if fault is not None:
            expected.degraded.append((node.name, way.name))
        return value, attempts
    assert fault is not None
    return _settled(node, fault, attempts, expected), attempts


def _settled(node: Node, fault: Faulty, attempts: int, expected: Expected) -> Any:
    if node.fallback_value is not SKIPPED:
        expected.degraded.append((node.name, "fallback_value"))
        return node.fallback_value
    match node.on_failure:
        case "continue":
            expected.degraded.append((node.name, "null"))
            return None
        case "skip":
            expected.degraded.append((node.name, "skipped"))
            return SKIPPED
    fault.attempts = attempts
    raise fault


def _path(name: str) -> str:
    return name if name.isidentifier() else f"tasks['{name}']"


def _read(name: str) -> str:
    return f"{{{{ {_path(name)} }}}}"


def _given(known: Names, name: str) -> Any:
    if known[name] is SKIPPED:
        raise Skipped
    return known[name]


def _null(value: Any) -> Any:
    return None if value is SKIPPED else value


def _num(value: Any) -> int:
    if value is None:
        return 0
    return len(value) if isinstance(value, str) else int(value["n"])


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _string(value: Any) -> str:
    """As the filter `string` has it: text as it is, all else as JSON."""
    return _text(value)
