"""`validate PATH…`: every mistake of every document, at once."""

from __future__ import annotations

from typing import Any

from stream_orchestrator.cli import voice
from stream_orchestrator.cli.building import command
from stream_orchestrator.cli.options import Functions, Json, Paths

WRONG = 2


def validate(paths: Paths, functions: Functions = [], as_json: Json = False) -> int:  # noqa: B006  # Typer copies it
    """Check files and folders, every document in them

    Compiles whatever is a pipeline and checks the form of all else. Exit code 2 when a document is wrong.
    """
    from stream_orchestrator.cli.sources import check_functions, marked_twins
    from stream_orchestrator.cli.surroundings import configured
    from stream_orchestrator.plan.loading import load_path

    check_functions(functions)
    config = configured(paths)
    found = (each for path in paths for each in load_path(path, functions=functions, config=config))
    loaded = list(marked_twins(found))
    ok = all(each.ok for each in loaded)
    if as_json:
        voice.emit({"ok": ok, "documents": [_document(each) for each in loaded]})
    else:
        _report(loaded)
    return 0 if ok else WRONG


def _document(loaded: Any) -> dict[str, Any]:
    return {
        "file": str(loaded.located.file),
        "index": loaded.located.index,
        "kind": loaded.kind,
        "name": loaded.document.name,
        "ok": loaded.ok,
        "problems": [problem.to_json() for problem in loaded.problems],
    }


def _report(loaded: list[Any]) -> None:
    from stream_orchestrator.cli.sources import tell

    tell(problem for each in loaded for problem in each.problems)
    broken = sum(not each.ok for each in loaded)
    for each in loaded:
        mark = "ok" if each.ok else "wrong"
        voice.show(f"{mark:<5}  {each.located.file}  {each.kind} {voice.printable(each.document.name)!r}")
    voice.say(f"{_count(len(loaded), 'document')}, {broken or 'none'} wrong")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


app = command(
    validate,
    "validate pipelines/production",
    "validate --json pipelines/production/support-triage-v1.1.0.yaml",
)
