"""Where a script failed, in its author's lines (`plan.binding` says how its module's lines are theirs)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from types import TracebackType

SCRIPT_FILE = "<script>"
STEP = "__step__"
HEADER = 2  # lines of the module before the script's first; `plan.binding.HEADER` is the same, as a test asserts
MAX_MESSAGE = 4_000
_OF_A_MAP = re.compile(r"'dict' object has no attribute '(\w+)'")


def script_lines(error: BaseException) -> list[int]:
    """The script's own lines on the way to the error, outermost first. Ours and the libraries' are left out."""
    return list(_lines(error.__traceback__))


def told(error: BaseException) -> str:
    """`line 3: division by zero`, or with the lines that led there. Never raises, whatever the error does."""
    try:
        text = str(error)
    except Exception:  # the author's __str__ failed: the error itself is still worth its line
        text = "(its message cannot be read)"
    if not text or isinstance(error, KeyError):  # "'XXX'" alone says nothing
        text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    if isinstance(error, AttributeError) and (found := _OF_A_MAP.fullmatch(text)):
        text = f"{text}; values are maps here: write `['{found[1]}']`"
    text = text[:MAX_MESSAGE].encode("utf-8", "replace").decode()
    lines = script_lines(error)
    if not lines:
        return text
    via = f" (from line {', '.join(str(line) for line in lines[-4:-1])})" if len(lines) > 1 else ""
    return f"line {lines[-1]}{via}: {text}"


def _lines(trace: TracebackType | None) -> Iterator[int]:
    while trace is not None:
        frame, line = trace.tb_frame, trace.tb_lineno
        if frame.f_code.co_filename == SCRIPT_FILE:
            table = frame.f_globals.get("__lines__")  # there when `{% %}` chose the lines
            yield table[line - 1] if table else line - HEADER
        trace = trace.tb_next
