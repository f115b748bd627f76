"""`# lint: allow RULE`: advice that the author has heard.

Promises
  * It stands at the end of the line, in comment lines right above it, or above the first key (for the whole document).
  * It silences advice alone: what stops a document from compiling cannot be allowed.
  * One that allows nothing, or names no rule, is reported.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches

from stream_orchestrator.plan.lint.model import Finding, Rule, Subject
from stream_orchestrator.spec.located import Mark

USELESS = Rule(
    id="useless-allow",
    severity="info",
    summary="`# lint: allow` names no rule, or allows nothing",
    why="it would hide the next finding of that rule, or hides none because of a slip",
    instead="remove the comment",
)
_ALLOW = re.compile(r"#\s*lint:\s*allow\s+([a-z][a-z0-9-]*(?:\s*,\s*[a-z][a-z0-9-]*)*)")


@dataclass(frozen=True, slots=True)
class Allow:
    """One rule that a comment allows, on which lines (None: in the whole document)."""

    rule: str
    mark: Mark
    lines: frozenset[int] | None

    def covers(self, finding: Finding) -> bool:
        """Whether the comment is about this finding."""
        return self.rule == finding.rule and (self.lines is None or finding.problem.line in self.lines)


def allowed(subject: Subject, findings: Iterable[Finding], known: frozenset[str]) -> Iterator[Finding]:
    """The findings, those that a comment allows marked; then what is wrong with the comments."""
    comments = list(_comments(subject))
    used = set[Allow]()
    for finding in findings:
        covering = [each for each in comments if each.covers(finding)] if _can_be_allowed(finding, known) else []
        used.update(covering)
        yield finding.allow() if covering else finding
    for each in comments:
        if each.rule not in known:
            nearest = get_close_matches(each.rule, sorted(known), 1)
            hint = f"did you mean `{nearest[0]}`?" if nearest else "the rules are on the page docs/rules.md"
            yield subject.find(USELESS, f"there is no rule `{each.rule}` to allow", (), hint=hint, mark=each.mark)
        elif each not in used:
            yield subject.find(USELESS, f"`{each.rule}` finds nothing here that could be allowed", (), mark=each.mark)


def _can_be_allowed(finding: Finding, known: frozenset[str]) -> bool:
    return finding.rule in known


def _comments(subject: Subject) -> Iterator[Allow]:
    lines = subject.located.lines
    first = subject.located.mark((), value=True).line
    last = max((mark.line for mark in subject.located.values.values()), default=first)
    start = _above(lines, first)
    end = _after(lines, last)
    for number in range(start, end + 1):
        for found in _ALLOW.finditer(lines[number - 1]):
            for name in re.split(r"\s*,\s*", found[1]):
                column = found.start(1) + found[1].find(name) + 1
                covered = None if number < first else _covered(lines, number, end)
                yield Allow(name, Mark(number, column, len(name)), covered)


def _covered(lines: Iterable[str], number: int, end: int) -> frozenset[int]:
    """The comment's own line, and when nothing else stands on it, the next one that holds more than a comment."""
    lines = list(lines)
    covered = {number}
    while lines[number - 1].lstrip().startswith("#") and number < min(end, len(lines)):
        number += 1
        covered.add(number)
    return frozenset(covered)


def _above(lines: Iterable[str], first: int) -> int:
    """The first of the comment and empty lines above a line."""
    lines = list(lines)
    start = first
    while start > 1 and (not lines[start - 2].strip() or lines[start - 2].lstrip().startswith("#")):
        start -= 1
    return start


def _after(lines: Iterable[str], last: int) -> int:
    """The last line of a document whose last value begins on line `last`: before the next `---`, or the end."""
    lines = list(lines)
    for number in range(last + 1, len(lines) + 1):
        if lines[number - 1].startswith(("---", "...")):
            return number - 1
    return len(lines)
