"""Components: found beside the document that uses them, or in the pipelines folder, and read once per document.

A component that uses itself, by whatever way round, is refused with the way.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path as FilePath
from typing import Any, Literal

from stream_orchestrator.errors import OrchestratorError
from stream_orchestrator.spec.documents import Document, read_file
from stream_orchestrator.spec.kinds import COMPONENT
from stream_orchestrator.spec.located import Located, Path
from stream_orchestrator.spec.problems import Problem, Problems

FOLDER = "pipelines"
SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True, slots=True)
class Components:
    """The components that documents name. `way` leads from the document to here."""

    way: tuple[FilePath, ...] = ()
    _read: dict[FilePath, list[Document]] = field(default_factory=dict)

    def inside(self, document: Document) -> Components:
        """The same, inside a component."""
        return replace(self, way=(*self.way, FilePath(document.located.file).resolve()))

    def find(self, located: Located, path: Path, name: Any, problems: Problems) -> Document | None:
        """The component of that name; what is wrong with the name or the file goes to `problems`."""
        if not isinstance(name, str):
            return None
        file = _file(located, name)
        if file is None:
            near = _nearest(located, name)
            hint = (
                f"did you mean `{near}`?" if near else "the path is relative to this file, or to the pipelines folder"
            )
            problems.add(located.problem("unknown-component", f"there is no component `{name}`", path=path, hint=hint))
            return None
        if file in self.way:
            way = " → ".join(each.name for each in (*self.way[self.way.index(file) :], file))
            message = f"the component uses itself: {way}"
            problems.add(located.problem("component-cycle", message, path=path, hint="take one of the uses out"))
            return None
        return self._document(located, path, name, file, problems)

    def _document(self, located: Located, path: Path, name: str, file: FilePath, problems: Problems) -> Document | None:
        known = file in self._read
        try:
            found = self._read.setdefault(file, [each for each in read_file(file) if each.kind == COMPONENT])
        except OrchestratorError as error:
            message = f"the component `{name}` cannot be read: {error}"
            problems.add(located.problem("bad-component", message, path=path, hint=error.hint))
            return None
        if len(found) != 1:
            count = "no component" if not found else f"{len(found)} components"
            hint = "a component has `type: component` at its top"
            problems.add(located.problem("bad-component", f"`{name}` holds {count}", path=path, hint=hint))
            return None
        if not known:
            problems.extend(found[0].problems)
        return found[0] if isinstance(found[0].located.data, dict) else None


def beside(located: Located, name: str) -> FilePath | None:
    """The file of a document that another one names: beside it, or in the pipelines folder."""
    return _file(located, name)


def declared_by(component: dict[str, Any]) -> dict[str, Any]:
    """The rules of a component's parameters, and of those inputs that it describes in the same way."""
    inputs = _map(component, "inputs")
    described = {name: rule for name, rule in inputs.items() if isinstance(rule, dict) and "type" in rule}
    return {**described, **_map(component, "parameters")}


def problems_of_use(located: Located, path: Path, task: dict[str, Any], component: dict[str, Any]) -> Iterator[Problem]:
    """What a task gives a component, against what the component wants."""
    declared = declared_by(component)
    known = {*declared, *_map(component, "inputs")}
    given = {**_map(task, "inputs"), **_map(task, "parameters")}
    for name, rule in declared.items():
        optional = not isinstance(rule, dict) or "default" in rule or rule.get("required") is False
        if name not in given and not optional:
            where = "parameters" if name in _map(component, "parameters") else "inputs"
            message = f"the component `{task['component']}` needs `{name}`"
            hint = f"give it under `{where}:`"
            yield located.problem("missing-parameter", message, path=(*path, "component"), hint=hint)
    for where in ("parameters", "inputs") if known else ():
        for name in _map(task, where).keys() - known:
            near = next(iter(difflib.get_close_matches(name, [*known], 1)), "")
            hint = f"did you mean `{near}`?" if near else f"it declares: {', '.join(sorted(known))}"
            message = f"the component `{task['component']}` does not declare `{name}`"
            severity: Literal["error", "warning"] = "error" if near else "warning"
            yield located.problem("unknown-parameter", message, path=(*path, where, name), hint=hint, severity=severity)


def _map(data: dict[str, Any], key: str) -> dict[str, Any]:
    found = data.get(key)
    return found if isinstance(found, dict) else {}


def _file(located: Located, name: str) -> FilePath | None:
    for base in _bases(located):
        for suffix in ("", *SUFFIXES):
            file = base / f"{name}{suffix}"
            if os.path.isfile(file):
                return file.resolve()
    return None


def _bases(located: Located) -> Iterator[FilePath]:
    """The folder of the document, the pipelines folder that it is in, and the one beside it."""
    here = FilePath(located.file).resolve().parent if located.file else FilePath.cwd()
    yield here
    for folder in (here, *here.parents):
        if folder.name == FOLDER:
            yield folder
        elif os.path.isdir(folder / FOLDER):
            yield folder / FOLDER
    yield FilePath.cwd() / FOLDER


def _nearest(located: Located, name: str) -> str:
    base = next((base for base in _bases(located) if os.path.isdir(base / "components")), None)
    known = [file.relative_to(base).as_posix() for file in base.glob("components/**/*.y*ml")] if base else []
    found = difflib.get_close_matches(name, known, 1, 0.4)
    return found[0] if found else ""
