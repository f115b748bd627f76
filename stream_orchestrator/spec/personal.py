"""`anonymization: true`: text without what tells who a person is, each such part replaced by a mark.

Promises
  * What is replaced is gone: a mark says of what kind it was, and is the same for every value of that kind.
  * Anonymising twice changes nothing; what is no text (numbers, true, null) is never changed.
  * Time is linear in the text. Where it is in doubt it is replaced: an order number may look like a telephone number.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from typing import Any

import re2

_OPTIONS = re2.Options()
_OPTIONS.log_errors = False


def _always(_: str) -> bool:
    return True


def _is_iban(text: str) -> bool:
    letters = "".join(text.split())
    turned = letters[4:] + letters[:4]
    return (
        15 <= len(letters) <= 34
        and letters[:2].isalpha()
        and int("".join(str(int(each, 36)) for each in turned)) % 97 == 1
    )


def _is_card(text: str) -> bool:
    """The check digit of payment cards (Luhn), over 13 to 19 digits."""
    bare = text.replace(" ", "").replace("-", "")
    if not 13 <= len(bare) <= 19:
        return False
    digits = [int(each) for each in bare]
    doubled = (sum(divmod(2 * digit, 10)) if at % 2 else digit for at, digit in enumerate(reversed(digits)))
    return any(digits) and sum(doubled) % 10 == 0


def _is_address(text: str) -> bool:
    try:
        return bool(ipaddress.ip_address(text))
    except ValueError:
        return False


_GROUPS = re.compile("([ -])")
_LEAST, _MOST = 3, 10  # letters of a group, and groups, of a number among other numbers


def _among(holds: Callable[[str], bool]) -> Callable[[str, str], str]:
    """A number that may stand between others (`4111 1111 1111 1111 555`): all of it, else some of its groups."""

    def marked(text: str, mark: str) -> str:
        if holds(text):
            return mark
        pieces, found, at = _GROUPS.split(text), list[str](), 0  # groups, and what stands between two
        while at < len(pieces):
            number = next((end for end in _ends(pieces, at) if holds("".join(pieces[at:end]))), None)
            end = number or at + 1
            found += [mark if number else pieces[at], *pieces[end : end + 1]]
            at = end + 1
        return "".join(found)

    return marked


def _ends(pieces: list[str], at: int) -> list[int]:
    """Where numbers that begin at a group may end, the longest first."""
    ends: list[int] = []
    for place in range(at, min(len(pieces), at + 2 * _MOST), 2):
        if len(pieces[place]) < _LEAST and not ends:
            break
        ends.append(place + 1)
        if len(pieces[place]) < _LEAST:
            break  # the last group of a number may be a short one
    return ends[::-1]


def _whole(holds: Callable[[str], bool]) -> Callable[[str, str], str]:
    return lambda text, mark: mark if holds(text) else text


# In this order: what one finds, the later ones do not see any more.
_KINDS: tuple[tuple[str, str, Callable[[str, str], str]], ...] = (
    ("EMAIL", r"[\p{L}\p{N}._%+'-]+@[\p{L}\p{N}-]+(?:\.[\p{L}\p{N}-]+)*\.\p{L}{2,}", _whole(_always)),
    ("IBAN", r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?\b", _among(_is_iban)),
    ("CARD", r"\b\d+(?:[ -]\d+)*\b", _among(_is_card)),
    ("SSN", r"\b\d{3}[- ]\d{2}[- ]\d{4}\b", _whole(_always)),
    ("IP", r"\b(?:\d{1,3}\.){3}\d{1,3}\b", _whole(_is_address)),
    ("IP", r"(?:\b[0-9A-Fa-f]{1,4})?(?::{1,2}[0-9A-Fa-f]{1,4}){2,7}\b", _whole(_is_address)),
    ("PHONE", r"\+\d(?:[ ./()-]{0,2}\d){6,14}\b", _whole(_always)),
    ("PHONE", r"(?:\(\d{3}\) ?|\b\d{3}[ .-])\d{3}[ .-]\d{4}\b", _whole(_always)),
    ("PHONE", r"\b0[1-9]\d{0,4}(?:[ /-]{1,3}\d{2,}){1,5}\b", _whole(_always)),
)
_COMPILED = tuple((f"[{kind}_REDACTED]", re2.compile(text, _OPTIONS), marked) for kind, text, marked in _KINDS)


def anonymized(value: Any) -> Any:
    """The value with every text in it anonymised, keys of maps as well."""
    if isinstance(value, str):
        return without_persons(value)
    if isinstance(value, list):
        return [anonymized(item) for item in value]
    if isinstance(value, dict):
        return _map(value)
    return value


def without_persons(text: str) -> str:
    """The text with marks where persons stood."""
    for mark, pattern, marked in _COMPILED:
        text = pattern.sub(lambda found, mark=mark, marked=marked: marked(found[0], mark), text)
    return text


def _map(value: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, item in value.items():
        name = mark = without_persons(key)
        number = 1
        while name in found:  # two addresses that were keys stay two
            number += 1
            name = f"{mark} {number}"
        found[name] = anonymized(item)
    return found
