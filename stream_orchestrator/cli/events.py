"""EVENTS.jsonl: what `run` and `send` are given. Checked whole before anything is sent.

Promises
  * A missing or empty file, and a line that is not a JSON object, is a `UsageError`; the line has its number.
  * A value is sent as it was written, byte for byte; only the line's own white space is left out.
  * The same file gives the same records in the same order.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from stream_orchestrator.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One line: its number, its bytes, and the key and run id that were taken from its fields."""

    line: int
    value: bytes
    key: bytes | None = None
    run_id: str | None = None

    @property
    def headers(self) -> tuple[tuple[str, bytes], ...]:
        """The headers it is sent with."""
        return (("run-id", self.run_id.encode()),) if self.run_id is not None else ()


def read_events(path: Path, *, key_field: str | None = None, run_id_field: str | None = None) -> list[Event]:
    """Every event of the file."""
    events = []
    for number, line in enumerate(_bytes(path).split(b"\n"), start=1):
        if text := line.strip():
            events.append(_event(path, number, text, key_field=key_field, run_id_field=run_id_field))
    if not events:
        raise UsageError(f"{path} has no events", hint='one JSON object a line, for example {"text": "hello"}')
    return events


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    except FileNotFoundError as missing:
        raise UsageError(
            f"there is no file {path}", hint="--input names a file with one JSON object a line"
        ) from missing
    except OSError as failed:
        raise UsageError(
            f"cannot read {path}: {failed.strerror}", hint="check the path and its permissions"
        ) from failed


def _event(path: Path, number: int, text: bytes, *, key_field: str | None, run_id_field: str | None) -> Event:
    try:
        fields = orjson.loads(text)
    except orjson.JSONDecodeError as wrong:
        raise UsageError(
            f"{path}:{number}: not JSON: {_said(wrong)}", hint="nothing was sent; mend the line"
        ) from wrong
    if not isinstance(fields, dict):
        found = {list: "a list", str: "a text", bool: "a boolean", type(None): "null"}.get(type(fields), "a number")
        hint = 'nothing was sent; an event is an object, for example {"text": "hello"}'
        raise UsageError(f"{path}:{number}: this is {found}, not a JSON object", hint=hint)
    key = _field(path, number, fields, key_field, option="--key-field")
    run_id = _field(path, number, fields, run_id_field, option="--run-id-field")
    return Event(line=number, value=text, key=None if key is None else key.encode(), run_id=run_id)


def _field(path: Path, number: int, fields: dict[str, Any], name: str | None, *, option: str) -> str | None:
    """The field as text: texts as they are, numbers as they are written in JSON."""
    if name is None:
        return None
    value = fields.get(name)
    if isinstance(value, str) and value:
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return orjson.dumps(value).decode()
    state = "is empty" if value == "" else "is missing" if name not in fields else "is not a text or a number"
    here = ", ".join(list(fields)[:8]) or "none"
    raise UsageError(
        f"{path}:{number}: the field `{name}` {state}",
        hint=f"nothing was sent; {option} needs it in every line, which has: {here}",
    )


def _said(wrong: orjson.JSONDecodeError) -> str:
    return f"{wrong.msg} (column {wrong.colno})"
