"""From paths on the command line to plans that can be served."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from stream_orchestrator.cli import voice
from stream_orchestrator.cli.surroundings import configured
from stream_orchestrator.errors import MissingError, UsageError
from stream_orchestrator.plan.dependencies import missing_packages
from stream_orchestrator.plan.functions import exists, functions_of, is_file
from stream_orchestrator.plan.loading import Loaded, load_path, load_plan, plan_of
from stream_orchestrator.plan.model import Plan
from stream_orchestrator.spec.problems import Problem, raise_errors, render

ANOTHER = "give one of them another `version:` or another `name:`"


@dataclass(frozen=True, slots=True)
class Sources:
    """The pipelines that some paths hold, and what is doubtful about them."""

    plans: tuple[Plan, ...]
    warnings: tuple[Problem, ...]


def read_sources(paths: Iterable[Path], functions: Sequence[str] = ()) -> Sources:
    """Every pipeline of these files and folders. SpecError with every problem; UsageError when there is none."""
    check_functions(functions)
    paths = tuple(paths)
    config = configured(paths)
    loaded = [each for path in paths for each in load_path(path, functions=functions, config=config)]
    problems = tuple(problem for each in loaded for problem in each.problems)
    raise_errors(problems)
    plans = with_others(tuple(each.plan for each in loaded if each.plan is not None), functions)
    if not plans:
        raise UsageError("there is no pipeline in what was named", hint="a pipeline is a document with `tasks:`")
    _refuse_twins(plans)
    return Sources(plans, problems)


def with_others(plans: tuple[Plan, ...], functions: Sequence[str] = ()) -> tuple[Plan, ...]:
    """These pipelines, and those that they run and name by their files: somebody has to serve them."""
    found = {plan.slug: plan for plan in reversed(plans)}
    todo = [file for plan in plans for file in plan.beside]
    more: list[Plan] = []
    while todo:
        file = Path(todo.pop())
        plan = load_plan(file, functions=functions, config=configured([file]))
        if plan.slug not in found:
            found[plan.slug] = plan
            more.append(plan)
            todo += plan.beside
    return (*plans, *more)


def read_plan(path: Path, functions: Sequence[str] = ()) -> Plan:
    """The one pipeline of a file; what is doubtful about it is said."""
    check_functions(functions)
    loaded = load_path(path, functions=functions, config=configured([path]))
    plan = plan_of(path, loaded)  # raises for errors, and for a file that has not just one pipeline
    tell(problem for each in loaded for problem in each.problems)
    return plan


def tell(problems: Iterable[Problem]) -> None:
    """Show problems to a person, on stderr."""
    for problem in problems:
        voice.say(voice.painted(voice.printable(render(problem))) + "\n")


def absolute(functions: Sequence[str]) -> tuple[str, ...]:
    """Files among them with their whole path, so that another process finds them."""
    return tuple(str(Path(name).resolve()) if is_file(name) else name for name in functions)


def check_functions(functions: Sequence[str]) -> None:
    """A file or module of `--functions` that is not there is a UsageError."""
    for name in functions:
        if not exists(name):
            kind = "file" if is_file(name) else "module"
            raise UsageError(
                f"--functions: there is no {kind} `{name}`", hint="give a FILE.py, or a module that Python finds"
            )


def refuse_incomplete(
    plans: Iterable[Plan], functions: Sequence[str] = (), *, offline: bool, environ: Mapping[str, str] = os.environ
) -> None:
    """Nothing starts without the helper functions, models and keys that the pipelines need; each is named."""
    from stream_orchestrator.calls.borders import refuse_crossings
    from stream_orchestrator.calls.offline import names as offline_models
    from stream_orchestrator.calls.offline import unknown_models
    from stream_orchestrator.calls.providers import needs_of
    from stream_orchestrator.calls.service_settings import ServiceSettings
    from stream_orchestrator.calls.settings import CallSettings, missing_keys
    from stream_orchestrator.spec.inputs import InputRules
    from stream_orchestrator.spec.settings import Calls
    from stream_orchestrator.tasks.custom import unknown_kinds
    from stream_orchestrator.trust.bringing import refuse_without_scanner

    plans = tuple(plans)
    config = configured(quietly=True)
    reached = ServiceSettings.of(config, offline=offline)
    asked = CallSettings.from_env(environ, offline=offline, calls=config.section(Calls))
    refuse_crossings(plans, asked, reached)
    rules = {plan.title: InputRules.from_plan(plan.inputs, plan.input_validation) for plan in plans}
    refuse_without_scanner(rules, config)
    lacking = {plan.title: functions_of(plan, functions)[1] for plan in plans}
    models = [model for plan in plans for model in plan.models]
    keys = missing_keys(models, asked)
    said, hints = [], []
    if any(lacking.values()):
        called = "; ".join(f"`{title}` calls {_list(names)}" for title, names in lacking.items() if names)
        said.append(f"helper functions are not there: {called}")
        hints.append("--functions FILE.py defines them")
    if packages := [package for plan in plans for package in missing_packages(plan)]:
        said.append(f"packages are not installed: {_list(sorted(set(packages)))}")
        hints.append("install them beside the worker, or take them out of `dependencies:`")
    if keys:
        said.append(f"{' and '.join(keys)} must be set to ask {_list(sorted(set(models)))}")
        hints.append("set it, or answer every model by the built-in one: --offline")
    if strangers := unknown_models(models):
        said.append(f"there is no model {_list(strangers)}")
        hints.append(f"offline models: {', '.join(offline_models())}")
    for title, name, why in unknown_kinds(plans):
        said.append(f"`{title}` has tasks of the type `{name}`: {why}")
        hints.append("pip install the package that brings the type, where the worker is")
    services = tuple(dict.fromkeys(service for plan in plans for service in plan.services))
    for lack, hint in needs_of(services, reached):
        said.append(lack)
        hints.append(hint)
    if said:
        raise MissingError("; ".join(said), hint="\n".join(hints))


def pipeline_of(text: str) -> str:
    """The slug of a pipeline that was named by its name, its slug or its file."""
    from stream_orchestrator.plan.names import slug

    path = Path(text)
    if path.suffix in (".yaml", ".yml") and os.path.isfile(path):
        return load_plan(path, config=configured([path])).slug
    if path.suffix in (".yaml", ".yml") or "/" in text:
        raise UsageError(f"there is no file {text}", hint="give a pipeline's file, or its name")
    return slug(text)


def marked_twins(loaded: Iterable[Loaded]) -> Iterator[Loaded]:
    """The same documents; one that differs from an earlier one of its name and version has that as an error."""
    seen: dict[tuple[str, str], Loaded] = {}
    for each in loaded:
        plan = each.plan
        other = seen.setdefault((plan.slug, plan.version), each) if plan else each
        same = other.plan == plan or (other.plan and plan and other.plan.hash == plan.hash)
        yield each if same else replace(each, problems=(*each.problems, _twin(each, other)))


def _twin(loaded: Loaded, other: Loaded) -> Problem:
    assert loaded.plan is not None, "only plans are compared"
    said = f"`{loaded.plan.title}` is there in version {loaded.plan.version} already, and differs"
    place = next((key for key in ("version", "name") if key in loaded.located.data), "tasks")
    label = f"the other: {other.located.file}, document {other.located.index + 1}"
    return loaded.located.problem("same-version", said, path=(place,), label=label, hint=ANOTHER)


def _refuse_twins(plans: Sequence[Plan]) -> None:
    seen: dict[tuple[str, str], Plan] = {}
    for plan in plans:
        other = seen.setdefault((plan.slug, plan.version), plan)
        if other.hash != plan.hash:
            raise UsageError(
                f"two documents are `{plan.title}` in version {plan.version}, and they differ",
                hint=ANOTHER,
            )


def _list(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
