"""One text that holds several files: each begins with a comment that is its path, as documentation shows them.

```yaml
# config/base.yaml
logging: {level: INFO}

# config/production.yaml
extends: base.yaml
```
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_PATH = re.compile(r"#\s+([\w./-]+\.ya?ml)\s*")
_KEY = re.compile(r"[\w\"'-][^#]*:(\s|$)|---")


@dataclass(frozen=True, slots=True)
class Part:
    """One file of a text. `text` has the lines before it blank, so that its line numbers are those of the whole."""

    path: str
    text: str


def parts_of(text: str, lines: list[str]) -> list[Part]:
    """The files of a text; the whole text, without a path, when it is one file like any other.

    It is several when it begins with a path, and holds a second one followed by a key at the left margin: a comment
    that names a file inside a document divides nothing.
    """
    starts = list(_starts(lines))
    first = next((number for number, line in enumerate(lines) if line.strip()), 0)
    if len(starts) < 2 or starts[0][0] != first:
        return [Part("", text)]
    ends = [*(number for number, _ in starts[1:]), len(lines)]
    return [
        Part(path, "\n" * number + "\n".join(lines[number:end]) + "\n")
        for (number, path), end in zip(starts, ends, strict=True)
    ]


def _starts(lines: list[str]) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(lines):
        found = _PATH.fullmatch(line)
        if found and _KEY.match(_next(lines, number + 1)):
            yield number, found[1]


def _next(lines: list[str], start: int) -> str:
    return next((line for line in lines[start:] if line.strip() and not line.startswith("#")), "")
