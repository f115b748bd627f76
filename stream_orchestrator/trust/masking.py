"""Hides known secrets in what leaves a sandbox."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

MASK = "***"
MIN_LENGTH = 6  # a shorter value would hide half of every text


class Masker:
    """Replaces secret values by `***`, and their usual disguises: base64, URL quoting, JSON escapes, hex.

    Promises
      * A value added here is hidden in every text masked afterwards, wherever in it and however often.
      * Which of its characters are quoted, and how often, changes nothing: each client has rules of its own.
      * Values shorter than `shortest` are let through: hiding them would destroy text and tell the value.
    It hides accidents. A script that sets out to smuggle a secret it was given can encode it in ways nobody lists.
    """

    def __init__(self, values: Iterable[str] = (), *, shortest: int = MIN_LENGTH) -> None:
        self._shortest = shortest
        self._forms: dict[str, int] = {}  # patterns, and the length of what they stand for
        self._pattern: re.Pattern[str] | None = None
        for value in values:
            self.add(value)

    def add(self, value: str) -> None:
        pattern = _quoted_anyhow(value)
        if len(value) < self._shortest or pattern in self._forms:
            return
        self._forms[pattern] = len(value)
        plain = unquote(value, errors="surrogateescape")  # within a URL a `%2F` of it is read as what it stands for
        if len(plain) >= self._shortest:
            self._forms.setdefault(_quoted_anyhow(plain), len(plain))
        for form in _encoded(value):
            if len(form) >= self._shortest:
                self._forms[re.escape(form)] = len(form)
        self._pattern = None

    def text(self, text: str) -> str:
        return self._compiled().sub(MASK, text) if self._forms else text

    def value(self, value: Any) -> Any:
        """The same JSON with every text in it masked, keys as well."""
        if not self._forms:
            return value
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.text(key): self.value(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.value(item) for item in value]
        return value

    def _compiled(self) -> re.Pattern[str]:
        if self._pattern is None:
            longest_first = sorted(self._forms, key=lambda form: self._forms[form], reverse=True)
            self._pattern = re.compile("|".join(longest_first))
        return self._pattern


def _quoted_anyhow(value: str) -> str:
    """A pattern for a value in which any character is as it is, quoted as in a URL, or escaped as in JSON."""
    return "".join(map(_any_form, value))


@lru_cache(maxsize=1024)  # a secret of a script's environment comes with every run of it
def _any_form(char: str) -> str:
    """A pattern for one character. What is quoted may be quoted again: `%2520`."""
    said = [re.escape(char), re.escape(json.dumps(char)[1:-1])]
    said.append("".join(rf"%(?:25)*{_hex(byte)}" for byte in _bytes(char)))
    said += [rf"\\u{_hex_digits(f'{ord(char):04x}')}"] if ord(char) < 0x10000 else []
    said += {" ": [r"\+"], "+": [" "], "/": [r"\\/"]}.get(char, [])
    return f"(?:{'|'.join(dict.fromkeys(said))})"


def _bytes(text: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")  # as the environment gives bytes that are no text
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def _hex(byte: int) -> str:
    return _hex_digits(f"{byte:02x}")


def _hex_digits(digits: str) -> str:
    return "".join(f"[{each}{each.upper()}]" if each.isalpha() else each for each in digits)


def _encoded(value: str) -> Iterator[str]:
    data = _bytes(value)
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
