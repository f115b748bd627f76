"""Rules about what a document says of itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path as FilePath

from stream_orchestrator.plan.lint.model import Finding, Rule, Subject, TaskView

HEADER = ("name", "version", "description", "author", "contact", "documentation_url", "changelog")
PRODUCTION = "production"

MISSING_HEADER = Rule(
    id="missing-header",
    severity="info",
    summary=f"a header field is missing: {', '.join(HEADER)}",
    why="at night somebody has to find out what the pipeline is, whom to ask, and what changed last; "
    "in a folder `production` it is a warning",
    instead="add the fields at the top",
)
MISSING_DESCRIPTION = Rule(
    id="missing-description",
    severity="info",
    summary="tasks or input variables have no `description`",
    why="`docs`, `plan` and people have nothing but the name",
    instead="add `description: what it is for`",
)
CHANGELOG = Rule(
    id="stale-changelog",
    severity="warning",
    summary="the changelog's newest entry is not for this version",
    why="readers take the newest entry for what changed last",
    instead="add an entry for the version at the top of `changelog`",
)
UNCHECKED = Rule(
    id="unchecked-input",
    severity="warning",
    summary="a pipeline in a folder `production` declares no `input_variables`",
    why="any JSON object starts a run; what is missing is found by the task that needs it, after others were paid",
    instead="declare what an event carries, with types and bounds",
)
RULES = (MISSING_HEADER, MISSING_DESCRIPTION, CHANGELOG, UNCHECKED)


def check(subject: Subject) -> Iterator[Finding]:
    """All findings of these rules."""
    if subject.kind not in ("pipeline", "component"):
        return
    yield from _header(subject)
    yield from _descriptions(subject)
    yield from _changelog(subject)
    if subject.kind == "pipeline" and _is_production(subject) and not subject.data.get("input_variables"):
        yield subject.find(UNCHECKED, "nothing says what an event must carry", ())


def _is_production(subject: Subject) -> bool:
    return PRODUCTION in FilePath(subject.located.file).parts[:-1]


def _header(subject: Subject) -> Iterator[Finding]:
    fields = HEADER if subject.kind == "pipeline" else HEADER[:3]
    missing = [key for key in fields if not subject.data.get(key)]
    if missing:
        found = subject.find(MISSING_HEADER, f"the header lacks {', '.join(f'`{key}`' for key in missing)}", ())
        serious = subject.kind == "pipeline" and _is_production(subject)
        yield replace(found, problem=replace(found.problem, severity="warning")) if serious else found


def _descriptions(subject: Subject) -> Iterator[Finding]:
    """One finding for each list of tasks, and one for the variables: not one for each of a hundred."""
    scopes: dict[tuple[str | int, ...], list[TaskView]] = {}
    for task in subject.tasks:
        # fallbacks go by their primary's name
        if task.name and not task.data.get("description") and "fallback" not in task.path[-2:]:
            scopes.setdefault(task.scope, []).append(task)
    for tasks in scopes.values():
        names = [task.name for task in tasks]
        yield subject.find(MISSING_DESCRIPTION, _said("task", names), (*tasks[0].path, "name"))
    for key, what in (("input_variables", "variable"), ("parameters", "parameter")):
        given = subject.data.get(key)
        variables = given if isinstance(given, dict) else {}
        bare = [name for name, each in variables.items() if isinstance(each, dict) and not each.get("description")]
        if bare:
            yield subject.find(MISSING_DESCRIPTION, _said(what, bare), (key, bare[0]))


def _said(what: str, names: list[str]) -> str:
    shown = ", ".join(f"`{name}`" for name in names[:5]) + (", …" if len(names) > 5 else "")
    if len(names) == 1:
        return f"the {what} {shown} has no description"
    return f"{len(names)} {what}s have no description: {shown}"


def _changelog(subject: Subject) -> Iterator[Finding]:
    log, version = subject.data.get("changelog"), subject.data.get("version")
    newest = log[0].get("version") if isinstance(log, list) and log and isinstance(log[0], dict) else None
    if isinstance(version, str) and isinstance(newest, str) and newest != version:
        message = f"this is version {version}, and the newest change is of {newest}"
        yield subject.find(CHANGELOG, message, ("changelog", 0, "version"))
