"""The helper functions of a project: loaded once, in the sandbox process, before its first script."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any


class FunctionsFailed(Exception):
    """A functions file cannot be loaded. The message names it and says why."""


def load_functions(sources: Sequence[str]) -> dict[str, Any]:
    """The names that scripts get: `__all__` of a source, else its public names that are not modules. Later ones win."""
    names: dict[str, Any] = {}
    for source in sources:
        names.update(_public(_load(source)))
    return names


def _load(source: str) -> ModuleType:
    try:
        return _from_file(Path(source)) if source.endswith(".py") else importlib.import_module(source)
    except BaseException as error:  # whatever its top level does, the worker is to say which file, and stop
        line = _line_of(error, source)
        raise FunctionsFailed(f"cannot load functions from {source}{line}: {type(error).__name__}: {error}") from error


def _from_file(path: Path) -> ModuleType:
    if not os.path.isfile(path):
        raise FileNotFoundError("no such file")
    path = path.resolve()
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))  # so that it can import what lies beside it
    name = f"functions_{path.stem}"  # a file may be called json.py
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _public(module: ModuleType) -> dict[str, Any]:
    listed = getattr(module, "__all__", None)
    if listed is not None:
        return {name: getattr(module, name) for name in listed}
    return {
        name: value
        for name, value in vars(module).items()
        if not name.startswith("_") and not isinstance(value, ModuleType) and name != "annotations"
    }


def _line_of(error: BaseException, source: str) -> str:
    if isinstance(error, SyntaxError) and error.lineno:
        return f", line {error.lineno}"
    trace, line = error.__traceback__, 0
    while trace is not None:
        if Path(trace.tb_frame.f_code.co_filename).name == Path(source).name:
            line = trace.tb_lineno
        trace = trace.tb_next
    return f", line {line}" if line else ""
