"""What production demands of a document beyond compiling: what its scripts reach is said aloud."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from stream_orchestrator.errors import SpecError
from stream_orchestrator.plan.scripts import Script
from stream_orchestrator.spec.documents import Document
from stream_orchestrator.spec.located import Path
from stream_orchestrator.spec.problems import Problem
from stream_orchestrator.spec.unbuilt import tasks_in

RULE = "sandbox-unsaid"


def problems_of_production(document: Document) -> Iterator[Problem]:
    """A script that opens the network or reads a variable without a `sandbox` that says so, each an error."""
    data = document.located.data
    if not isinstance(data, dict):
        return
    for path, task in tasks_in(data):
        script = task.get("script")
        if isinstance(script, str):
            said = [each for each in (task.get("sandbox"), data.get("sandbox")) if isinstance(each, dict)]
            yield from _unsaid(document, (*path, "script"), script, said)


def _unsaid(document: Document, path: Path, script: str, said: list[dict[str, Any]]) -> Iterator[Problem]:
    try:
        read = Script.parse(script)
    except SpecError:  # compiling has said what is wrong with it
        return
    if read.uses_network and all(each.get("network") is None for each in said):
        message = "in production a script reaches the network only if it says so: it imports a network library"
        yield document.located.problem(
            RULE, message, path=path, hint="write `sandbox: {network: true}`, or `false` to keep it closed"
        )
    listed = {name for each in said if isinstance(each.get("env"), list) for name in each["env"]}
    for name in sorted(read.env_names - listed):
        message = f"in production a script gets a variable only if it says so: it reads `{name}`"
        yield document.located.problem(RULE, message, path=path, hint=f"write `sandbox: {{env: [{name}]}}`")
