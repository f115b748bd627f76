"""Settings laid one over the other, each value with where it was said.

Promises
  * Maps merge, lists and everything else replace, null deletes.
  * Every value that is left has the origin of the layer that said it last.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from stream_orchestrator.spec.located import Located, Mark, Path


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value was said: a file and its line, an environment variable, or nowhere (the default)."""

    file: str = ""
    mark: Mark = field(default_factory=Mark)
    source: str = ""
    variable: str = ""

    def __str__(self) -> str:
        return self.variable or (f"{self.file}:{self.mark.line}" if self.file else "default")

    def to_json(self) -> dict[str, Any]:
        """As `config explain --json` shows it."""
        if self.variable:
            return {"kind": "environment", "variable": self.variable}
        return {"kind": "file", "file": self.file, "line": self.mark.line} if self.file else {"kind": "default"}


@dataclass(slots=True)
class Layers:
    """Values so far. `origins` has one entry for each that is no map."""

    data: dict[str, Any] = field(default_factory=dict)
    origins: dict[Path, Origin] = field(default_factory=dict)

    def lay(self, located: Located) -> None:
        """Put a document on top."""

        def origin(path: Path) -> Origin:
            mark = located.mark(path)
            return Origin(file=located.file, mark=mark, source=located.quoted_line(mark))

        self._merge(self.data, located.data, (), origin)

    def lay_value(self, path: Path, value: Any, origin: Origin) -> None:
        """Put one value on top."""
        nested: Any = value
        for part in reversed(path):
            nested = {part: nested}
        self._merge(self.data, nested, (), lambda _: origin)

    def copy(self) -> Layers:
        """The same, to try something on."""
        return Layers(_copied(self.data), dict(self.origins))

    def _merge(self, below: dict[str, Any], above: Mapping[str, Any], path: Path, origin: Any) -> None:
        for key, value in above.items():
            place = (*path, key)
            if isinstance(value, dict) and isinstance(below.get(key), dict):
                self._merge(below[key], value, place, origin)
                continue
            below.pop(key, None)
            for known in [known for known in self.origins if known[: len(place)] == place]:
                del self.origins[known]
            if isinstance(value, dict):
                below[key] = {}
                self._merge(below[key], value, place, origin)
            elif value is not None:
                below[key] = value
                self.origins[place] = origin(place)


def leaves(data: Mapping[str, Any], path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every value that is no map (or an empty one), with its path."""
    for key, value in data.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key), value


def _copied(data: dict[str, Any]) -> dict[str, Any]:
    return {key: _copied(value) if isinstance(value, dict) else value for key, value in data.items()}
