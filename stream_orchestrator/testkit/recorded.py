"""Runs as they were: the last events of an input topic with their results, or a file of some. Only read, never written.

Promises
  * Events are the newest by their time, whatever partition they are in; copies of an event count once.
  * Their ids are those that the runs had, so what a script makes of `run["id"]` is the same again.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import orjson

from stream_orchestrator.errors import UsageError
from stream_orchestrator.kernel import identity
from stream_orchestrator.plan import names
from stream_orchestrator.streaming.client import Reader, reading
from stream_orchestrator.streaming.records import Record
from stream_orchestrator.streaming.settings import StreamSettings
from stream_orchestrator.testkit.records import Result

OURS = ("run-id", "redrive-of", "traceparent")  # headers that a replay does not carry along


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """An event and what it gave; `result` is None when there is none (yet)."""

    run_id: str
    value: bytes
    key: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = ()
    result: Result | None = None


async def recorded_runs(settings: StreamSettings, prefix: str, slug: str, *, last: int) -> list[Recorded]:
    """The last events of a pipeline's input, oldest first. MissingError when its topics are not there."""
    async with reading(settings, names.input_topic(prefix, slug)) as reader:
        records = await last_of(reader, last)
    events = {_id_of(record): record for record in records}
    results = await _results(settings, names.results_topic(prefix, slug), set(events))
    return [_recorded(run_id, record, results.get(run_id)) for run_id, record in events.items()]


def recorded_file(path: Path) -> list[Recorded]:
    """Runs of a file, one `{input, result}` a line; UsageError with the number of a line that is none."""
    try:
        lines = path.read_bytes().splitlines()
    except (OSError, ValueError) as failed:  # a NUL in a name is a ValueError
        why = getattr(failed, "strerror", None) or failed
        raise UsageError(f"cannot read {path}: {why}", hint="`runs:` names a file beside the test") from failed
    found = [_of_line(path, number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    if not found:
        raise UsageError(f"{path} has no runs", hint='one `{"input": {}, "result": {}}` a line')
    return found


async def last_of(reader: Reader, count: int) -> list[Record]:
    """The newest records by their time: they are among the last `count` of each partition."""
    ends = await reader.bounds()
    await reader.go_on_from({part: max(begin, end - count) for part, (begin, end) in ends.items()})
    newest: list[Record] = []
    async for batch in reader.batches():
        # What is not among the newest so far never will be: memory stays within a batch and `count` records.
        newest = sorted([*newest, *batch], key=lambda each: (each.timestamp_ms, each.partition, each.offset))[-count:]
    return newest


async def _results(settings: StreamSettings, topic: str, wanted: set[str]) -> dict[str, Result]:
    found: dict[str, Result] = {}
    async with reading(settings, topic) as reader:
        async for batch in reader.batches():
            for record in batch:
                run_id = _root(_text(record.header("run-id")))
                if run_id in wanted and (result := _result(record.value)) is not None:
                    found[run_id] = result  # of a run that was redriven, what it came to last
    return found


def _id_of(record: Record) -> str:
    return _root(identity.read(record, record.position).run_id)


def _root(run_id: str) -> str:
    """Redriven runs (`id#2`) are the same run again."""
    return run_id.split("#")[0]


def _recorded(run_id: str, record: Record, result: Result | None) -> Recorded:
    kept = tuple((name, value) for name, value in record.headers if name not in OURS)
    return Recorded(run_id=run_id, value=record.value or b"", key=record.key, headers=kept, result=result)


def _of_line(path: Path, number: int, line: bytes) -> Recorded:
    try:
        fields = orjson.loads(line)
        value = orjson.dumps(fields["input"])
        result = None if fields.get("result") is None else Result(**fields["result"])
    except (ValueError, KeyError, TypeError) as wrong:
        said = f"{path}:{number}: this is no recorded run: {type(wrong).__name__}: {wrong}"
        raise UsageError(
            said, hint="`input` is an event, `result` a whole result as the results topic has it"
        ) from wrong
    run_id = result.run_id if result is not None else f"line-{number}"
    return Recorded(run_id=_root(run_id), value=value, result=result)


def _result(value: bytes | None) -> Result | None:
    try:
        return Result(**orjson.loads(value or b""))
    except (ValueError, TypeError):  # somebody else wrote to the topic
        return None


def _text(value: bytes | None) -> str:
    return (value or b"").decode(errors="replace")
