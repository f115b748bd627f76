"""`process_with_llm`: a script's question to a model. One without an answer ends the script, which is run again."""

from __future__ import annotations

import threading
from collections.abc import Generator, Mapping
from typing import Any

from .values import plain


class LLMError(RuntimeError):
    """The model did not answer. `error_type` says why; a script may catch this."""

    def __init__(self, message: str, *, error_type: str) -> None:
        super().__init__(message)
        self.error_type = error_type


class Unanswered(BaseException):
    """Ends a script whose question has no answer yet. `except Exception` misses it; catching it changes nothing."""


class LLMAnswer(dict[str, Any]):
    """`{text, tokens, cost, model}`. It can be awaited too, so that async scripts read naturally."""

    def __await__(self) -> Generator[None, None, LLMAnswer]:
        return self
        yield


class Model:
    """Counts a script's questions: number n is answered from the journal, or the script ends and asks for it.

    Once a question is open, whatever the script still does or returns is ignored: `request` is its outcome.
    """

    def __init__(self, journal: Mapping[str, Any]) -> None:
        self._journal = journal
        self._thread = threading.get_ident()
        self.number = 0
        self.request: dict[str, Any] | None = None

    def process_with_llm(self, text: Any, model: str | None = None, **params: Any) -> LLMAnswer:
        if self._thread != threading.get_ident():
            # Numbers given out by a race would answer one question with another's text when the script runs again.
            raise RuntimeError("`process_with_llm` may only be called from the script's own thread")
        if self.request is not None:
            raise Unanswered
        request = {"text": str(text), "model": model, "params": plain(params, "params")}
        self.number += 1
        entry = self._journal.get(str(self.number))
        if entry is None:
            self.request = request
            raise Unanswered
        return _answer(entry)


def _answer(entry: Mapping[str, Any]) -> LLMAnswer:
    if entry.get("error_type"):
        raise LLMError(str(entry.get("message") or entry["error_type"]), error_type=str(entry["error_type"]))
    tokens = entry.get("tokens", entry.get("input_tokens", 0) + entry.get("output_tokens", 0))
    cost = entry.get("cost", entry.get("usd", 0.0))
    return LLMAnswer(text=entry.get("text", ""), tokens=tokens, cost=cost, model=entry.get("model", ""))
