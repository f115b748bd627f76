"""`dlq list|show|redrive PIPELINE`: what could not go on, why, and another try."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path
from typing import Annotated, Any

import typer

from stream_orchestrator.cli import voice
from stream_orchestrator.cli.building import group
from stream_orchestrator.cli.options import Json, KafkaBroker, Pipeline, Prefix
from stream_orchestrator.errors import UsageError

Ids = Annotated[
    list[str],
    typer.Option("--id", metavar="ID", help="A letter's id, or its run's; may be given again", show_default=False),
]
Reasons = Annotated[
    list[str],
    typer.Option(
        "--reason",
        metavar="REASON",
        help="Only this reason, such as task_failed; may be given again",
        show_default=False,
    ),
]
Version = Annotated[
    str | None,
    typer.Option(metavar="V", help="Refuse unless this is the version that takes new runs", show_default=False),
]
Payload = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="The mended event, for the one letter that --id names", show_default=False),
]
SHOWN = 60  # characters of a message in the list


def list_letters(
    pipeline: Pipeline,
    broker: KafkaBroker = None,
    ids: Ids = [],  # noqa: B006  # Typer copies it
    reasons: Reasons = [],  # noqa: B006
    prefix: Prefix = None,
    as_json: Json = False,
) -> int:
    """List the dead letters of a pipeline"""
    letters = asyncio.run(_letters(pipeline, broker, prefix).read(ids=ids, reasons=_known(reasons)))
    shown = [letter.to_json() for letter in letters]
    if as_json:
        voice.emit({"letters": shown})
        return 0
    rows = [
        (each["id"], each["reason"], each["task"] or "-", each["attempts"], each["run_id"], _short(each["message"]))
        for each in shown
    ]
    if rows:
        voice.table(("ID", "REASON", "TASK", "ATTEMPTS", "RUN", "MESSAGE"), rows, right=("ATTEMPTS",))
    voice.say(f"{len(rows) or 'no'} dead letter{'' if len(rows) == 1 else 's'}")
    return 0


def show(
    pipeline: Pipeline,
    broker: KafkaBroker = None,
    ids: Ids = [],  # noqa: B006
    reasons: Reasons = [],  # noqa: B006
    prefix: Prefix = None,
    as_json: Json = False,
) -> int:
    """Show dead letters whole, with the original key, headers and value"""
    letters = asyncio.run(_letters(pipeline, broker, prefix).read(ids=ids, reasons=_known(reasons)))
    shown = [{**letter.to_json(), **_original(letter)} for letter in letters]
    if as_json:
        voice.emit({"letters": shown})
        return 0
    for each in shown:
        voice.show("\n".join(f"{name:<13} {voice.printable(_said(value))}" for name, value in each.items()) + "\n")
    return 0


def redrive(
    pipeline: Pipeline,
    broker: KafkaBroker = None,
    ids: Ids = [],  # noqa: B006
    reasons: Reasons = [],  # noqa: B006
    payload: Payload = None,
    version: Version = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing")] = False,
    prefix: Prefix = None,
    as_json: Json = False,
) -> int:
    """Run dead letters again

    Each starts a new run, `<run id>#2` to `#6`, whose result says `retry_of`. Letters that were redriven already are
    left alone unless --id names them. Exit code 1 when a letter was refused.
    """
    reasons = _known(reasons)
    mended = _payload(payload, ids)
    letters = _letters(pipeline, broker, prefix)
    planned = asyncio.run(_redrive(letters, ids, reasons, payload=mended, version=version, dry_run=dry_run))
    if as_json:
        voice.emit({"letters": [_outcome(each) for each in planned]})
    for each in planned:
        name = f"letter {each.letter.id} (run {each.letter.run_id})"
        if each.refused:
            voice.warn(f"{name} is not redriven: {each.refused}")
        elif each.skipped:
            voice.say(f"{name} is left alone: {each.skipped}")
        elif not as_json:
            voice.show(f"{each.letter.id}  {each.letter.run_id}  ->  {each.run_id}")
    done = sum(each.starts for each in planned)
    voice.say(f"{done} of {len(planned)} {'would be' if dry_run else 'were'} redriven")
    return 1 if any(each.refused for each in planned) else 0


async def _redrive(
    letters: Any, ids: list[str], reasons: list[str], *, payload: bytes | None, version: str | None, dry_run: bool
) -> list[Any]:
    if version is not None and (active := await letters.active_version()) != version:
        raise UsageError(
            f"a redriven run begins with the active version, which is {active}, not {version}",
            hint=f"leave --version out, or deploy {version} with a worker; a lower version never takes new runs",
        )
    found = await letters.read(ids=ids, reasons=reasons)
    if payload is not None and len(found) != 1:
        raise UsageError(f"--payload mends one letter, and {len(found)} were named", hint="name one with --id")
    planned: list[Any] = await letters.plan(found, named=bool(ids))
    if not dry_run:
        await letters.redrive(planned, payload=payload)
    return planned


def _letters(pipeline: str, broker: str | None, prefix: str | None) -> Any:
    from stream_orchestrator.cli.broker import existing_broker
    from stream_orchestrator.cli.deadletters import DeadLetters
    from stream_orchestrator.cli.sources import pipeline_of
    from stream_orchestrator.cli.surroundings import configured, prefix_of

    slug = pipeline_of(pipeline)
    return DeadLetters(settings=existing_broker(broker), prefix=prefix_of(prefix, configured()), pipeline=slug)


def _known(reasons: list[str]) -> list[str]:
    from stream_orchestrator.kernel.results import REASONS

    for reason in reasons:
        if reason not in REASONS:
            raise UsageError(f"there is no reason `{reason}`", hint=f"reasons: {', '.join(REASONS)}")
    return reasons


def _payload(file: Path | None, ids: list[str]) -> bytes | None:
    if file is None:
        return None
    if not ids:
        raise UsageError("--payload mends one letter", hint="name it with --id; `dlq list` shows the ids")
    try:
        return file.read_bytes().strip()
    except OSError as failed:
        raise UsageError(
            f"cannot read {file}: {failed.strerror}", hint="--payload names a file with the event"
        ) from failed


def _original(letter: Any) -> dict[str, Any]:
    from stream_orchestrator.cli.letters import OURS

    headers = {name: value.decode(errors="replace") for name, value in letter.record.headers if name not in OURS}
    return {"key": _text(letter.record.key), "headers": headers, **_value(letter.record.value)}


def _value(value: bytes | None) -> dict[str, Any]:
    """As text, or in base64 when it is none: nothing of it may be lost on the way."""
    try:
        return {"value": None if value is None else value.decode()}
    except UnicodeDecodeError:
        return {"value_base64": base64.b64encode(value or b"").decode()}


def _outcome(planned: Any) -> dict[str, Any]:
    outcome = {
        "new_run_id": planned.run_id or None,
        "refused": planned.refused or None,
        "skipped": planned.skipped or None,
    }
    return {**planned.letter.to_json(), **outcome}


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode(errors="replace")


def _said(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}: {inner}" for name, inner in value.items()) or "-"
    return "-" if value is None or value == "" else str(value)


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= SHOWN else f"{line[: SHOWN - 3]}..."


_AT = "--broker kafka://localhost:9092"
app = group(
    "Look at dead letters and run them again",
    {
        "list": (
            list_letters,
            [f"dlq list support-triage {_AT}", f"dlq list support-triage --reason task_failed {_AT}"],
        ),
        "show": (show, [f"dlq show support-triage --id 0/12 {_AT}"]),
        "redrive": (
            redrive,
            [
                f"dlq redrive support-triage --reason task_failed --dry-run {_AT}",
                f"dlq redrive support-triage --id 0/12 --payload mended.json {_AT}",
            ],
        ),
    },
)
