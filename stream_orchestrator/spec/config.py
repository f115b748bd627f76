"""The settings of a process, from one source: defaults, the environment's config file, then environment variables.

Promises
  * Every value knows where it was said. What a file says wrongly is a `SpecError` at its line; what a variable says
    wrongly is a `UsageError` that names the variable, and shows no secret.
  * A variable of ours that nobody reads does nothing; `strangers_in` names it.
  * Settings are read once, when a command begins; nothing reads the environment for them behind this.
"""

from __future__ import annotations

import os
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from stream_orchestrator.errors import UsageError
from stream_orchestrator.spec import config_files, settings
from stream_orchestrator.spec.kinds import Config
from stream_orchestrator.spec.layers import Layers, Origin
from stream_orchestrator.spec.located import Located
from stream_orchestrator.spec.located import Path as Place
from stream_orchestrator.spec.problems import Problem
from stream_orchestrator.spec.scalars import BadScalar, plain
from stream_orchestrator.spec.translate import problems_of

PREFIX = "STREAM_ORCHESTRATOR__"
DEVELOPMENT, PRODUCTION = "development", "production"
# Variables with names of their own, known from elsewhere; ours of the same meaning come first.
ALIASES = {"KAFKA_BOOTSTRAP_SERVERS": ("kafka", "bootstrap_servers")}
HEADER = ("name", "type", "description", "extends")  # of a config file itself; nothing is set by them
MASKED = "***"
S = TypeVar("S", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Configuration:
    """The settings of this process. Without arguments: the defaults."""

    env: str = DEVELOPMENT
    files: tuple[str, ...] = ()
    data: Mapping[str, Any] = field(default_factory=dict)
    origins: Mapping[Place, Origin] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    model: Config = field(default_factory=Config)

    @property
    def production(self) -> bool:
        """Whether what production demands is demanded."""
        return self.env == PRODUCTION

    def section(self, kind: type[S]) -> S:
        """One section of the service's own settings, defaults filled in: `section(settings.Topics).prefix`."""
        found = getattr(self.model, kind.__name__.lower())
        return found if isinstance(found, kind) else kind()

    def arguments(self) -> list[str]:
        """What another process of ours is told to have the same settings: it inherits our variables."""
        return ["--env", self.env, *(["--config", str(Path(self.files[0]).absolute())] if self.files else [])]

    def origin(self, *place: str) -> Origin:
        """Where a value was said."""
        return self.origins.get(place, Origin())


def load(
    *,
    env: str = "",
    file: Path | None = None,
    near: Sequence[Path] = (),
    environ: Mapping[str, str] = os.environ,
) -> Configuration:
    """The settings for an environment: those of `file`, or of `config/<env>.yaml` near these paths; then variables.

    A named environment that has no file is a UsageError, unless it is `development` or `production`.
    """
    name = env or DEVELOPMENT
    chosen = config_files.chosen(file, name) if file else config_files.find(name, near)
    if chosen is None and name not in (DEVELOPMENT, PRODUCTION):
        known = {*config_files.environments(near), DEVELOPMENT, PRODUCTION}
        nearest = get_close_matches(name, known, 1)
        guess = f"did you mean `{nearest[0]}`? " if nearest else ""
        raise UsageError(
            f"there is no environment `{name}`: no config/{name}.yaml was found",
            hint=f"{guess}there is {', '.join(sorted(known))}; --config names a file",
        )
    layers, found = Layers(), config_files.chain(chosen, name) if chosen else []
    for document in found:
        layers.lay(document.located)
    _lay_variables(layers, environ)
    return Configuration(
        env=name,
        files=tuple(dict.fromkeys(document.located.file for document in reversed(found))),
        data=layers.data,
        origins=layers.origins,
        problems=tuple(problem for document in found for problem in document.problems),
        model=Config.model_validate(layers.data),
    )


def from_environ(environ: Mapping[str, str]) -> Configuration:
    """The settings that variables alone give: what a program has that names no environment and no file."""
    layers = Layers()
    _lay_variables(layers, environ)
    return Configuration(data=layers.data, origins=layers.origins, model=Config.model_validate(layers.data))


def strangers_in(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Variables of ours that nobody reads."""
    return tuple(name for name in sorted(environ) if name.startswith(PREFIX) and not _is_known(_place_of(name)))


def variable_of(place: Place) -> str:
    """The variable that sets a key."""
    return PREFIX + "__".join(str(part).upper() for part in place)


def known_keys() -> tuple[str, ...]:
    """Every key that can be set, as `section.key`; maps of the user's own names end in `.*`."""
    return tuple(".".join(place) for place in _places(Config, ()) if place[0] not in HEADER)


def masked(place: Place, value: Any) -> Any:
    """The value as it may be shown."""
    if value is not None and any(isinstance(part, str) and settings.SECRET.search(part) for part in place):
        return MASKED
    if isinstance(value, dict):
        return {key: masked((*place, key), each) for key, each in value.items()}
    if isinstance(value, str) and "://" in value and "@" in value:
        scheme, _, rest = value.partition("://")
        return f"{scheme}://{MASKED}@{rest.rpartition('@')[2]}"
    return value


def defaults() -> Iterator[tuple[Place, Any]]:
    """Every default that is something."""
    for name, field_ in Config.model_fields.items():
        section = _model_in(field_.annotation)
        for key, inner in section.model_fields.items() if section else ():
            if inner.default is not None and not inner.is_required():
                yield (name, key), inner.default


# --- variables -------------------------------------------------------------------------------------------------------


def _lay_variables(layers: Layers, environ: Mapping[str, str]) -> None:
    for name, place in ALIASES.items():
        # `embedded` and addresses of our own small broker are for `--broker`, and so they come in its variable.
        if environ.get(name, "").strip():
            layers.lay_value(place, environ[name].strip(), Origin(variable=name))
    for name in sorted(name for name in environ if name.startswith(PREFIX)):
        if environ[name].strip() and _is_known(_place_of(name)):
            _lay_variable(layers, name, _place_of(name), environ[name].strip())


def _place_of(name: str) -> tuple[str, ...]:
    return tuple(name.removeprefix(PREFIX).lower().split("__"))


def _lay_variable(layers: Layers, name: str, place: tuple[str, ...], text: str) -> None:
    wrong: ValidationError | None = None
    for value in _readings(text):
        trial = layers.copy()
        trial.lay_value(place, value, Origin(variable=name))
        try:
            Config.model_validate(trial.data)
        except ValidationError as error:
            wrong = error
            continue
        layers.lay_value(place, value, Origin(variable=name))
        return
    assert wrong is not None, "there is at least one reading"
    problem = next(problems_of(wrong, Config, Located(data=trial.data, file=name)))
    shown = MASKED if settings.SECRET.search(place[-1]) else f"`{text[:100]}`"
    raise UsageError(f"{name} is {shown}: {problem.message}", hint=problem.hint or problem.label) from wrong


def _readings(text: str) -> Iterator[Any]:
    """What a text may mean, in the order in which a setting may want it: a list, text, a number or truth value."""
    if "," in text:
        yield [part.strip() for part in text.split(",") if part.strip()]
    yield text
    try:
        yield plain(text)
    except BadScalar:
        return


# --- the shape of settings -------------------------------------------------------------------------------------------


def _is_known(place: Sequence[str]) -> bool:
    if len(place) < 2 or place[0] in HEADER:
        return False
    kind: Any = Config
    for part in place:
        if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
            return kind is dict  # a map of the user's own names
        inner = kind.model_fields.get(part)
        if inner is None:
            return False
        kind = _model_in(inner.annotation) or (dict if _is_map(inner.annotation) else None)
    return True


def _places(kind: type[BaseModel], path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for key, inner in kind.model_fields.items():
        model = _model_in(inner.annotation)
        if model is not None:
            yield from _places(model, (*path, key))
        else:
            yield (*path, key, "*") if _is_map(inner.annotation) else (*path, key)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model that `Model | None` means."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if isinstance(annotation, UnionType) or typing.get_origin(annotation) is typing.Union:
        return next((model for each in typing.get_args(annotation) if (model := _model_in(each))), None)
    return None


def _is_map(annotation: Any) -> bool:
    return any(typing.get_origin(each) is dict for each in (annotation, *typing.get_args(annotation)))
