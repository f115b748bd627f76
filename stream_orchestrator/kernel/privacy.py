"""Events of a pipeline that anonymises: changed at the door, before anything of them is written or sent.

Promises
  * Of an event's payload only that goes on which is left of it without persons; of one that is no JSON object, nothing.
  * It was judged as it came: its rules see the addresses and numbers that its run does not. What they said travels with
    the record to where its copies meet, and stands whatever the marks have made of the payload.
  * Its dead letter is a reference to where the original stands on the input topic, for as long as that keeps it.

Keys and headers go on as they came: a key decides where a run lives, and belongs to the producer.
"""

from __future__ import annotations

from typing import Any

import orjson
from msgspec import Struct

from stream_orchestrator.kernel.identity import event_of, payload_of
from stream_orchestrator.spec.inputs import InvalidInput, parse
from stream_orchestrator.spec.personal import anonymized

HEADER = "so-verdict"
_OF_THE_EVENT = frozenset(
    ("specversion", "id", "source", "type", "time", "datacontenttype", "dataschema", "traceparent")
)


class Verdict(Struct, frozen=True, kw_only=True):
    """What the rules of a version said of an event as it came: None, or the error that its result has."""

    version: str
    error: dict[str, Any] | None = None

    def encode(self) -> bytes:
        """As the header."""
        return orjson.dumps({"version": self.version, "error": self.error})

    @classmethod
    def decode(cls, data: bytes) -> Verdict:
        """Read back."""
        return cls(**orjson.loads(data))


def shielded(value: bytes) -> bytes:
    """A record's value, anonymised: of a CloudEvent its data, and what is not needed to know it by."""
    try:
        whole = parse(value)
        event = event_of(value)
        if event is None:
            return orjson.dumps(anonymized(whole))
        data = anonymized(parse(payload_of(value)))
    except InvalidInput:
        return b""
    kept = {name: each if name in _OF_THE_EVENT else anonymized(each) for name, each in event.items()}
    kept.pop("data_base64", None)
    return orjson.dumps({**kept, "data": data})


def reference(position: str) -> bytes:
    """A dead letter that says where its event stands, and nothing of what is in it."""
    topic, partition, offset = position.rsplit("/", 2)
    return orjson.dumps({"reference": {"topic": topic, "partition": int(partition), "offset": int(offset)}})
