"""A text of documents, formatted, and the proof that it still says the same.

Promises
  * Nothing is given back that holds other data, other comments, or compiles to another plan than before.
  * Formatting what was formatted changes nothing.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from stream_orchestrator.errors import SpecError
from stream_orchestrator.plan.compile import examine
from stream_orchestrator.plan.fmt.emitting import Emitter
from stream_orchestrator.plan.fmt.layout import Node, Section, sections
from stream_orchestrator.spec.bundles import parts_of
from stream_orchestrator.spec.documents import kind_of, read
from stream_orchestrator.spec.loader import load_text
from stream_orchestrator.spec.located import Located


class Unformattable(SpecError):
    """A text that cannot be formatted: it is no YAML (`problems` say why), or its meaning would not stay."""


def formatted(text: str, *, file: str = "") -> str:
    """The text in its one form; `file` is where it lives, for its kind and its helpers. Raises Unformattable."""
    before = load_text(text.removeprefix("\ufeff"), file=file)
    broken = tuple(problem for located in before for problem in located.problems)
    if broken:
        raise Unformattable(f"{file} is not YAML that can be formatted", problems=broken)
    plain = text.removeprefix("\ufeff").replace("\r\n", "\n")
    if re.search("[\r\x85\u2028\u2029]", plain):
        raise Unformattable(f"{file} has line ends of several kinds", hint="write line ends as LF or CRLF")
    for candidate in _candidates(plain, before):
        if _same(before, plain, candidate, file):
            return candidate
    raise Unformattable(
        f"{file} would not be the same after formatting",
        hint="it is left as it is; end its last line, and write its keys and comments plainer",
    )


def _candidates(text: str, before: list[Located]) -> Iterator[str]:
    parts = parts_of(text, text.removesuffix("\n").split("\n"))
    chunks = [part.text.lstrip("\n") if len(parts) > 1 else part.text for part in parts]
    inside = [[each for each in before if len(parts) == 1 or each.part == part.path] for part in parts]
    made = "\n".join(_chunk(chunk, documents) for chunk, documents in zip(chunks, inside, strict=True))
    yield made
    if not text.endswith("\n"):  # a block at the very end has one line end less without it
        yield made.removesuffix("\n")


def _chunk(text: str, documents: list[Located]) -> str:
    lines = text.removesuffix("\n").split("\n")
    made = _written(text, lines, documents)
    while made and not made[-1] and not _keeps_blanks(text):
        made.pop()
    return "\n".join(made) + "\n"


def _keeps_blanks(text: str) -> bool:
    return re.search(r"[|>]\d?\+", text) is not None


def _written(text: str, lines: list[str], before: list[Located]) -> list[str]:
    kinds = iter(kind_of(located.data, located.file) for located in before)
    made: list[str] = []
    done = 0
    for section in sections(text, lines):
        made += [line.rstrip() for line in lines[done : section.first]]
        empty = section.root.kind == "scalar" and not section.root.value
        made += Emitter(lines, "pipeline" if empty else next(kinds, "pipeline")).section(section)
        done = section.last + 1
    return made + [line.rstrip() for line in lines[done:]]


def _same(before: list[Located], text: str, made: str, file: str) -> bool:
    after = load_text(made, file=file)
    if [_exact(each.data) for each in before] != [_exact(each.data) for each in after]:
        return False
    if any(each.problems for each in after) or comments_of(text) != comments_of(made):
        return False
    return [_meaning(each) for each in before] == [_meaning(each) for each in after]


def _exact(data: Any) -> str:
    """Data as text, whatever the order of its keys: 1, 1.0, true and "1" differ."""
    return json.dumps(data, sort_keys=True, default=repr)


def _meaning(located: Located) -> tuple[str, list[tuple[str, str]]]:
    plan, problems = examine(read(located))
    return (plan.hash if plan else "", sorted((problem.rule, problem.message) for problem in problems))


def comments_of(text: str) -> Counter[str]:
    """Every comment of a YAML text, without the white space around it."""
    lines = text.split("\n")
    inside: dict[int, list[tuple[int, int]]] = {}
    for section in sections(text, lines):
        for node in _scalars(section):
            for number in range(node.line, node.end + 1):
                start = node.column if number == node.line else 0
                end = node.end_column if number == node.end and not node.is_block else len(lines[number])
                if node.is_block and number == node.line:
                    end = start + 1  # beside the header there may be a comment
                inside.setdefault(number, []).append((start, end))
    found: Counter[str] = Counter()
    for number, line in enumerate(lines):
        for match in re.finditer(r"(?:^|(?<=\s))#", line):
            if not any(start <= match.start() < end for start, end in inside.get(number, ())):
                found[line[match.start() :].strip()] += 1
                break
    return found


def _scalars(section: Section) -> Iterator[Node]:
    def walk(node: Node) -> Iterator[Node]:
        if node.kind == "scalar":
            yield node
        for key, value in node.entries:
            if key is not None:
                yield from walk(key)
            yield from walk(value)

    yield from walk(section.root)
