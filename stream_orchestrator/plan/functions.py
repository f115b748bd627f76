"""Helper functions of scripts: which a plan needs, which are there. Nothing of the user's is imported here.

Promises
  * Names are read from the source of files and modules, never by running them: that is the sandbox's business.
  * A module that cannot be found, or read, defines nothing.
"""

from __future__ import annotations

import ast
import importlib.util
import os
from collections.abc import Iterable, Sequence
from functools import lru_cache
from importlib.metadata import entry_points
from pathlib import Path

from stream_orchestrator.plan.model import Plan

GROUP = "stream_orchestrator.functions"


def functions_of(plan: Plan, extra: Sequence[str] = ()) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """`(needed, missing)`: the helpers that the plan's scripts call, and those of them that nobody defines."""
    defined = defined_in((*plan.functions, *extra))
    return plan.helpers, tuple(name for name in plan.helpers if name not in defined)


def resolve(name: str, base: Path | None) -> str:
    """A file named by a document, found beside it (or as it stands); a module's name unchanged."""
    if not is_file(name):
        return name
    beside = (base or Path()) / name
    return str(beside.resolve()) if os.path.isfile(beside) else name


def exists(name: str) -> bool:
    """Whether the file or module is there."""
    return _source_of(name) is not None


def is_file(name: str) -> bool:
    """Whether the text names a file, not a module."""
    return name.endswith(".py") or "/" in name or "\\" in name


def defined_in(names: Iterable[str]) -> frozenset[str]:
    """The names that these files and modules, and the installed packages' entry points, define."""
    found = frozenset().union(*(_defined(name) for name in names))
    return found.union(*(_of_entry(entry.name, entry.value) for entry in entry_points(group=GROUP)))


def _of_entry(name: str, value: str) -> frozenset[str]:
    module, _, attribute = value.partition(":")
    return frozenset({name, attribute}) if attribute else _defined(module)


def _defined(name: str) -> frozenset[str]:
    path = _source_of(name)
    return _names_of(path, path.stat().st_mtime_ns) if path is not None else frozenset()


@lru_cache(maxsize=256)
def _names_of(path: Path, _changed: int) -> frozenset[str]:
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return frozenset()
    return frozenset(name for node in tree.body for name in _bound(node))


def _bound(node: ast.stmt) -> Iterable[str]:
    match node:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            yield name
        case ast.Import(names=names) | ast.ImportFrom(names=names):
            yield from (alias.asname or alias.name.split(".")[0] for alias in names)
        case ast.Assign() | ast.AnnAssign() | ast.If() | ast.Try() | ast.With():
            stored = (each for each in ast.walk(node) if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store))
            yield from (each.id for each in stored)
            inner = (each for each in ast.walk(node) if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef))
            yield from (each.name for each in inner)


def _source_of(name: str) -> Path | None:
    if is_file(name):
        path = Path(name)
        return path if os.path.isfile(path) else None
    package, *rest = name.split(".")
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    if not rest:
        return Path(spec.origin) if spec.origin and spec.origin.endswith(".py") else None
    # by hand: `find_spec("a.b")` would import `a`
    stems = [Path(folder, *rest) for folder in spec.submodule_search_locations or ()]
    paths = (path for stem in stems for path in (stem.with_suffix(".py"), stem / "__init__.py"))
    return next((path for path in paths if os.path.isfile(path)), None)
