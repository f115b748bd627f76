"""Lines of config files as they may be quoted: their keys and their structure, and `*` for what the keys hold.

Promises
  * No value is shown, whatever its key: what is wrong with a file is often that a secret stands at a wrong key.
  * What is left keeps its column.
"""

from __future__ import annotations

import re
from dataclasses import replace

from stream_orchestrator.spec.located import Located
from stream_orchestrator.spec.problems import Problem

_KEY = r"""(?:[A-Za-z_][\w.-]*|"[\w.-]*"|'[\w.-]*')\s*:(?=\s|$)"""
_BLOCK = re.compile(rf"(?P<lead>\s*(?:-\s+)*)(?P<key>{_KEY})?(?P<space>\s*)(?P<rest>.*)", re.S)
# In `{...}`: quoted text to its end, a key where one may begin, structure, and any other character.
_QUOTED = r"""(?P<text>"(?:\\.|[^"\\])*"?|'[^']*'?)"""
_FLOW = re.compile(rf"(?P<begin>(?:^|[{{,\[])\s*)(?P<key>{_KEY})|{_QUOTED}|(?P<other>.)", re.S)
_STRUCTURE = frozenset("{}[],")


def keys_only(source: str) -> str:
    """A line without its values."""
    found = _BLOCK.fullmatch(source)
    assert found is not None, "the pattern takes any text"
    rest = found["rest"]
    hidden = _FLOW.sub(_in_flow, rest) if rest[:1] in {"{", "["} else _stars(rest)
    return f"{found['lead']}{found['key'] or ''}{found['space']}{hidden}"


def hushed(located: Located) -> Located:
    """A document whose problems quote no value."""
    return replace(located, quoted=keys_only, problems=tuple(map(_hushed, located.problems)))


def _hushed(problem: Problem) -> Problem:
    return replace(problem, source=keys_only(problem.source))


def _in_flow(found: re.Match[str]) -> str:
    if found["key"]:
        return f"{found['begin']}{found['key']}"
    if found["text"]:
        return _stars(found["text"])
    return found["other"] if found["other"] in _STRUCTURE else _stars(found["other"])


def _stars(text: str) -> str:
    return re.sub(r"\S", "*", text)
