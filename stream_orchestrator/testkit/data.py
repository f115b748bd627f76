"""`load_test_data('file')`: what a test document reads from files beside it.

Promises
  * A file is looked for in the folder `data/` beside the document, then beside the document itself, nowhere else.
  * No way leads out of those folders: not `..`, not an absolute path, not a symbolic link.
  * `.json` gives its value, `.jsonl` a list of values, everything else its text (UTF-8).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import orjson

from stream_orchestrator.errors import UsageError
from stream_orchestrator.plan import templates
from stream_orchestrator.plan.templates import TemplateFault, TemplateProblem
from stream_orchestrator.spec.fields import kind_name

FOLDER = "data"
MAX_BYTES = 64 * 1024 * 1024
NAME = "load_test_data"


class TestData:
    """The files that one document may read."""

    __test__ = False  # not a test of pytest's

    def __init__(self, document: Path) -> None:
        self._root = document.resolve().parent

    def load(self, name: str) -> Any:
        """What a file holds."""
        path = self._find(str(name))
        raw = path.read_bytes()
        try:
            if path.suffix == ".json":
                return orjson.loads(raw)
            if path.suffix == ".jsonl":
                return [orjson.loads(line) for line in raw.splitlines() if line.strip()]
            return raw.decode("utf-8")
        except ValueError as wrong:
            kind = "JSON" if path.suffix in (".json", ".jsonl") else "UTF-8 text"
            raise UsageError(f"{path} is not {kind}: {wrong}", hint="mend the file") from wrong

    def render(self, value: Any, names: Mapping[str, Any] | None = None) -> Any:
        """The value with its templates filled in: `load_test_data` and these names are what they may read."""
        scope = {**(names or {}), NAME: self.load}
        try:
            return templates.render(value, scope)
        except (TemplateFault, TemplateProblem) as wrong:
            known = ", ".join(f"`{name}`" for name in scope)
            raise UsageError(f"{wrong}", hint=f"templates of a test may read: {known}") from wrong

    def event(self, value: Any, names: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The same of an event; UsageError when it gives anything but a map."""
        found = self.render(value or {}, names)
        if not isinstance(found, dict):
            raise UsageError(f"an event is a map, and `{value}` gives {kind_name(found)}", hint="name a part of it")
        return found

    def _find(self, name: str) -> Path:
        if "\0" in name:
            raise UsageError(f"`{NAME}({name!r})`: the name of a file has no NUL in it", hint="name a file in `data/`")
        for folder in (self._root / FOLDER, self._root):
            path = Path(os.path.realpath(folder / name))
            if not path.is_relative_to(folder):
                raise UsageError(
                    f"`{NAME}({name!r})` leads out of {folder}", hint="put the file into `data/` beside the document"
                )
            if os.path.isfile(path):
                return _of_bearable_size(path)
        raise UsageError(f"there is no test data `{name}`", hint=self._nearest(name))

    def _nearest(self, name: str) -> str:
        folder = self._root / FOLDER
        there = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if os.path.isfile(path))
        nearest = get_close_matches(name, there, 1)
        return f"did you mean `{nearest[0]}`?" if nearest else f"it is looked for in {folder}, then in {self._root}"


def _of_bearable_size(path: Path) -> Path:
    if path.stat().st_size > MAX_BYTES:
        raise UsageError(f"{path} is larger than {MAX_BYTES // 2**20} MiB", hint="cut it down to what the test needs")
    return path
