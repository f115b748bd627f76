"""The models of containers: tasks that run other tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from stream_orchestrator.spec.common_tasks import BaseTask, Identifier
from stream_orchestrator.spec.fields import (
    CountOrTemplate,
    Expression,
    PositiveSeconds,
    Spec,
    Text,
    about,
    needed,
)

if TYPE_CHECKING:  # the union of all tasks, which these stand in: `spec.tasks` completes them
    from stream_orchestrator.spec.tasks import Branch, Task


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
