"""Where a script failed, in its author's lines: the first line after `def __step__` is line 1."""

from __future__ import annotations

import sys
from types import FrameType, TracebackType

SCRIPT_FILE = "<script>"
STEP = "__step__"
MAX_MESSAGE = 4_000


def script_lines(error: BaseException) -> list[int]:
    """The script's own lines on the way to the error, outermost first. Ours and the libraries' are left out."""
    frames = _frames(error.__traceback__)
    start = next((frame.f_code.co_firstlineno for frame, _ in frames if frame.f_code.co_name == STEP), None)
    start = _running_step() if start is None else start
    return [line - start for _, line in frames]


def told(error: BaseException) -> str:
    """`line 3: division by zero`, or with the lines that led there. Never raises, whatever the error does."""
    try:
        text = str(error)
    except Exception:  # the author's __str__ failed: the error itself is still worth its line
        text = "(its message cannot be read)"
    text = text[:MAX_MESSAGE].encode("utf-8", "replace").decode()
    lines = script_lines(error)
    if not lines:
        return text
    via = f" (from line {', '.join(str(line) for line in lines[-4:-1])})" if len(lines) > 1 else ""
    return f"line {lines[-1]}{via}: {text}" if text else f"line {lines[-1]}{via}"


def _frames(trace: TracebackType | None) -> list[tuple[FrameType, int]]:
    frames = []
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == SCRIPT_FILE:
            frames.append((trace.tb_frame, trace.tb_lineno))
        trace = trace.tb_next
    return frames


def _running_step() -> int:
    """An error caught inside a nested function does not lead through `__step__`: look for it below us."""
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_code.co_name == STEP and frame.f_code.co_filename == SCRIPT_FILE:
            return frame.f_code.co_firstlineno
        frame = frame.f_back
    return 1
