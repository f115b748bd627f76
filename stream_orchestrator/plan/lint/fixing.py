"""Findings that can be mended without changing what a pipeline does.

Promises
  * Only the characters that a finding is about change; comments, order and line ends stay.
  * A text that would have an error more than before is not taken.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from stream_orchestrator.plan.compile import examine
from stream_orchestrator.plan.lint.model import Edit, Finding
from stream_orchestrator.spec.documents import read
from stream_orchestrator.spec.loader import load_text
from stream_orchestrator.spec.problems import errors_in


def edits_of(findings: Iterable[Finding]) -> list[Edit]:
    """The edits of findings that nobody allowed, each once."""
    return list(dict.fromkeys(each.edit for each in findings if each.edit is not None and not each.allowed))


def mended(text: str, edits: Iterable[Edit], *, file: str = "") -> str | None:
    """The text with the edits made; None when one does not fit, or the outcome is worse than before."""
    lines = text.splitlines(keepends=True)
    for edit in sorted(edits, key=lambda each: (each.line, each.column), reverse=True):
        line = lines[edit.line - 1] if edit.line <= len(lines) else ""
        start = edit.column - 1
        if line[start : start + len(edit.old)] != edit.old:
            return None
        lines[edit.line - 1] = line[:start] + edit.new + line[start + len(edit.old) :]
    made = "".join(lines)
    return made if _errors(made, file) <= _errors(text, file) else None


def _errors(text: str, file: str) -> set[tuple[str, str]]:
    found = (problem for located in load_text(text, file=file) for problem in errors_in(examine(read(located))[1]))
    return {(problem.rule, problem.path) for problem in found}


def write(path: Path, text: str) -> None:
    """Replace a file in one step, its permissions kept: nobody ever sees half of it."""
    target = path.resolve()
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            file.write(text)
        os.chmod(name, target.stat().st_mode & 0o7777)
        os.replace(name, target)
    except BaseException:
        os.unlink(name)
        raise
