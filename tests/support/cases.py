"""Pipelines that bring their own events and what these must give, under keys that begin with `x-`.

    x-answers: [{when: REGEX of the prompt, say: TEXT or VALUE}]     the first that matches; there must be one
    x-cases:   [{event: {...}, gives: OUTPUT, status: succeeded, outputs: {...}, degraded: [[task, who]],
                 attempts: {task: N}, error: {...}}]

The events of one pipeline come one after another: state that outlives runs is there for the next. `error` holds the
error's `task`, `type` and `says` (a part of the message), each if it is to be looked at.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from aiohttp import web

from stream_orchestrator.calls import offline
from stream_orchestrator.kernel.effects import Answer, CallRequest
from stream_orchestrator.testkit.models import Seen, Text

Result = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """One event, and what its run must give."""

    event: dict[str, Any]
    expected: dict[str, Any]


@dataclass(frozen=True)
class Subject:
    """A pipeline and its cases."""

    path: Path
    cases: tuple[Case, ...]
    answers: tuple[dict[str, Any], ...]

    @property
    def name(self) -> str:
        """Family and file, as a test's id."""
        return f"{self.path.parent.name}/{self.path.stem}"

    def answer(self, request: CallRequest) -> Any:
        """As a model of the in-memory evaluator."""
        if request.model.startswith("offline/"):
            return offline.answer(request)
        said = said_to(self.answers, request.messages[-1]["content"])
        return Answer(error_type="NoAnswer", message="no answer was given") if said is None else said


def said_to(answers: tuple[dict[str, Any], ...], prompt: str) -> str | None:
    """What the model says to a prompt."""
    for each in answers:
        if re.search(each["when"], prompt):
            return each["say"] if isinstance(each["say"], str) else json.dumps(each["say"])
    return None


def server_of(subjects: list[Subject]) -> Callable[[Seen, web.Request], Any]:
    """The same answers as a behaviour of a model server that serves all of them."""
    answers = tuple(each for subject in subjects for each in subject.answers)

    async def behave(seen: Seen, request: web.Request) -> web.StreamResponse:
        said = said_to(answers, seen.prompt)
        assert said is not None, f"nobody answers {seen.prompt!r}"
        return await Text(said)(seen, request)

    return behave


def subject_of(path: Path) -> Subject:
    """The pipeline of a file."""
    data = yaml.safe_load(path.read_text())
    cases = tuple(Case(each.pop("event"), each) for each in data["x-cases"])
    assert cases, f"{path} has no cases"
    return Subject(path, cases, tuple(data.get("x-answers", ())))


def assert_gives(result: Result, case: Case, about: str) -> None:
    """The result is what the case says, and nothing that it does not say is wrong."""
    expected, told = case.expected, f"{about}\nevent {case.event}\n{json.dumps(result, indent=1, ensure_ascii=False)}"
    status = expected.get("status", "succeeded")
    assert result["status"] == status, told
    assert result["output"] == expected.get("gives"), told
    for name, output in expected.get("outputs", {}).items():
        assert result["outputs"][name] == output, f"{name}: {told}"
    for name, attempts in expected.get("attempts", {}).items():
        assert result["timings"]["tasks"][name]["attempts"] == attempts, f"{name}: {told}"
    degraded = sorted([each["task"], each["answered_by"]] for each in result["degraded"])
    assert degraded == sorted(expected.get("degraded", [])), told
    error = expected.get("error")
    assert (error is None) == (result["error"] is None), told
    if error is not None:
        assert {name: result["error"][name] for name in error if name != "says"} == _without(error, "says"), told
        assert error.get("says", "") in result["error"]["message"], told


def determinate(result: Result) -> Result:
    """The keys of a result that its input alone decides, whoever ran it."""
    kept = ["pipeline", "version", "status", "output", "output_sha256", "degraded"]
    if result["status"] in {"succeeded", "degraded"}:
        tasks = {name: (task["attempts"], task.get("model")) for name, task in result["timings"]["tasks"].items()}
        return {**{name: result[name] for name in (*kept, "outputs")}, "tasks": tasks}
    told = {name: result["error"][name] for name in ("task", "type", "message", "attempts")}
    return {**{name: result[name] for name in kept if name != "degraded"}, "error": told}


def _without(values: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key != name}
