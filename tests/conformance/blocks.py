"""The user's document, and the YAML blocks in it. Nothing of it is copied here: it is read where it stands.

Promises
  * Every fenced block of YAML is found, each with the line that it begins on and the heading above it.
  * A block that shows several files is taken apart at its `# path.yaml` comments; each part keeps its lines' numbers.
  * A file has the path that its comment gives, else the one in the document's own tree of folders that fits its name
    and version, else one made of its name.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stream_orchestrator.plan.names import slug

ROOT = Path(__file__).parents[2]
VARIABLE = "CONFORMANCE_DOCUMENT"
DOCUMENT = Path(os.environ.get(VARIABLE) or ROOT.parent / "shared" / "spec" / "best-practices-for-orchestrator.md")
ABSENT = f"the document is not there ({DOCUMENT}); {VARIABLE}=PATH names it"

_FENCE = re.compile(r"^(?P<indent>\s*)```+\s*(?P<language>[\w-]*)\s*$")
_PATH = re.compile(r"#\s+([\w./-]+\.ya?ml)\b")
_NAME = re.compile(r'^name:\s*"?([^"\n]+)"?\s*$', re.MULTILINE)
_VERSION = re.compile(r'^version:\s*"?([\w.+-]+)"?\s*$', re.MULTILINE)
_LISTED = re.compile(r"([\w.-]+-v(\d+\.\d+\.\d+)\.ya?ml)")


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block: which one, the line after its fence, what stands above it, and its text."""

    number: int
    line: int
    heading: str
    text: str


@dataclass(frozen=True, slots=True)
class File:
    """One file that a block shows. `text` has the lines before it blank."""

    block: Block
    path: str
    text: str

    @property
    def title(self) -> str:
        """Its name, else its path."""
        found = _NAME.search(self.text)
        return found[1].strip() if found else self.path


def is_there() -> bool:
    """Whether the document can be read."""
    return DOCUMENT.is_file()


def blocks_of(text: str, *languages: str) -> Iterator[Block]:
    """The fenced blocks of these languages, in order; a fence that is never closed ends with the text."""
    lines, at, number, heading = text.split("\n"), 0, 0, ""
    while at < len(lines):
        opening = _FENCE.match(lines[at])
        if opening is None:
            heading = lines[at].lstrip("# ") if lines[at].startswith("#") else heading
            at += 1
            continue
        end = next((n for n in range(at + 1, len(lines)) if lines[n].strip() == "```"), len(lines))
        if opening["language"].lower() in languages:
            number += 1
            body = "\n".join(line.removeprefix(opening["indent"]) for line in lines[at + 1 : end]) + "\n"
            yield Block(number, at + 2, heading, body)
        at = end + 1


def files_of(block: Block, listed: dict[str, str]) -> list[File]:
    """The files that a block shows. `listed`: file names of the document's tree, by slug and version."""
    lines = block.text.split("\n")
    marks = [(number, found[1]) for number, line in enumerate(lines) if (found := _PATH.match(line))]
    if len(marks) < 2:
        return [File(block, marks[0][1] if marks else _path_of(block, listed), block.text)]
    ends = [*(number for number, _ in marks[1:]), len(lines)]
    return [
        File(block, path, "\n" * number + "\n".join(lines[number:end]) + "\n")
        for (number, path), end in zip(marks, ends, strict=True)
    ]


def files() -> list[File]:
    """Every file of the document, in order."""
    text = DOCUMENT.read_text(encoding="utf-8")
    listed = {f"{version} {name}": name for name, version in _LISTED.findall(text)}
    return [file for block in blocks_of(text, "yaml", "yml") for file in files_of(block, listed)]


def _path_of(block: Block, listed: dict[str, str]) -> str:
    name, version = _NAME.search(block.text), _VERSION.search(block.text)
    if name is None:
        return f"pipelines/block-{block.number}.yaml"
    own = slug(name[1])
    for key, file in listed.items():
        stem = file.split("-v")[0]
        if version is not None and key.startswith(f"{version[1]} ") and own.startswith(stem):
            return f"pipelines/production/{file}"
    return f"pipelines/{own}.yaml"
