"""Names: whether each stands for something, and for one thing only."""

from __future__ import annotations

import builtins
import difflib
import re
from collections.abc import Iterable, Iterator

from stream_orchestrator.plan import names
from stream_orchestrator.plan.drafts import Draft, Frame, Sketch, Text, place_of
from stream_orchestrator.plan.functions import defined_in
from stream_orchestrator.plan.readings import ANYTHING
from stream_orchestrator.spec.problems import Problem

RESERVED = frozenset({"context", "logger", "inputs", "tasks", "item", "run", "env"})
PAYLOAD = "input_data"
IN_TEMPLATES = frozenset({"inputs", "tasks", "run", "env", PAYLOAD})
IN_SCRIPTS = IN_TEMPLATES | {"context", "logger", "process_with_llm"}
_BUILTINS = frozenset(dir(builtins)) | {"__name__", "__file__"}
_SINGLE = re.compile(r"(?<!\{)\{\s*(?P<name>[A-Za-z_]\w*)\s*(?:[|.\[][^{}\n]*?)?(?P<close>\}\}?)")
_ADD = "add it to `input_variables`, or name a task"
_SURE = 0.75  # so alike that it can only be a slip


def nearest(name: str, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """The known name that is most like this one, or nothing."""
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff)
    return found[0] if found else ""


def problems_of_names(sketch: Sketch) -> Iterator[Problem]:
    """Names of tasks and variables: unique, free, and with a slug of their own; in bodies too."""
    located, seen, slugs = sketch.located, dict[str, str](), dict[str, str]()
    for task in sketch.tasks:
        yield from _problems_of_name(sketch, task, seen)
        for frame in task.frames:
            yield from problems_of_names(sketch.inside(frame))
        slug = names.task_slug(task.name)
        other = slugs.setdefault(slug, task.name)
        if other != task.name:
            message = f"the tasks `{other}` and `{task.name}` would share the topic name `{slug}`"
            yield located.problem("slug-collision", message, path=(*task.path, "name"), hint="rename one of them")
    for name in (sketch.inputs or ()) if sketch.around is None else ():
        if name in RESERVED:
            hint = "rename the variable; the name is ours"
            path = ("input_variables", name) if "input_variables" in located.data else ()
            yield located.problem("reserved-name", f"`{name}` is reserved", path=path, hint=hint)


def _problems_of_name(sketch: Sketch, task: Draft, seen: dict[str, str]) -> Iterator[Problem]:
    located, path, name = sketch.located, (*task.path, "name"), task.name
    if ("{{" in name or "{%" in name) and not _is_repeated(sketch, task):
        alone = task.data.get("for_each") is not None
        hint = _COMPUTED_ALONE if alone else "only tasks that are repeated have computed names"
        yield located.problem("templated-name", "a task's name cannot be a template", path=path, hint=hint)
    if name in seen:
        hint = "others read its output by the name"
        yield located.problem("duplicate-task", f"there are two tasks named `{name}`", path=path, hint=hint)
    seen.setdefault(name, name)
    if name in RESERVED:
        yield located.problem(
            "reserved-name", f"`{name}` is reserved", path=path, hint="rename the task; the name is ours"
        )
    elif sketch.around is not None and _is_taken(sketch.around, name):
        message = f"there are two tasks named `{name}`, one inside the other's scope"
        yield located.problem("duplicate-task", message, path=path, hint="others read its output by the name")
    elif name in sketch.local:
        message = f"`{name}` is a task and a name of the loop it stands in"
        yield located.problem("name-clash", message, path=path, hint="rename one; a name stands for one thing")
    elif name == PAYLOAD or name in (sketch.inputs or ()):
        message = f"`{name}` is a task and an input variable"
        yield located.problem("name-clash", message, path=path, hint="rename one; a name stands for one thing")
    for fallback in task.fallbacks:
        yield from _problems_of_name(sketch, fallback, seen)


_COMPUTED_ALONE = (
    "its outputs are one list: name it plainly and read `name[0]`, or make it the child of a `parallel_group`, whose "
    "children have computed names"
)


def _is_repeated(sketch: Sketch, task: Draft) -> bool:
    """Whether a task's name may be computed: `item` is there for it."""
    return "item" in sketch.local and sketch.around is not None and task.name not in sketch.around.names


def _is_taken(around: Sketch, name: str) -> bool:
    """Whether a name around a body is a task's; a task that is repeated is its own body."""
    if around.around is not None and _is_taken(around.around, name):
        return True
    draft = around.names.get(name)
    return draft is not None and not any(frame.inside.role == "each" for frame in draft.frames)


def problems_of_pipeline(sketch: Sketch, slug: str) -> Iterator[Problem]:
    """The pipeline's own name, as topics have it."""
    if slug == names.HOUSE:
        message = f"the topics `{slug}.*` are ours"
        yield sketch.located.problem("reserved-name", message, path=("name",), hint="rename the pipeline")


def problems_of_texts(sketch: Sketch) -> Iterator[Problem]:
    """Names in templates, conditions and scripts that stand for nothing."""
    for task in sketch.tasks:
        for text in task.own_texts():
            yield from _problems_of_text(sketch, task, text)
        for frame in task.frames:
            yield from problems_of_texts(sketch.inside(frame))
            if frame.inside.role == "child":
                yield from _siblings(sketch, task, frame)
    for text in sketch.output:
        yield from _problems_of_text(sketch, None, text)


def _siblings(sketch: Sketch, group: Draft, frame: Frame) -> Iterator[Problem]:
    """Children of a group that ask for each other's output, or wait for each other."""
    own = {task.name for task in frame.tasks}
    waits = {name for task in frame.tasks for name in task.waits()}
    asked = waits.union(*(text.asks() for text in frame.texts()))
    for name in sorted(asked - own):
        if sketch.owner(name) == group.name and name != group.name:
            child = next(iter(own), "")
            message = f"`{child}` needs `{name}`, and both are children of `{group.name}`: they run side by side"
            hint = "put one of them after the group, or both into a `for_loop` or a component"
            yield frame.located.problem("needs-sibling", message, path=(*group.path, *frame.inside.path), hint=hint)


def _problems_of_text(sketch: Sketch, task: Draft | None, text: Text) -> Iterator[Problem]:
    own = task.name if task else None
    for name in sorted(text.names - text.local - IN_TEMPLATES):
        yield from _template_name(sketch, text, name, own)
    for holder, key in sorted(text.references, key=str):
        if key is not None and holder == "tasks":
            yield from _task_name(sketch, text, key, own)
        if key is not None and holder == "inputs" and sketch.declared:
            yield from _variable(sketch, text, key)
    if text.kind == "template":
        yield from _single_braces(sketch, text)
    if text.script is not None:
        for name in sorted(text.script.task_outputs):
            yield from _task_name(sketch, text, name, own)
        for name in sorted(text.script.variables if sketch.declared else ()):
            yield from _variable(sketch, text, name)
        yield from _patterns(sketch, text)


def _single_braces(sketch: Sketch, text: Text) -> Iterator[Problem]:
    """`{ name }}` and `{name}` around a name that is known: text as it stands, and hardly meant so."""
    for found in _SINGLE.finditer(str(text.source)):
        name = found["name"]
        if sketch.sees(name) or name in (sketch.inputs or ()):
            half = found["close"] == "}}"
            message = f"`{found[0]}` is text, not a template"
            hint = f"write `{{{{ {name} }}}}` for the value"
            yield _at(sketch, text, found[0], "single-braces", message, hint, warning=not half)


def _template_name(sketch: Sketch, text: Text, name: str, own: str | None) -> Iterator[Problem]:
    if name in sketch.local:
        return
    if sketch.sees(name) or name in _fallbacks(sketch):
        yield from _task_name(sketch, text, name, own)
    elif name in (sketch.inputs or ()):
        return
    elif sketch.declared or name in RESERVED:
        near = nearest(name, {*(sketch.inputs or ()), *sketch.visible(), *text.local, *IN_TEMPLATES} - {own})
        here = sketch.located.data.get("type") == "component"
        add = "declare it under `parameters:`: a component sees nothing else" if here else _ADD
        hint = f"did you mean `{near}`?" if near else add
        hint = _hint_within(sketch, name) or hint
        yield _at(sketch, text, name, "unknown-name", f"`{name}` is neither an input variable nor a task", hint)
    else:
        near = nearest(name, sketch.visible() - {own}, cutoff=_SURE)
        if near:
            message = f"`{name}` is taken for a key of the payload, and looks like the task `{near}`"
            hint = "declare `input_variables` to be sure"
            yield _at(sketch, text, name, "looks-like-a-task", message, hint, warning=True)


def _task_name(sketch: Sketch, text: Text, name: str, own: str | None) -> Iterator[Problem]:
    if name == own:
        hint = "a task reads the outputs of others"
        if "loop_state" in sketch.local:
            hint = "what one iteration hands to the next goes through `loop_state`"
        yield _at(sketch, text, name, "self-reference", f"the task `{name}` reads its own output", hint)
    elif sketch.sees(name):
        return
    elif name in _fallbacks(sketch):
        hint = f"read `{_fallbacks(sketch)[name]}`: its output goes by that name, whoever answered"
        yield _at(sketch, text, name, "fallback-output", f"`{name}` is a fallback", hint)
    else:
        near = nearest(name, sketch.visible() - {own})
        hint = f"did you mean `{near}`?" if near else f"the tasks are: {', '.join(sketch.names)}"
        hint = _hint_within(sketch, name) or hint
        yield _at(sketch, text, name, "unknown-task", f"there is no task `{name}`", hint)


def _variable(sketch: Sketch, text: Text, name: str) -> Iterator[Problem]:
    if name not in (sketch.inputs or ()) and name not in {"get", "items", "keys", "values", PAYLOAD}:
        near = nearest(name, sketch.inputs or ())
        hint = f"did you mean `{near}`?" if near else "add it to `input_variables`"
        yield _at(sketch, text, name, "unknown-name", f"there is no input variable `{name}`", hint)


def _patterns(sketch: Sketch, text: Text) -> Iterator[Problem]:
    assert text.script is not None
    for pattern in sorted(text.script.dynamic_task_outputs):
        mark = sketch.located.inside(text.path, text.script.lines[pattern])
        if pattern == ANYTHING:
            message, hint = (
                "the name of a task is computed: this task waits for every task before it",
                "write the names",
            )
        elif not _has_owner(sketch, pattern):
            message, hint = "the computed name of a task matches no task", "check the constant part of the name"
        else:
            continue
        yield sketch.located.problem(
            "computed-task-name", message, path=text.path, hint=hint, mark=mark, severity="warning"
        )


def _has_owner(sketch: Sketch | None, pattern: str) -> bool:
    return sketch is not None and (bool(sketch.owners(pattern)) or _has_owner(sketch.around, pattern))


def every_text(sketch: Sketch) -> Iterator[tuple[Sketch, Text]]:
    """All texts of a document, each with the scope that it stands in."""
    for task in sketch.tasks:
        yield from ((sketch, text) for text in task.own_texts())
        for frame in task.frames:
            yield from every_text(sketch.inside(frame))


def helpers_of(sketch: Sketch, text: Text) -> frozenset[str]:
    """The names in a script that are neither bound nor ours: helper functions, if anything."""
    if text.script is None:
        return frozenset()
    known = _BUILTINS | IN_SCRIPTS | text.local | sketch.names_of_bodies() | (sketch.inputs or {}).keys()
    called, free = text.script.called_names, text.script.free_names
    candidates = free if sketch.declared else called  # otherwise a name that is not called is a key of the payload
    return frozenset(name for name in candidates - known if not sketch.sees(name) or name in called)


def problems_of_helpers(sketch: Sketch, functions: Iterable[str]) -> Iterator[Problem]:
    """Names in scripts that nobody defines."""
    defined = defined_in(functions)
    for scope, text in every_text(sketch):
        for name in sorted(helpers_of(scope, text) - defined):
            yield _helper(scope, text, name, defined)


def _helper(sketch: Sketch, text: Text, name: str, defined: frozenset[str]) -> Problem:
    assert text.script is not None
    values = {*(sketch.inputs or ()), *sketch.visible(), *text.local, *IN_SCRIPTS}
    slip = "" if name in text.script.called_names else nearest(name, values, cutoff=_SURE)
    if slip:
        return _at(
            sketch, text, name, "unknown-name", f"`{name}` is not known in this script", f"did you mean `{slip}`?"
        )
    if hint := "" if name in text.script.called_names else _hint_within(sketch, name):
        return _at(sketch, text, name, "unknown-name", f"`{name}` is not known in this script", hint)
    near = nearest(name, {*defined, *values, *_BUILTINS}, cutoff=_SURE)
    hint = f"did you mean `{near}`?" if near else "name its file under `functions:` or with `--functions`"
    return _at(sketch, text, name, "unknown-helper", f"nobody defines `{name}`", hint, warning=True)


def _within(sketch: Sketch, name: str) -> str:
    """The task that has one of that name inside, where nobody outside reads it; or nothing."""
    for task in sketch.tasks:
        for frame in task.frames:
            inner = sketch.inside(frame)
            if name != task.name and (name in inner.names or _within(inner, name)):
                return task.name
    return ""


def _hint_within(sketch: Sketch, name: str) -> str:
    owner = _within(sketch, name)
    return f"`{name}` stands inside `{owner}`, and is not seen from here: read `{owner}`" if owner else ""


def _fallbacks(sketch: Sketch) -> dict[str, str]:
    return {fallback.name: task.name for task in sketch.tasks for fallback in task.fallbacks}


def _at(sketch: Sketch, text: Text, name: str, rule: str, message: str, hint: str, *, warning: bool = False) -> Problem:
    mark = place_of(sketch.located, text, name)
    severity = "warning" if warning else "error"
    return sketch.located.problem(rule, message, path=text.path, hint=hint, mark=mark, severity=severity)  # type: ignore[arg-type]
