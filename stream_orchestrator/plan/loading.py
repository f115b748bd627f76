"""Files and folders of documents, compiled."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from stream_orchestrator.errors import UsageError
from stream_orchestrator.plan.compile import examine
from stream_orchestrator.plan.lending import with_config, without_network
from stream_orchestrator.plan.model import Plan
from stream_orchestrator.plan.production import problems_of_production
from stream_orchestrator.spec.config import Configuration
from stream_orchestrator.spec.documents import Document, read_file
from stream_orchestrator.spec.kinds import PIPELINE
from stream_orchestrator.spec.located import Located
from stream_orchestrator.spec.problems import Problem, errors_in, raise_errors
from stream_orchestrator.spec.settings import Trust

SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True, slots=True)
class Loaded:
    """One document of a file: its kind, its plan (of a pipeline without errors), and all its problems."""

    document: Document
    plan: Plan | None
    problems: tuple[Problem, ...]

    @property
    def located(self) -> Located:
        """Its data, with places."""
        return self.document.located

    @property
    def kind(self) -> str:
        """Its kind."""
        return self.document.kind

    @property
    def ok(self) -> bool:
        """Whether nothing is an error."""
        return not errors_in(self.problems)


def load_path(path: str | Path, *, functions: Sequence[str] = (), config: Configuration | None = None) -> list[Loaded]:
    """Every document of a file, or of all YAML files below a folder, in the order of their names.

    With a `config`: as they stand in its environment. UsageError when the path is not there, or a folder holds no
    document.
    """
    return [_loaded(document, functions, config) for file in files_of(path) for document in read_file(file)]


def _loaded(document: Document, functions: Sequence[str], config: Configuration | None) -> Loaded:
    if config is None:
        return Loaded(document, *examine(document, functions=functions))
    document = with_config(document, config)
    plan, problems = examine(document, functions=functions)
    if document.kind == PIPELINE and config.production:
        problems = (*problems, *problems_of_production(document))
    if plan is not None and config.section(Trust).network == "deny":
        plan = without_network(plan)
    return Loaded(document, None if errors_in(problems) else plan, problems)


def load_plan(path: str | Path, *, functions: Sequence[str] = (), config: Configuration | None = None) -> Plan:
    """The plan of the one pipeline in a file. SpecError carries every problem of it; UsageError: none, or several."""
    return plan_of(path, load_path(path, functions=functions, config=config))


def plan_of(path: str | Path, loaded: Sequence[Loaded]) -> Plan:
    """The same of a file that was read already."""
    raise_errors(tuple(problem for each in loaded for problem in each.problems))
    plans = [each.plan for each in loaded if each.plan is not None]
    if len(plans) != 1:
        count = "no pipeline" if not plans else f"{len(plans)} pipelines"
        raise UsageError(
            f"{path} holds {count}, and one is needed", hint="name a file with one document that has `tasks:`"
        )
    return plans[0]


def files_of(path: str | Path) -> list[Path]:
    """The file itself, or the YAML files below a folder; hidden ones are left out."""
    root = Path(path)
    if os.path.isdir(root):
        found = sorted(_below(root))
        if not found:
            raise UsageError(f"there is no YAML file below {root}", hint="name a file or a folder of pipelines")
        return found
    try:
        os.stat(root)
    except (FileNotFoundError, NotADirectoryError) as missing:
        raise UsageError(f"{root} is not there", hint="name a file or a folder of pipelines") from missing
    except OSError as failed:
        hint = "check the path and its permissions"
        raise UsageError(f"cannot read {root}: {failed.strerror}", hint=hint) from failed
    if not os.path.isfile(root):  # to open a pipe would wait for whoever writes into it
        raise UsageError(f"{root} is no plain file", hint="name a file or a folder of pipelines")
    return [root]


def _below(root: Path) -> Iterator[Path]:
    for path in root.rglob("*"):
        hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
        if path.suffix in SUFFIXES and os.path.isfile(path) and not hidden:
            yield path
