"""`lint PATH…`: every mistake, and what experience says."""

from __future__ import annotations

import json
from collections import Counter
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from stream_orchestrator.cli import voice
from stream_orchestrator.cli.building import command
from stream_orchestrator.cli.options import Functions, Json, Paths

SERIOUS, WRONG = 1, 2


class Format(StrEnum):
    """For whom the findings are."""

    TEXT = "text"
    JSON = "json"
    SARIF = "sarif"


def lint(
    paths: Paths,
    style: Annotated[Format, typer.Option("--format", help="For people, for programs, for code hosts")] = Format.TEXT,
    fix: Annotated[bool, typer.Option("--fix", help="Mend what can be mended safely, in place")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit code 1 for warnings, too")] = False,
    functions: Functions = [],  # noqa: B006  # Typer copies it
    as_json: Json = False,
) -> int:
    """Check files and folders, and give advice

    All that `validate` says, and rules of experience; docs/rules.md lists them. A comment `# lint: allow RULE`
    at the end of a line, above it, or above the first key silences advice. Exit code 2 when a document is wrong,
    1 when advice is an error.
    """
    from stream_orchestrator.cli.sources import check_functions

    check_functions(functions)
    found = _found(paths, functions)
    if fix:
        _mend(found)
        found = _found(paths, functions)
    style = Format.JSON if as_json else style
    {Format.TEXT: _report, Format.JSON: _emit, Format.SARIF: _sarif}[style](found)
    return _code(found, strict)


def _found(paths: list[Path], functions: list[str]) -> list[tuple[Any, tuple[Any, ...]]]:
    from stream_orchestrator.cli.surroundings import configured
    from stream_orchestrator.plan.lint import lint as advise
    from stream_orchestrator.plan.loading import load_path

    config = configured(paths)
    return [(each, advise(each)) for path in paths for each in load_path(path, functions=functions, config=config)]


def _code(found: list[tuple[Any, tuple[Any, ...]]], strict: bool) -> int:
    if not all(loaded.ok for loaded, _ in found):
        return WRONG
    serious = ("error", "warning") if strict else ("error",)
    return SERIOUS if any(each.severity in serious for _, findings in found for each in _open(findings)) else 0


def _open(findings: tuple[Any, ...]) -> list[Any]:
    """The problems that no comment allows."""
    return [each.problem for each in findings if not each.allowed]


def _mend(found: list[tuple[Any, tuple[Any, ...]]]) -> None:
    from stream_orchestrator.plan.lint.fixing import edits_of, mended, write

    by_file: dict[str, list[Any]] = {}
    for loaded, findings in found:
        by_file.setdefault(loaded.located.file, []).extend(edits_of(findings))
    for file, edits in by_file.items():
        if not edits:
            continue
        made = mended(Path(file).read_bytes().decode("utf-8"), edits, file=file)
        if made is None:
            voice.warn(f"{file} was left as it is", hint="it changed meanwhile, or would be worse; mend it by hand")
            continue
        write(Path(file), made)
        voice.say(f"mended {len(edits)} in {file}")


def _report(found: list[tuple[Any, tuple[Any, ...]]]) -> None:
    from stream_orchestrator.spec.problems import render

    problems = [problem for _, findings in found for problem in _open(findings)]
    for problem in problems:
        said = voice.printable(render(problem)).removeprefix(problem.severity)
        voice.show(f"{problem.severity}[{problem.rule}]{said}\n")
    counts = Counter(problem.severity for problem in problems)
    told = ", ".join(f"{counts[kind]} {kind}{'s' if counts[kind] != 1 else ''}" for kind in ("error", "warning"))
    allowed = sum(each.allowed for _, findings in found for each in findings)
    voice.say(f"{len(found)} documents: {told}, {counts['info']} advice{f', {allowed} allowed' if allowed else ''}")


def _emit(found: list[tuple[Any, tuple[Any, ...]]]) -> None:
    documents = [
        {
            "file": str(loaded.located.file),
            "index": loaded.located.index,
            "kind": loaded.kind,
            "name": loaded.document.name,
            "ok": not any(problem.severity == "error" for problem in _open(findings)),
            "problems": [problem.to_json() for problem in _open(findings)],
        }
        for loaded, findings in found
    ]
    voice.emit({"ok": all(document["ok"] for document in documents), "documents": documents})


def _sarif(found: list[tuple[Any, tuple[Any, ...]]]) -> None:
    from stream_orchestrator.plan.lint.sarif import sarif

    voice.show(json.dumps(sarif(each for _, findings in found for each in findings), indent=2, ensure_ascii=False))


app = command(
    lint,
    "lint pipelines",
    "lint --strict pipelines/production/support-triage-v1.1.0.yaml",
    "lint --format sarif pipelines > lint.sarif",
)
