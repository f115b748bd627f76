"""`sanitization: true`: text without HTML and control characters, in Unicode's composed form (NFC).

Promises
  * The answer is plain text: a `<` or `&` that was text stays one, and is not turned into an entity.
  * Cleaning twice changes nothing, and no entity of the answer decodes to a tag.
"""

from __future__ import annotations

import html
import re
import unicodedata
from typing import Any

import nh3

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")  # all but tab, line feed and carriage return
_ROUNDS = 8  # each decodes one level of entities; nobody writes eight by honest mistake


def sanitized(value: Any) -> Any:
    """The value with every text in it cleaned; keys of maps stay as they are."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, list):
        return [sanitized(item) for item in value]
    if isinstance(value, dict):
        return {key: sanitized(item) for key, item in value.items()}
    return value


def clean(text: str) -> str:
    """The text without HTML and control characters, in NFC."""
    for _ in range(_ROUNDS):
        before, text = text, _once(text)
        if text == before:
            return text
    return re.sub("[<>&]", "", text)


def _once(text: str) -> str:
    composed = unicodedata.normalize("NFC", _CONTROL.sub("", text))
    if "<" not in composed and "&" not in composed:
        return composed
    return html.unescape(nh3.clean(composed, tags=set(), clean_content_tags={"script", "style"}))
