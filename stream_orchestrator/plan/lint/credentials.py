"""Credentials in a document: known shapes, values of secret-like names, and text that looks random.

Promises
  * The name of a secret (`getenv("API_KEY")`, `get_secret("db_password")`) is none, nor is a template or a placeholder.
  * A value found here is never quoted: three characters of it are, of a long one.
"""

from __future__ import annotations

import ast
import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from stream_orchestrator.plan.binding import pieces
from stream_orchestrator.plan.lint.values import dotted

# What services give out, by the way it begins. Lower bounds are low: shortened ones in examples count too. Upper bounds
# keep the search short in a text that was made to make it long.
SHAPES = {
    "an API key": r"sk-[A-Za-z0-9_-]{12,2000}|(?:sk|rk)_(?:live|test)_[A-Za-z0-9]{10,2000}",
    "an AWS access key": r"(?:AKIA|ASIA)[0-9A-Z]{16}",
    "a GitHub token": r"gh[pousr]_[A-Za-z0-9]{20,2000}|github_pat_[A-Za-z0-9_]{20,2000}",
    "a GitLab token": r"glpat-[A-Za-z0-9_-]{16,2000}",
    "a Slack token": r"xox[abeoprs]-[A-Za-z0-9-]{10,2000}|https://hooks\.slack\.com/services/T[A-Za-z0-9/]{16,2000}",
    "a Google API key": r"AIza[A-Za-z0-9_-]{30,2000}",
    "a SendGrid key": r"SG\.[A-Za-z0-9_-]{16,2000}\.[A-Za-z0-9_-]{16,2000}",
    "a Hugging Face token": r"hf_[A-Za-z0-9]{20,2000}",
    "a package registry's token": r"npm_[A-Za-z0-9]{30,2000}|pypi-[A-Za-z0-9_-]{40,2000}",
    "a JSON web token": r"eyJ[A-Za-z0-9_-]{10,2000}\.eyJ[A-Za-z0-9_-]{10,2000}\.[A-Za-z0-9_-]{5,2000}",
    "a private key": r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----",
    "a bearer token": r"Bearer [A-Za-z0-9._~+/-]{20,2000}=*",
    "a password in an address": r"[a-z][a-z0-9+.-]{1,20}://[^\s/:@{}$<>]{1,64}:(?P<secret>[^\s/:@{}$<>]{3,64})@",
}
_SHAPE = re.compile("|".join(f"(?<![A-Za-z0-9])(?:{shape})" for shape in SHAPES.values()))
_KINDS = tuple((kind, re.compile(shape)) for kind, shape in SHAPES.items())

_NAMES = (
    r"(?:api|access|private|secret|signing|encryption|auth|client|account)_?key|passw(?:or)?d|passphrase|pwd|secret"
)
_SURE = re.compile(rf"(?:^|_)(?:{_NAMES})s?$")
_LIKELY = re.compile(rf"(?:^|_)(?:{_NAMES}|token|credentials?|auth|bearer|dsn|connection_string)$")
_OF_ENVIRONMENT = re.compile(
    rf"(?:^|_)(?:{_NAMES}|key|token|credentials?|auth|bearer|dsn|pat|webhook(?:_url)?|connection_string|database_url)s?(?:_|$)"
)
_PLACEHOLDER = re.compile(
    r"(?i)^(?:[x*.#_-]+|<.*>|\$\{.*\}|\$\w+|%\(?\w+\)?s?|your[-_ ].*"
    r"|.*(?:example|placeholder|redacted|masked|change[-_ ]?me).*"
    r"|none|null|true|false|todo|dummy|fake|string|text|secret|password|token|api[-_]?key|(?-i:[A-Z][A-Z0-9]*_[A-Z0-9_]+))$"
)
_CHECKSUM = re.compile(r"(?i)sha\d*|md5|digest|checksum|hash|etag|commit|revision|fingerprint|uuid|guid|(?:^|_)id$")
_RANDOM = re.compile(r"(?<![A-Za-z0-9+/_=.-])(?:[A-Za-z0-9+/_-]{20,}={0,2})(?![A-Za-z0-9+/_=.-])")
_UUID = re.compile(r"(?i)^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$")
_BITS = 4.0  # per character: words and identifiers stay under 3.9, random base64 of 20 characters is above 4
_HEX_BITS = 3.2


@dataclass(frozen=True, slots=True)
class Credential:
    """A value that is one, or looks like one (`sure` is False), and what it is in words."""

    value: str
    what: str
    sure: bool = True

    @property
    def beginning(self) -> str:
        """Enough of it to be found again, and too little to be used."""
        return f"{self.value[:3]}…" if len(self.value) >= 12 else "…"


def is_secret_name(name: str) -> bool:
    """Whether a variable of the environment, or a sensitive name, names a credential."""
    return _OF_ENVIRONMENT.search(_snake(name)) is not None


def credentials_in(text: str, name: str = "") -> Iterator[Credential]:
    """The credentials in a text that goes by `name`, a variable or a key; templates in it are none."""
    shaped = [found for found in map(_of_shape, _SHAPE.finditer(text)) if found is not None]
    yield from shaped
    if shaped:
        return
    if _is_value_of(name, text):
        yield Credential(text, f"the value of `{name}`")
    elif not _CHECKSUM.search(name):
        yield from (Credential(word, "text that looks random", sure=False) for word in _random_words(text))


def _of_shape(found: re.Match[str]) -> Credential | None:
    for kind, shape in _KINDS:
        inner = shape.search(found[0])
        if inner is not None:
            value = inner.groupdict().get("secret") or inner[0]
            bare = value.rpartition(" ")[2]
            return None if _PLACEHOLDER.match(bare) or _is_filler(bare) else Credential(value, kind)
    return None


def _is_filler(value: str) -> bool:
    """`sk-xxxxxxxxxxxxxxxx`: a place for a key."""
    tail = re.sub(r"^[A-Za-z]{2,}[-_]", "", value)
    return len(set(tail)) <= 2


def _is_value_of(name: str, text: str) -> bool:
    plain = 4 <= len(text) <= 512 and not re.search(r"\s|\{\{|\{%", text) and not _PLACEHOLDER.match(text)
    if not plain or not name:
        return False
    name = _snake(name)
    mixed = bool(re.search(r"\d", text) and re.search(r"[A-Za-z]", text)) and len(text) >= 8
    return bool(_SURE.search(name)) or (bool(_LIKELY.search(name)) and mixed)


def _random_words(text: str) -> Iterator[str]:
    for found in _RANDOM.finditer(text):
        word = found[0]
        if not _UUID.match(word) and not _PLACEHOLDER.match(word) and _is_random(word):
            yield word


def _is_random(word: str) -> bool:
    if re.fullmatch(r"[0-9a-f]+|[0-9A-F]+", word):
        return len(word) >= 32 and re.search(r"[a-fA-F]", word) is not None and entropy(word) >= _HEX_BITS
    kinds = sum(bool(re.search(kind, word)) for kind in ("[a-z]", "[A-Z]", "[0-9]"))
    digits = sum(char.isdigit() for char in word)
    return kinds == 3 and digits >= 2 and word.count("/") < 3 and entropy(word) >= _BITS


def entropy(text: str) -> float:
    """Bits a character."""
    counts = Counter(text)
    return -sum(count / len(text) * math.log2(count / len(text)) for count in counts.values())


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).replace("-", "_").lower()


_ASKING = ("getenv", "environ.get", "get_secret", "environ.pop", "get_variable", "get_task_output", "get_cache")


def credentials_of(tree: list[ast.stmt] | tuple[ast.stmt, ...]) -> Iterator[tuple[Credential, int]]:
    """The credentials among a script's constants, each with its line there."""
    for statement in tree:
        yield from _walk(statement, "")


def _walk(node: ast.AST, name: str) -> Iterator[tuple[Credential, int]]:
    if isinstance(node, ast.Constant):
        yield from _of_constant(node, name)
        return
    for child, called in _named(node, name):
        yield from _walk(child, called)


def _of_constant(node: ast.Constant, name: str) -> Iterator[tuple[Credential, int]]:
    value = node.value.decode("latin-1") if isinstance(node.value, bytes) else node.value
    if not isinstance(value, str):
        return
    whole = all(isinstance(piece, str) for piece in pieces(value))
    for piece in pieces(value):
        if isinstance(piece, str):
            for found in credentials_in(piece, name if whole else ""):
                yield (
                    found,
                    node.lineno + value[: value.find(found.value)].count("\n") * (node.end_lineno != node.lineno),
                )


def _named(node: ast.AST, name: str) -> Iterator[tuple[ast.AST, str]]:
    """The children of a node, each with the name that its value goes by."""
    match node:
        case ast.Assign(targets=targets, value=value):
            yield from ((target, "") for target in targets)
            yield value, name_of(targets[0])
        case ast.AnnAssign(target=target, value=value) | ast.NamedExpr(target=target, value=value):
            if value is not None:
                yield value, name_of(target)
        case ast.Dict(keys=keys, values=values):
            for key, value in zip(keys, values, strict=True):
                yield value, key.value if isinstance(key, ast.Constant) and isinstance(key.value, str) else ""
        case ast.Compare(left=left, comparators=[right]):
            yield left, name_of(right)
            yield right, name_of(left)
        case ast.keyword(arg=arg, value=value):
            yield value, arg or ""
        case ast.Call(func=func, args=args, keywords=keywords):
            asks = dotted(func).endswith(_ASKING)
            yield func, ""
            asked = args[0].value if asks and args and isinstance(args[0], ast.Constant) else ""
            yield from ((arg, str(asked)) for arg in (args[1:] if asks else args))
            yield from ((keyword, "") for keyword in keywords)
        case ast.Subscript(value=holder):  # a key of a map names a value and is none
            yield holder, ""
        case ast.IfExp() | ast.BoolOp():
            yield from ((child, name) for child in ast.iter_child_nodes(node))
        case _:
            yield from ((child, "") for child in ast.iter_child_nodes(node))


def name_of(node: ast.expr) -> str:
    """The name that a target binds: `key`, `self.key` and `headers["key"]` are all `key`."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name) | ast.Subscript(slice=ast.Constant(value=str(name))):
            return name
        case _:
            return ""
