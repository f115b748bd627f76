"""A pipeline document becomes a plan.

Promises
  * Every problem of a document, of its YAML, its shape, its names and its texts, is found in one pass.
  * A document with an error gives no plan; warnings come with the plan.
  * The same document gives the same plan, wherever and whenever it is compiled.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path as FilePath
from typing import Any

from stream_orchestrator.errors import SpecError
from stream_orchestrator.plan import names
from stream_orchestrator.plan.bodies import Asked, also_of, asked_in, compiled, is_container, kind_of, slugs_of, variant
from stream_orchestrator.plan.checks import (
    every_text,
    helpers_of,
    problems_of_helpers,
    problems_of_names,
    problems_of_pipeline,
    problems_of_texts,
)
from stream_orchestrator.plan.codec import content_hash, to_json
from stream_orchestrator.plan.components import beside
from stream_orchestrator.plan.drafts import Draft, Frame, Sketch, components_of, sketch
from stream_orchestrator.plan.edges import edges_of, problems_of_edges
from stream_orchestrator.plan.failure import errors_of
from stream_orchestrator.plan.functions import exists, is_file, resolve
from stream_orchestrator.plan.graph import downstream, order
from stream_orchestrator.plan.guards import guards_of, problems_of_guards
from stream_orchestrator.plan.model import RESULT, START, Plan, TaskPlan, Variant, every
from stream_orchestrator.plan.models import SERVICES, service_of
from stream_orchestrator.plan.services import services_of_kinds
from stream_orchestrator.plan.variants import Variants
from stream_orchestrator.spec.documents import Document, read, read_file
from stream_orchestrator.spec.fields import is_template
from stream_orchestrator.spec.kinds import PIPELINE
from stream_orchestrator.spec.located import Located, Path
from stream_orchestrator.spec.pipeline import Pipeline
from stream_orchestrator.spec.problems import Problem, Problems, raise_errors
from stream_orchestrator.spec.tasks import BaseTask, DynamicTaskGroup, ErrorHandling

RUN_SECONDS = 86_400.0
_DEFAULTS = (
    "model_strategy",
    "model_settings",
    "model_tier_strategy",
    "sandbox",
    "error_handling",
    "resource_management",
)


def compile_document(source: Located | Document, *, functions: Sequence[str] = (), default_model: str = "") -> Plan:
    """The plan of a pipeline document. Raises SpecError with every problem; `functions` hold helpers."""
    plan, problems = examine(source, functions=functions, default_model=default_model)
    raise_errors(problems)
    if plan is None:
        file = source.located.file if isinstance(source, Document) else source.file
        raise SpecError(f"{file} is not a pipeline", problems=problems, hint="name a file with `tasks:`")
    return plan


def examine(
    source: Located | Document, *, functions: Sequence[str] = (), default_model: str = ""
) -> tuple[Plan | None, tuple[Problem, ...]]:
    """The plan, if there is one (a pipeline without errors), and all that is to be said of the document."""
    document = source if isinstance(source, Document) else read(source)
    problems = Problems()
    problems.extend(document.problems)
    if document.kind != PIPELINE or not isinstance(document.located.data, dict):
        return None, problems.sorted()
    drawn = sketch(document.located, problems)
    helpers = tuple(
        module for located in (document.located, *components_of(drawn)) for module in _helper_modules(located, problems)
    )
    for found in (
        problems_of_names(drawn),
        problems_of_pipeline(drawn, names.slug(document.name)),
        problems_of_texts(drawn),
        problems_of_edges(drawn),
        problems_of_helpers(drawn, (*helpers, *functions)),
        problems_of_guards(document),
    ):
        problems.extend(found)
    if not isinstance(document.model, Pipeline) or any(problem.severity == "error" for problem in problems):
        return None, problems.sorted()
    plan = _Compiler(document, document.model, drawn, problems, default_model, helpers).plan()
    broken = any(problem.severity == "error" for problem in problems)
    return None if broken else plan, problems.sorted()


def _helper_modules(located: Located, problems: Problems) -> tuple[str, ...]:
    """The document's own `functions:`, files found beside it."""
    listed = located.data.get("functions")
    listed = [listed] if isinstance(listed, str) else listed if isinstance(listed, list) else []
    base = FilePath(located.file).parent if located.file else None
    found = []
    for index, name in enumerate(listed):
        if isinstance(name, str):
            found.append(resolve(name, base))
            if not exists(found[-1]):
                path = ("functions", index) if isinstance(located.data["functions"], list) else ("functions",)
                message = f"there is no helper {'file' if is_file(name) else 'module'} `{name}`"
                hint = "`functions:` names Python files beside the document (helpers.py), or installed modules"
                problems.add(located.problem("unknown-functions", message, path=path, hint=hint, severity="warning"))
    return tuple(found)


class _Compiler:
    """Builds the plan of a document in which all names stand for something."""

    def __init__(
        self,
        document: Document,
        pipeline: Pipeline,
        drawn: Sketch,
        problems: Problems,
        default_model: str,
        functions: tuple[str, ...],
    ) -> None:
        self.document, self.pipeline, self.drawn = document, pipeline, drawn
        self.problems, self.functions = problems, functions
        self.beside: dict[str, None] = {}
        self.variants = Variants(pipeline, document.located, problems, default_model)

    def plan(self) -> Plan:
        data = self.document.located.data
        tasks = self._tasks(self.pipeline.tasks, self.drawn, Asked(), self.variants)
        models = self._models(tasks)
        output = data.get("output", data.get("outputs"))
        plan = Plan(
            title=self.document.name,
            slug=names.slug(self.document.name),
            version=self.pipeline.version or "0.0.0",
            tasks=tasks,
            inputs=data.get("input_variables") or {},
            input_validation=data.get("input_validation") or {},
            has_output=output is not None,
            output=output,
            timeout=self.pipeline.timeout or RUN_SECONDS,
            functions=self.functions,
            helpers=self._helpers(),
            models=tuple(sorted(model for model in models if model is not None)),
            services=(
                *(each for each in SERVICES if None in models or each in {service_of(m) for m in models if m}),
                *services_of_kinds(variant.kind for task in every(tasks) for variant in task.variants),
            ),
            env=tuple(self.pipeline.env or ()),
            beside=tuple(self.beside),
            dependencies=self.pipeline.dependencies or (),
            guards=guards_of(self.pipeline),
        )
        return self._hashed(plan)

    def _tasks(
        self, given: Iterable[BaseTask], drawn: Sketch, outside: Asked, variants: Variants
    ) -> tuple[TaskPlan, ...]:
        """The tasks of the document, or of a body in it. `outside` is what is asked of it from around."""
        edges = edges_of(drawn)
        ordered, after, asked = order(edges), downstream(edges), asked_in(drawn, outside)
        place = {name: number for number, name in enumerate(ordered)}
        models = {task.name: task for task in given}
        return tuple(
            self._task(
                models[name],
                drawn,
                asked.get(name, Asked()),
                variants,
                upstream=tuple(sorted(edges[name], key=place.__getitem__)),
                downstream=tuple(sorted(after[name], key=place.__getitem__)),
            )
            for name in ordered
        )

    def _inner(self, given: Iterable[BaseTask], drawn: Sketch, asked: Asked, frame: Frame) -> tuple[TaskPlan, ...]:
        """The tasks of a body; those of a component are read in their own file."""
        variants = self.variants if frame.document is None else self.variants.of_component(frame.document)
        return self._tasks(given, drawn, asked, variants)

    def _task(
        self,
        task: BaseTask,
        drawn: Sketch,
        asked: Asked,
        variants: Variants,
        *,
        upstream: tuple[str, ...],
        downstream: tuple[str, ...],
    ) -> TaskPlan:
        draft, repeated = drawn.names[task.name], task.for_each is not None
        errors = ErrorHandling() if repeated else errors_of(task, variants.pipeline.error_handling)
        self._check_fallback_value(task, errors, drawn)
        is_branch = task.type in {"condition", "conditional_task", "while_loop"} or repeated
        inside = is_container(task)
        return TaskPlan(
            name=names.spoken(task.name),
            slug=names.task_slug(names.spoken(task.name)),
            kind=kind_of(task),
            upstream=upstream or (START,),
            downstream=downstream or (RESULT,),
            variants=self._ways(task, draft, variants, upstream),
            bodies=compiled(task, draft, drawn, asked=asked, inner=self._inner) if inside else (),
            also=also_of(task),
            pipelines=slugs_of(task, lambda name: self._pipeline(name, drawn.located, draft.path)),
            condition=None if is_branch else task.condition,
            inputs={} if repeated or task.type in {"component", "pipeline_group"} else task.inputs or {},
            on_failure=errors.on_failure or "abort_pipeline",
            has_fallback_value="fallback_value" in errors.model_fields_set,
            fallback_value=errors.fallback_value,
            description=task.description or "",
        )

    def _ways(self, task: BaseTask, draft: Draft, variants: Variants, upstream: tuple[str, ...]) -> tuple[Variant, ...]:
        if not is_container(task):
            return variants.of(task, draft, upstream)
        fallbacks = () if task.for_each is not None else variants.fallbacks(task, draft, upstream)
        return (variant(task, draft, self._of_arriving(task, variants, draft)), *fallbacks)

    def _of_arriving(self, task: BaseTask, variants: Variants, draft: Draft) -> dict[str, Any]:
        """What tasks that arrive as data may use: what the pipeline says for all its tasks, and its default model."""
        if not isinstance(task, DynamicTaskGroup):
            return {}
        data = self.document.located.data
        defaults = {key: data[key] for key in _DEFAULTS if data.get(key) is not None}
        asks = "llm_task" in (task.allowed_types or ("llm_task",))
        return {"defaults": defaults, **({"model": variants.default(draft.path)} if asks else {})}

    def _pipeline(self, name: str, located: Located, path: Path) -> str:
        """The slug of another pipeline, named by its name or its file."""
        if not name.endswith((".yaml", ".yml")):
            return names.slug(name)
        file = beside(located, name)
        if file is None:
            hint = "the path is relative to this file, or to the pipelines folder; a pipeline's name will do, too"
            self.problems.add(located.problem("unknown-pipeline", f"there is no file `{name}`", path=path, hint=hint))
            return names.slug(name)
        self.beside[str(file)] = None
        found = [each for each in read_file(file) if each.kind == PIPELINE]
        return names.slug(found[0].name) if found else names.slug(name)

    def _check_fallback_value(self, task: BaseTask, errors: ErrorHandling, drawn: Sketch) -> None:
        if _holds_template(errors.fallback_value):
            path = (*drawn.names[task.name].path, "error_handling", "fallback_value")
            message, hint = "a fallback value is fixed; templates in it are not filled in", "write a `fallback` task"
            self.problems.add(drawn.located.problem("template-not-filled", message, path=path, hint=hint))

    def _models(self, tasks: tuple[TaskPlan, ...]) -> frozenset[str | None]:
        return frozenset(model for task in every(tasks) for model in self.variants.models_of(task.variants))

    def _helpers(self) -> tuple[str, ...]:
        found = (helpers_of(scope, text) for scope, text in every_text(self.drawn))
        return tuple(sorted(frozenset().union(*found)))

    def _hashed(self, plan: Plan) -> Plan:
        try:
            plan = replace(plan, hash=content_hash(plan))
            to_json(plan)
        except (TypeError, ValueError) as error:
            hint = "numbers go up to 64 bits; keys of maps are text"
            self.problems.add(self.document.located.problem("not-json", f"a value is not JSON: {error}", hint=hint))
            return plan
        longest = max(map(len, names.inboxes("", plan)))
        if longest > names.MAX_TOPIC:
            message = f"a topic of this pipeline would have {longest} characters; {names.MAX_TOPIC} are allowed"
            self.problems.add(
                self.document.located.problem("name-too-long", message, path=("name",), hint="shorten it")
            )
        return plan


def _holds_template(value: Any) -> bool:
    if isinstance(value, dict | list):
        return any(map(_holds_template, value.values() if isinstance(value, dict) else value))
    return is_template(value)
