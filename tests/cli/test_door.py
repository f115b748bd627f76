"""The one exit: whatever goes wrong is said in words, with the next step and the exit code of its kind."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

import stream_orchestrator
from stream_orchestrator.cli import main as door
from stream_orchestrator.cli import surroundings, voice
from stream_orchestrator.cli.building import command
from stream_orchestrator.errors import HouseError, MissingError, OrchestratorError, RunError, SpecError, UsageError
from stream_orchestrator.spec.config import Configuration, from_environ, strangers_in

SETTING = "STREAM_ORCHESTRATOR__"


@pytest.fixture
def raising(call: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """`schema`, replaced by a command that raises."""

    def run(error: BaseException, cause: BaseException | None = None) -> Any:
        def schema() -> int:
            """Raise"""
            raise error from cause

        monkeypatch.setattr(door, "load", lambda name: command(schema, "schema"))
        return call("schema")

    return run


def test_without_a_command_help_is_talk_and_the_exit_code_says_so(call: Any) -> None:
    said = call()
    assert (said.code, said.out) == (2, "")
    assert "Commands:" in said.err


def test_help_that_was_asked_for_is_data(call: Any) -> None:
    for words in (["--help"], ["-h"], ["help"]):
        said = call(*words)
        assert (said.code, said.err) == (0, "")
        assert "Commands:" in said.out


def test_the_version_is_told(call: Any) -> None:
    assert call("--version").out == f"stream-orchestrator {stream_orchestrator.__version__}\n"


def test_a_mistyped_command_is_answered_with_the_nearest(call: Any) -> None:
    said = call("valdate", "x.yaml")
    assert said.code == 2
    assert said.out == ""
    assert "there is no command `valdate`" in said.err
    assert "did you mean `stream-orchestrator validate`?" in said.err


def test_an_option_where_a_command_belongs_is_called_an_option(call: Any) -> None:
    assert "there is no option `--jsn`" in call("--jsn").err


@pytest.mark.parametrize(
    ("words", "said_of_it"),
    [
        (["schema", "--jsn"], "no such option: --jsn"),
        (["plan"], "missing argument 'FILE'"),
        (["run", "x.yaml"], "missing option '--input'"),
        (["graph", "x.yaml", "--format", "svg"], "'svg'"),
        (["topics"], "missing command"),
        (["dlq", "lst", "p"], "no such command 'lst'"),
        (["results", "p", "--count", "0"], "greater than or equal to 1"),
        (["results", "p", "--timeout", "soon"], "`soon` is not a duration"),
        (["worker", "p", "--http", "nowhere"], "`nowhere` is not HOST:PORT"),
    ],
)
def test_a_wrong_command_line_says_what_and_points_to_help(call: Any, words: list[str], said_of_it: str) -> None:
    said = call(*words)
    assert (said.code, said.out) == (2, "")
    assert said_of_it in said.err
    assert re.search(r"hint: `stream-orchestrator \w+.* --help` shows what it takes", said.err)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SpecError("a document is wrong"), 2),
        (UsageError("the command line is wrong"), 2),
        (MissingError("a broker is not there"), 3),
        (RunError("this run cannot go on"), 1),
        (HouseError("our own machinery failed"), 1),
    ],
)
def test_each_branch_of_the_error_tree_has_its_exit_code(raising: Any, error: OrchestratorError, code: int) -> None:
    error.hint = "do this next"
    said = raising(error)
    assert said.code == code
    assert said.err.splitlines() == [f"error: {error}", "", "hint: do this next"]


def test_a_cause_is_told_once_and_only_if_the_message_has_not_said_it(raising: Any) -> None:
    assert "cause: OSError: no route" in raising(MissingError("no Kafka answers"), OSError("no route")).err
    assert "cause:" not in raising(MissingError("no Kafka answers: no route"), OSError("no route")).err
    assert "cause:" not in raising(UsageError("line 3 is not JSON"), ValueError("line 1 column 4 (char 3)")).err


def test_what_nobody_foresaw_is_one_line_and_a_file_with_the_traceback(raising: Any) -> None:
    said = raising(KeyError("surprise"))
    assert said.code == 1
    assert "Traceback" not in said.err
    assert "KeyError: 'surprise'" in said.err
    path = Path(re.search(r"hint: (\S+) says where", said.err)[1])  # type: ignore[index]
    assert "Traceback" in path.read_text(encoding="utf-8")
    assert path.stat().st_mode & 0o077 == 0, "it may hold what others should not read"
    path.unlink()


def test_the_traceback_is_shown_when_it_is_asked_for(raising: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{SETTING}CLI__TRACEBACK", "1")
    said = raising(UsageError("wrong"))
    assert "Traceback" in said.err
    assert "there is no setting" not in said.err


def test_an_interrupt_is_130(raising: Any) -> None:
    said = raising(KeyboardInterrupt())
    assert said.code == 130
    assert said.err == "interrupted\n"


def test_a_reader_that_goes_away_is_no_error() -> None:
    command_line = f"{sys.executable} -m stream_orchestrator schema pipeline | head -c 1"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {command_line}"], capture_output=True, text=True)
    assert (done.stdout, done.stderr, done.returncode) == ("{", "", 0)


def test_what_comes_from_elsewhere_cannot_drive_the_terminal(raising: Any) -> None:
    assert "\x1b" not in raising(UsageError("\x1b[2Jgone", hint="\x1b]0;title\x07")).err


# --- settings --------------------------------------------------------------------------------------------------------


def test_a_setting_that_nobody_reads_is_said_with_the_nearest(call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{SETTING}TOPICS__PREFX", "p.")
    said = call("schema")
    assert said.code == 0
    assert f"warning: there is no setting {SETTING}TOPICS__PREFX" in said.err
    assert f"did you mean {SETTING}TOPICS__PREFIX?" in said.err


def test_a_section_that_nobody_reads_is_said_with_the_nearest(call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{SETTING}CALS__X", "1")
    assert f"did you mean {SETTING}CALLS__...?" in call("schema").err


def test_every_setting_that_the_package_names_is_known() -> None:
    package = Path(stream_orchestrator.__file__).parent
    sources = "".join(path.read_text(encoding="utf-8") for path in package.rglob("*.py"))
    named = set(re.findall(rf"{SETTING}([A-Z]+__[A-Z_]*[A-Z])\b", sources))
    assert strangers_in({SETTING + name: "" for name in named}) == (f"{SETTING}SECTION__KEY",)  # the pattern itself


def test_every_setting_of_the_reference_is_known() -> None:
    page = (Path(__file__).parents[2] / "docs/reference.md").read_text(encoding="utf-8")
    named = set(re.findall(rf"{SETTING}[A-Z]+__[A-Z_]+", page)) - {f"{SETTING}SECTION__KEY"}
    assert named
    assert strangers_in(dict.fromkeys(named, "")) == ()


@pytest.mark.parametrize("text", ["0", "-1", "many", "10001", "1.5"])
def test_a_partition_count_that_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="TOPICS__PARTITIONS"):
        from_environ({f"{SETTING}TOPICS__PARTITIONS": text})


def test_partitions_are_8_and_4_on_the_embedded_broker_unless_said_otherwise() -> None:
    assert surroundings.partitions_of(Configuration(), embedded=False) == 8
    assert surroundings.partitions_of(Configuration(), embedded=True) == 4
    assert surroundings.partitions_of(from_environ({f"{SETTING}TOPICS__PARTITIONS": "3"}), embedded=True) == 3


def test_the_prefix_is_the_options_then_the_settings() -> None:
    config = from_environ({f"{SETTING}TOPICS__PREFIX": "site."})
    assert surroundings.prefix_of(None, config) == "site."
    assert surroundings.prefix_of("mine.", config) == "mine."
    assert surroundings.prefix_of("", config) == ""
    with pytest.raises(UsageError, match="cannot stand before a topic"):
        surroundings.prefix_of("my site", config)


# --- colour ----------------------------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("environ", "stream", "coloured"),
    [
        ({}, Terminal(), True),
        ({"NO_COLOR": "1"}, Terminal(), False),
        ({"TERM": "dumb"}, Terminal(), False),
        ({}, io.StringIO(), False),
        ({"FORCE_COLOR": "1"}, io.StringIO(), False),
    ],
)
def test_colour_is_for_terminals_and_never_against_no_color(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], stream: io.StringIO, coloured: bool
) -> None:
    for name in ("NO_COLOR", "TERM", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    painted = voice.painted("error: wrong\n\nhint: next", stream)
    assert ("\x1b[" in painted) is coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", painted) == "error: wrong\n\nhint: next"
    monkeypatch.setattr(sys, "stderr", stream)
    assert (voice.console().color_system is not None) is coloured


def test_a_command_returns_what_its_function_says() -> None:
    def three() -> int:
        """Three"""
        return 3

    made: Any = typer.main.get_command(command(three, "three"))
    assert made.main([], standalone_mode=False) == 3


@pytest.mark.parametrize("closed", ["stdin", "stdout", "stderr"])
def test_a_closed_stream_leads_nowhere_and_is_no_error(closed: str) -> None:
    number = ("stdin", "stdout", "stderr").index(closed)
    line = f"{sys.executable} -m stream_orchestrator schema pipeline {'<' if number == 0 else f'{number}>'}&-"
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert bool(done.stdout) == (closed != "stdout")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device that is always full")
def test_a_full_disk_is_said_in_words() -> None:
    line = f"{sys.executable} -m stream_orchestrator schema pipeline > /dev/full"
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: cannot write: No space left on device\n")
    assert "Traceback" not in done.stderr
