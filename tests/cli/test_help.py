"""Every command says what it does, shows an example that works, and is there at once."""

from __future__ import annotations

import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from stream_orchestrator.cli.listing import COMMANDS, HIDDEN, PROGRAM
from stream_orchestrator.cli.main import load

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "stream_orchestrator/cli/commands"
# What help may not load: each costs more than all the rest of it together.
HEAVY = {"faust", "mode", "aiokafka", "aiohttp", "httpx", "rich", "jinja2", "opentelemetry", "yaml", "pydantic"}


def commands() -> Iterator[tuple[str, Any]]:
    """Every command and subcommand, ready to parse."""
    for name in COMMANDS:
        made: Any = typer.main.get_command(load(name))
        yield name, made
        yield from ((f"{name} {inner}", member) for inner, member in getattr(made, "commands", {}).items())


def help_of(name: str, made: Any) -> str:
    text: str = made.get_help(made.make_context(f"{PROGRAM} {name}", [], resilient_parsing=True))
    return text


def examples() -> Iterator[tuple[str, list[str]]]:
    """Every example of every help, as the words after the program's name."""
    for name, made in commands():
        text = help_of(name, made).split("Example", 1)[1].replace("\\\n", " ")
        for line in re.findall(rf"^\s+{PROGRAM} (.*)$", text, flags=re.MULTILINE):
            yield name, shlex.split(re.split(r" [|>] ", line)[0])


by_command = pytest.mark.parametrize(
    ("name", "made"), list(commands()), ids=lambda each: each if isinstance(each, str) else ""
)


def test_a_file_is_a_command_and_a_command_is_a_file() -> None:
    files = {path.stem.replace("_", "-") for path in FOLDER.glob("*.py")} - {"--init--"}
    assert files == {*COMMANDS, *HIDDEN}


@by_command
def test_a_command_says_what_it_does_in_one_line_without_a_full_stop(name: str, made: Any) -> None:
    first = made.help.strip().splitlines()[0]
    assert re.fullmatch(r"[A-Z][^.!]{8,75}", first)
    if name in COMMANDS:
        assert first == COMMANDS[name]


@by_command
def test_every_option_and_argument_says_what_it_is(name: str, made: Any) -> None:
    assert [each.name for each in made.params if not (each.help or "").strip() or each.help.endswith(".")] == []


@by_command
def test_help_shows_an_example(name: str, made: Any) -> None:
    assert f"{PROGRAM} {name}" in help_of(name, made).split("Example", 1)[1]


@pytest.mark.parametrize(
    ("name", "words"), list(examples()), ids=lambda each: " ".join(each) if isinstance(each, list) else ""
)
def test_an_example_is_understood_and_names_files_that_are_there(name: str, words: list[str]) -> None:
    made: Any = typer.main.get_command(load(words[0]))
    rest = words[1:]
    if hasattr(made, "commands"):
        made, rest = made.commands[rest[0]], rest[1:]
    made.make_context(name, list(rest))  # raises for what the command does not know
    shipped = [word for word in words if word.startswith("pipelines/")]
    assert [word for word in shipped if not (ROOT / word).exists()] == []


@pytest.mark.parametrize(
    "words",
    [words for name, words in examples() if name in ("validate", "lint", "plan", "graph", "schema", "topics list")],
    ids=" ".join,
)
def test_an_example_that_needs_no_broker_works(call: Any, words: list[str]) -> None:
    assert call(*words).code == 0


def test_the_page_of_commands_is_what_help_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    script = runpy.run_path(str(ROOT / "docs/commands.py"))
    assert script["PAGE"].read_text(encoding="utf-8") == script["page"](), "run: python docs/commands.py"


def modules_after(*arguments: str) -> set[str]:
    code = "import sys; from stream_orchestrator.cli.main import main; main(sys.argv[1:]); "
    code += "print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    return {module.split(".")[0] for module in done.stderr.split()}


def test_the_list_of_commands_loads_no_library_at_all() -> None:
    assert modules_after("--help") & (HEAVY | {"typer"}) == set()


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command_loads_nothing_that_only_its_work_needs(name: str) -> None:
    assert modules_after(name, "--help") & HEAVY == set()
