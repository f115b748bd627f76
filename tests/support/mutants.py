"""Damaged documents, held to what is promised of every document: a plan, or problems with a place and a hint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from stream_orchestrator.plan.codec import from_json, to_json
from stream_orchestrator.plan.compile import examine
from stream_orchestrator.spec.documents import read
from stream_orchestrator.spec.loader import load_bytes
from stream_orchestrator.spec.problems import Problem, errors_in, render

Mutant = tuple[str, Path, int, bytes]


def dumped(data: Any) -> str:
    """A document as YAML."""
    return yaml.dump(data, Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True)


def errors_of(mutant: Mutant, seed: int) -> tuple[Problem, ...]:
    """The errors of all its documents, each held to its promises; a plan that it still gives must be a whole one."""
    name, path, number, raw = mutant
    errors: list[Problem] = []
    for located in load_bytes(raw, file=str(path)):
        plan, problems = examine(read(located))
        found = errors_in(problems)
        assert (plan is None) >= bool(found), f"{name} {path.name} {number}: a plan in spite of errors"
        if plan is not None:
            assert from_json(to_json(plan)) == plan
        for problem in problems:
            assert_helpful(problem, raw, f"{name} of {path.name}, number {number}, seed {seed}: {problem}")
        errors.extend(found)
    return tuple(errors)


def assert_helpful(problem: Problem, raw: bytes, about: str) -> None:
    lines = len(raw.decode("utf-8", "replace").splitlines()) + 1
    assert problem.file, about
    assert 1 <= problem.line <= lines, about
    assert problem.column >= 1, about
    assert problem.message, about
    assert problem.to_json()["hint"], about
    assert f":{problem.line}:{problem.column}" in render(problem), about
