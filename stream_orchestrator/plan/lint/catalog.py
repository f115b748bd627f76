"""Every rule in one list, and the one place that asks all of them.

Promises
  * What `validate` reports comes first and unchanged; advice is added to it.
  * A credential that was found is shown in no source line of any finding.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from stream_orchestrator.plan.lint import headers, naming, order, scripts, secrets
from stream_orchestrator.plan.lint.allowing import USELESS, allowed
from stream_orchestrator.plan.lint.credentials import credentials_in, credentials_of
from stream_orchestrator.plan.lint.model import Finding, Rule, Subject
from stream_orchestrator.plan.lint.subject import subject_of
from stream_orchestrator.plan.loading import Loaded

FAMILIES = (secrets, scripts, order, naming, headers)
RULES: tuple[Rule, ...] = (*(rule for family in FAMILIES for rule in family.RULES), USELESS)


def lint(loaded: Loaded) -> tuple[Finding, ...]:
    """All that is to be said of a document, in the order of the file; allowed findings are among them, marked."""
    subject = subject_of(loaded.located, loaded.kind, loaded.document.name)
    findings = [Finding(problem) for problem in loaded.problems]
    if loaded.located.readable:
        findings += _advice(subject)
    warnings = {problem.rule for problem in loaded.problems if problem.severity != "error"}
    known = frozenset(rule.id for rule in RULES) | (warnings - _errors(loaded))
    found = tuple(allowed(subject, findings, known)) if loaded.located.readable else tuple(findings)
    return tuple(sorted(_masked(subject, found), key=lambda each: (each.problem.line, each.problem.column, each.rule)))


def _errors(loaded: Loaded) -> set[str]:
    return {problem.rule for problem in loaded.problems if problem.severity == "error"}


def _advice(subject: Subject) -> Iterator[Finding]:
    for family in FAMILIES:
        yield from family.check(subject)


def _masked(subject: Subject, findings: tuple[Finding, ...]) -> Iterator[Finding]:
    """Source lines are shown beside findings, and a credential may stand in one."""
    values = sorted(_values(subject), key=len, reverse=True)
    for finding in findings:
        source = finding.problem.source
        for value in values:
            source = source.replace(value, "*" * len(value))  # as long as it was: the underline stays below it
        yield (
            finding
            if source == finding.problem.source
            else replace(finding, problem=replace(finding.problem, source=source))
        )


def _values(subject: Subject) -> set[str]:
    lines = {found.value for line in subject.located.lines for found in credentials_in(line)}
    trees = (tree.body for script in subject.scripts() for tree in script.trees)
    named = {found.value for body in trees for found, _ in credentials_of(body)}
    return lines | named | set(_texts(subject.located.data, ""))


def _texts(value: object, name: str) -> Iterator[str]:
    if isinstance(value, dict):
        for key, child in value.items():
            yield from _texts(child, name if key in ("default", "example", "value") else str(key))
    elif isinstance(value, list):
        for child in value:
            yield from _texts(child, name)
    elif isinstance(value, str):
        yield from (found.value for found in credentials_in(value, name))
