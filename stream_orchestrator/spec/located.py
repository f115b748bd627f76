"""A document's data with the place of every key and value in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

from stream_orchestrator.spec.problems import Problem, Severity

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in a text: `width` characters from `column` on. Lines and columns count from 1."""

    line: int = 1
    column: int = 1
    width: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Located:
    """One document of a YAML stream: plain data, and where each part of it is written.

    `keys` holds the place of the key (of a list's item: of the item), `values` the place of the value.
    `problems` are those of the YAML itself; with a syntax error `data` is None and `readable` is False.
    `part` is the path that a text of several files gives this one (see `spec.bundles`), else empty.
    `quoted` is how a problem shows a line: as it is, or without its values (see `spec.hushed`).
    `lent` are values that stand elsewhere: their file, place and line there.
    """

    data: Any
    file: str
    lines: Sequence[str] = ()
    index: int = 0
    keys: Mapping[Path, Mark] = field(default_factory=dict)
    values: Mapping[Path, Mark] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    readable: bool = True
    part: str = ""
    lent: Mapping[Path, tuple[str, Mark, str]] = field(default_factory=dict)
    quoted: Callable[[str], str] = str

    @property
    def path(self) -> FilePath:
        """The file that it is, as a path: its own in a text of several."""
        return FilePath(self.part or self.file)

    def mark(self, path: Path, *, value: bool = False) -> Mark:
        """The place of `path`, or of its nearest parent that is written down."""
        places = self.values if value else self.keys
        for length in range(len(path), -1, -1):
            if path[:length] in places:
                return places[path[:length]]
        return Mark()

    def problem(
        self,
        rule: str,
        message: str,
        *,
        path: Path = (),
        hint: str = "",
        label: str = "",
        severity: Severity = "error",
        mark: Mark | None = None,
    ) -> Problem:
        """A problem at the key `path`, or at `mark` where a finer place is known (see `inside`)."""
        mark = mark or self.mark(path)
        file, source = self.file, self.quoted_line(mark)
        if path in self.lent:
            file, mark, source = self.lent[path]
        return Problem(
            rule=rule,
            severity=severity,
            message=message,
            hint=hint,
            label=label,
            line=mark.line,
            column=mark.column,
            width=mark.width,
            path=path_text(path),
            file=file,
            source=source,
        )

    def quoted_line(self, mark: Mark) -> str:
        """The line of a place, as a problem shows it."""
        return self.quoted(self.lines[mark.line - 1]) if mark.line <= len(self.lines) else ""

    def inside(self, path: Path, line: int, *, column: int = 1, width: int = 1) -> Mark:
        """The place of line `line` and column `column` (from 1) of the text at `path`: of a script, say.

        Exact in block text (`|`) and in one-line scalars, which is how scripts are written; else where the text begins.
        """
        start = self.mark(path, value=True)
        opening = self._at(start)
        if opening in "|>":
            row = start.line + line
            return Mark(row, column + self._indentation(path, start), width) if row <= len(self.lines) else start
        if line > 1:
            return start
        return Mark(start.line, start.column + (opening in "\"'") + column - 1, width)

    def _at(self, mark: Mark) -> str:
        source = self.lines[mark.line - 1] if mark.line <= len(self.lines) else ""
        return source[mark.column - 1 : mark.column] or " "

    def _indentation(self, path: Path, start: Mark) -> int:
        text: Any = self.data
        for part in path:
            text = text[part]
        for number, content in enumerate(str(text).split("\n"), 1):
            if content.strip():
                source = self.lines[start.line + number - 1]
                return len(source) - len(source.lstrip(" ")) - (len(content) - len(content.lstrip(" ")))
        return 0


def path_text(path: Path) -> str:
    """A path as people write it: `tasks[2].error_handling.retry_count`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text
