"""Claim checks at the border of scripts: they get values, and what they give that is too large is kept outside records.

Promises
  * A value is durable in the store before anybody hears of its claim check: a crash in between leaves a value that
    nobody needs, which goes at its time.
  * What a script gets in place of a claim check has its SHA-256. Else the script does not run: `ClaimCheckLost`.
  * A claim check leads to nothing but a value of this store, whatever it says.
  * Of a list or map only the largest parts are kept outside, as long as that is enough: the rest can be named.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import orjson
from msgspec.structs import replace

from stream_orchestrator.errors import RunError
from stream_orchestrator.kernel.effects import RunScript, ScriptDone
from stream_orchestrator.kernel.limits import MAX_OUTPUT, MIB
from stream_orchestrator.plan.claims import KEY, MARK, claims_in, is_whole, replaced
from stream_orchestrator.plan.scripts import TEXT
from stream_orchestrator.plan.templates import text_of
from stream_orchestrator.spec import settings
from stream_orchestrator.spec.config import Configuration
from stream_orchestrator.trust.blobs import Blobs, hour_of, is_place, store_of
from stream_orchestrator.trust.child import values

MAX_VALUE = 64 * MIB  # what a script may give when there is a store: it passes through our memory
MAX_GIVEN = 256 * MIB  # what a script may get of it, all in all
LEAST = 4096  # a claim check is not much smaller than that
MOST_PARTS = 64  # of one value: each is a file
DEEPEST = 4  # levels that are looked into for large parts
GRACE = 3600.0  # seconds after the last deadline: a result that came at the end can still be read
_CLAIM_BYTES = 512


class ClaimCheckLost(RunError):
    """What a claim check stands for is not there any more, or is not what it was."""


class ClaimChecks:
    """Keeps and brings values. Without a store nothing is kept, and no claim check can be followed."""

    def __init__(self, blobs: Blobs | None = None, threshold: int = MAX_OUTPUT) -> None:
        self._blobs = blobs
        self.threshold = max(LEAST, min(threshold, MAX_OUTPUT))

    @classmethod
    def of(cls, config: Configuration) -> ClaimChecks:
        """As the settings say."""
        return cls(store_of(config), config.section(settings.Blobs).threshold)

    @property
    def most(self) -> int:
        """How large a script's output may be."""
        return values.MAX_OUTPUT if self._blobs is None else MAX_VALUE

    # --- before a script -----------------------------------------------------------------------------------------

    async def followed(self, script: RunScript) -> RunScript:
        """The script with the values in place of the claim checks in what it is given. Raises `ClaimCheckLost`."""
        given = [script.names, script.bindings, script.info]
        wanted = {_key(claim): claim for claim in claims_in(given)}
        if not wanted:
            return script
        if (size := sum(_bytes(claim) for claim in wanted.values())) > MAX_GIVEN:
            raise ClaimCheckLost(f"it is given {size:,} bytes of values outside records; {MAX_GIVEN:,} is the most")
        found = {key: await asyncio.to_thread(self._value, claim) for key, claim in wanted.items()}
        names, _, info = replaced(given, lambda claim: orjson.Fragment(found[_key(claim)]))
        bindings = {name: _bound(name, value, found) for name, value in script.bindings.items()}
        return replace(script, names=names, bindings=bindings, info=info)

    def _value(self, claim: Mapping[str, Any]) -> bytes:
        if not is_whole(claim):
            raise ClaimCheckLost(f"a map with the key `{KEY}` is no claim check: the key is reserved, take another")
        told = claim[KEY]
        body = self._body(told["uri"], told["bytes"])
        if len(body) != told["bytes"] or hashlib.sha256(body).hexdigest() != told["sha256"]:
            raise ClaimCheckLost(f"{told['uri']} is not what was kept there: its size or SHA-256 has changed")
        return body

    def _body(self, uri: str, size: int) -> bytes:
        if self._blobs is None:
            raise ClaimCheckLost(f"{uri} cannot be read: set `blobs.url`, to the same for all workers")
        root, place = f"{self._blobs.uri}/", uri.removeprefix(f"{self._blobs.uri}/")
        if not uri.startswith(root) or not is_place(place) or not 0 <= size <= MAX_VALUE:
            message = f"{uri[:300]} is no value of {self._blobs.uri}: `blobs.url` has changed, or it is forged"
            raise ClaimCheckLost(message)
        try:
            return self._blobs.get(place, size)
        except FileNotFoundError as error:
            message = f"{uri} is gone: values are kept until the deadline of the run that gave them"
            raise ClaimCheckLost(message) from error
        except OSError as error:
            raise ClaimCheckLost(f"{uri} cannot be read: {error}") from error

    # --- after a script ------------------------------------------------------------------------------------------

    async def kept(self, done: ScriptDone, script: RunScript) -> ScriptDone:
        """What a script gave, with claim checks for what is too large, all of it kept. Any failure is the script's."""
        if next(claims_in(done.value), None) is not None:
            message = f"the output has a map with the one key `{KEY}`, which is reserved; name it otherwise"
            return _failed(done, "InvalidOutput", message)
        if self._blobs is None:
            return done
        root, hour = self._blobs.uri, hour_of(float(script.info.get("until") or 0.0) + GRACE)
        split = _Split(f"{root}/{hour}/")
        value = await asyncio.to_thread(split.fitting, done.value, self.threshold)
        try:
            for name, body in split.bodies.items():
                await asyncio.to_thread(self._blobs.put, f"{hour}/{name}", body)
        except OSError as error:
            size = sum(map(len, split.bodies.values()))
            message = f"{size:,} bytes of the output cannot be kept under {root}: {error}"
            return _failed(done, "BlobStoreFailed", message)
        return replace(done, value=value)


class _Split:
    """Takes out of a value what is too large."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self.bodies: dict[str, bytes] = {}

    def fitting(self, value: Any, room: int, level: int = 0) -> Any:
        """The value, with claim checks where that is needed to make it so small."""
        body = orjson.dumps(value)
        if len(body) <= room:
            return value
        chosen = dict(_largest_parts(value, len(body), room)) if room and level < DEEPEST else {}
        if not chosen:
            return self._claim(body)
        rest = room - (len(body) - sum(chosen.values()))
        inside = rest if len(chosen) == 1 and rest >= LEAST else 0  # a single one may be taken apart further
        parts = list(value) if isinstance(value, list) else dict(value)
        for key in chosen:
            parts[key] = self.fitting(parts[key], inside, level + 1)
        return parts

    def _claim(self, body: bytes) -> dict[str, Any]:
        name = hashlib.sha256(body).hexdigest()
        self.bodies[name] = body
        return {KEY: {"uri": f"{self._prefix}{name}", "sha256": name, "bytes": len(body)}}


def _largest_parts(value: Any, size: int, room: int) -> Iterator[tuple[Any, int]]:
    """The fewest parts, with their sizes, without which a list or map fits; none when that does not help."""
    items = enumerate(value) if isinstance(value, list) else value.items() if isinstance(value, dict) else ()
    sizes = sorted(((key, len(orjson.dumps(item))) for key, item in items), key=lambda pair: -pair[1])
    chosen = []
    for key, part in sizes[:MOST_PARTS]:
        if size <= room or part < LEAST:
            break
        chosen.append((key, part))
        size -= part - _CLAIM_BYTES
    return iter(chosen if size <= room else ())


def _bound(name: str, value: Any, found: Mapping[bytes, bytes]) -> Any:
    """A template's value in a script. One that stands in text is text, once it is known."""
    if not name.startswith(TEXT):
        return replaced(value, lambda claim: orjson.Fragment(found[_key(claim)]))
    whole = replaced(value, lambda claim: orjson.loads(found[_key(claim)]))
    return whole if whole is value else text_of(whole)


def _failed(done: ScriptDone, kind: str, message: str) -> ScriptDone:
    return replace(done, kind="error", value=None, error_type=kind, message=message)


def _key(claim: Mapping[str, Any]) -> bytes:
    return orjson.dumps(claim[KEY], option=orjson.OPT_SORT_KEYS)


def _bytes(claim: Mapping[str, Any]) -> int:
    return claim[KEY]["bytes"] if is_whole(claim) else 0


def may_hold(message: bytes) -> bool:
    """Whether claim checks may be in JSON as we write it. Never wrong when they are."""
    return MARK in message
