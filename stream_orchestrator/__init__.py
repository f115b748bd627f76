"""stream-orchestrator: AI pipelines, written as YAML, on event streams."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stream_orchestrator.api import Pipeline, Result, load

__version__ = "0.1.0"
__all__ = ["Pipeline", "Result", "__version__", "load"]


def __getattr__(name: str) -> Any:
    """The public names, imported when they are first used: the command line starts without them."""
    if name in {"Pipeline", "Result", "load"}:
        from stream_orchestrator import api

        return getattr(api, name)
    raise AttributeError(name)
