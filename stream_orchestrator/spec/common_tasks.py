"""What every task has: the keys that all kinds share, and what they hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import (
    BeforeValidator,
    Field,
    GetJsonSchemaHandler,
    PlainValidator,
    WithJsonSchema,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from stream_orchestrator.spec.fields import (
    Bytes,
    Cores,
    CountOrTemplate,
    Expression,
    PositiveSeconds,
    Seconds,
    Spec,
    Text,
    Texts,
    about,
    bad_value,
    needed,
)

if TYPE_CHECKING:  # the union of all tasks, which these stand in: `spec.tasks` completes them
    from stream_orchestrator.spec.tasks import Task

_BACKOFFS = {"exponential": 2.0, "fixed": 1.0, "constant": 1.0}


def _backoff(value: Any) -> float:
    if isinstance(value, str) and value in _BACKOFFS:
        return _BACKOFFS[value]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value <= 100:
        raise bad_value(
            "must be a factor of at least 1", "write 2 to double each wait; `exponential` is 2, `fixed` is 1"
        )
    return float(value)


def _retries(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 100:
        raise bad_value("must be a whole number from 0 to 100", "it counts retries after the first attempt")
    return value


def as_list(value: Any) -> Any:
    """One item is a list of one."""
    return [value] if isinstance(value, dict) else value


def _on_failure(value: Any) -> Any:
    return {"abort": "abort_pipeline", "fail": "abort_pipeline"}.get(value, value) if isinstance(value, str) else value


class OrOne:
    """In the schema: a list, or one item."""

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        schema = handler(core)
        return {"anyOf": [schema, schema["items"]]}


def _identifier(value: Any) -> str:
    if not isinstance(value, str) or not value.isidentifier():
        raise bad_value("must be a name that scripts can use", "write letters, digits and underscores")
    return value


def _part_names(value: Any) -> dict[str, str]:
    if isinstance(value, list):
        value = {key: key for key in value if isinstance(key, str)} if all(isinstance(k, str) for k in value) else None
    if not isinstance(value, dict) or not value or not all(isinstance(key, str) and key for key in value.values()):
        raise bad_value("must name parts of the output", "write `[summary, score]`, or `{points: score}`")
    return {_identifier(name): key for name, key in value.items()}


Identifier = Annotated[str, PlainValidator(_identifier), WithJsonSchema({"type": "string"})]
PartNames = Annotated[dict[str, str], PlainValidator(_part_names), WithJsonSchema({"type": ["array", "object"]})]
Backoff = Annotated[float, PlainValidator(_backoff), WithJsonSchema({"type": ["number", "string"], "minimum": 1})]
Retries = Annotated[int, PlainValidator(_retries), WithJsonSchema({"type": "integer", "minimum": 0, "maximum": 100})]
OnFailure = Annotated[Literal["abort_pipeline", "skip", "continue"], BeforeValidator(_on_failure)]


class Sandbox(Spec):
    """What a script may reach, said aloud."""

    noun: ClassVar[str] = "`sandbox`"

    network: bool | list[Text] | None = about("`true`, or the list of hosts that scripts may reach")
    env: list[Text] | None = about("names of environment variables that scripts may read")
    packages: list[Text] | None = about("packages that scripts import")


class CacheConfig(Spec):
    """When a task's output may be taken from an earlier run."""

    noun: ClassVar[str] = "`cache_config`"

    enabled: bool | None = about("`false` turns the cache off")
    key_template: Text | None = about("the key, as a template")
    ttl: PositiveSeconds | None = about("how long a value is good")
    invalidation_tags: list[Text] | None = about("tags whose bump makes a value stale")
    shared: bool | None = about("`true`: other tasks and pipelines may use the value")


class CircuitBreaker(Spec):
    """When a failing service is left alone."""

    noun: ClassVar[str] = "`circuit_breaker`"

    name: Text | None = about("which breaker; default: the model, or the task")
    failure_threshold: Annotated[int, Field(ge=1)] | None = about("so many failures in a row open it; default 5")
    recovery_timeout: PositiveSeconds | None = about("how long it stays open; default 1 minute")
    half_open_max_calls: Annotated[int, Field(ge=1)] | None = about(
        "how many attempts it lets through then at once, over all workers; default 1"
    )


class ResourceLimits(Spec):
    """What a script may use."""

    noun: ClassVar[str] = "`resource_limits`"

    memory: Bytes | None = about("memory of one script")
    cpu: Cores | None = about("cores of one script, rounded up to whole ones")
    timeout: PositiveSeconds | None = about("time of one script")


class RetryPolicy(Spec):
    """Retries, as other systems write them."""

    noun: ClassVar[str] = "`retry_policy`"

    retry_count: Retries | None = about("retries after the first attempt")
    max_retries: Retries | None = about("the same as `retry_count`")
    max_attempts: Annotated[int, Field(ge=1, le=101)] | None = about("all attempts, the first one counted")
    retry_delay: Seconds | None = about("wait before the first retry")
    delay: Seconds | None = about("the same as `retry_delay`")
    initial_delay: Seconds | None = about("the same as `retry_delay`")
    retry_backoff: Backoff | None = about("each wait is this factor longer; `exponential` is 2, `fixed` is 1")
    backoff: Backoff | None = about("the same as `retry_backoff`")
    backoff_factor: Backoff | None = about("the same as `retry_backoff`")
    backoff_strategy: Backoff | None = about("the same as `retry_backoff`")


class ErrorHandling(Spec):
    """What happens when a task fails."""

    noun: ClassVar[str] = "`error_handling`"

    retry_count: Retries | None = about("retries after the first attempt; default 0 for scripts, 2 for models")
    retry_delay: Seconds | None = about("wait before the first retry; default 1 second")
    retry_backoff: Backoff | None = about("each wait is this factor longer; default 2")
    fallback: Annotated[list[Task], BeforeValidator(as_list), OrOne()] | None = about(
        "one task or a list, tried in order; the output keeps the primary's name and the result says who answered"
    )
    fallback_value: Any = about("the output when all else failed; the result is degraded")
    on_failure: OnFailure | None = about(
        "`abort_pipeline` (default): the run fails; `skip`: what needs it is skipped; `continue`: its output is null"
    )
    on_ambiguous: Literal["retry", "fail"] | None = about(
        "after a time-out that may have been billed: `retry` (default)"
    )
    circuit_breaker: CircuitBreaker | None = about("when a failing service is left alone")
    retry_policy: RetryPolicy | None = about("another way to write retries")
    fallback_response: Any = about("another way to write `fallback_value`")


class BaseTask(Spec):
    """The keys that every task has."""

    noun: ClassVar[str] = "a task"

    name: Text = needed("any text, unique in the pipeline; others read the task's output by it")
    type: Text = needed("what kind of task it is")
    description: str | None = about("what it is for; a prompt is built from it where there is none")
    depends_on: Texts | None = about("a task's name or a list; names read in templates and scripts are added")
    condition: Expression | None = about("an expression; when false the task is skipped")
    timeout: PositiveSeconds | None = about("bounds all attempts together")
    estimated_time: Seconds | None = about("advice for readers")
    inputs: dict[str, Any] | None = about("names for this task alone, as templates")
    error_handling: ErrorHandling | None = about("retries, fallbacks, and what a failure means")
    sandbox: Sandbox | None = about("what its script may reach")
    monitoring: dict[str, Any] | None = about("metrics of its own: `custom_metrics`, a list of `{name, type}`")
    cache_config: CacheConfig | None = about("when an earlier output may be used")
    resource_limits: ResourceLimits | None = about("what its script may use")
    batch: Any = about("runs many events together")
    for_each: Any = about("repeats the task for each element: a list, or a template that gives one; see `item`")
    max_concurrency: CountOrTemplate | None = about("how many of what it repeats run at once, in a run; default 100")
    tier: Text | None = about("the tier of models to pick from")
    use_case: Text | None = about("the use case to pick a tier by")
    cache_key: Any = about("another way to write `cache_config.key_template`")
    cache_ttl: Any = about("another way to write `cache_config.ttl`")
    retry_count: Retries | None = about("another way to write `error_handling.retry_count`")
    retry_delay: Seconds | None = about("another way to write `error_handling.retry_delay`")
    retry_backoff: Backoff | None = about("another way to write `error_handling.retry_backoff`")
    retry_policy: RetryPolicy | None = about("another way to write retries")
    on_failure: OnFailure | None = about("another way to write `error_handling.on_failure`")
    circuit_breaker: CircuitBreaker | None = about("another way to write `error_handling.circuit_breaker`")
    fallback_value: Any = about("another way to write `error_handling.fallback_value`")
    fallback_response: Any = about("another way to write `error_handling.fallback_value`")
    output: Identifier | None = about("another name by which the output is read")
    outputs: PartNames | None = about("names of parts of the output: a list of its keys, or a map of names to keys")
