"""Hides known secrets in what leaves a sandbox."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import quote, quote_plus

MASK = "***"
MIN_LENGTH = 6  # a shorter value would hide half of every text


class Masker:
    """Replaces secret values by `***`, and their usual disguises: base64, URL quoting, JSON escapes, hex.

    Promises
      * A value added here is hidden in every text masked afterwards, wherever in it and however often.
      * Values shorter than `MIN_LENGTH` are let through: hiding them would destroy text and tell the value.
    It hides accidents. A script that sets out to smuggle a secret it was given can encode it in ways nobody lists.
    """

    def __init__(self, values: Iterable[str] = ()) -> None:
        self._forms: set[str] = set()
        self._pattern: re.Pattern[str] | None = None
        for value in values:
            self.add(value)

    def add(self, value: str) -> None:
        if len(value) < MIN_LENGTH or value in self._forms:
            return
        self._forms.update(form for form in _forms(value) if len(form) >= MIN_LENGTH)
        longest_first = sorted(self._forms, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first)))

    def text(self, text: str) -> str:
        return self._pattern.sub(MASK, text) if self._pattern else text

    def value(self, value: Any) -> Any:
        """The same JSON with every text in it masked, keys as well."""
        if self._pattern is None:
            return value
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.text(key): self.value(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.value(item) for item in value]
        return value


def _forms(value: str) -> Iterator[str]:
    data = value.encode("utf-8", "surrogateescape")
    yield value
    yield json.dumps(value)[1:-1]
    yield json.dumps(value, ensure_ascii=False)[1:-1]
    yield quote(data, safe="")
    yield quote(data)
    yield quote_plus(data)
    yield data.hex()
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        for lead in range(3):  # base64 depends on where in the text the value begins
            yield _certain_part(encode, data, lead=lead)


def _certain_part(encode: Any, data: bytes, *, lead: int) -> str:
    """What of the base64 of `...data...` depends on `data` alone, when it begins at byte `lead` of three."""
    text: str = encode(b"\0" * lead + data).decode().rstrip("=")
    start = (lead * 8 + 5) // 6
    whole_bits = (lead + len(data)) * 8
    return text[start : whole_bits // 6]
