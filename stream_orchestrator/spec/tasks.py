"""The models of tasks. What is built is typed; task types of the dialect that are not built yet are known by name."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    GetJsonSchemaHandler,
    PlainValidator,
    Tag,
    WithJsonSchema,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from stream_orchestrator.spec.custom import installed
from stream_orchestrator.spec.fields import (
    Bytes,
    Cores,
    CountOrTemplate,
    Expression,
    NumberOrTemplate,
    PositiveSeconds,
    Seconds,
    Spec,
    Text,
    Texts,
    about,
    bad_value,
    is_template,
    needed,
)

_CUSTOM = "custom_task"
TASK_TAGS = (
    *("python_task", "llm_task", "parallel_group", "conditional_task", "for_loop", "while_loop", "component_task"),
    *("web_scraping_task", "web_search_task", "api_task", "file_task", "database_task", "email_task"),
    *("dynamic_task_group", "pipeline_group"),
    _CUSTOM,
)
# A tag must not be the name of a key: in an error, one is left out and the other is told.
_SAME_AS = {"condition": "conditional_task", "component": "component_task"}
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


def _fixed(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise bad_value("must be text", "write it out")
    if is_template(value):
        hint = "values of a statement stand in it as `:name`, and in `parameters:` as templates"
        raise bad_value("cannot hold a template: what is done must not depend on what an event holds", hint)
    return value


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, dict) else value


def _on_failure(value: Any) -> Any:
    return {"abort": "abort_pipeline", "fail": "abort_pipeline"}.get(value, value) if isinstance(value, str) else value


class _OrOne:
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
Fixed = Annotated[str, PlainValidator(_fixed), WithJsonSchema({"type": "string", "minLength": 1})]
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
    fallback: Annotated[list[Task], BeforeValidator(_as_list), _OrOne()] | None = about(
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


class PythonTask(BaseTask):
    """A script: a function body whose `return`, or last expression, is the output."""

    noun: ClassVar[str] = "a `python_task`"

    type: Literal["python_task"] = needed("`python_task`")
    script: Text = needed("the body of a function; may await")


class LlmTask(BaseTask):
    """A question to a model. The output is its text, or a typed value."""

    noun: ClassVar[str] = "an `llm_task`"

    type: Literal["llm_task"] = needed("`llm_task`")
    prompt: Text | None = about("the question, as a template; without it one is built from `description` and inputs")
    system: Text | None = about("the system message")
    system_message: Text | None = about("the same as `system`")
    model: Text | None = about("which model; default: the pipeline's, then the configured one")
    max_tokens: CountOrTemplate | None = about("the longest answer")
    temperature: NumberOrTemplate | None = about("0 for the likeliest answer")
    top_p: NumberOrTemplate | None = about("nucleus sampling")
    stop: Texts | None = about("texts that end the answer")
    frequency_penalty: NumberOrTemplate | None = about("against repeating")
    presence_penalty: NumberOrTemplate | None = about("for new topics")
    output_schema: dict[str, Any] | None = about("JSON Schema that the answer must meet")
    output_type: (
        Literal["string", "text", "integer", "number", "float", "boolean", "array", "object", "json"] | None
    ) = about("what the answer is read as")
    fallback_models: list[Text] | None = about(
        "models tried in order when the first fails; the result is degraded then"
    )
    script: Text | None = about("runs instead of the question; asks by `process_with_llm(text, model=None)`")


class ParallelGroup(BaseTask):
    """Tasks side by side. The output is the list of theirs, in order."""

    noun: ClassVar[str] = "a `parallel_group`"

    type: Literal["parallel_group"] = needed("`parallel_group`")
    tasks: list[Task] = needed("its children; one with `for_each` is repeated", min_length=1)
    timeout: PositiveSeconds | None = about("bounds each child")


class ConditionTask(BaseTask):
    """One of two lists of tasks. The output is that of the branch that was taken."""

    noun: ClassVar[str] = "a `condition`"

    type: Literal["condition", "conditional_task"] = needed("`condition`, or `conditional_task`")
    condition: Expression = needed("an expression: which branch is taken")
    then: Branch | None = about("tasks that run when it holds")
    if_true: Branch | None = about("the same as `then`")
    on_true: Branch | None = about("the same as `then`")
    true_tasks: Branch | None = about("the same as `then`")
    then_tasks: Branch | None = about("the same as `then`")
    tasks: Branch | None = about("the same as `then`")
    task: Branch | None = about("the same as `then`")
    else_: Branch | None = about("tasks that run when it does not hold", alias="else")
    if_false: Branch | None = about("the same as `else`")
    on_false: Branch | None = about("the same as `else`")
    false_tasks: Branch | None = about("the same as `else`")
    else_tasks: Branch | None = about("the same as `else`")


class ForLoop(BaseTask):
    """Its tasks for every element of a list. The output is the list of what the iterations gave."""

    noun: ClassVar[str] = "a `for_loop`"

    type: Literal["for_loop"] = needed("`for_loop`")
    iterate_over: Any = needed("the list: a template, or written out; a number counts, a map gives `{key, value}`")
    item_variable: Identifier | None = about("by what name its tasks see the element; `item.value` without one")
    index_variable: Identifier | None = about("by what name its tasks see the index; `item.index` without one")
    max_iterations: CountOrTemplate | None = about("a longer list is an error")
    tasks: Branch = needed("what is done for each element")


class WhileLoop(BaseTask):
    """Its tasks again and again. The output is that of the last iteration."""

    noun: ClassVar[str] = "a `while_loop`"

    type: Literal["while_loop"] = needed("`while_loop`")
    condition: Expression = needed("an expression, looked at before each iteration")
    max_iterations: CountOrTemplate | None = about("it ends after so many; default: more than 100 are an error")
    loop_state: dict[str, Any] | None = about("what iterations hand on, by name; they change it by returning the names")
    tasks: Branch = needed("what is done in each iteration")


class ComponentTask(BaseTask):
    """A component's tasks, with values for its parameters. The output is that of its last task."""

    noun: ClassVar[str] = "a `component`"

    type: Literal["component"] = needed("`component`")
    component: Text = needed("the component's file, beside this one or in the pipelines folder")
    parameters: dict[str, Any] | None = about("values for the component's parameters, as templates")


class ServiceTask(BaseTask):
    """What tasks that talk to a service share: the keys that they add are the request, as templates."""

    noun: ClassVar[str] = "a task of a service"
    # Keys that are no template: what is sent must not depend on what an event holds.
    FIXED: ClassVar[frozenset[str]] = frozenset({"type"})


class WebScrapingTask(ServiceTask):
    """A page of the web, read."""

    noun: ClassVar[str] = "a `web_scraping_task`"

    type: Literal["web_scraping_task"] = needed("`web_scraping_task`")
    url: Text | None = about(
        "the page; default: the one text variable whose name ends in `url` or whose regex begins with `^https?`"
    )
    max_size: Bytes | None = about("the largest page that is read; default 5MB")
    obey_robots: bool | None = about("`false`: for pages of your own, robots.txt is not asked")


class WebSearchTask(ServiceTask):
    """A question to a search engine."""

    noun: ClassVar[str] = "a `web_search_task`"

    type: Literal["web_search_task"] = needed("`web_search_task`")
    query: Text = needed("what to search for")
    max_results: CountOrTemplate | None = about("how many results at most; default 10")
    language: Text | None = about("the language of results, such as `en`")


class ApiAuth(Spec):
    """How an API knows us."""

    noun: ClassVar[str] = "`auth`"

    bearer: Text | None = about("a token, as in \"{{ secret('shop_token') }}\"")
    username: Text | None = about("a user's name")
    password: Text | None = about("a user's password")


class ApiTask(ServiceTask):
    """A request to an HTTP API."""

    noun: ClassVar[str] = "an `api_task`"

    type: Literal["api_task"] = needed("`api_task`")
    url: Text = needed("where to")
    method: Literal["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"] | None = about("default GET")
    headers: dict[str, Any] | None = about("headers of the request")
    query: dict[str, Any] | None = about("what stands behind `?` in the address; a list gives a name several times")
    json_body: Any = about("the body, as JSON", alias="json")
    body: Any = about("the body, as text")
    auth: ApiAuth | None = about("`bearer`, or `username` and `password`")
    expected_status: int | list[int] | None = about("what is a success; default: 200 to 299")
    idempotency_header: Text | None = about(
        "the header that tells a repetition from a second request; default `Idempotency-Key`"
    )
    max_size: Bytes | None = about("the largest answer that is read; default 5MB")

    @model_validator(mode="after")
    def _one_body(self) -> ApiTask:
        if self.json_body is not None and self.body is not None:
            raise bad_value("has `json` and `body`", "a request has one body: take one of them out")
        return self


class FileTask(ServiceTask):
    """A file, or a folder, below the folders that the worker allows."""

    noun: ClassVar[str] = "a `file_task`"
    FIXED: ClassVar[frozenset[str]] = frozenset({"type", "operation", "encoding"})

    type: Literal["file_task"] = needed("`file_task`")
    operation: Literal["read", "write", "append", "list", "delete", "exists"] = needed(
        "`read`, `write`, `append`, `list`, `delete` or `exists`"
    )
    path: Text = needed("which file; a relative one is below the first of the allowed folders")
    content: Any = about("what is written: text, or any value as JSON")
    encoding: Literal["utf-8", "base64"] | None = about("`base64` for files that are no text; default `utf-8`")
    pattern: Text | None = about("which names `list` gives, such as `*.json`")
    max_size: Bytes | None = about("the largest file that is read; default 5MB")


class DatabaseTask(ServiceTask):
    """One statement to a database."""

    noun: ClassVar[str] = "a `database_task`"
    FIXED: ClassVar[frozenset[str]] = frozenset({"type", "connection", "query", "writes"})

    type: Literal["database_task"] = needed("`database_task`")
    connection: Fixed = needed("the name of the secret that holds the database's SQLAlchemy URL")
    query: Fixed = needed("one SQL statement; values stand in it as `:name`, never as templates")
    parameters: dict[str, Any] | None = about("the values of the statement's `:name`")
    writes: bool | None = about("whether it changes anything; default: by its first word")
    max_rows: CountOrTemplate | None = about("more rows than this are a failure; default 1000")


class EmailTask(ServiceTask):
    """A message by e-mail."""

    noun: ClassVar[str] = "an `email_task`"

    type: Literal["email_task"] = needed("`email_task`")
    to: Texts = needed("who gets it")
    cc: Texts | None = about("who gets a copy")
    bcc: Texts | None = about("who gets a copy that the others do not see")
    sender: Text | None = about("who sends it; default: the worker's own address", alias="from")
    reply_to: Text | None = about("where answers go")
    subject: Text = needed("its subject")
    body: Text | None = about("its text")
    html: Text | None = about("the same as HTML")
    attachments: list[dict[str, Any]] | None = about(
        "what goes with it: `{filename, content}`; `encoding: base64` for what is no text, `content_type`"
    )


def _known_types(schema: dict[str, Any]) -> None:
    known = sorted(installed())
    schema["properties"]["type"] = {"enum": known} if known else dict[str, Any]({"not": {}})
    schema["patternProperties"] = {"^x-": {}}


class CustomTask(BaseTask):
    """A task of a type that an installed package brings."""

    model_config = ConfigDict(json_schema_extra=_known_types)
    noun: ClassVar[str] = "a task of an installed type"

    type: Text = needed("a type of the entry-point group `stream_orchestrator.task_types`")
    options: dict[str, Any] | None = about("what it is to do, as its package says; values may be templates")


class DynamicTaskGroup(BaseTask):
    """Tasks that arrive as data: checked like a file, and run as a graph of their own."""

    noun: ClassVar[str] = "a `dynamic_task_group`"

    type: Literal["dynamic_task_group"] = needed("`dynamic_task_group`")
    tasks: Any = about("the tasks: a template that gives a list of them, as a file would have them")
    task_source: Any = about("the same as `tasks`")
    tasks_from: Any = about("the same as `tasks`")
    generate_from: Any = about("the same as `tasks`")
    max_tasks: CountOrTemplate | None = about("more are an error; default 50")
    allowed_types: list[Literal["python_task", "llm_task"]] | None = about("types that may arrive; default both")


class SubPipeline(Spec):
    """Another pipeline that a `pipeline_group` runs."""

    noun: ClassVar[str] = "a pipeline of a `pipeline_group`"

    name: Text | None = about("by what name its output is read; default: the pipeline's")
    pipeline: Text = needed("the pipeline's name, or its file")
    inputs: dict[str, Any] | None = about("the event it is given, as templates")


class PipelineGroup(BaseTask):
    """Other pipelines, by their topics. The output is a map of theirs by name, or that of the one `pipeline`."""

    noun: ClassVar[str] = "a `pipeline_group`"

    type: Literal["pipeline_group"] = needed("`pipeline_group`")
    pipeline: Text | None = about("the one pipeline, by name or file; its event is `inputs`")
    pipelines: list[SubPipeline] | None = about("several pipelines, side by side", min_length=1)


def _tag(task: Any) -> str | None:
    kind = task.get("type") if isinstance(task, dict) else getattr(task, "type", None)
    if not isinstance(kind, str):
        return None
    if kind not in BUILT_TASKS and kind in installed():
        return _CUSTOM
    return _SAME_AS.get(kind, kind)


Task = Annotated[
    Annotated[PythonTask, Tag("python_task")]
    | Annotated[LlmTask, Tag("llm_task")]
    | Annotated[ParallelGroup, Tag("parallel_group")]
    | Annotated[ConditionTask, Tag("conditional_task")]
    | Annotated[ForLoop, Tag("for_loop")]
    | Annotated[WhileLoop, Tag("while_loop")]
    | Annotated[ComponentTask, Tag("component_task")]
    | Annotated[WebScrapingTask, Tag("web_scraping_task")]
    | Annotated[WebSearchTask, Tag("web_search_task")]
    | Annotated[ApiTask, Tag("api_task")]
    | Annotated[FileTask, Tag("file_task")]
    | Annotated[DatabaseTask, Tag("database_task")]
    | Annotated[EmailTask, Tag("email_task")]
    | Annotated[CustomTask, Tag("custom_task")]
    | Annotated[DynamicTaskGroup, Tag("dynamic_task_group")]
    | Annotated[PipelineGroup, Tag("pipeline_group")],
    Discriminator(_tag),
]
Branch = Annotated[list[Task], BeforeValidator(_as_list), _OrOne()]
SERVICE_TASKS: dict[str, type[ServiceTask]] = {
    "web_scraping_task": WebScrapingTask,
    "web_search_task": WebSearchTask,
    "api_task": ApiTask,
    "file_task": FileTask,
    "database_task": DatabaseTask,
    "email_task": EmailTask,
}
BUILT_TASKS: dict[str, type[BaseTask]] = {
    "python_task": PythonTask,
    "llm_task": LlmTask,
    **SERVICE_TASKS,
    "component": ComponentTask,
    "parallel_group": ParallelGroup,
    "condition": ConditionTask,
    "conditional_task": ConditionTask,
    "for_loop": ForLoop,
    "while_loop": WhileLoop,
    "dynamic_task_group": DynamicTaskGroup,
    "pipeline_group": PipelineGroup,
}
BUILT_TASK_TYPES = tuple(BUILT_TASKS)
NAMES: dict[type[BaseTask], str] = {}  # of two names of a model the first
for _name, _task in BUILT_TASKS.items():
    NAMES.setdefault(_task, _name)
ErrorHandling.model_rebuild()
_MODELS: tuple[type[BaseTask], ...] = (BaseTask, *dict.fromkeys(BUILT_TASKS.values()), CustomTask)
for _model in _MODELS:
    _model.model_rebuild()


def own_keys(model: type[BaseTask]) -> dict[str, str]:
    """What a kind of task adds to the common keys: the name of the field by the key."""
    fields = model.model_fields.items()
    return {field.alias or name: name for name, field in fields if name not in BaseTask.model_fields}
