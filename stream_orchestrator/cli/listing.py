"""Every command with its one line of help: all that `stream-orchestrator --help` has to load.

A command is a file in `commands/` and a line here; a test compares the two.
"""

from __future__ import annotations

PROGRAM = "stream-orchestrator"

COMMANDS = {
    "init": "Make a new pipeline from a template",
    "validate": "Check files and folders, every document in them",
    "lint": "Check files and folders, and give advice",
    "fmt": "Format documents in place",
    "plan": "Show what a pipeline compiles to",
    "graph": "Draw the graph of a pipeline",
    "docs": "Write a page about a pipeline, or the inventory of a folder",
    "run": "Send events through a pipeline and collect every result",
    "worker": "Serve pipelines until told to stop",
    "dev": "Serve pipelines on an embedded broker and reload them when they change",
    "send": "Send events to a pipeline",
    "results": "Read the results of a pipeline",
    "topics": "List, compare and make the topics of pipelines",
    "dlq": "Look at dead letters and run them again",
    "runs": "List the runs in flight, and end them",
    "breakers": "List the circuit breakers of a pipeline, and open or close them",
    "reconcile": "Count what became of every input event",
    "versions": "List the versions of a pipeline, and bring one to its end",
    "audit": "Tell what happened to a run",
    "test": "Run the test documents of pipelines",
    "config": "Explain the settings, and where each was said",
    "schema": "Print the JSON Schema of a kind of document",
}
HIDDEN = ("worker-child",)  # what a worker starts, and keeps alive


def help_text() -> str:
    """The help of the whole program."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {summary}" for name, summary in COMMANDS.items()]
    return "\n".join(
        [
            f"Usage: {PROGRAM} COMMAND [OPTIONS]...",
            "",
            "  Run AI pipelines, written as YAML, on event streams",
            "",
            "Commands:",
            *lines,
            "",
            "Options:",
            "  --version  Show the version",
            "  --help     Show this help; after a command, its own",
            "",
            "Example:",
            f"  {PROGRAM} run pipelines/production/support-triage-v1.1.0.yaml \\",
            "      --input pipelines/data/tickets.jsonl --output out.jsonl --offline",
        ]
    )
