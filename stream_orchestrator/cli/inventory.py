"""The inventory of a folder of pipelines: a part of its README.md that is made, and that can be checked.

Promises
  * Only what stands between the two marks is made; all other text of the page is its authors'.
  * A document with errors makes no inventory, and a file whose version is not that of its name has an error.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from stream_orchestrator.cli.page import table
from stream_orchestrator.cli.surroundings import configured
from stream_orchestrator.errors import UsageError
from stream_orchestrator.plan.loading import Loaded, load_path
from stream_orchestrator.spec.problems import raise_errors

BEGIN = "<!-- inventory: made by `stream-orchestrator docs --inventory`, do not edit below -->"
END = "<!-- inventory: do not edit above -->"
PAGE = "README.md"
EVENTS = "x-events"  # a pipeline's own key: where its sample events are
_TESTS = ("test_suite", "integration_test", "load_test", "replay_test")


def renewed(folder: Path, *, functions: Sequence[str] = ()) -> str:
    """The page of the folder with its inventory as it should be. SpecError: a document there is wrong."""
    loaded = load_path(folder, functions=functions, config=configured([folder]))
    raise_errors(tuple(problem for each in loaded for problem in each.problems))
    made = f"{BEGIN}\n\n{listing(folder, loaded)}\n\n{END}"
    page = folder / PAGE
    if not os.path.isfile(page):
        return f"# Pipelines\n\n{made}\n"
    text = page.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        hint = f"write these two lines where the inventory belongs:\n{BEGIN}\n{END}"
        raise UsageError(f"{page} does not say where its inventory is", hint=hint)
    return text[: text.index(BEGIN)] + made + text[text.index(END) + len(END) :]


def listing(folder: Path, loaded: Iterable[Loaded]) -> str:
    """Tables of the pipelines, the components and the test documents."""
    loaded = list(loaded)
    parts = []
    for columns, names, row in _TABLES:
        rows = [row(folder, each) for each in loaded if each.kind in names]
        parts += [table(columns, rows)] if rows else []
    return "\n\n".join(parts) or "Nothing yet."


def _pipeline(folder: Path, loaded: Loaded) -> Sequence[object]:
    data, plan = loaded.located.data, loaded.plan
    tasks = plan.tasks if plan else ()
    kinds = {task.kind: sum(other.kind == task.kind for other in tasks) for task in tasks}
    told = ", ".join(f"{count} {kind.removesuffix('_task')}" for kind, count in kinds.items())
    models = ", ".join(plan.models) if plan else ""
    return (
        _link(folder, loaded),
        data.get("version") or "0.0.0",
        data.get("description", ""),
        told,
        models or "none",
        _events(folder, loaded),
        _schema(folder, loaded),
    )


def _component(folder: Path, loaded: Loaded) -> Sequence[object]:
    data = loaded.located.data
    parameters = ", ".join(f"`{name}`" for name in data.get("parameters") or ())
    return _link(folder, loaded), data.get("version") or "0.0.0", data.get("description", ""), parameters


def _tests(folder: Path, loaded: Loaded) -> Sequence[object]:
    description = loaded.located.data.get("description") or loaded.document.name
    return _link(folder, loaded), loaded.kind.replace("_", " "), description


def _link(folder: Path, loaded: Loaded) -> str:
    path = Path(loaded.located.file).relative_to(folder).as_posix()
    return f"[`{path}`]({path})"


def _events(folder: Path, loaded: Loaded) -> str:
    """How many events the file has that the pipeline names, or the one beside it."""
    file = Path(loaded.located.file)
    named = loaded.located.data.get(EVENTS)
    path = file.parent / named if isinstance(named, str) else file.with_name(f"{_stem(file)}.events.jsonl")
    if not os.path.isfile(path):
        return "none"
    count = sum(1 for line in _lines(path) if line.strip())
    return f"[{count}]({_relative(folder, path)})"


def _schema(folder: Path, loaded: Loaded) -> str:
    path = folder / "schemas" / f"{_stem(Path(loaded.located.file))}.output.json"
    return f"[schema]({_relative(folder, path)})" if os.path.isfile(path) else "any"


def _stem(file: Path) -> str:
    return re.sub(r"-v\d.*$", "", file.stem)


def _relative(folder: Path, path: Path) -> str:
    return path.resolve().relative_to(folder.resolve()).as_posix()


def _lines(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8") as file:
        yield from file


_TABLES: tuple[tuple[Sequence[str], Sequence[str], Callable[[Path, Loaded], Sequence[object]]], ...] = (
    (
        ("pipeline", "version", "what it does", "tasks", "models", "sample events", "its output"),
        ("pipeline",),
        _pipeline,
    ),
    (("component", "version", "what it does", "parameters"), ("component",), _component),
    (("tests", "kind", "what they show"), _TESTS, _tests),
)
