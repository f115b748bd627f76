"""What `apply` asks for, and what comes back. Plain data: the drivers (in memory, on Kafka) carry it out.

Shapes only; no behaviour. Times are seconds (durations) or UNIX seconds (instants). Every value is JSON.
"""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

NOTHING = 0.0  # one object: records leave out what is their default, which is looked at by identity
MEMORY_BYTES = 512 * 1024 * 1024  # of a script, unless it says otherwise


class RunScript(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Run one script once, in the sandbox. Comes back as a `ScriptDone`.

    `source` is a Python module that defines `__step__(...)`; `digest` names it (the sandbox compiles a digest once).
    `bindings` are its template values by placeholder name; `names` the bare names it sees (inputs, upstream outputs).
    `journal` holds the answers of `process_with_llm` by call number: a script that asks for a number that is not there
    ends as `ScriptDone(kind="call")` and is run again from its top when the answer is.
    `rank`: when scripts wait, the lowest goes first (when the run was accepted: runs that began earlier end earlier).
    `cores`: of so many processors; 0 is all.
    `info` is what `context` answers by itself: `run_id, key, pipeline, version, task, attempt, variables, outputs`.
    """

    source: str
    digest: str
    bindings: dict[str, Any] = {}
    names: dict[str, Any] = {}
    journal: dict[str, Any] = {}
    info: dict[str, Any] = {}
    timeout: float = 300.0
    memory_bytes: int = MEMORY_BYTES
    network: bool = False
    env: tuple[str, ...] = ()
    cores: int = 0
    rank: float = NOTHING


class ScriptDone(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a script ended. `value`: its JSON output. `error`: it raised. `timeout`: killed at its deadline.
    `killed`: its process died (memory, `os._exit`, a signal). `call`: it needs the answer number `call_number`.

    `reports` are the side effects it asked of `context`, in order: `{"kind": "log"|"metric"|"audit"|"alert", ...}`;
    `events` what it wrote to state (`kernel.state`).
    """

    kind: Literal["value", "error", "timeout", "killed", "call"]
    value: Any = None
    error_type: str = ""
    message: str = ""
    seconds: float = NOTHING
    call_number: int = 0
    request: dict[str, Any] | None = None
    reports: tuple[dict[str, Any], ...] = ()
    events: tuple[Any, ...] = ()


class CallRequest(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind", tag="model"):
    """One request to a model. `messages` are `{role, content}`; `params` are max_tokens, temperature, top_p, stop, ...

    `deadline` is the instant at which the asker stops waiting: an attempt never outlives it.
    """

    model: str
    messages: tuple[dict[str, str], ...]
    params: dict[str, Any] = {}
    output_schema: dict[str, Any] | None = None
    deadline: float = NOTHING
    on_ambiguous: Literal["retry", "fail"] = "retry"

    @property
    def asks(self) -> str:
        """Whom it asks, as a person names it: the model."""
        return self.model


class ServiceRequest(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind", tag="service"):
    """One request to a service that is no model: the web, an API, files, a database, mail.

    `options` are rendered. A secret is never among them: a text holds a mark where it goes, and `secrets` says which
    one a mark stands for (`name` of a secret, or `env:NAME`). They are filled in where the attempt is made.
    `key` names the effect: the same for every attempt of one step, so that a service can tell a repetition.
    """

    service: str
    operation: str
    options: dict[str, Any] = {}
    secrets: dict[str, str] = {}
    key: str = ""
    deadline: float = NOTHING
    on_ambiguous: Literal["retry", "fail"] = "retry"

    @property
    def asks(self) -> str:
        """Whom it asks, as a person names it: the service and what it is to do."""
        return f"{self.service}.{self.operation}"


Request = CallRequest | ServiceRequest


class Answer(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one attempt of a call gave. With `error_type` it is a fault, and `text` is empty. `value` is a service's.

    `retryable`: another attempt may do better. `retry_after`: seconds the service asked us to wait, exactly.
    `ambiguous`: it may have been carried out (and billed) although no answer came.
    """

    text: str = ""
    value: Any = None
    model: str = ""
    finish_reason: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    usd: float = NOTHING
    seconds: float = NOTHING
    error_type: str = ""
    message: str = ""
    retryable: bool = False
    retry_after: float | None = None
    ambiguous: bool = False
