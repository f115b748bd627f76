"""Variants: a task and each of its fallbacks, defaults filled in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from stream_orchestrator.plan.drafts import Draft
from stream_orchestrator.plan.failure import breaker_options, errors_of
from stream_orchestrator.plan.limits import limits_of, state_options
from stream_orchestrator.plan.model import Variant
from stream_orchestrator.plan.models import current, default_model
from stream_orchestrator.plan.readings import ANYTHING
from stream_orchestrator.plan.scripts import Script
from stream_orchestrator.plan.services import options_of, url_variables
from stream_orchestrator.plan.stateful import touches_state
from stream_orchestrator.plan.tiers import tier_model
from stream_orchestrator.spec.documents import Document
from stream_orchestrator.spec.located import Located, Path
from stream_orchestrator.spec.pipeline import Pipeline
from stream_orchestrator.spec.problems import Problems
from stream_orchestrator.spec.tasks import BaseTask, CustomTask, LlmTask, PythonTask, ServiceTask, WebScrapingTask

SCRIPT_SECONDS, MODEL_SECONDS = 300.0, 120.0
CALL_RETRIES = 2
_PLAIN = (
    *("max_tokens", "temperature", "top_p", "stop", "presence_penalty", "frequency_penalty"),
    *("output_schema", "output_type"),
)
_OURS = ("STREAM_ORCHESTRATOR__", "KAFKA_", "REDIS_URL", "OPENAI_", "ANTHROPIC_", "OTEL_")


@dataclass(frozen=True, slots=True)
class Variants:
    """Makes variants for one document; what deserves a word goes to `problems`."""

    pipeline: Pipeline
    located: Located
    problems: Problems
    default_model: str = ""

    def of_component(self, document: Document) -> Variants:
        """The same for a component's tasks: what its own file says, and models as the pipeline has them."""
        model: Any = document.model
        own = {"input_variables": getattr(model, "parameters", None) or {}, "sandbox": self.pipeline.sandbox}
        return replace(self, located=document.located, pipeline=self.pipeline.model_copy(update=own))

    def fallbacks(self, task: BaseTask, draft: Draft, upstream: tuple[str, ...]) -> Iterator[Variant]:
        """The fallbacks of a task, each with its other models."""
        fallbacks = (task.error_handling.fallback if task.error_handling else None) or ()
        for one, drawn in zip(fallbacks, draft.fallbacks, strict=True):
            yield from self._with_models(one, drawn.path, upstream)

    def of(self, task: BaseTask, draft: Draft, upstream: tuple[str, ...]) -> tuple[Variant, ...]:
        """The task, its other models, then its fallbacks, each with theirs."""
        return (*self._with_models(task, draft.path, upstream), *self.fallbacks(task, draft, upstream))

    def models_of(self, variants: tuple[Variant, ...]) -> Iterator[str | None]:
        """Every model that these may ask; None for one that is known only when a run computes it."""
        for variant in variants:
            named = variant.options.get("model")
            asked = set(Script.parse(script).models) if (script := variant.options.get("script")) else {None}
            silent = variant.kind != "llm_task" and not (variant.options.get("script") and asked)
            if silent and not (variant.kind == "dynamic_task_group" and named):
                continue
            for model in asked:
                literal = named if model is None else model
                yield None if literal is None or model == ANYTHING or "{{" in literal else current(literal)

    def _with_models(self, task: BaseTask, path: Path, upstream: tuple[str, ...]) -> Iterator[Variant]:
        first = self._variant(task, path, upstream)
        yield first
        if not isinstance(task, LlmTask):
            return
        others = [
            self._current(name, (*path, "fallback_models", at)) for at, name in enumerate(task.fallback_models or ())
        ]
        for key, strategy in (
            ("model_strategy", self.pipeline.model_strategy),
            ("model_settings", self.pipeline.model_settings),
        ):
            if strategy is not None and strategy.fallback_model is not None:
                others.append(self._current(strategy.fallback_model, (key, "fallback_model")))
        for model in dict.fromkeys(others):
            if model != first.options["model"]:
                options = {**first.options, "model": model, **self._breaker(task, model)}
                yield Variant(**{**_fields(first), "name": model, "options": options})

    def _variant(self, task: BaseTask, path: Path, upstream: tuple[str, ...]) -> Variant:
        errors = errors_of(task, self.pipeline.error_handling)
        options = self._options(task, path, upstream)
        options |= breaker_options(task, errors, options)
        asks = isinstance(task, LlmTask | ServiceTask)
        fallback = {"retry_delay": 1.0, "retry_backoff": 2.0, "on_ambiguous": "retry"}
        chosen = {name: _or(getattr(errors, name), value) for name, value in fallback.items()}
        seconds = MODEL_SECONDS if asks and not options.get("script") else SCRIPT_SECONDS
        return Variant(
            name=task.name,
            kind=task.type,
            options=options,
            timeout=_or(task.timeout, seconds),
            retries=_or(errors.retry_count, CALL_RETRIES if asks else 0),
            **chosen,
        )

    def _options(self, task: BaseTask, path: Path, upstream: tuple[str, ...]) -> dict[str, Any]:
        options: dict[str, Any] = {}
        script = task.script if isinstance(task, PythonTask | LlmTask) else None
        if script is not None:
            options |= {"script": script, **self._reach(task, script, path), **limits_of(task, self.pipeline)}
            if Script.parse(script).uses_batch:
                message = "there are no batches yet: `get_current_batch()` holds this run alone"
                self._warn("no-effect-yet", message, (*path, "script"), "process one event, or loop over a list in it")
            if (state := state_options(self.pipeline.state_management)) and touches_state(script):
                options["state"] = state
        if isinstance(task, LlmTask):
            options |= {name: value for name in _PLAIN if (value := getattr(task, name)) is not None}
            options["model"] = self._model(task, task.model, path)
            if (system := task.system or task.system_message) is not None:
                options["system"] = system
            if script is None:
                options["prompt"] = task.prompt if task.prompt is not None else self._prompt(task, path, upstream)
        elif script is not None and Script.parse(script).models:
            options["model"] = self._model(task, None, path)
        elif isinstance(task, CustomTask):
            options |= {
                "options": task.options or {},
                **self._reach(task, "pass", path),
                **limits_of(task, self.pipeline),
            }
        elif isinstance(task, ServiceTask):
            options |= options_of(task)
            if isinstance(task, WebScrapingTask) and task.url is None:
                options["url"] = self._url(task, path)
        return options

    def _reach(self, task: BaseTask, script: str, path: Path) -> dict[str, Any]:
        """What a script may reach: what it names literally, unless a `sandbox:` says otherwise."""
        read, said = Script.parse(script), [each for each in (task.sandbox, self.pipeline.sandbox) if each is not None]
        network = next((each.network for each in said if each.network is not None), None)
        if network is False and read.uses_network:
            self._warn("network-closed", "the script imports a network library, and `sandbox.network` is false", path)
        env = read.env_names.union(*(each.env or () for each in said))
        for name in sorted(name for name in env if name.startswith(_OURS)):
            self._warn(
                "reserved-env", f"`{name}` is the service's own: scripts do not get it", path, "use another name"
            )
        allowed = sorted(name for name in env if not name.startswith(_OURS))
        return {"network": read.uses_network if network is None else bool(network), "env": allowed}

    def _breaker(self, task: BaseTask, model: str) -> dict[str, Any]:
        """Another model has a breaker of its own, unless the breaker has a name."""
        errors = errors_of(task, self.pipeline.error_handling)
        return breaker_options(task, errors, {"model": model})

    def _model(self, task: BaseTask, named: str | None, path: Path) -> str:
        if named is not None:
            return self._current(named, (*path, "model"))
        tiers = self.pipeline.model_tier_strategy or {}
        if (tiered := tier_model(task, tiers, path, located=self.located, problems=self.problems)) is not None:
            return self._current(*tiered)
        return self.default(path)

    def default(self, path: Path) -> str:
        """The model of a task that names none."""
        for key, strategy in (
            ("model_strategy", self.pipeline.model_strategy),
            ("model_settings", self.pipeline.model_settings),
        ):
            if strategy is not None and strategy.default_model is not None:
                return self._current(strategy.default_model, (key, "default_model"))
        model = self.default_model or default_model()
        self._warn("default-model", f"no model is named: `{model}` is asked", path, "name a `model`")
        return model

    def _current(self, name: str, path: Path) -> str:
        today = name if "{{" in name else current(name)
        if today != name:
            self._warn("retired-model", f"`{name}` is retired: `{today}` is asked instead", path, f"write `{today}`")
        return today

    def _url(self, task: BaseTask, path: Path) -> str:
        """The address that a task without one means: the one variable that holds an address."""
        found = url_variables(self.pipeline.input_variables or {})
        if len(found) == 1:
            return f"{{{{ inputs[{_quoted(found[0])}] }}}}"
        several = f"{', '.join(f'`{name}`' for name in found)} may be it" if found else "no input variable holds one"
        message = f"the task `{task.name}` has no `url`, and {several}"
        hint = 'write `url:`, such as "{{ page_url }}"'
        self.problems.add(self.located.problem("no-url", message, path=path, hint=hint))
        return ""

    def _prompt(self, task: BaseTask, path: Path, upstream: tuple[str, ...]) -> str:
        """A prompt for a task that has none: what it is for, all inputs, all that it waits for."""
        hint = "write a `prompt`; this one is made of the description, all inputs and what the task waits for"
        self._warn("built-prompt", f"the task `{task.name}` has no prompt: one is built", path, hint)
        lines = [_plain(task.description or task.name), ""]
        if self.pipeline.input_variables is None:
            lines.append("input: {{ input_data }}")
        lines += [_shown("inputs", name) for name in self.pipeline.input_variables or ()]
        return "\n".join([*lines, *(_shown("tasks", name) for name in upstream)])

    def _warn(self, rule: str, message: str, path: Path, hint: str = "") -> None:
        problem = self.located.problem(
            rule, message, path=path, hint=hint or "take one of them out", severity="warning"
        )
        self.problems.add(problem)


def _shown(holder: str, name: str) -> str:
    return f"{_plain(name)}: {{{{ {holder}[{_quoted(name)}] | default(null) }}}}"


def _plain(text: str) -> str:
    """Text that no template engine takes for its own."""
    return f"{{{{ {_quoted(text)} }}}}" if "{{" in text or "{%" in text or "{#" in text else text


def _quoted(text: str) -> str:
    return json.dumps(text)


def _or(value: Any, default: Any) -> Any:
    return default if value is None else value


def _fields(variant: Variant) -> dict[str, Any]:
    return {name: getattr(variant, name) for name in variant.__dataclass_fields__}
