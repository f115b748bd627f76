"""Regexes in time linear to the input, whatever pattern and input are: RE2, whole text.

`\\w`, `\\d`, `\\s` and `\\b` are ASCII in RE2; `\\p{L}` is any letter.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import re2

MAX_PATTERN = 10_000  # characters; the memory of a compiled pattern is bounded by RE2 itself (8 MB)

_WHY = (
    ("invalid perl operator: (?=", "look-ahead `(?=` does not exist in it", "check that part in a script"),
    ("invalid perl operator: (?!", "look-ahead `(?!` does not exist in it", "check that part in a script"),
    ("invalid perl operator: (?<", "look-behind `(?<` does not exist in it", "check that part in a script"),
    ("bad repetition operator", "possessive, doubled or too large repetition", "repeat at most 1,000 times, once"),
    ("missing )", "a `(` is not closed", "close it, or write `\\(`"),
    ("unexpected )", "a `)` closes nothing", "remove it, or write `\\)`"),
    ("missing ]", "a `[` is not closed", "close it, or write `\\[`"),
    ("no argument for repetition", "a `*`, `+` or `?` repeats nothing", "write `\\*`, `\\+` or `\\?`"),
    ("invalid character class range", "a range in `[...]` runs backwards", "put `-` last in the class"),
    ("pattern too large", "the pattern is too large", "make it simpler, or check that part in a script"),
)


class BadPattern(ValueError):
    """A pattern that cannot be used. The message and `hint` are for the user."""

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Pattern:
    """A compiled regex."""

    text: str
    _compiled: Any = field(repr=False, compare=False)

    def matches(self, value: str) -> bool:
        """True when the whole value matches."""
        return self._compiled.fullmatch(value) is not None


@lru_cache(maxsize=1024)
def pattern(text: str) -> Pattern:
    """Compile a regex; one that RE2 does not know is a `BadPattern` that says why."""
    if len(text) > MAX_PATTERN:
        message = f"the pattern has more than {MAX_PATTERN:,} characters"
        raise BadPattern(message, hint="make it simpler, or check that part in a script")
    options = re2.Options()
    options.log_errors = False  # it would write to stderr
    try:
        return Pattern(text, re2.compile(text, options))
    except re2.error as wrong:
        raise _bad(wrong) from wrong


def _bad(wrong: Exception) -> BadPattern:
    said = wrong.args[0] if wrong.args else b""
    reason = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
    for theirs, why, hint in _WHY:
        if reason.startswith(theirs):
            return BadPattern(f"not a pattern of RE2: {why}", hint=hint)
    escape = reason.removeprefix("invalid escape sequence: ")
    if escape != reason and escape[1:].isdigit():
        return BadPattern(f"not a pattern of RE2: back-references `{escape}` do not exist in it", hint="use a script")
    if escape != reason:
        return BadPattern(
            f"not a pattern of RE2: it does not know `{escape}`", hint="see github.com/google/re2/wiki/Syntax"
        )
    return BadPattern(f"not a pattern of RE2: {reason}", hint="see github.com/google/re2/wiki/Syntax")
