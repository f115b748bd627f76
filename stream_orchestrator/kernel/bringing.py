"""Files that an event names are fetched and scanned before its run begins, once, and what came of it is written down.

How an event with files takes its way
  1. It goes to the ingest topic, with or without an id of its own: there it has a row.
  2. The ingest agent asks for its files (`Bring`), with its slot open: nothing is acknowledged, and a crash asks again.
  3. What came of it is a record of its own, behind the event in the same partition: the contents, or why they are
     refused, and then the event as it was; a header says where it begins. All of it is value, for values are what
     `encryption_at_rest` seals. The slot ends when it is acknowledged.
  4. The first such record of an id is the one that counts, and the row says so. The run begins with the contents that
     stand in it, so that reading it again after a crash begins the same run. A later one, of a crash between 3 and its
     acknowledgement, is passed over: no event has two outcomes, whatever the scanner says the second time.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from msgspec import Struct

from stream_orchestrator.kernel import results
from stream_orchestrator.kernel.limits import excerpt
from stream_orchestrator.spec.inputs import InputRules, InvalidInput

HEADER = "so-files"


class Brought(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What came of the files of one event: their contents by variable, or the error that its result has."""

    files: dict[str, str] = {}
    refused: dict[str, Any] | None = None

    def before(self, value: bytes) -> tuple[bytes, bytes]:
        """The header and the value of the record that says it."""
        told = orjson.dumps({"files": self.files, "refused": self.refused})
        return str(len(told)).encode(), told + value

    @classmethod
    def apart(cls, header: bytes, value: bytes) -> tuple[Brought, bytes]:
        """Read back, and the event's value as it was. ValueError or TypeError for what nobody of us wrote."""
        begins = int(header)
        return cls(**orjson.loads(value[:begins])), value[begins:]


Bring = Callable[[InputRules, bytes], Awaitable[Brought]]


def refusal(message: str, *, reason: str = "invalid_input") -> Brought:
    """Files that are not to be had."""
    return Brought(refused=results.ended(reason, "InvalidInput", excerpt(message)))


async def nothing_brings(rules: InputRules, payload: bytes) -> Brought:
    """Where nobody fetches and nobody scans."""
    return refusal("its files can be neither fetched nor scanned here")


def judged(rules: InputRules, payload: bytes, brought: Brought) -> Brought:
    """The same, refused when the event does not keep its rules with these contents."""
    if brought.refused is not None:
        return brought
    try:
        rules.check(payload, brought.files)
    except InvalidInput as error:
        return refusal(str(error), reason=error.reason)
    return brought
