"""Files in, located documents out: the only place that reads YAML.

Promises
  * Whatever the bytes are, what is wrong comes back as problems with line and column; never a traceback.
  * A file over a limit is refused before it is parsed (bytes) or built (depth, values, aliases).
  * YAML 1.2: `on`, `yes`, `no` are strings, and so are dates and times. Duplicate keys are problems.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import replace
from pathlib import Path as FilePath

import yaml

from stream_orchestrator.errors import UsageError
from stream_orchestrator.spec.bundles import parts_of
from stream_orchestrator.spec.located import Located, Mark
from stream_orchestrator.spec.nodes import Built, Unreadable, build, compose
from stream_orchestrator.spec.problems import Problem

MAX_BYTES = 1_000_000  # parses in about a second; a pipeline is a few kilobytes
_BREAK = re.compile(r"\r\n|[\n\r\x85\u2028\u2029]")  # what libyaml counts as the end of a line
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")


def load_file(path: FilePath | str) -> list[Located]:
    """Every document of the file; a file that cannot be opened is a `UsageError`, all else is in `problems`."""
    path = FilePath(path)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError as missing:
        raise UsageError(f"there is no file {path}", hint="check the path") from missing
    except OSError as failed:
        raise UsageError(
            f"cannot read {path}: {failed.strerror}", hint="check the path and its permissions"
        ) from failed
    return load_bytes(data, file=str(path))


def load_bytes(data: bytes, *, file: str = "<text>") -> list[Located]:
    """Every document of a YAML stream. Empty ones between others are passed over."""
    try:
        text = _decoded(data)
    except Unreadable as wrong:
        readable = data[:MAX_BYTES].decode("utf-8", "replace").removeprefix("\ufeff")
        return [_unreadable(wrong, file, _BREAK.split(readable), index=0)]
    return load_text(text, file=file)


def load_text(text: str, *, file: str = "<text>") -> list[Located]:
    """Like `load_bytes`, of text."""
    lines = _BREAK.split(text)
    found: list[Located] = []
    try:
        _refuse_unprintable(text)
        for part in parts_of(text, lines):
            for root in compose(yaml.parse(part.text, Loader=yaml.CSafeLoader)):
                found.append(replace(_located(build(root), file, lines, index=len(found)), part=part.path))
    except Unreadable as wrong:
        found.append(_unreadable(wrong, file, lines, index=len(found)))
    except yaml.YAMLError as wrong:
        found.append(_unreadable(_syntax(wrong, lines), file, lines, index=len(found)))
    documents = [each for each in found if each.data is not None or each.problems]
    return documents or [_unreadable(_empty(), file, lines, index=0)]


def _decoded(data: bytes) -> str:
    if len(data) > MAX_BYTES:
        message = f"the file is larger than {MAX_BYTES // 1000:,} kB"
        raise Unreadable("too-large", message, hint="split it, or move data out of it", mark=Mark())
    try:
        return data.removeprefix(codecs.BOM_UTF8).decode("utf-8")
    except UnicodeDecodeError as wrong:
        before = data.removeprefix(codecs.BOM_UTF8)[: wrong.start].decode("utf-8")
        mark = _mark_at(before, len(before))
        raise Unreadable("not-utf8", "the file is not UTF-8 text", hint="save it as UTF-8", mark=mark) from wrong


def _refuse_unprintable(text: str) -> None:
    found = _UNPRINTABLE.search(text)
    if found:
        message = f"the character U+{ord(found.group()):04X} is not allowed in YAML"
        hint = 'remove it, or write it as an escape in double quotes: "\\u0007"'
        raise Unreadable("bad-character", message, hint=hint, mark=_mark_at(text, found.start()))


def _mark_at(text: str, offset: int) -> Mark:
    lines = _BREAK.split(text[:offset])
    return Mark(len(lines), len(lines[-1]) + 1, 1)


def _empty() -> Unreadable:
    return Unreadable(
        "empty-file", "the file holds no document", hint="a pipeline begins with `name:` and `tasks:`", mark=Mark()
    )


def _located(built: Built, file: str, lines: list[str], *, index: int) -> Located:
    bare = Located(data=built.data, file=file, lines=lines, index=index, keys=built.keys, values=built.values)
    problems: tuple[Problem, ...] = tuple(
        bare.problem(fault.rule, fault.message, path=fault.path, hint=fault.hint, mark=fault.mark)
        for fault in built.faults
    )
    return Located(
        data=built.data, file=file, lines=lines, index=index, keys=built.keys, values=built.values, problems=problems
    )


def _unreadable(wrong: Unreadable, file: str, lines: list[str], *, index: int) -> Located:
    bare = Located(data=None, file=file, lines=lines, index=index)
    problem = bare.problem(wrong.rule, str(wrong), hint=wrong.hint, mark=wrong.mark)
    return Located(data=None, file=file, lines=lines, index=index, problems=(problem,), readable=False)


# The parser's words, most specific first, and ours.
_IN_OUR_WORDS = (
    (
        "mapping values are not allowed",
        "a `:` too many, or wrong indentation",
        "put text with `: ` in quotes; align the keys",
    ),
    ("exceeded maximum nesting", "nested too deep", "flatten the document"),
    ("could not find expected ':'", "a `:` is missing after a key", "write `key: value`"),
    (
        "did not find expected key",
        "wrong indentation, or text after a closing quote",
        "align it with the keys above it; or a quote that is open further up ends here: close it there",
    ),
    ("did not find expected '-'", "wrong indentation, or an item without `-`", "begin each item of a list with `- `"),
    ("did not find expected ',' or ']'", "a list that begins with `[` does not end", "close it with `]`"),
    (
        "did not find expected ',' or '}'",
        "a map that begins with `{` does not end",
        "close it; put a template in quotes",
    ),
    ("unexpected end of stream", "quotes that do not end", "close them"),
    (
        "unknown escape character",
        "an escape that YAML does not know",
        "use single quotes, or write `\\\\` for a backslash",
    ),
    ("block sequence entries are not allowed", "a `-` where no list can begin", "put the list on its own lines"),
)


def _syntax(wrong: yaml.YAMLError, lines: list[str]) -> Unreadable:
    if not isinstance(wrong, yaml.MarkedYAMLError):  # a ReaderError: our own check of characters comes first
        return Unreadable("yaml-syntax", "the text cannot be read", hint="save it as UTF-8 text", mark=Mark())
    place = wrong.problem_mark or wrong.context_mark
    mark = Mark(place.line + 1, place.column + 1, 1) if place else Mark()
    problem = wrong.problem or "not valid YAML"
    if _is_tab(problem, mark, lines):
        return Unreadable("yaml-tab", "a tab cannot indent YAML", hint="indent with spaces", mark=mark)
    for theirs, ours, hint in _IN_OUR_WORDS:
        if theirs in problem:
            rule = "too-deep" if "nesting" in theirs else "yaml-syntax"
            return Unreadable(rule, f"not valid YAML: {ours}", hint=hint, mark=mark)
    hint = "put text that begins with a special character in quotes"
    return Unreadable("yaml-syntax", f"not valid YAML: {problem}", hint=hint, mark=mark)


def _is_tab(problem: str, mark: Mark, lines: list[str]) -> bool:
    line = lines[mark.line - 1] if mark.line <= len(lines) else ""
    indentation = line[: len(line) - len(line.lstrip())]
    return "\t" in indentation and ("cannot start any token" in problem or "tab" in problem)
