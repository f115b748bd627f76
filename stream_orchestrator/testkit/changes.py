"""An output as it was beside what it is now. Exact: nothing in it is a comparison or a pattern."""

from __future__ import annotations

from typing import Any

import orjson


def change(old: Any, new: Any, where: str, ignored: frozenset[str]) -> list[str]:
    """Where two values differ, part by part; parts that are ignored are not looked at."""
    if where in ignored:
        return []
    if isinstance(old, dict) and isinstance(new, dict):
        keys = dict.fromkeys([*old, *new])
        return [said for key in keys for said in _of_key(old, new, key, f"{where}.{key}" if where else key, ignored)]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs_of = enumerate(zip(old, new, strict=True))
        return [said for at, (left, right) in pairs_of for said in change(left, right, f"{where}[{at}]", ignored)]
    same = type(old) is type(new) and old == new
    return [] if same else [f"{where or 'output'}: was {_shown(old)}, is {_shown(new)}"]


def _of_key(old: dict[str, Any], new: dict[str, Any], key: str, where: str, ignored: frozenset[str]) -> list[str]:
    if key in old and key in new:
        return change(old[key], new[key], where, ignored)
    if where in ignored:
        return []
    return [f"{where}: is gone"] if key in old else [f"{where}: is new: {_shown(new[key])}"]


def _shown(value: Any) -> str:
    text = orjson.dumps(value).decode()
    return text if len(text) <= 120 else f"{text[:120]}..."
