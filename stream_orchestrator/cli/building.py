"""How a function becomes a command: Typer without its decorations, examples below the help."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from stream_orchestrator.cli import surroundings
from stream_orchestrator.cli.listing import PROGRAM
from stream_orchestrator.cli.options import ConfigFile, Env

WIDTH = 100
_CONTEXT = {"help_option_names": ["--help", "-h"], "max_content_width": WIDTH}


class _Command(TyperCommand):
    """A command whose help option speaks like the others."""

    def get_help_option(self, ctx: Any) -> Any:
        """The option, in our words."""
        option = super().get_help_option(ctx)
        if option is not None:
            option.help = "Show this help"
        return option


class _Group(TyperGroup):
    """The same of a group."""

    def get_help_option(self, ctx: Any) -> Any:
        """The option, in our words."""
        option = super().get_help_option(ctx)
        if option is not None:
            option.help = "Show this help"
        return option


def command(function: Callable[..., int], *examples: str) -> typer.Typer:
    """An application of one command. Its docstring is its help, and it returns the exit code."""
    app = _app()
    app.command(cls=_Command, epilog=_epilog(examples), context_settings=_CONTEXT)(_configurable(function))
    return app


def group(summary: str, members: Mapping[str, tuple[Callable[..., int], Sequence[str]]]) -> typer.Typer:
    """An application of several commands: name → (function, examples)."""
    app = _app(cls=_Group, help=summary, no_args_is_help=False, context_settings=_CONTEXT)
    # With a callback a group of one stays a group.
    app.callback()(lambda: None)
    for name, (function, examples) in members.items():
        app.command(name, cls=_Command, epilog=_epilog(examples), context_settings=_CONTEXT)(_configurable(function))
    app.info.epilog = _epilog([examples[0] for _, examples in members.values()])
    return app


def _configurable(function: Callable[..., int]) -> Callable[..., int]:
    """The command with `--env` and `--config`, if it works with pipelines or a broker. It asks `surroundings` for what
    they say.
    """
    signature = inspect.signature(function, eval_str=True)
    if not {"paths", "file", "prefix", "key"} & set(signature.parameters):
        return function

    @wraps(function)
    def configurable(*args: Any, env: str = "", config_file: Path | None = None, **more: Any) -> int:
        surroundings.choose(env, config_file)
        return function(*args, **more)

    options = {"env": (Env, ""), "config_file": (ConfigFile, None)}
    given = [each for name, each in signature.parameters.items() if name != "as_json"]
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
        for name, (kind, default) in options.items()
    ]
    last = [each for name, each in signature.parameters.items() if name == "as_json"]
    parameters = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in (*given, *added, *last)]
    configurable.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    configurable.__annotations__ = {each.name: each.annotation for each in parameters} | {"return": int}
    return configurable


def _app(**options: Any) -> typer.Typer:
    # Rich's panels and tracebacks would load half a second of modules, and say it in another voice than ours.
    return typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, **options)


def _epilog(examples: Sequence[str]) -> str:
    title = "Example:" if len(examples) == 1 else "Examples:"
    # \b keeps the line breaks.
    return "\n".join(["\b", title, *(f"  {PROGRAM} {example}" for example in examples)])
