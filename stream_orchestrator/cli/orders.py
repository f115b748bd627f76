"""What `worker` was told, on its way to the child that serves. Light: the parent loads no more than this."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """What `worker` was told, as its child gets it. `broker` is an address, never empty: the parent has chosen."""

    paths: tuple[str, ...]
    broker: str
    functions: tuple[str, ...] = ()
    prefix: str = ""
    env: str = "development"
    config: str = ""  # the file of its settings
    offline: bool = False
    allow_unsafe: bool = False
    drain: float = 30.0
    drain_calls: float = 300.0
    http: tuple[str, int] | None = None
    as_json: bool = False

    def to_json(self) -> str:
        """For the command line of the child."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Orders:
        """The same again."""
        fields: dict[str, Any] = json.loads(text)
        listed = {name: tuple(value) for name, value in fields.items() if isinstance(value, list)}
        return cls(**{**fields, **listed})
