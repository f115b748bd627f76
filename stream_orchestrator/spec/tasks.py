"""The models of tasks, and the union of them all."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Tag,
)

from stream_orchestrator.spec.common_tasks import (
    BaseTask,
    CacheConfig,
    CircuitBreaker,
    ErrorHandling,
    OrOne,
    ResourceLimits,
    RetryPolicy,
    Sandbox,
    as_list,
)
from stream_orchestrator.spec.container_tasks import (
    ComponentTask,
    ConditionTask,
    DynamicTaskGroup,
    ForLoop,
    ParallelGroup,
    PipelineGroup,
    SubPipeline,
    WhileLoop,
)
from stream_orchestrator.spec.custom import installed
from stream_orchestrator.spec.fields import (
    CountOrTemplate,
    NumberOrTemplate,
    Text,
    Texts,
    about,
    needed,
)
from stream_orchestrator.spec.service_tasks import (
    SERVICE_TASKS,
    ApiAuth,
    ApiTask,
    DatabaseTask,
    EmailTask,
    FileTask,
    ServiceTask,
    WebScrapingTask,
    WebSearchTask,
)

__all__ = [
    "BUILT_TASKS",
    "BUILT_TASK_TYPES",
    "NAMES",
    "SERVICE_TASKS",
    "TASK_TAGS",
    "ApiAuth",
    "BaseTask",
    "Branch",
    "CacheConfig",
    "CircuitBreaker",
    "ComponentTask",
    "ConditionTask",
    "CustomTask",
    "DynamicTaskGroup",
    "ErrorHandling",
    "ForLoop",
    "LlmTask",
    "ParallelGroup",
    "PipelineGroup",
    "PythonTask",
    "ResourceLimits",
    "RetryPolicy",
    "Sandbox",
    "ServiceTask",
    "SubPipeline",
    "Task",
    "WebScrapingTask",
    "WhileLoop",
    "own_keys",
]

_CUSTOM = "custom_task"
TASK_TAGS = (
    *("python_task", "llm_task", "parallel_group", "conditional_task", "for_loop", "while_loop", "component_task"),
    *("web_scraping_task", "web_search_task", "api_task", "file_task", "database_task", "email_task"),
    *("dynamic_task_group", "pipeline_group"),
    _CUSTOM,
)
# A tag must not be the name of a key: in an error, one is left out and the other is told.
_SAME_AS = {"condition": "conditional_task", "component": "component_task"}


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
Branch = Annotated[list[Task], BeforeValidator(as_list), OrOne()]
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
_LATE = {"Task": Task, "Branch": Branch}
ErrorHandling.model_rebuild(_types_namespace=_LATE)
_MODELS: tuple[type[BaseTask], ...] = (BaseTask, *dict.fromkeys(BUILT_TASKS.values()), CustomTask)
for _model in _MODELS:
    _model.model_rebuild(_types_namespace=_LATE)


def own_keys(model: type[BaseTask]) -> dict[str, str]:
    """What a kind of task adds to the common keys: the name of the field by the key."""
    fields = model.model_fields.items()
    return {field.alias or name: name for name, field in fields if name not in BaseTask.model_fields}
