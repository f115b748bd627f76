"""What tasks that talk to a service share: a request is rendered, its secrets are left as marks, its answer is read.

Promises
  * A secret is in no request: a text holds a mark instead, and the request says which secret a mark stands for.
  * Nothing that an event holds is taken for a mark: marks are made of the digest of all that the templates can read.
  * The same step renders the same request, marks and all, however often it is asked.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from stream_orchestrator.errors import RunError
from stream_orchestrator.kernel import ids
from stream_orchestrator.kernel.effects import Answer, ScriptDone, ServiceRequest
from stream_orchestrator.kernel.kinds import Ask, Attempt, Step, Value
from stream_orchestrator.plan import templates
from stream_orchestrator.plan.services import SECRET, SERVICE_OF_KIND, asked_keys, rendered_keys
from stream_orchestrator.trust.secrets import looks_secret

ENV = "env:"  # what stands before the name of an environment variable, where a mark says what it stands for


class ServiceTask(ABC):
    """A kind whose attempt is one request. A member says what it asks in `request`."""

    name: str

    @abstractmethod
    def request(self, options: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """The operation, and its options, of rendered options. Raises `RunError` for what cannot be asked."""

    def begin(self, attempt: Attempt) -> Step:
        """Render and ask."""
        options, secrets = rendered(attempt)
        operation, options = self.request(options)
        if attempt.around.plan.guards.tls and "url" in options:
            options = {**options, "tls": True}  # of every hop, and of a secret: only the service sees those
        asked = ServiceRequest(
            service=SERVICE_OF_KIND[self.name],
            operation=operation,
            options=options,
            secrets=secrets,
            key=effect_key(attempt),
            deadline=attempt.deadline,
            on_ambiguous=attempt.variant.on_ambiguous,
        )
        return Ask(asked)

    def answered(self, attempt: Attempt, answer: Answer) -> Step:
        """What the service gave is the output."""
        return Value(answer.value)

    def scripted(self, attempt: Attempt, done: ScriptDone) -> Step:
        """It has no script; this is never asked of it."""
        raise AssertionError("a service's task has no script")


def effect_key(attempt: Attempt) -> str:
    """Names what the step does outside: the same for all its attempts (which count from 1), so for a repetition too."""
    row = attempt.row
    return ids.call_id(
        attempt.around.plan.slug, row.run_id, attempt.task.name, variant=row.variant, attempt=0, number=0
    )


def rendered(attempt: Attempt) -> tuple[dict[str, Any], dict[str, str]]:
    """The variant's options, rendered where they are templates, and the secrets that the marks in them stand for."""
    kind = attempt.variant.kind
    options = {key: value for key, value in attempt.variant.options.items() if key in asked_keys(kind)}
    keys = rendered_keys(kind)
    filled = {key: value for key, value in options.items() if key in keys}
    if not templates.names_in(filled) & {SECRET, "env"}:
        return {**options, **_whole(filled, templates.render(filled, attempt.scope))}, {}
    marks = _Marks(attempt.scope)
    found = templates.render(filled, {**attempt.scope, SECRET: marks.secret, "env": marks.env})
    return {**options, **_whole(filled, found)}, marks.used_in(found)


def _whole(written: Mapping[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """Texts that are kept as they are written: a template alone loses the line end behind it, and a line needs its."""
    for key in _TEXTS & found.keys():
        source, text = written[key], found[key]
        if isinstance(source, str) and isinstance(text, str):
            tail = source[len(source.rstrip()) :]
            found[key] = text if text.endswith(tail) else text + tail
    return found


class _Marks:
    """Marks for the secrets of one attempt."""

    def __init__(self, scope: Mapping[str, Any]) -> None:
        self._nonce = _nonce_of(scope)
        self._names: dict[str, str] = {}
        self._asked: set[str] = set()
        known = scope.get("env") or {}
        self.env = {name: self._mark(ENV + name) if looks_secret(name) else value for name, value in known.items()}

    def secret(self, name: Any) -> str:
        """What templates call: the mark of a secret."""
        if not isinstance(name, str) or not name or name.startswith(ENV):
            raise RunError("`secret` takes the name of a secret, such as secret('shop_token')")
        mark = self._mark(name)
        self._asked.add(mark)
        return mark

    def used_in(self, value: Any) -> dict[str, str]:
        """The marks that a rendered value holds. RunError when one that was asked for is not whole in it."""
        texts = list(_texts(value))
        held = {mark: name for mark, name in self._names.items() if any(mark in text for text in texts)}
        if changed := sorted(self._names[mark] for mark in self._asked - held.keys()):
            names = ", ".join(f"`{name}`" for name in changed)
            raise RunError(f"the secret {names} goes out as it is: no filter, test or comparison can be used on it")
        return held

    def _mark(self, name: str) -> str:
        mark = f"<secret {self._nonce} {ids.digest(name, size=8).hex()}>"
        self._names[mark] = name
        return mark


def _nonce_of(scope: Mapping[str, Any]) -> str:
    try:
        return hashlib.sha256(orjson.dumps(scope, default=str, option=_ANY_KEY)).hexdigest()[:32]
    except TypeError as error:
        raise RunError(f"what its templates read cannot be stored as JSON: {error}") from error


_TEXTS = frozenset({"content", "body"})
_ANY_KEY = orjson.OPT_NON_STR_KEYS | orjson.OPT_SORT_KEYS


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)


def text_in(options: Mapping[str, Any], key: str) -> str:
    """An option that must be text with something in it."""
    value = options.get(key)
    if not isinstance(value, str) or not value.strip():
        raise RunError(f"`{key}` must be text, and is {templates.text_of(value)[:80] or 'empty'}")
    return value


def count_in(options: Mapping[str, Any], key: str, default: int, *, most: int) -> int:
    """An option that must be a whole number from 1 to `most`."""
    value = options.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise RunError(f"`{key}` must be a whole number from 1 to {most}, and is {templates.text_of(value)[:80]}")
    return value
