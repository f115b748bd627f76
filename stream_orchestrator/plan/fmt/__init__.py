"""One way to write a document: keys in one order, even indentation, scripts as blocks. The meaning stays."""

from __future__ import annotations

from stream_orchestrator.plan.fmt.formatting import Unformattable, formatted

__all__ = ["Unformattable", "formatted"]
