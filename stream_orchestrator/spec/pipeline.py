"""The model of a pipeline document, and of a component, which is made of the same parts."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Literal

from packaging.requirements import InvalidRequirement, Requirement
from pydantic import PlainValidator, WithJsonSchema

from stream_orchestrator.spec.fields import (
    Bytes,
    Fraction,
    MoneyAmount,
    PositiveSeconds,
    Seconds,
    Spec,
    Text,
    Texts,
    about,
    bad_value,
    kind_name,
    needed,
)
from stream_orchestrator.spec.tasks import CacheConfig, ErrorHandling, ResourceLimits, Sandbox, Task

_SEMVER = re.compile(
    r"(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})"
    r"(?:-[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?"
)
VARIABLE_TYPES = ("string", "integer", "number", "float", "boolean", "array", "object", "file")
VariableType = Literal["string", "integer", "number", "float", "boolean", "array", "object", "file"]


def is_semver(text: str) -> bool:
    """True for `1.2.0`, `1.0.0-rc.1` and the like."""
    return len(text) <= 100 and _SEMVER.fullmatch(text) is not None


def _version(value: Any) -> str:
    if isinstance(value, str) and is_semver(value):
        return value
    got = f"`{value}`" if isinstance(value, str | int | float) and not isinstance(value, bool) else kind_name(value)
    raise bad_value(f"{got} is not a version", 'write three numbers: "1.2.0" (see semver.org)')


Version = Annotated[
    str, PlainValidator(_version), WithJsonSchema({"type": "string", "pattern": f"^{_SEMVER.pattern}$"})
]


class Validation(Spec):
    """Rules of one variable."""

    noun: ClassVar[str] = "`validation`"

    min_length: int | None = about("fewest characters", ge=0)
    max_length: int | None = about("most characters", ge=0)
    regex: Text | None = about("the whole value must match it (RE2: linear time, no look-around, no back-references)")
    minimum: int | float | None = about("smallest number")
    maximum: int | float | None = about("largest number")
    min_items: int | None = about("fewest items", ge=0)
    max_items: int | None = about("most items", ge=0)
    sanitization: bool | None = about("removes HTML and control characters, and normalises Unicode (NFC)")
    schema_: dict[str, Any] | None = about("JSON Schema of the value", alias="schema")
    allowed_extensions: list[Text] | None = about("of a file")
    max_size: Bytes | None = about("of a file")
    virus_scan: bool | None = about("of a file")


class Variable(Spec):
    """One input variable."""

    noun: ClassVar[str] = "an input variable"

    type: VariableType = needed("what the value is; `float` is the same as `number`")
    description: str | None = about("what it is for")
    required: bool | None = about("must be in the payload; default: yes, unless there is a `default`")
    default: Any = about("the value when the payload has none")
    example: Any = about("a value that would be accepted")
    options: list[Any] | None = about("what it may be; of an array: what its items may be")
    validation: Text | Validation | None = about("a regex that the whole text must match, or a map of rules")


class InputValidation(Spec):
    """How input is checked."""

    noun: ClassVar[str] = "`input_validation`"

    enabled: bool | None = about("`false`: variables are not checked; size and JSON always are")
    strict_mode: bool | None = about("keys that are no variable are rejected; otherwise they are kept")
    max_input_size: Bytes | None = about("of the payload as it arrives")
    sanitization: bool | None = about("sanitises every text of the payload")


class Change(Spec):
    """One entry of a changelog."""

    noun: ClassVar[str] = "a change"

    version: Version = needed("the version that brought it")
    date: Text | None = about("when")
    changes: str | list[Text] | None = about("what")


class ModelStrategy(Spec):
    """Which models answer."""

    noun: ClassVar[str] = "`model_strategy`"

    default_model: Text | None = about("for tasks that name none")
    fallback_model: Text | None = about("asked when a task's own model fails; the result is degraded then")
    cost_optimization: bool | None = about("may take a cheaper model over budget; never replaces a named one")
    development_mode: bool | None = about("advice for readers")


class ModelTier(Spec):
    """Models of one price and quality."""

    noun: ClassVar[str] = "a model tier"

    models: list[Text] = needed("the models of the tier")
    use_cases: list[Text] | None = about("what the tier is for")
    cost_per_1k_tokens: float | None = about("US dollars", ge=0)


class CostManagement(Spec):
    """Money."""

    noun: ClassVar[str] = "`cost_management`"

    budget_limit: MoneyAmount | None = about('how much a period may cost: "$1000/month"')
    cost_tracking: bool | None = about("costs are in every result")
    optimization_mode: Literal["performance", "cost", "balanced"] | None = about("how models are picked from tiers")


class CacheStrategy(Spec):
    """Defaults of caching."""

    noun: ClassVar[str] = "`cache_strategy`"

    default_ttl: PositiveSeconds | None = about("how long a value is good")
    compression: bool | None = about("values are compressed")
    storage: Literal["redis", "memory", "disk"] | None = about("where values are kept")


class CacheSwitch(Spec):
    """The cache of an environment."""

    noun: ClassVar[str] = "`cache`"

    enabled: bool | None = about("`false` turns every cache off")
    ttl: PositiveSeconds | None = about("how long a value is good")


class OptimizationStrategy(Spec):
    """One way to save time or money."""

    noun: ClassVar[str] = "an optimization strategy"

    name: Literal["batch_processing", "intelligent_caching", "request_coalescing"] = needed("which one")
    enabled: bool | None = about("`false` turns it off")
    batch_size: int | None = about("events in a batch", ge=1)
    max_wait_time: Seconds | None = about("how long a batch waits")
    cache_similar_inputs: bool | None = about("inputs that are alike share an answer")
    similarity_threshold: Fraction | None = about("how alike")
    coalesce_window: Seconds | None = about("identical calls in it are made once")


class ResourceManagement(Spec):
    """What the pipeline may use."""

    noun: ClassVar[str] = "`resource_management`"

    auto_scaling: bool | dict[str, Any] | None = about("workers follow the load")
    resource_limits: ResourceLimits | None = about("limits of every script")


class StateManagement(Spec):
    """What scripts keep beyond a run."""

    noun: ClassVar[str] = "`state_management`"

    enabled: bool | None = about("`false`: scripts that use state fail")
    ttl: PositiveSeconds | None = about("how long global and shared state is kept, unless a script says")
    default_ttl: PositiveSeconds | None = about("the same as `ttl`")
    cache_ttl: PositiveSeconds | None = about("how long `context.set_cache` keeps; default 1 hour")
    namespace: Text | None = about("of shared state, where a script names none; default `default`")
    max_value_size: Bytes | None = about("of one value; default 256 KiB")
    max_size: Bytes | None = about("of all values of a namespace; default 16 MiB")
    initial_state: dict[str, Any] | None = about("global state that nobody has set yet")
    initial: dict[str, Any] | None = about("the same as `initial_state`")
    persistence: Any = about("state is always kept in topic tables")
    persistent: Any = about("state is always kept in topic tables")
    storage: Any = about("state is always kept in topic tables")
    backend: Any = about("state is always kept in topic tables")
    type: Any = about("state is always kept in topic tables")
    scope: Any = about("the method that a script calls decides")
    checkpointing: Any = about("every step is one")
    checkpoint_interval: Any = about("every step is one")


def _dependencies(value: Any) -> tuple[str, ...]:
    """Requirements as `pip` writes them, from a list or a map of packages."""
    if isinstance(value, dict) and set(value) <= {"python", "packages", "pip"}:
        value = [item for part in value.values() for item in (part if isinstance(part, list) else [part])]
    if isinstance(value, dict):
        value = [{"name": name, "version": version} for name, version in value.items()]
    if not isinstance(value, list):
        raise bad_value(f"must be a list of packages, not {kind_name(value)}", 'write ["requests>=2.31", "lxml"]')
    return tuple(_dependency(item) for item in value)


def _dependency(item: Any) -> str:
    if isinstance(item, dict) and set(item) <= {"name", "package", "version"}:
        version = item.get("version")
        version = "" if version in (None, "*", "latest") else str(version)
        item = f"{item.get('name', item.get('package', ''))}{'==' if version[:1].isdigit() else ''}{version}"
    try:
        return str(Requirement(item))
    except (InvalidRequirement, TypeError) as error:
        raise bad_value(f"`{item}` is no package", 'write a name, or "requests>=2.31"') from error


Dependencies = Annotated[tuple[str, ...], PlainValidator(_dependencies), WithJsonSchema({"type": ["array", "object"]})]


class Security(Spec):
    """How data is kept."""

    noun: ClassVar[str] = "`security`"

    encryption_at_rest: bool | None = about("payloads are encrypted in topics, tables and caches")
    encryption_in_transit: bool | None = about("connections without TLS are refused")
    audit_logging: bool | None = about("every step is on the audit topic; it always is")


class Privacy(Spec):
    """What is done with personal data."""

    noun: ClassVar[str] = "`privacy_settings`"

    data_residency: Text | None = about("the region that every model asked must be in, such as `EU`")
    retention_period: PositiveSeconds | None = about("how long input, results and dead letters are kept")
    anonymization: bool | None = about("texts of an event lose e-mail addresses, telephone and other numbers at ingest")
    audit_trail: bool | None = about("every step is on the audit topic; it always is")


class Alerting(Spec):
    """Who is told."""

    noun: ClassVar[str] = "`alerting`"

    enabled: bool | None = about("`false` turns it off")
    error_threshold: Fraction | None = about("share of failed runs that alerts")
    latency_threshold: Seconds | None = about("time of a run that alerts")
    notification_channels: list[Text] | None = about("who is told")
    channels: list[Text] | None = about("who is told")


class CustomMetric(Spec):
    """A metric that scripts record."""

    noun: ClassVar[str] = "a custom metric"

    name: Text = needed("its name")
    type: Literal["counter", "gauge", "histogram"] | None = about("what it counts")


class Monitoring(Spec):
    """What is watched."""

    noun: ClassVar[str] = "`monitoring`"

    metrics_enabled: bool | None = about("metrics are always there")
    tracing_enabled: bool | None = about("traces are always there")
    health_checks: bool | None = about("health is always there")
    alerting: Alerting | None = about("who is told, and when")
    custom_metrics: list[CustomMetric] | None = about("metrics that scripts record")


class Logging(Spec):
    """How much is logged."""

    noun: ClassVar[str] = "`logging`"

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] | None = about("the least that is logged")


class Header(Spec):
    """The keys that introduce a document."""

    name: Text | None = about("its slug names the topics; default: the file's name")
    version: Version | None = about("three numbers; default 0.0.0")
    description: str | None = about("what it is for")
    author: Text | None = about("who wrote it")
    contact: Text | None = about("whom to ask")
    documentation_url: Text | None = about("where more is written")
    changelog: list[Change] | None = about("what changed, newest first")


class Pipeline(Header):
    """A pipeline: events in, results out."""

    noun: ClassVar[str] = "a pipeline"

    type: Literal["pipeline"] | None = about("`pipeline`, or nothing")
    timeout: PositiveSeconds | None = about("bounds a run; default 24 hours")
    input_variables: dict[str, Variable] | None = about("what an event carries; without it its keys are the variables")
    input_validation: InputValidation | None = about("how events are checked")
    functions: Texts | None = about("files or modules of helper functions for scripts")
    env: Texts | None = about("environment variables that templates may read as `env.NAME`")
    tasks: list[Task] = needed("what is done", min_length=1)
    output: Any = about("the result's output, as a template; default: the output of the last task")
    outputs: dict[str, Any] | None = about("the same, as a map of templates")
    model_strategy: ModelStrategy | None = about("which models answer")
    model_settings: ModelStrategy | None = about("the same as `model_strategy`")
    monitoring: Monitoring | None = about("what is watched")
    logging: Logging | None = about("how much is logged")
    alerting: Alerting | None = about("who is told")
    sandbox: Sandbox | None = about("what scripts may reach; a task's own comes first")
    cache_strategy: CacheStrategy | None = about("defaults of caching")
    cache_config: CacheConfig | None = about("defaults of `cache_config` of tasks")
    cache: CacheSwitch | None = about("the cache of an environment")
    optimization_strategies: list[OptimizationStrategy] | None = about("ways to save time or money")
    resource_management: ResourceManagement | None = about("what the pipeline may use")
    model_tier_strategy: dict[str, ModelTier] | None = about("models by price and quality")
    cost_management: CostManagement | None = about("money")
    security: Security | None = about("how data is kept")
    privacy_settings: Privacy | None = about("what is done with personal data")
    error_handling: ErrorHandling | None = about("defaults of `error_handling` of tasks; no `fallback`")
    ordering: Literal["key", "none"] | None = about("`key`: runs of a key one after the other; default `none`")
    state_management: StateManagement | None = about("state that outlives a run")
    sensitive_variables: Any = about("variables that are masked everywhere")
    dependencies: Dependencies | None = about("packages that must be installed beside a worker, or it does not start")


class Component(Header):
    """A part of pipelines: tasks with parameters."""

    noun: ClassVar[str] = "a component"

    type: Literal["component"] = needed("`component`")
    parameters: dict[str, Variable] | None = about("what the user of the component sets")
    inputs: dict[str, Any] | None = about("what the user of the component passes in")
    functions: Texts | None = about("files or modules of helper functions for scripts")
    tasks: list[Task] = needed("what is done", min_length=1)
    output: Any = about("the component's output; default: the output of its last task")
    outputs: dict[str, Any] | None = about("the same, as a map of templates")
    error_handling: Any = about("defaults of `error_handling` of tasks")
    cache_config: CacheConfig | None = about("defaults of `cache_config` of tasks")
