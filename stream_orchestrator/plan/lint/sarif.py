"""Findings as SARIF 2.1.0, which code hosts show beside the lines of a change."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from stream_orchestrator import __version__
from stream_orchestrator.plan.lint.catalog import RULES
from stream_orchestrator.plan.lint.model import Finding, Rule

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_LEVELS = {"error": "error", "warning": "warning", "info": "note"}


def sarif(findings: Iterable[Finding]) -> dict[str, Any]:
    """One run with all findings; those that a comment allows are in it as suppressed."""
    findings = list(findings)
    known = {rule.id: _rule(rule) for rule in RULES}
    for finding in findings:  # rules of `validate`
        known.setdefault(
            finding.rule, {"id": finding.rule, "shortDescription": {"text": finding.rule.replace("-", " ")}}
        )
    places = {rule: number for number, rule in enumerate(known)}
    driver = {"name": "stream-orchestrator", "version": __version__, "rules": list(known.values())}
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "results": [_result(finding, places[finding.rule]) for finding in findings],
    }
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def _rule(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.id,
        "shortDescription": {"text": rule.summary},
        "fullDescription": {"text": f"{rule.summary}: {rule.why}"},
        "help": {"text": rule.instead},
        "defaultConfiguration": {"level": _LEVELS[rule.severity]},
    }


def _result(finding: Finding, place: int) -> dict[str, Any]:
    problem = finding.problem
    said = f"{problem.message}. {problem.hint}" if problem.hint else problem.message
    region = {
        "startLine": problem.line,
        "startColumn": problem.column,
        "endColumn": problem.column + max(1, problem.width),
    }
    made: dict[str, Any] = {
        "ruleId": finding.rule,
        "ruleIndex": place,
        "level": _LEVELS[problem.severity],
        "message": {"text": said},
        "locations": [{"physicalLocation": {"artifactLocation": {"uri": _uri(problem.file)}, "region": region}}],
    }
    if problem.path:
        made["locations"][0]["logicalLocations"] = [{"fullyQualifiedName": problem.path}]
    if finding.allowed:
        made["suppressions"] = [{"kind": "inSource"}]
    if finding.edit is not None:
        made["fixes"] = list(_fixes(finding))
    return made


def _fixes(finding: Finding) -> Iterator[dict[str, Any]]:
    edit = finding.edit
    assert edit is not None
    region = {"startLine": edit.line, "startColumn": edit.column, "endColumn": edit.column + len(edit.old)}
    change = {"deletedRegion": region, "insertedContent": {"text": edit.new}}
    artifact = {"artifactLocation": {"uri": _uri(finding.problem.file)}, "replacements": [change]}
    yield {"description": {"text": f"write `{edit.new}`"}, "artifactChanges": [artifact]}


def _uri(file: str) -> str:
    """Relative to where the command runs, if it is below; a code host needs that to find the file."""
    path = Path(file)
    if path.is_absolute() and path.is_relative_to(Path.cwd()):
        path = path.relative_to(Path.cwd())
    return path.as_uri() if path.is_absolute() else quote(path.as_posix())
