"""Documents: which kind one is, and everything that is wrong with it before anything is compiled.

Promises
  * `read` reports every problem of a document in one pass, each at its own key.
  * `model` is None exactly when the shape of the document is wrong. With any error `ok` is False: it never compiles.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path as FilePath
from typing import Any, cast

from pydantic import BaseModel, ValidationError

from stream_orchestrator.errors import SpecError
from stream_orchestrator.spec import kinds
from stream_orchestrator.spec.fields import kind_name
from stream_orchestrator.spec.hushed import hushed
from stream_orchestrator.spec.loader import load_file
from stream_orchestrator.spec.located import Located
from stream_orchestrator.spec.pipeline import Pipeline, is_semver
from stream_orchestrator.spec.problems import Problem, Problems, raise_errors
from stream_orchestrator.spec.rules import problems_of_tasks, problems_of_variables
from stream_orchestrator.spec.translate import problems_of
from stream_orchestrator.spec.unbuilt import unbuilt_in_config, unbuilt_in_pipeline

_FILE_VERSION = re.compile(r"-v(\d[^/]*)$")
_CONFIG_FOLDER = "config"


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One document that was read: its kind, its model (None when it is broken), and what is wrong."""

    kind: str
    name: str
    located: Located
    model: BaseModel | None
    problems: tuple[Problem, ...]

    @property
    def ok(self) -> bool:
        """True when no problem is an error."""
        return all(problem.severity != "error" for problem in self.problems)

    @property
    def pipeline(self) -> Pipeline:
        """The model of a pipeline; a document with errors, or of another kind, is a `SpecError`."""
        raise_errors(self.problems)
        if not isinstance(self.model, Pipeline):
            message = f"{self.located.file} is a {self.kind}, not a pipeline"
            raise SpecError(message, problems=self.problems, hint="name a file with `tasks:`")
        return self.model


def read_file(path: FilePath | str) -> list[Document]:
    """Every document of a file."""
    return [read(located) for located in load_file(path)]


def read(located: Located, *, kind: str = "") -> Document:
    """The document, checked as far as it can be by itself. `kind` says what it is, where that is known already."""
    kind = kind or kind_of(located.data, located.path)
    if kind == kinds.CONFIG or (not located.readable and located.path.parent.name == _CONFIG_FOLDER):
        located = hushed(located)  # what is wrong with settings may stand beside a secret, or be one
    problems = Problems()
    problems.extend(located.problems)
    model = None
    if located.readable:
        if isinstance(located.data, dict):
            model = _model(located, kind, problems)
        else:
            problems.add(_not_a_map(located))
    return Document(kind=kind, name=_name(located), located=located, model=model, problems=problems.sorted())


def kind_of(data: Any, path: FilePath | str = "") -> str:
    """The kind of a document: its `type`, else what its keys say, else where it lives; a pipeline when nothing does."""
    if not isinstance(data, Mapping):
        return kinds.PIPELINE
    written = data.get("type")
    if isinstance(written, str) and written in kinds.BY_NAME:
        return written
    if "extends" in data:
        return kinds.CONFIG
    if written is None and "tasks" not in data:
        found = next((kind.name for kind in kinds.KINDS if any(key in data for key in kind.telling_keys)), None)
        if found:
            return found
        if FilePath(path).parent.name == _CONFIG_FOLDER:
            return kinds.CONFIG
    return kinds.PIPELINE


def _model(located: Located, kind: str, problems: Problems) -> BaseModel | None:
    written = located.data.get("type")
    is_known = written is None or (isinstance(written, str) and written in kinds.BY_NAME)
    if not is_known:
        problems.add(_unknown_kind(located, written))
    model = kinds.BY_NAME[kind].model
    problems.extend(_more(located, kind))
    try:
        return model.model_validate(located.data)
    except ValidationError as wrong:
        found = problems_of(wrong, model, located)
        problems.extend(problem for problem in found if is_known or problem.path != "type")
    return None


def _more(located: Located, kind: str) -> Iterator[Problem]:
    """What models cannot see; reads the raw data, so that it is found beside errors of shape."""
    if kind in (kinds.PIPELINE, kinds.COMPONENT):
        place = cast("Any", kind)
        yield from unbuilt_in_pipeline(located, place=place)
        yield from problems_of_tasks(located)
        yield from problems_of_variables(located, "input_variables" if kind == kinds.PIPELINE else "parameters")
        yield from _version_of_file(located)
    elif kind == kinds.CONFIG:
        yield from unbuilt_in_config(located)


def _version_of_file(located: Located) -> Iterator[Problem]:
    found = _FILE_VERSION.search(located.path.stem)
    if not found or not is_semver(found[1]):
        return
    written = located.data.get("version")
    if written is None:
        message = f"the file's name says version {found[1]}, and the document says none"
        yield located.problem("version-mismatch", message, hint=f'add `version: "{found[1]}"`')
    elif written != found[1]:
        message = f"the file's name says version {found[1]}, and the document `{written}`"
        yield located.problem(
            "version-mismatch", message, path=("version",), hint="rename the file, or mend the version"
        )


def _name(located: Located) -> str:
    name = located.data.get("name") if isinstance(located.data, dict) else None
    if isinstance(name, str) and name.strip():
        return name
    return _FILE_VERSION.sub("", located.path.stem)


def _not_a_map(located: Located) -> Problem:
    message = f"a document must be a map, not {kind_name(located.data)}"
    return located.problem("wrong-type", message, hint="a pipeline begins with `name:` and `tasks:`")


def _unknown_kind(located: Located, written: Any) -> Problem:
    nearest = get_close_matches(written, list(kinds.BY_NAME), 1) if isinstance(written, str) else []
    return located.problem(
        "unknown-kind",
        f"there is no kind of document `{written}`"
        if isinstance(written, str)
        else "the kind of a document must be text",
        path=("type",),
        label=f"it is one of: {', '.join(kinds.BY_NAME)}",
        hint=f"did you mean `{nearest[0]}`?" if nearest else "a pipeline needs no `type`",
    )
