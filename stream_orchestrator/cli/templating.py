"""New pipelines from templates: the pipeline, sample events and tests, filled in and formatted.

Promises
  * What is made validates, has no warnings of `lint`, is formatted, and runs offline as it is.
  * A word of the user's is written as YAML text, whatever it holds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any

import yaml

from stream_orchestrator.errors import UsageError
from stream_orchestrator.plan.compile import examine
from stream_orchestrator.plan.fmt import formatted
from stream_orchestrator.plan.names import slug
from stream_orchestrator.spec.loader import load_text
from stream_orchestrator.spec.problems import raise_errors

VERSION = "0.1.0"
_HOLE = re.compile("«([a-z_]+)»")


@dataclass(frozen=True, slots=True)
class Answers:
    """What is asked before a pipeline is made."""

    name: str
    description: str
    author: str
    contact: str
    documentation_url: str
    date: str


@lru_cache(maxsize=1)
def templates() -> dict[str, dict[str, Any]]:
    """Every template by name, in order."""
    folder = files("stream_orchestrator.cli") / "templates"
    found = sorted(path.name for path in folder.iterdir() if path.name.endswith(".yaml"))
    return {name.removesuffix(".yaml"): yaml.safe_load((folder / name).read_text("utf-8")) for name in found}


def made(template: str, answers: Answers) -> dict[str, str]:
    """The files of a new pipeline: name → text."""
    if template not in templates():
        known = ", ".join(templates())
        raise UsageError(f"there is no template `{template}`", hint=f"templates: {known}")
    stem = slug(answers.name)
    content = templates()[template]
    file, events, tests = f"{stem}-v{VERSION}.yaml", f"{stem}.events.jsonl", f"test_{stem.replace('-', '_')}.yaml"
    words = {
        "name": answers.name,
        "description": answers.description or content["summary"],
        "author": answers.author,
        "contact": answers.contact,
        "documentation_url": answers.documentation_url,
        "date": answers.date,
        "events": events,
        "file": file,
        "tests": f"{answers.name} Tests",
    }
    texts = {
        file: formatted(_filled(content["pipeline"], words), file=file),
        events: "".join(json.dumps(event, ensure_ascii=False) + "\n" for event in content["events"]),
        tests: formatted(_filled(content["test"], words), file=tests),
    }
    for located in load_text(texts[file], file=file):
        raise_errors(examine(located)[1])  # a name may be reserved
    return texts


def _filled(text: str, words: Mapping[str, str]) -> str:
    def fill(found: re.Match[str]) -> str:
        word = words[found[1]]
        line = text[text.rfind("\n", 0, found.start()) + 1 : found.start()]
        return _plain(word) if line.startswith("#") else _quoted(word)

    return _HOLE.sub(fill, text)


def _plain(word: str) -> str:
    """For a comment: one line of what can be printed."""
    return " ".join("".join(char if char.isprintable() else " " for char in word).split())


def _quoted(word: str) -> str:
    """In quotes, escaped where YAML needs it. What came from the command line in no encoding has question marks."""
    known = word.encode("utf-8", "replace").decode("utf-8")
    return str(yaml.safe_dump(known, default_style='"', allow_unicode=True, width=2**30)).strip()
