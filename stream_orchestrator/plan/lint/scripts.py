"""Rules about scripts: what they do, and what goes wrong in them without an error."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import replace

from stream_orchestrator.plan.lint.model import Edit, Finding, Rule, ScriptView, Subject, TaskView
from stream_orchestrator.plan.lint.sources import gives_text

MAX_LINES = 60  # two screens; the largest script of the shipped pipelines has 17
MAX_HELPERS = 4

MONOLITH = Rule(
    id="monolith-script",
    severity="warning",
    summary=f"a script calls more than {MAX_HELPERS} helpers, or has more than {MAX_LINES} lines of code",
    why="its parts cannot be retried, cached, watched or run side by side, and a crash repeats all of them",
    instead="make each responsibility a task of its own, or a pipeline of its own",
)
RERAISE = Rule(
    id="raise-e",
    severity="info",
    summary="`raise e` in the `except` that caught `e`",
    why="it adds a line to the traceback that says nothing",
    instead="write `raise`",
    fixable=True,
)
SWALLOWED = Rule(
    id="swallowed-error",
    severity="warning",
    summary="every error is caught, and nothing is done with it",
    why="the task succeeds with a wrong answer: no retry, no fallback, no dead letter",
    instead="catch the error that you expect, or let it go: `error_handling` decides what a failure means",
)
ZERO_STEP = Rule(
    id="zero-step",
    severity="warning",
    summary="a size that was divided (`len(items) // 4`) is a step or divisor, and can be 0",
    why="with few items the step is 0, and the script fails",
    instead="give it a lower bound: `max(1, len(items) // 4)`",
)
BATCH = Rule(
    id="batch-without-result",
    severity="warning",
    summary="a script waits for its batch, and then returns nothing",
    why="when the window closes, the output of every event in it is null",
    instead="return a result after `wait_for_batch_completion`, or leave the waiting to `batch:`",
)
LETTERS = Rule(
    id="text-as-list",
    severity="warning",
    summary="the text of a model is iterated: `results.extend(text)`, `for x in text`",
    why="a text is iterated letter by letter",
    instead="use `append(text)`; or ask for a list with `output_type: array` or `output_schema`",
)
RULES = (MONOLITH, RERAISE, SWALLOWED, ZERO_STEP, BATCH, LETTERS)
_BROAD = ("Exception", "BaseException")


def check(subject: Subject) -> Iterator[Finding]:
    """All findings of these rules."""
    for task in subject.tasks:
        if task.script is not None:
            yield from _monolith(subject, task, task.script)
            yield from _handlers(subject, task.script)
            yield from _steps_and_letters(subject, task.script)
            yield from _batches(subject, task.script)
        yield from _for_each(subject, task)


def _monolith(subject: Subject, task: TaskView, script: ScriptView) -> Iterator[Finding]:
    lines = sum(bool(line.strip()) and not line.strip().startswith("#") for line in script.text.split("\n"))
    if len(script.helpers) > MAX_HELPERS:
        names = ", ".join(f"`{name}`" for name in sorted(script.helpers)[:8])
        message = f"the script of `{task.name}` calls {len(script.helpers)} helpers: {names}"
        yield subject.find(MONOLITH, message, script.path)
    elif lines > MAX_LINES:
        yield subject.find(MONOLITH, f"the script of `{task.name}` has {lines} lines of code", script.path)


def _handlers(subject: Subject, script: ScriptView) -> Iterator[Finding]:
    seen = set[int]()
    for node, line in script.nodes():
        if not isinstance(node, ast.ExceptHandler):
            continue
        if _is_silent(node) and line not in seen:
            seen.add(line)
            yield subject.find_in_script(SWALLOWED, "every error is caught here and forgotten", script, line, "except")
        for raised in _reraised(node):
            at = line + raised.lineno - node.lineno
            if at not in seen:
                seen.add(at)
                yield _reraise(subject, script, at, f"raise {node.name}")


def _is_silent(node: ast.ExceptHandler) -> bool:
    broad = node.type is None or (isinstance(node.type, ast.Name) and node.type.id in _BROAD)
    return broad and all(
        isinstance(each, ast.Pass | ast.Continue)
        or (isinstance(each, ast.Expr) and isinstance(each.value, ast.Constant))
        for each in node.body
    )


def _reraised(handler: ast.ExceptHandler) -> Iterator[ast.Raise]:
    """`raise e` of this handler's own `e`: not in functions, other handlers, or after `e` was bound again."""
    if handler.name is None:
        return
    inside = list(_own(handler.body))
    bound = any(isinstance(node, ast.Name) and node.id == handler.name and _stores(node) for node in inside)
    for node in inside:
        same = isinstance(node, ast.Raise) and isinstance(node.exc, ast.Name) and node.exc.id == handler.name
        if isinstance(node, ast.Raise) and same and node.cause is None and not bound:
            yield node


def _stores(node: ast.Name) -> bool:
    return not isinstance(node.ctx, ast.Load)


def _own(body: Sequence[ast.AST]) -> Iterator[ast.AST]:
    for node in body:
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef | ast.Try):
            yield from _own(list(ast.iter_child_nodes(node)))


def _reraise(subject: Subject, script: ScriptView, line: int, old: str) -> Finding:
    found = subject.find_in_script(RERAISE, f"`{old}` in the handler that caught it", script, line, old)
    problem = found.problem
    start = problem.column - 1
    exact = problem.source[start:].rstrip() == old or problem.source[start:].startswith((f"{old} ", f"{old}#"))
    return replace(found, edit=Edit(problem.line, problem.column, old, "raise")) if exact else found


def _steps_and_letters(subject: Subject, script: ScriptView) -> Iterator[Finding]:
    seen = set[tuple[str, int]]()
    for use, line in script.uses():
        place = (use.kind, line)
        if use.kind == "step" and place not in seen:
            yield subject.find_in_script(ZERO_STEP, "this step or divisor is 0 when there are few items", script, line)
        if use.kind == "iterate" and place not in seen:
            yield subject.find_in_script(LETTERS, "a model's text is taken apart into letters here", script, line)
        seen.add(place)


def _for_each(subject: Subject, task: TaskView) -> Iterator[Finding]:
    """`for_each: "{{ summary }}"` of a model's text."""
    for key in ("for_each", "iterate_over"):
        given = task.data.get(key)
        name = given.strip().removeprefix("{{").removesuffix("}}").strip() if isinstance(given, str) else ""
        if name and any(other.name == name and gives_text(other.data) for other in subject.tasks):
            message = f"`{key}` goes through the text of `{name}` letter by letter"
            yield subject.find(LETTERS, message, (*task.path, key))


def _batches(subject: Subject, script: ScriptView) -> Iterator[Finding]:
    seen = set[int]()
    for tree in script.trees:
        waits, ends = _ways(tree.body, {0})
        last = tree.body[-1] if tree.body else None
        if isinstance(last, ast.Expr) and not _waits(last):
            ends = set()  # its value is the output
        for line in sorted(each for each in ends if each and each in waits):
            if tree.line(line) not in seen:
                seen.add(tree.line(line))
                message = "after this wait the script returns nothing"
                yield subject.find_in_script(BATCH, message, script, tree.line(line))


def _ways(body: Sequence[ast.stmt], before: set[int]) -> tuple[set[int], set[int]]:
    """The lines of waits in a block, and for each way to its end the line of the last wait on it (0: none)."""
    waits, ways = set[int](), set(before)
    for node in body:
        blocks = _blocks(node)
        if isinstance(node, ast.Return | ast.Raise | ast.Continue | ast.Break):
            bare = isinstance(node, ast.Return) and (node.value is None or _is_null(node.value))
            return waits, ways if bare else set()
        if blocks:
            inside = [_ways(block, ways) for block in blocks]
            waits = waits.union(*(inner for inner, _ in inside))
            ways = set[int]().union(*(ends for _, ends in inside), ways if _may_be_passed(node) else ())
        elif _waits(node):
            waits.add(node.lineno)
            ways = {node.lineno}
    return waits, ways


def _blocks(node: ast.stmt) -> list[list[ast.stmt]]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return []
    own = [getattr(node, name) for name in ("body", "orelse", "finalbody") if getattr(node, name, None)]
    return own + [each.body for each in (*getattr(node, "handlers", ()), *getattr(node, "cases", ()))]


def _may_be_passed(node: ast.stmt) -> bool:
    """Whether a way leads past all blocks of a statement."""
    return not (isinstance(node, ast.With | ast.AsyncWith) or (isinstance(node, ast.If) and node.orelse))


def _is_null(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _waits(node: ast.AST) -> bool:
    calls = (each.func for each in ast.walk(node) if isinstance(each, ast.Call))
    return any(isinstance(func, ast.Attribute) and func.attr == "wait_for_batch_completion" for func in calls)
