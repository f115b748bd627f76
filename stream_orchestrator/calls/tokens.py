"""How many tokens a text may be, without asking anyone. An estimate, and always shown as one."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

# Measured on English prose; the services' own tokenisers differ by some 15 % either way.
CHARACTERS_PER_TOKEN = 4.2
# What each message costs beside its text (role and separators) in the chat formats.
TOKENS_PER_MESSAGE = 4


def estimate(text: str) -> int:
    """Tokens of a text: 0 only for the empty text, and never less for a longer text."""
    return math.ceil(len(text) / CHARACTERS_PER_TOKEN)


def estimate_messages(messages: Iterable[Mapping[str, str]]) -> int:
    """Tokens of a whole prompt."""
    return sum(TOKENS_PER_MESSAGE + estimate(message.get("content", "")) for message in messages)
