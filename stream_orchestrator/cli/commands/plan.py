"""`plan FILE`: what a pipeline compiles to, and what it needs around it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from stream_orchestrator.cli import voice
from stream_orchestrator.cli.building import command
from stream_orchestrator.cli.options import File, Functions, Json, Prefix


def plan(file: File, functions: Functions = [], prefix: Prefix = None, as_json: Json = False) -> int:  # noqa: B006
    """Show what a pipeline compiles to

    Tasks in the order of their edges, inboxes, topics, helper functions and models.
    """
    from stream_orchestrator.cli.sources import read_plan
    from stream_orchestrator.cli.surroundings import configured, prefix_of

    document = _document(read_plan(file, functions), functions, prefix_of(prefix, configured([file])))
    if as_json:
        voice.emit(document)
    else:
        _show(document)
    return 0


def _document(made: Any, functions: list[str], prefix: str) -> dict[str, Any]:
    from stream_orchestrator.plan import names
    from stream_orchestrator.plan.functions import functions_of

    needed, missing = functions_of(made, functions)
    return {
        "pipeline": made.slug,
        "title": made.title,
        "version": made.version,
        "hash": made.hash,
        "inputs": made.inputs,
        "tasks": list(_tasks(made.tasks, f"{names.app_id(prefix, made)}.")),
        "topics": _topics(made, prefix),
        "functions": {"needed": list(needed), "missing": list(missing)},
        "models": list(made.models),
    }


def _tasks(tasks: Any, inboxes: str, inside: str = "") -> Iterator[dict[str, Any]]:
    """Every task; those inside a container come after it, with its name before theirs."""
    from stream_orchestrator.plan.model import START

    for task in tasks:
        yield {
            "name": inside + task.name,
            "type": task.kind,
            "depends_on": [inside + name for name in task.upstream if name != START],
            "inbox": inboxes + task.slug,
        }
        for number, body in enumerate(task.bodies):
            yield from _tasks(body.tasks, f"{inboxes}{task.slug}.{number}.", f"{inside}{task.name}/")


def _topics(made: Any, prefix: str) -> list[str]:
    """Every topic of its own: the public ones, then the inboxes in order, then the table."""
    from stream_orchestrator.plan import names

    inboxes = names.inboxes(prefix, made)
    public = [of(prefix, made.slug) for of in (names.input_topic, names.results_topic, names.dlq_topic)]
    return [*public, names.ingest_topic(prefix, made.slug), *inboxes, names.table_topic(prefix, made)]


def _show(document: dict[str, Any]) -> None:
    voice.show(f"{voice.printable(document['title'])}  version {document['version']}  hash {document['hash'][:12]}\n")
    rows = [
        (task["name"], task["type"], ", ".join(task["depends_on"]) or "-", task["inbox"]) for task in document["tasks"]
    ]
    voice.table(("TASK", "TYPE", "AFTER", "INBOX"), rows)
    inputs = ", ".join(document["inputs"]) or "any JSON object"
    voice.show(f"\ninputs     {voice.printable(inputs)}")
    voice.show(f"functions  {', '.join(document['functions']['needed']) or 'none'}")
    voice.show(f"models     {', '.join(document['models']) or 'none'}")
    if document["functions"]["missing"]:
        names = ", ".join(document["functions"]["missing"])
        voice.warn(f"nobody defines {names}", hint="list their file under `functions:`, or give --functions FILE.py")


app = command(
    plan,
    "plan pipelines/production/support-triage-v1.1.0.yaml",
    "plan pipelines/production/support-triage-v1.1.0.yaml --json",
)
