"""A pipeline as it is written, before it is known to be right: its tasks, and every text in them that is compiled.

Reads the raw data, so that all that is wrong is found in one pass, whatever else is wrong beside it.

Promises
  * A text that cannot be compiled is reported once, at its own line, and reads nothing.
  * What a fallback reads counts as read by the task it stands in for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

from stream_orchestrator.plan import templates
from stream_orchestrator.plan.components import Components, problems_of_use
from stream_orchestrator.plan.model import EVERYTHING
from stream_orchestrator.plan.readings import ANYTHING
from stream_orchestrator.plan.scripts import Script, ScriptProblem
from stream_orchestrator.plan.services import SECRET, rendered_keys
from stream_orchestrator.plan.templates import Reference, TemplateProblem
from stream_orchestrator.spec import bodies
from stream_orchestrator.spec.bodies import Inside
from stream_orchestrator.spec.custom import installed
from stream_orchestrator.spec.documents import Document
from stream_orchestrator.spec.located import Located, Mark, Path
from stream_orchestrator.spec.problems import Problems

RENDERED = (
    *("prompt", "system", "system_message", "model", "max_tokens", "temperature", "top_p", "stop", "seed"),
    *("frequency_penalty", "presence_penalty", "fallback_models"),
)
_RENDERED_OF: dict[str, tuple[str, ...]] = {
    "parallel_group": ("max_concurrency",),
    "for_loop": ("max_concurrency", "iterate_over", "max_iterations"),
    "while_loop": ("loop_state", "max_iterations"),
    "component": ("parameters",),
    "dynamic_task_group": (*bodies.ARRIVING, "max_tasks"),
    "pipeline_group": ("max_concurrency",),
}
Kind = Literal["template", "condition", "script"]


@dataclass(frozen=True, slots=True)
class Text:
    """One template, condition or script, and what it reads. `local` names are those of the task's own `inputs`, and of
    the bodies it stands in; `inner` are tasks of those bodies.
    """

    path: Path
    kind: Kind
    source: Any
    names: frozenset[str] = frozenset()
    references: frozenset[Reference] = frozenset()
    script: Script | None = None
    local: frozenset[str] = frozenset()
    inner: frozenset[str] = frozenset()

    def asks(self) -> frozenset[str]:
        """The names that it asks of the tasks around it, by template, by name and by `get_task_output`."""
        keyed = frozenset(key for holder, key in self.references if holder == "tasks" and key is not None)
        read = (self.names - self.local) | keyed
        if self.script is not None:
            values = self.script.free_names - self.script.called_names - self.local
            read |= values | self.script.task_outputs
        return read - self.inner

    def patterns(self) -> frozenset[str]:
        """Regexes of computed names of tasks; `ANYTHING` for a wholly computed one."""
        keys = [key for holder, key in self.references if holder == "tasks"]
        as_a_whole = "tasks" in self.names and (not keys or None in keys)
        computed = self.script.dynamic_task_outputs if self.script else frozenset()
        return computed | ({ANYTHING} if as_a_whole else frozenset())


@dataclass(frozen=True, slots=True)
class Frame:
    """The body of a container. `local` are names that only its tasks see. `named`: its task's name may be a template.

    `closed`: nothing around it is seen (a component, in a file of its own).
    """

    inside: Inside
    located: Located
    tasks: tuple[Draft, ...]
    local: frozenset[str] = frozenset()
    named: bool = False
    closed: bool = False
    document: Document | None = None
    output: tuple[Text, ...] = ()

    def texts(self) -> Iterator[Text]:
        """All texts in it, as those around it see them."""
        if self.closed:
            return
        inner = frozenset(task.name for task in self.tasks) | frozenset(
            name for task in self.tasks for name in task.aliases()
        )
        for task in self.tasks:
            for text in task.every_text():
                yield replace(text, local=text.local | self.local | inner, inner=text.inner | inner)

    def reads(self) -> tuple[str, ...]:
        """The names of the scope around that its texts may read; `EVERYTHING` where only a run knows."""
        found: set[str] = set()
        for text in self.texts():
            found |= text.asks() | {key for holder, key in text.references if holder == "inputs" and key is not None}
            variables = text.script.every_variable if text.script else frozenset()
            whole = "inputs" in text.names and not any(holder == "inputs" and key for holder, key in text.references)
            found |= variables - {ANYTHING}
            if whole or ANYTHING in variables or text.patterns():
                found.add(EVERYTHING)
        return tuple(sorted(found - _ALWAYS))


@dataclass(frozen=True, slots=True)
class Draft:
    """A task or a fallback of one."""

    name: str
    path: Path
    data: dict[str, Any]
    texts: tuple[Text, ...]
    fallbacks: tuple[Draft, ...] = ()
    depends_on: tuple[tuple[str, Path], ...] = ()
    frames: tuple[Frame, ...] = ()

    def every_text(self) -> Iterator[Text]:
        """Its own texts, those of its fallbacks, and those inside it."""
        yield from self.texts
        for fallback in self.fallbacks:
            yield from fallback.every_text()
        for frame in self.frames:
            yield from frame.texts()

    def own_texts(self) -> Iterator[Text]:
        """Its own texts and those of its fallbacks."""
        yield from self.texts
        for fallback in self.fallbacks:
            yield from fallback.texts

    def waits(self) -> Iterator[str]:
        """What it depends on by name, tasks inside it included: they begin with it."""
        yield from (name for name, _ in self.depends_on)
        for task in (task for frame in self.frames if not frame.closed for task in frame.tasks):
            yield from task.waits()

    def aliases(self) -> Iterator[str]:
        """The names inside it that those around it may read, and further ones of its own output; a templated one is a
        template still.
        """
        output, parts = self.data.get("output"), self.data.get("outputs")
        names = [output, *(parts if isinstance(parts, list | dict) else ())]
        yield from (name for name in names if isinstance(name, str) and name.isidentifier())
        members = self.data.get("pipelines") if self.data.get("type") == "pipeline_group" else None
        for member in members if isinstance(members, list) else ():
            if isinstance(member, dict) and isinstance(member.get("name"), str):
                yield member["name"]
        for frame in self.frames:
            if frame.closed or frame.inside.role == "each":
                continue
            for task in frame.tasks:
                yield task.name
                if frame.inside.role != "child":
                    yield from task.aliases()


@dataclass(frozen=True)
class Sketch:
    """All of a document, or of the body of a container, that a graph is made of. `around` is the scope it stands in."""

    located: Located
    tasks: tuple[Draft, ...]
    inputs: dict[str, Any] | None
    output: tuple[Text, ...] = field(default=())
    local: frozenset[str] = frozenset()
    around: Sketch | None = None

    def inside(self, frame: Frame) -> Sketch:
        """The body of one of these tasks, as a document of its own."""
        if frame.closed:
            return Sketch(frame.located, frame.tasks, dict.fromkeys(frame.local), frame.output)
        local = self.local | frame.local
        if frame.inside.role == "loop" and "loop_state" not in frame.local:
            local |= {"item"}  # its own, or that of the loop around it
        return Sketch(frame.located, frame.tasks, self.inputs, (), local=local, around=self)

    def owner(self, name: str) -> str | None:
        """The task that brings an output of that name: itself, or a container with a task of that name inside."""
        if name in self.names:
            return name
        return self._inside.get(name) or next((owner for alias, owner in self._computed if _matches(alias, name)), None)

    @cached_property
    def _inside(self) -> dict[str, str]:
        return {alias: task.name for task in reversed(self.tasks) for alias in task.aliases()}

    @cached_property
    def _computed(self) -> list[tuple[str, str]]:
        return [(alias, owner) for alias, owner in self._inside.items() if "{{" in alias]

    def owners(self, pattern: str) -> list[str]:
        """The tasks that bring an output whose name matches a regex."""
        named = [name for name in self.names if re.fullmatch(pattern, name)]
        inside = (owner for alias, owner in self._inside.items() if re.fullmatch(pattern, _sample(alias)))
        return list(dict.fromkeys((*named, *inside)))

    def sees(self, name: str) -> bool:
        """Whether a name is the output of a task here or around here, or a name of a body."""
        if name in self.local or self.owner(name) is not None:
            return True
        return self.around is not None and self.around.sees(name)

    def names_of_bodies(self) -> frozenset[str]:
        """Names that loops and groups around this give their tasks."""
        return self.local | (self.around.names_of_bodies() if self.around else frozenset())

    def visible(self) -> frozenset[str]:
        """Every name of a task or a body that can be read here."""
        around = self.around.visible() if self.around else frozenset()
        return around | self.local | self.names.keys() | self._inside.keys()

    @cached_property
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
    """Read the document and the components it uses; what cannot be compiled goes to `problems`."""
    data = located.data if isinstance(located.data, dict) else {}
    reader = _Reader(located, problems, Components())
    output = [text for key in ("output", "outputs") if key in data for text in reader.templates((key,), data[key])]
    variables = data.get("input_variables")
    tasks = tuple(reader.tasks(("tasks",), data.get("tasks")))
    return Sketch(located, tasks, variables if isinstance(variables, dict) else None, tuple(output))


@dataclass(frozen=True, slots=True)
class _Reader:
    located: Located
    problems: Problems
    components: Components

    def tasks(self, path: Path, items: Any) -> Iterator[Draft]:
        if isinstance(items, dict):
            yield from self.task(path, items)
        for index, item in enumerate(items) if isinstance(items, list) else ():
            yield from self.task((*path, index), item)

    def task(self, path: Path, data: Any, *, repeated: bool = False) -> Iterator[Draft]:
        if not isinstance(data, dict) or not isinstance(data.get("name"), str):
            return
        errors = data.get("error_handling")
        errors = errors if isinstance(errors, dict) else {}
        fallbacks = tuple(self.tasks((*path, "error_handling", "fallback"), errors.get("fallback")))
        frames = tuple(self.frames(path, data, repeated=repeated))
        if frames and frames[0].inside.role == "each":
            # A task that is repeated is a group of one child: what it waits for is the group's, all else the child's.
            texts = tuple(self.repeating(path, data))
            fallbacks = ()
        else:
            texts = (*self.texts(path, data), *(text for frame in frames for text in self.repeated(path, frame)))
        waits = data.get("depends_on")
        listed = [(waits, ("depends_on",))] if isinstance(waits, str) else _numbered(waits)
        depends_on = tuple((name, (*path, *place)) for name, place in listed if isinstance(name, str))
        yield Draft(data["name"], path, data, texts, fallbacks, depends_on, frames)

    def frames(self, path: Path, data: dict[str, Any], *, repeated: bool) -> Iterator[Frame]:
        """What is inside a task."""
        if data.get("type") == "component" and (repeated or data.get("for_each") is None):
            frame = self.component(path, data)
            if frame is not None:
                yield frame
        for inside in bodies.written(data, repeated=repeated):
            place = (*path, *inside.path)
            if inside.role in {"each", "child"}:
                tasks = self.task(place, inside.tasks[0], repeated=True)
            else:
                single = not isinstance(data.get(str(inside.path[0])), list)
                tasks = self.tasks(place, inside.tasks[0] if single else list(inside.tasks))
            child = inside.tasks[0] if inside.tasks else None
            # In a list of tasks, one that is repeated is a container of its own.
            alone = inside.role in {"each", "child"}
            each = alone and isinstance(child, dict) and child.get("for_each") is not None
            local = _LOCAL[inside.role](data, each)
            named = each and inside.role == "child"
            yield Frame(inside, self.located, tuple(tasks), frozenset(local), named=named)

    def repeating(self, path: Path, data: dict[str, Any]) -> Iterator[Text]:
        """What says how often a task is repeated, and how often at once."""
        yield from self.templates((*path, "for_each"), bodies.elements(data["for_each"]))
        yield from self.templates((*path, "max_concurrency"), data.get("max_concurrency"))

    def repeated(self, path: Path, frame: Frame) -> Iterator[Text]:
        """What a group reads to repeat a child: its list, how many at once, and its name."""
        if frame.named:
            (child,), place = frame.inside.tasks, (*path, *frame.inside.path)
            yield from self.repeating(place, child)
            yield from self.templates((*place, "name"), child.get("name"), local=frozenset({"item"}))

    def component(self, path: Path, data: dict[str, Any]) -> Frame | None:
        """The component that a task names, read from its own file."""
        found = self.components.find(self.located, (*path, "component"), data.get("component"), self.problems)
        if found is None:
            return None
        inner = found.located.data
        self.problems.extend(problems_of_use(self.located, path, data, inner))
        given = [data.get(key) for key in ("parameters", "inputs")] + [
            inner.get(key) for key in ("parameters", "inputs")
        ]
        local = frozenset(name for names in given if isinstance(names, dict) for name in names)
        reader = replace(self, located=found.located, components=self.components.inside(found))
        output = [
            text for key in ("output", "outputs") if key in inner for text in reader.templates((key,), inner[key])
        ]
        inside = Inside("component", (), ())
        tasks = tuple(reader.tasks(("tasks",), inner.get("tasks")))
        return Frame(inside, found.located, tasks, local, closed=True, document=found, output=tuple(output))

    def texts(self, path: Path, data: dict[str, Any]) -> Iterator[Text]:
        given = data.get("inputs")
        local = frozenset(given) if isinstance(given, dict) else frozenset()
        yield from self.templates((*path, "inputs"), given)
        for key in (*RENDERED, *_RENDERED_OF.get(str(data.get("type")), ())):
            value = bodies.elements(data.get(key)) if key == "iterate_over" else data.get(key)
            yield from self.templates((*path, key), value, local=local)
        for key in rendered_keys(str(data.get("type"))):
            yield from self.templates((*path, key), data.get(key), local=local | {SECRET})
        members = data.get("pipelines") if data.get("type") == "pipeline_group" else None
        for index, member in enumerate(members if isinstance(members, list) else ()):
            yield from self.templates((*path, "pipelines", index, "inputs"), _get(member, "inputs"), local=local)
        if str(data.get("type")) in installed():
            yield from self.templates((*path, "options"), data.get("options"), local=local)
        if data.get("type") == "while_loop":
            state = data.get("loop_state")
            local |= {"loop", "loop_state", *(state if isinstance(state, dict) else ())}
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


def components_of(drawn: Sketch) -> Iterator[Located]:
    """The documents of the components that are used, each as often as it is."""
    for frame in (frame for task in drawn.tasks for frame in task.frames):
        if frame.closed:
            yield frame.located
        yield from components_of(drawn.inside(frame))


def _matches(alias: str, name: str) -> bool:
    """Whether a name is that of a task inside a container, or may be one of its computed names."""
    if alias == name or "{{" not in alias:
        return alias == name
    return re.fullmatch(".+".join(map(re.escape, _TEMPLATE.split(alias))), name) is not None


def _get(data: Any, key: str) -> Any:
    return data.get(key) if isinstance(data, dict) else None


def _sample(alias: str) -> str:
    return _TEMPLATE.sub("0", alias)


_ALWAYS = frozenset({"context", "logger", "inputs", "tasks", "run", "env"})
_TEMPLATE = re.compile(r"\{\{.*?\}\}")


def _each_names(_data: dict[str, Any], each: bool) -> set[str]:
    return {"item"} if each else set()


def _loop_names(data: dict[str, Any], _each: bool) -> set[str]:
    state = data.get("loop_state") if data.get("type") == "while_loop" else None
    named = (data.get("item_variable"), data.get("index_variable"))
    # A loop that names its element leaves an `item` around it as it is: whoever has both names means both.
    own = {"loop_state"} if data.get("type") != "for_loop" else set() if data.get("item_variable") else {"item"}
    return {
        "loop",
        *own,
        *(name for name in named if isinstance(name, str)),
        *(state if isinstance(state, dict) else ()),
    }


def _no_names(_data: dict[str, Any], _each: bool) -> set[str]:
    return set()


_LOCAL = {"each": _each_names, "child": _each_names, "loop": _loop_names, "then": _no_names, "else": _no_names}


def _numbered(items: Any) -> list[tuple[Any, Path]]:
    return [(item, ("depends_on", index)) for index, item in enumerate(items)] if isinstance(items, list) else []
