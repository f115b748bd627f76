"""What a template may give: JSON values, and their one text form.

Promises
  * Text is never Python's repr: strings are as they are, everything else is JSON, letters outside ASCII kept.
  * Nothing undefined and nothing skipped gets through, however deep inside a list or map it sits.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

from jinja2 import Undefined

from stream_orchestrator.errors import RunError
from stream_orchestrator.plan.claims import KEY, TooLarge, Unseen

MAX_ITEMS = 1_000_000
_CLAIM = f'"{KEY}": '  # inside a text its quotes would be escaped


class TemplateFault(RunError):
    """A template cannot be rendered for this run: an unknown name, a refused access, a cap that was reached."""


class SkippedReference(RunError):
    """A template reads the output of a skipped task and gives no default: the task that reads it is skipped too."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"`{name}` was skipped", hint=f"write `{{{{ {name} | default(..., true) }}}}` to go on without it"
        )
        self.name = name


class _Skipped:
    """The type of `SKIPPED`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "SKIPPED"


SKIPPED = _Skipped()


def plain(value: Any) -> Any:
    """The value as JSON has it: maps with text keys, lists, text, numbers, booleans, null. Anything else is a fault."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return value if type(value) is str else str(value)
    if isinstance(value, Undefined):
        return value._fail_with_undefined_error()
    if value is SKIPPED:
        raise SkippedReference("a task's output")
    if isinstance(value, Unseen):
        return dict(value.claim)
    if isinstance(value, Mapping):
        return {_key(key): plain(item) for key, item in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, bytes | bytearray | type):
        items = [plain(item) for item in islice(value, MAX_ITEMS + 1)]
        if len(items) > MAX_ITEMS:
            raise TemplateFault(f"a template gives a list of more than {MAX_ITEMS} items")
        return items
    raise TemplateFault(f"a template gives a {type(value).__name__}, which is not a JSON value")


def text_of(value: Any) -> str:
    """The value inside text: a string as it is, all else as JSON."""
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Unseen):
        value.refuse()
    return json_text(value)


def json_text(value: Any, *, indent: int | None = None) -> str:
    """The value as JSON text. `TooLarge` when a claim check is in it: nobody who reads text can do with one."""
    text = json.dumps(plain(value), ensure_ascii=False, indent=indent)
    if _CLAIM in text:
        raise TooLarge("a value that becomes text")
    return text


def _key(key: Any) -> str:
    return key if type(key) is str else text_of(key)
