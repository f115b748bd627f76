"""What operations do to the labels of values. The labels:

* `secret`: a credential. It sticks to what is made of it, but not to what an unknown function makes of it.
* `digest`: a hash of a secret without a key. Whoever guesses the secret can check the guess.
* `text`: the text of a model. Iterating it gives letters.
* `zero`: a number that may be 0 for few items.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Protocol

Labels = frozenset[str]
NOTHING: Labels = frozenset()
CARRIED: Labels = frozenset({"secret", "digest"})  # those that stick to a container, too

TEXT_METHODS = frozenset(
    ("strip", "lstrip", "rstrip", "lower", "upper", "title", "replace", "format", "join", "capitalize", "casefold")
)
PASSING_METHODS = (
    TEXT_METHODS
    | frozenset(
        ("encode", "decode", "split", "rsplit", "splitlines", "partition", "hexdigest", "digest", "hex", "get", "pop")
    )
    | frozenset(("copy", "items", "values", "setdefault", "removeprefix", "removesuffix", "zfill", "ljust", "rjust"))
)
_PASSING = frozenset(
    ("str", "repr", "ascii", "format", "bytes", "bytearray", "dict", "list", "tuple", "set", "frozenset", "sorted")
) | frozenset(("reversed", "zip", "enumerate", "copy.copy", "copy.deepcopy", "html.escape", "urllib.parse.quote"))
_PASSING_MODULES = ("json.dumps", "base64.", "binascii.", "yaml.dump", "orjson.dumps", "pickle.dumps")


class Sources(Protocol):
    """Where labels come from."""

    def of(self, node: ast.expr) -> Labels:
        """The labels that an expression has by itself."""

    def of_name(self, name: str) -> Labels:
        """The labels of a name that comes from outside."""

    def of_assignment(self, target: ast.expr, value: ast.expr) -> Labels:
        """The labels that a value gets by the name that it is given."""


def dotted(node: ast.expr) -> str:
    """`os.environ.get` of such an expression; the part that is no name is empty."""
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=holder, attr=attr):
            return f"{dotted(holder)}.{attr}"
        case _:
            return ""


def called(name: str, node: ast.Call, given: Labels) -> Labels:
    """The labels of what a call gives, by the function's name and the labels of its arguments."""
    rule = _SPECIAL.get(name)
    if rule is not None:
        return rule(node, given)
    if name in _PASSING or name.startswith(_PASSING_MODULES):
        return given & CARRIED
    if name.startswith("hashlib.") or name in ("sha256", "sha1", "sha512", "md5", "blake2b"):
        return frozenset({"digest"}) if "secret" in given else NOTHING
    return NOTHING


def _hash(_node: ast.Call, _given: Labels) -> Labels:
    return NOTHING  # reported where it is called, whatever becomes of it


def _min(_node: ast.Call, given: Labels) -> Labels:
    return given & {"zero", "secret"}


def _max(node: ast.Call, given: Labels) -> Labels:
    floor = any(isinstance(each, ast.Constant) and isinstance(each.value, int) and each.value > 0 for each in node.args)
    return given - {"zero"} if floor else given & {"zero", "secret"}


def _int(node: ast.Call, given: Labels) -> Labels:
    divided = any(isinstance(each, ast.BinOp) and isinstance(each.op, ast.Div) for each in node.args)
    return given | {"zero"} if divided else given


_SPECIAL: dict[str, Callable[[ast.Call, Labels], Labels]] = {
    "hash": _hash,
    "min": _min,
    "max": _max,
    "int": _int,
    "round": _int,
    "math.floor": _int,
}


def arithmetic(node: ast.BinOp, left: Labels, right: Labels) -> Labels:
    """The labels of `left op right`."""
    labels = (left | right) & CARRIED
    match node.op:
        case ast.FloorDiv() if not isinstance(node.left, ast.Constant) and not _is_negative(node.left):
            return labels | {"zero"}
        case ast.Add() | ast.Sub():
            return labels | ((left | right) & {"text"} if isinstance(node.op, ast.Add) else NOTHING)
        case ast.Mult():
            return labels | ((left | right) & {"zero"})
        case ast.Mod() if isinstance(node.left, ast.Constant) and isinstance(node.left.value, str):
            return labels
        case _:
            return labels


def _is_negative(node: ast.expr) -> bool:
    return isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub)
