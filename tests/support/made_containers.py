"""Pipelines of containers in containers out of a seed, and what each must answer, by a small evaluator of its own.

Groups with fixed and repeated children, `for_each` on any task, conditions, both loops and components, up to three
deep; scripts and prompts in them that read names around them, beside them and inside of what came before; skips,
failures and what becomes of them. `made_pipelines` has what this leaves out: fallbacks, calls from scripts, attempts.

The evaluator knows the dialect's rules and no code of the product:
  * a task is skipped when its condition is false, when a template names what was skipped, or when all that it comes
    after was skipped; a script sees null for what was skipped;
  * a body fails when one of its tasks does; what fails in a container is the container's to answer for;
  * outside, names of a branch and of a loop's last iteration are there, and those of a group's children.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

SKIPPED = object()
WORDS = ("ash", "birch", "dürre")
NUM = """
def num(value):
    if value is None or isinstance(value, (bool, int)):
        return int(value or 0)
    if isinstance(value, dict):
        value = list(value.values())
    return len(value) if isinstance(value, str) else sum(num(each) for each in value)
"""
Env = dict[str, Any]


class Skip(Exception):
    """A template names what was skipped."""


class Failed(Exception):
    """A task fails its body. `tasks`: those that may be named as the cause."""

    def __init__(self, tasks: set[str]) -> None:
        super().__init__(tasks)
        self.tasks = tasks


@dataclass
class Told:
    """What a run tells of degraded tasks. Of what was inside a container that failed, nobody knows how far it came."""

    degraded: list[tuple[str, str]] = field(default_factory=list)
    unsure: set[str] = field(default_factory=set)

    def add(self, other: Told) -> None:
        self.degraded += other.degraded
        self.unsure |= other.unsure

    def surely(self, entries: list[tuple[str, str]]) -> list[tuple[str, str]]:
        """Of these entries, those of which a run has no choice."""
        return sorted(each for each in entries if not any(each[0].startswith(place) for place in self.unsure))


@dataclass(frozen=True)
class Reading:
    """A name that can be read: how scripts write it, how templates do, and what it is. `task`: whose name it is."""

    soft: str
    hard: str
    get: Callable[[Env], Any]
    task: str | None = None

    def value(self, env: Env, *, hard: bool) -> Any:
        found = self.get(env)
        if found is SKIPPED and hard:
            raise Skip
        return None if found is SKIPPED else found


@dataclass
class Node:
    """A task. `reads` are the names of tasks in its own texts and in those inside it, `after` its `depends_on`.

    `inside` are names that bodies around it hand on; `computed` ones are read beside it only.
    `spread`: what is repeated, and over what, if it is a task with `for_each`.
    """

    name: str
    document: dict[str, Any]
    reads: set[str]
    compute: Callable[[Env, str, Told], tuple[Any, Env]]
    inside: tuple[str, ...] = ()
    computed: tuple[str, ...] = ()
    spread: tuple[Node, Callable[[Env], list[Any]]] | None = None
    container: bool = False
    spoken: str = ""
    condition: Callable[[Env], bool] | None = None
    on_failure: str | None = None
    stand_in: Any = SKIPPED
    after: tuple[str, ...] = ()

    def play(self, env: Env, label: str, told: Told) -> tuple[Any, Env]:
        """Its value, and the values of names inside it."""
        mine = f"{label}{self.spoken or self.name}"
        inner = Told()
        try:
            if self.condition is not None and not self.condition(env):
                raise Skip
            found = self.compute(env, mine, inner)
        except Skip:
            return SKIPPED, dict.fromkeys((*self.inside, *self.computed), SKIPPED)
        except Failed:
            told.unsure |= {f"{mine}["} if self.container else set()
            return self._settled(mine, told), dict.fromkeys((*self.inside, *self.computed), SKIPPED)
        told.add(inner)
        return found

    def _settled(self, mine: str, told: Told) -> Any:
        if self.stand_in is not SKIPPED:
            told.degraded.append((mine, "fallback_value"))
            return self.stand_in
        if self.on_failure in {"continue", "skip"}:
            told.degraded.append((mine, "null" if self.on_failure == "continue" else "skipped"))
            return None if self.on_failure == "continue" else SKIPPED
        raise Failed({self.spoken or self.name})


@dataclass(frozen=True)
class Body:
    """Tasks in an order in which they can be done; the last comes after all others. What needs one that fell, falls."""

    nodes: tuple[Node, ...]

    def play(self, env: Env, label: str, told: Told) -> Env:
        """All values, those around it included. Raises Failed."""
        env, fallen, causes = dict(env), set[str](), set[str]()
        owner = {name: node.name for node in self.nodes for name in (node.name, *node.inside, *node.computed)}
        for node in self.nodes:
            before = {owner[name] for name in (*node.reads, *node.after) if owner.get(name, node.name) != node.name}
            if before & fallen:
                fallen.add(node.name)
                continue
            if before and all(env[name] is SKIPPED for name in before):
                env |= dict.fromkeys((node.name, *node.inside, *node.computed), SKIPPED)
                continue
            try:
                value, inside = node.play(env, label, told)
            except Failed as failed:
                fallen.add(node.name)
                causes |= failed.tasks
                continue
            env |= {node.name: value, **inside}
        if fallen:
            raise Failed(causes)
        return env

    @property
    def last(self) -> str:
        return self.nodes[-1].name

    @property
    def reads(self) -> set[str]:
        own = {name for node in self.nodes for name in (node.name, *node.inside, *node.computed)}
        return {name for node in self.nodes for name in node.reads} - own

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for node in self.nodes for name in (node.name, *node.inside))


@dataclass(frozen=True)
class Made:
    """A pipeline document, the components beside it, and its meaning."""

    seed: int
    name: str
    text: str
    files: dict[str, str]
    body: Body
    output: dict[str, tuple[Reading, bool]] | None

    def events(self, count: int) -> list[dict[str, Any]]:
        """Events out of the same seed."""
        chance = random.Random(f"{self.seed} events")
        return [{"n": chance.randint(0, 5), "word": chance.choice(WORDS)} for _ in range(count)]

    def expect(self, event: dict[str, Any]) -> Expected:
        """What the dialect says of this event."""
        told = Told()
        try:
            env = self.body.play(event, "", told)
        except Failed as failed:
            return Expected("failed", causes=failed.tasks, told=told)
        outputs = {node.name: _null(env[node.name]) for node in self.body.nodes}
        status = "degraded" if told.degraded else "succeeded"
        return Expected(status, _null(self._output(env)), outputs, told)

    def _output(self, env: Env) -> Any:
        if self.output is None:
            return env[self.body.last]
        try:
            found = {}
            for name, (reading, hard) in self.output.items():
                value = reading.value(env, hard=hard)
                found[name] = "gone" if value is None and not hard else value
            return found
        except Skip:
            return SKIPPED


@dataclass
class Expected:
    """What a run must give."""

    status: str
    output: Any = None
    outputs: dict[str, Any] = field(default_factory=dict)
    told: Told = field(default_factory=Told)
    causes: set[str] = field(default_factory=set)


def make(seed: int, *, name: str = "", deep: int = 3) -> Made:
    """The pipeline of a seed: containers up to `deep` in one another."""
    name = name or f"nested-{seed}"
    maker = Maker(random.Random(seed), name)
    readings = [_variable("n"), _variable("word")]
    body = maker.body(readings, deep, most=6)
    document: dict[str, Any] = {
        "name": name,
        "version": "1.0.0",
        "input_variables": {"n": {"type": "integer"}, "word": {"type": "string"}},
        "tasks": maker.chance.sample([node.document for node in body.nodes], len(body.nodes)),
    }
    output = None
    if maker.chance.random() < 0.5:
        picked = maker.chance.sample(readings, min(3, len(readings)))
        output = {f"o{place}": (each, maker.chance.random() < 0.5) for place, each in enumerate(picked)}
        document["output"] = {
            key: f"{{{{ {each.hard} }}}}" if hard else f"{{{{ {each.hard} | default('gone', true) }}}}"
            for key, (each, hard) in output.items()
        }
        # `default(x, true)` sees nothing in 0 and "" too
        output = {key: (_or_gone(each) if not hard else each, hard) for key, (each, hard) in output.items()}
    return Made(seed, name, _dumped(document), maker.files, body, output)


@dataclass
class Maker:
    """Makes tasks. `readings` of a scope grow as tasks are added to it."""

    chance: random.Random
    title: str
    files: dict[str, str] = field(default_factory=dict)
    number: int = 0

    def fresh(self, prefix: str) -> str:
        self.number += 1
        return f"{prefix}{self.number}"

    def body(self, readings: list[Reading], deep: int, *, most: int = 3) -> Body:
        """Some tasks and one that comes after them all; what they bring is added to `readings`."""
        nodes: list[Node] = []
        for _ in range(self.chance.randint(0, most - 1)):
            nodes.append(self.node(readings, deep))
        last = self.script(readings)
        others = tuple(node.name for node in nodes)
        if others:
            last.document["depends_on"] = list(others)
            last.after = others
        nodes.append(last)
        readings.append(_task(last.name))
        return Body(tuple(nodes))

    def node(self, readings: list[Reading], deep: int) -> Node:
        kinds: list[Callable[..., Node]] = [self.script, self.script, self.prompt]
        if deep:
            kinds += [
                self.group,
                self.spread,
                self.each,
                self.condition,
                self.for_loop,
                self.while_loop,
                self.component,
            ]
        make_one = self.chance.choice(kinds)
        node = make_one(readings) if make_one in (self.script, self.prompt) else make_one(readings, deep - 1)
        self.policies(node, readings)
        readings.append(_task(node.name))
        readings += [_task(each) for each in node.inside] + [_computed(each) for each in node.computed]
        return node

    def policies(self, node: Node, readings: list[Reading]) -> None:
        """A condition, and what a failure means."""
        chance = self.chance
        branches = node.document["type"] in {"condition", "while_loop"} or "for_each" in node.document
        if chance.random() < 0.2 and not branches:
            text, node.condition, read = self.test(readings)
            node.document["condition"] = text
            node.reads |= read
        errors: dict[str, Any] = {}
        if chance.random() < 0.15:
            errors |= {"retry_count": 1, "retry_delay": 0}
        if "for_each" not in node.document and chance.random() < 0.6:
            node.on_failure = chance.choice(("skip", "continue", "continue"))
            errors["on_failure"] = node.on_failure
        if "for_each" not in node.document and chance.random() < 0.15:
            node.stand_in = chance.choice((7, "none", [1, 2]))
            errors["fallback_value"] = node.stand_in
        if errors:
            node.document["error_handling"] = {**node.document.get("error_handling", {}), **errors}

    def test(self, readings: list[Reading]) -> tuple[str, Callable[[Env], bool], set[str]]:
        """A condition on a name: as text, as a function, and what it reads."""
        reading, limit = self.chance.choice(readings), self.chance.randint(0, 3)
        text = f"{{{{ ({reading.hard} | string | length) > {limit} }}}}"
        reads = {reading.task} if reading.task else set()
        return text, lambda env: len(_text(reading.value(env, hard=True))) > limit, reads

    # --- work ---------------------------------------------------------------------------------------------------

    def script(self, readings: list[Reading]) -> Node:
        """A script that adds up what it reads, and may raise."""
        chance = self.chance
        name, factor, add = self.fresh("t"), chance.randint(1, 9), chance.randint(0, 50)
        picked = [(each, chance.random() < 0.4) for each in chance.sample(readings, min(len(readings), 3))]
        lines = [NUM.strip(), f"total = {add}"]
        lines += [f"total += {factor} * num({_written(each, hard=hard)})" for each, hard in picked]
        of = chance.choice((2, 3, 5)) if chance.random() < 0.15 else 0
        lines += [f"if total % {of} == 0:", f"    raise ValueError('{name} of ' + str(total))"] if of else []
        shape = chance.choice(("total % 97", "[total % 97, 1]", "{'v': total % 97}", "str(total % 97)", "None"))
        lines.append(f"return {shape}")

        def compute(env: Env, mine: str, told: Told) -> tuple[Any, Env]:
            total = add + sum(factor * _num(each.value(env, hard=hard)) for each, hard in picked)
            if of and total % of == 0:
                raise Failed({name})
            return _shaped(shape, total % 97), {}

        document = {"name": name, "type": "python_task", "script": "\n".join(lines) + "\n"}
        return Node(name, document, {each.task for each, _ in picked if each.task}, compute)

    def prompt(self, readings: list[Reading]) -> Node:
        """A model that says what it is asked, or none at all."""
        name = self.fresh("p")
        picked = self.chance.sample(readings, min(len(readings), 2))
        fails = self.chance.random() < 0.1
        document: dict[str, Any] = {
            "name": name,
            "type": "llm_task",
            "model": "offline/fail" if fails else "offline/echo",
            "prompt": f"{name}: " + " | ".join(f"{{{{ {each.hard} }}}}" for each in picked),
            "error_handling": {"retry_count": 0},
        }

        def compute(env: Env, mine: str, told: Told) -> tuple[Any, Env]:
            said = f"{name}: " + " | ".join(_text(each.value(env, hard=True)) for each in picked)
            if fails:
                raise Failed({name})
            return said, {}

        return Node(name, document, {each.task for each in picked if each.task}, compute)

    # --- containers ---------------------------------------------------------------------------------------------

    def group(self, readings: list[Reading], deep: int) -> Node:
        """Fixed children, which cannot see each other."""
        name = self.fresh("g")
        children = [self.node([*readings], deep) for _ in range(self.chance.randint(1, 3))]

        def compute(env: Env, mine: str, told: Told) -> tuple[Any, Env]:
            items: list[tuple[Node, Any]] = []
            for child in children:  # a child with `for_each` brings as many items as its list has
                inner, elements = child.spread or (child, lambda _: [SKIPPED])
                try:
                    items += [(inner, value) for value in elements(env)]
                except Skip:  # its list was skipped: it has no elements, and its siblings run
                    if len(children) == 1:
                        raise
            values = self.items(items, env, mine, told)
            found: Env = {child.name: [] for child in children if child.spread}
            for (inner, _), value in zip(items, values, strict=True):
                if inner.name in found:
                    found[inner.name].append(_null(value))
                else:
                    found[inner.name] = value
            return list(map(_null, values)), found

        document = {"name": name, "type": "parallel_group", "tasks": [child.document for child in children]}
        self.limit(document)
        reads = Body(tuple(children)).reads
        return Node(name, document, reads, compute, tuple(child.name for child in children), container=True)

    def spread(self, readings: list[Reading], deep: int) -> Node:
        """A repeated child with a computed name; the first two are read outside, if somebody asks for them."""
        name = self.fresh("s")
        each_text, elements, read = self.elements(readings)
        child = self.child(readings, deep)
        short = child.name
        child.document["name"] = f"{short}_{{{{ item.index }}}}"
        child.document["for_each"] = each_text
        child.spoken = short

        def compute(env: Env, mine: str, told: Told) -> tuple[Any, Env]:
            values = self.items([(child, value) for value in elements(env)], env, mine, told)
            return list(map(_null, values)), {
                f"{short}_{at}": values[at] if at < len(values) else None for at in (0, 1)
            }

        document = {"name": name, "type": "parallel_group", "tasks": [child.document]}
        self.limit(document)
        reads = Body((child,)).reads | read
        return Node(name, document, reads, compute, computed=(f"{short}_0", f"{short}_1"), container=True)

    def each(self, readings: list[Reading], deep: int) -> Node:
        """`for_each` on a task of any kind: all that it says of failures is said of each."""
        each_text, elements, read = self.elements(readings)
        child = self.child(readings, deep)
        child.document["for_each"] = each_text

        def compute(env: Env, mine: str, told: Told) -> tuple[Any, Env]:
            return list(map(_null, self.items([(child, value) for value in elements(env)], env, mine, told))), {}

        reads = Body((child,)).reads | read
        node = Node(child.name, child.document, reads, compute, spread=(child, elements), container=True)
        self.limit(child.document)
        return node

    def child(self, readings: list[Reading], deep: int) -> Node:
        """A task that may be repeated: it is not yet."""
        while "for_each" in (found := self.node([*readings, _item()], deep)).document:
            pass
        return found

    def items(self, items: list[tuple[Node, Any]], env: Env, mine: str, told: Told) -> list[Any]:
        """What items side by side give; one that failed fails them all. An item without a value is not repeated."""
        values, failed, index = [], set[str](), 0
        for place, (child, value) in enumerate(items):
            index = index + 1 if place and items[place - 1][0] is child else 0
            inner = env if value is SKIPPED else {**env, "item": {"index": index, "value": value}}
            try:
                values.append(Body((child,)).play(inner, f"{mine}[{place}]/", told)[child.name])
            except Failed as each:
                failed |= each.tasks
        if failed:
            raise Failed(failed)
        return values

    def condition(self, readings: list[Reading], deep: int) -> Node:
        """One of two branches; now and then there is no `else`."""
        name = self.fresh("c")
        text, test, reads = self.test(readings)
        then = self.body([*readings], deep)
        other = self.body([*readings], deep) if self.chance.random() < 0.7 else None
        document = {"name": name, "type": "condition", "condition": text, "then": self.written(then)}
        if other is not None:
            document["else"] = self.written(other)
        inside = (*then.names, *(other.names if other else ()))

        def compute(env: Env, mine: str, told: Told) -> tuple[Any, Env]:
            hidden: Env = dict.fromkeys(inside, SKIPPED)
            taken = then if test(env) else other
            if taken is None:
                return SKIPPED, hidden
            found = taken.play(env, f"{mine}[0]/", told)
            return found[taken.last], {**hidden, **{each: found[each] for each in taken.names}}

        reads = reads | then.reads | (other.reads if other else set())
        return Node(name, document, reads, compute, inside, container=True)

    def for_loop(self, readings: list[Reading], deep: int) -> Node:
        """Its body for every element; outside, the last iteration's names."""
        name, variable = self.fresh("f"), self.fresh("v")
        each_text, elements, read = self.elements(readings)
        body = self.body([*readings, _variable(variable)], deep)
        document = {"name": name, "type": "for_loop", "iterate_over": each_text, "item_variable": variable}
        document["tasks"] = self.written(body)
        if self.chance.random() < 0.3:
            self.limit(document)

        def compute(env: Env, mine: str, told: Told) -> tuple[Any, Env]:
            values, shown, failed = [], dict.fromkeys(body.names, SKIPPED), set[str]()
            for place, value in enumerate(elements(env)):
                try:
                    found = body.play({**env, variable: value}, f"{mine}[{place}]/", told)
                except Failed as each:
                    failed |= each.tasks
                    continue
                values.append(_null(found[body.last]))
                shown = {each: found[each] for each in body.names}
            if failed:
                raise Failed(failed)
            return values, shown

        return Node(name, document, body.reads | read, compute, body.names, container=True)

    def while_loop(self, readings: list[Reading], deep: int) -> Node:
        """Counts down; its last task hands on what is left, unless it is skipped: then `max_iterations` ends it."""
        name, left, total = self.fresh("w"), self.fresh("left"), self.fresh("sum")
        start, most = self.chance.randint(0, 3), self.chance.randint(1, 4)
        inner = [*readings, _variable(left), _variable(total)]
        body = self.body(inner, deep, most=2)
        step_name, last = self.fresh("h"), body.last
        script = f"{NUM.strip()}\nreturn {{'{left}': {left} - 1, '{total}': {total} + num({last})}}\n"
        step = Node(
            step_name,
            {"name": step_name, "type": "python_task", "script": script},
            {last},
            lambda env, mine, told: ({left: env[left] - 1, total: env[total] + _num(_null(env[last]))}, {}),
        )
        body = Body((*body.nodes, step))
        document: dict[str, Any] = {
            "name": name,
            "type": "while_loop",
            "condition": f"{{{{ loop_state.{left} > 0 }}}}",
            "max_iterations": most,
            "loop_state": {left: start, total: 0},
            "tasks": self.written(body),
        }

        def compute(env: Env, mine: str, told: Told) -> tuple[Any, Env]:
            state: Env = {left: start, total: 0}
            value: Any = dict(state)  # of a loop without a turn, what it began with
            shown = dict.fromkeys(body.names, SKIPPED)
            for place in range(most):
                if state[left] <= 0:
                    break
                found = body.play({**env, **state}, f"{mine}[{place}]/", told)
                value = _null(found[body.last])
                state = {**state, **(value or {})}
                shown = {each: found[each] for each in body.names}
            return value, shown

        return Node(name, document, body.reads, compute, body.names, container=True)

    def component(self, readings: list[Reading], deep: int) -> Node:
        """A file of its own, whose tasks see one parameter and one input."""
        name, chance = self.fresh("k"), self.chance
        picked = chance.choice(readings)
        number = chance.randint(0, 9)
        body = self.body([_variable("size"), _variable("scale")], min(deep, 1))
        file = f"{self.title}-{name}.yaml"
        self.files[file] = _dumped(
            {
                "type": "component",
                "name": f"Part {name}",
                "version": "1.0.0",
                "parameters": {"scale": {"type": "integer"}},
                "inputs": {"size": {"type": "integer"}},
                "tasks": self.written(body),
            }
        )
        document = {
            "name": name,
            "type": "component",
            "component": file,
            "parameters": {"scale": number},
            "inputs": {"size": f"{{{{ {picked.hard} | string | length }}}}"},
        }

        def compute(env: Env, mine: str, told: Told) -> tuple[Any, Env]:
            seen = {"size": len(_text(picked.value(env, hard=True))), "scale": number}
            return body.play(seen, f"{mine}[0]/", told)[body.last], {}

        return Node(name, document, {picked.task} if picked.task else set(), compute, container=True)

    # --- small things -------------------------------------------------------------------------------------------

    def elements(self, readings: list[Reading]) -> tuple[Any, Callable[[Env], list[Any]], set[str]]:
        """What is gone through: as written, as a function, and what it reads."""
        numbers = [reading for reading in readings if reading.hard == "n"]
        picked = self.chance.choice(readings)
        reads = {picked.task} if picked.task else set()
        ways: list[tuple[Any, Callable[[Env], list[Any]], set[str]]] = [
            ([3, "x", None], lambda env: [3, "x", None], set()),
            ([], lambda env: [], set()),
            (
                "{{ {'a': 1, 'b': 'two'} }}",
                lambda env: [{"key": "a", "value": 1}, {"key": "b", "value": "two"}],
                set(),
            ),
            (
                f"{{{{ [{picked.hard}, 2] }}}}",
                lambda env: [picked.value(env, hard=True), 2],
                reads,
            ),
        ]
        ways += [("{{ n }}", lambda env: list(range(env["n"])), set())] * 2 if numbers else []
        return self.chance.choice(ways)

    def limit(self, document: dict[str, Any]) -> None:
        if self.chance.random() < 0.7:
            document["max_concurrency"] = self.chance.randint(1, 3)

    def written(self, body: Body) -> list[dict[str, Any]]:
        documents = [node.document for node in body.nodes]
        return self.chance.sample(documents, len(documents))  # position in the file means nothing


def containers_in(document: Any) -> Iterator[str]:
    """The types of all tasks in a document."""
    if isinstance(document, dict):
        if "for_each" in document:
            yield "for_each"
        if isinstance(document.get("type"), str) and "name" in document:
            yield document["type"]
        for value in document.values():
            yield from containers_in(value)
    for value in document if isinstance(document, list) else ():
        yield from containers_in(value)


def _dumped(document: dict[str, Any]) -> str:
    yaml.SafeDumper.ignore_aliases = lambda *_: True  # type: ignore[method-assign, assignment]
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=10_000)


def _variable(name: str) -> Reading:
    return Reading(name, name, lambda env: env[name])


def _task(name: str) -> Reading:
    return Reading(f"context.get_task_output('{name}')", name, lambda env: env[name], name)


def _computed(name: str) -> Reading:
    return Reading(
        f"context.get_task_output('{name}')", f"tasks['{name}'] | default(none)", lambda env: _null(env[name]), name
    )


def _item() -> Reading:
    return Reading("item['value']", "item.value", lambda env: env["item"]["value"])


def _or_gone(reading: Reading) -> Reading:
    return Reading(reading.soft, reading.hard, lambda env: _null(reading.get(env)) or None, reading.task)


def _written(reading: Reading, *, hard: bool) -> str:
    return f"{{{{ {reading.hard} }}}}" if hard else reading.soft


def _shaped(shape: str, total: int) -> Any:
    values = {"total % 97": total, "[total % 97, 1]": [total, 1], "{'v': total % 97}": {"v": total}}
    return {**values, "str(total % 97)": str(total), "None": None}[shape]


def _null(value: Any) -> Any:
    return None if value is SKIPPED else value


def _num(value: Any) -> int:
    if value is None or isinstance(value, int):
        return int(value or 0)
    if isinstance(value, dict):
        value = list(value.values())
    return len(value) if isinstance(value, str) else sum(map(_num, value))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
