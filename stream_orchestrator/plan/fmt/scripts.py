"""Texts of several lines as blocks (`|`), whatever quotes they were in."""

from __future__ import annotations

import re

from stream_orchestrator.plan.fmt.layout import Node

_TEXTS = ("script", "prompt", "system", "system_message")
_UNFIT = re.compile(
    "[^\t\n\x20-\x7e\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]|[\u2028\u2029]|[ \t]$", re.M
)


def as_block(key: str, value: Node, indent: int, lines: list[str]) -> list[str] | None:
    """The text as a block below a key at that indentation: its header, then its lines. None: it stays as it is."""
    quoted = value.kind == "scalar" and value.style in ('"', "'")
    folded = value.kind == "scalar" and value.style == ">" and key == "script"
    if key not in _TEXTS or not (quoted or folded) or value.decorated:
        return None
    text = value.value
    body = text.removesuffix("\n")
    if "\n" not in body or body.endswith("\n") or _UNFIT.search(body) or body[0] in " \n":
        return None
    chomping = "" if text.endswith("\n") else "-"
    comment = lines[value.end][value.end_column :].strip() if quoted else _comment_of(lines[value.line], value)
    pad = " " * (indent + 2)
    header = f"|{chomping}  {comment}" if comment else f"|{chomping}"
    return [header, *(pad + line if line else "" for line in body.split("\n"))]


def _comment_of(line: str, value: Node) -> str:
    """The comment beside the header of a block."""
    found = re.search(r"\s(#.*)$", line[value.column :])
    return found[1] if found else ""
