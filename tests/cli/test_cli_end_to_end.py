"""The commands on the embedded broker, as a person uses them: run, worker, send, results, dlq, audit, topics, dev."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stream_orchestrator.errors import MissingError
from stream_orchestrator.streaming.brokers import EmbeddedBroker

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(240)]

WITHIN = 90.0  # seconds for a worker to be ready on a machine that others use as well
GREETER = """name: Greeter
version: 1.0.0
input_variables:
  name: {type: string, validation: {min_length: 1}}
  id: {type: string, required: false}
tasks:
  - name: look
    type: python_task
    script: |
      if name == "nobody":
          raise ValueError("no such person")
      return {"loud": name.upper(), "letters": len(name)}
  - name: greeting
    type: llm_task
    model: offline/echo
    prompt: "Hello {{ look.loud }}, your name has {{ look.letters }} letters."
"""
SLOW = """name: Slow
tasks:
  - name: wait
    type: python_task
    timeout: 60 seconds
    script: |
      import time
      time.sleep(seconds)
      return seconds
"""


class Command:
    """A command that runs beside us; what it says is kept."""

    def __init__(self, *arguments: object, log: Path, env: dict[str, str] | None = None) -> None:
        self.out, self.err = log.with_suffix(".out"), log.with_suffix(".err")
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self.popen = subprocess.Popen(
                [sys.executable, "-m", "stream_orchestrator", *map(str, arguments)],
                stdout=out,
                stderr=err,
                stdin=subprocess.DEVNULL,
                env={**environment(), **(env or {})},
                start_new_session=True,
                # A shell's background jobs ignore SIGINT, and so would ours: a person's terminal does not.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            )

    def until(self, told: Callable[[], bool], *, within: float = WITHIN) -> None:
        """Wait for a state while it runs."""
        end = time.monotonic() + within
        while not told():
            assert self.popen.poll() is None, f"it ended with {self.popen.returncode}: {self.err.read_text()}"
            assert time.monotonic() < end, f"{self.out.read_text()}\n{self.err.read_text()}"
            time.sleep(0.05)

    def says(self, text: str) -> None:
        """Wait until it has said that."""
        self.until(lambda: text in self.out.read_text() + self.err.read_text())

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Signal it; its exit code."""
        self.popen.send_signal(number)
        return self.popen.wait(60)

    def kill(self) -> None:
        self.popen.kill()
        self.popen.wait()


def environment() -> dict[str, str]:
    ours = ("KAFKA_", "OPENAI_", "ANTHROPIC_", "STREAM_ORCHESTRATOR__", "OTEL_")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Command]]:
    """Starts commands; what still runs at the end is killed."""
    started: list[Command] = []

    def run(*arguments: object, **options: Any) -> Command:
        started.append(Command(*arguments, log=tmp_path / f"command{len(started)}", **options))
        return started[-1]

    yield run
    for each in started:
        each.kill()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pipelines and events of this module."""
    made = tmp_path_factory.mktemp("site")
    (made / "greeter.yaml").write_text(GREETER)
    (made / "slow.yaml").write_text(SLOW)
    return made


@pytest.fixture(scope="module")
def broker() -> Iterator[str]:
    """An embedded broker for the module, as `--broker` takes it."""
    found = EmbeddedBroker()
    try:
        asyncio.run(found.start())
    except MissingError as fault:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(str(fault))
    yield f"embedded://{found.bootstrap}"
    asyncio.run(found.stop())


@pytest.fixture(scope="module")
def site(folder: Path, broker: str) -> Iterator[str]:
    """A worker that serves the greeter; the address of its broker."""
    worker = Command("worker", folder / "greeter.yaml", "--broker", broker, "--json", log=folder / "worker")
    try:
        worker.says('"event":"ready"')
        yield broker
        assert worker.end() == 0, worker.err.read_text()
    finally:
        worker.kill()


def lines(path: Path, *events: object) -> Path:
    path.write_text("".join(json.dumps(event) + "\n" for event in events))
    return path


def read(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


# --- run -------------------------------------------------------------------------------------------------------------


def test_run_sends_waits_for_every_result_and_sums_up(call: Any, folder: Path, tmp_path: Path, broker: str) -> None:
    events = lines(
        tmp_path / "events.jsonl",
        {"name": "Ada", "id": "a"},
        {"name": "", "id": "b"},
        {"name": "nobody", "id": "c"},
        {"name": "Ada", "id": "a"},
        {"name": "Bob", "id": "a"},
    )
    output = tmp_path / "results.jsonl"
    words = ["run", folder / "greeter.yaml", "--input", events, "--output", output, "--run-id-field", "id"]
    said = call(*words, "--broker", broker, "--prefix", "run.", "--json", "--timeout", "120s")
    assert said.code == 1, said.err
    counts = dict(said.json)
    assert counts.pop("seconds") > 0
    assert counts.pop("cost_usd") == 0
    assert counts == {"runs": 4, "succeeded": 1, "degraded": 0, "failed": 1, "rejected": 2, "duplicates": 1}
    results = {each["run_id"].partition("~")[0] + "/" + each["status"]: each for each in read(output)}
    assert set(results) == {"a/succeeded", "b/rejected", "c/failed", "a/rejected"}
    # Without a key the two payloads of `a` come in any order: the first one is the run.
    assert results["a/succeeded"]["output"] in [f"Hello {name}, your name has 3 letters." for name in ("ADA", "BOB")]
    assert results["a/rejected"]["conflicts_with"] == "a"
    assert "first result after " in said.err
    assert "1 failed in `look`: ValueError: line 2: no such person (run c)" in said.err


def test_run_needs_no_broker_and_writes_results_to_stdout(call: Any, folder: Path, tmp_path: Path) -> None:
    events = lines(tmp_path / "events.jsonl", *({"name": name} for name in ("Ada", "Bob", "Eve")))
    said = call("run", folder / "greeter.yaml", "--input", events, "--output", "-", "--timeout", "120s")
    assert said.code == 0, said.err
    assert sorted(each["output"] for each in said.lines) == [
        f"Hello {name}, your name has 3 letters." for name in ("ADA", "BOB", "EVE")
    ]
    assert "SUCCEEDED" in said.err


@pytest.mark.parametrize(
    ("content", "said_of_it"),
    [(None, "there is no file"), ("", "has no events"), ('{"name": "Ada"}\n{"name": \n', ":2: not JSON")],
)
def test_events_are_looked_at_before_anything_starts(
    call: Any, folder: Path, tmp_path: Path, content: str | None, said_of_it: str
) -> None:
    path = tmp_path / "events.jsonl"
    if content is not None:
        path.write_text(content)
    said = call("run", folder / "greeter.yaml", "--input", path, "--output", tmp_path / "out.jsonl", "--json")
    assert (said.code, said.out) == (2, "")
    assert said_of_it in said.err
    assert not (tmp_path / "out.jsonl").exists()


def test_run_names_every_helper_and_key_that_is_missing(call: Any, tmp_path: Path) -> None:
    events = lines(tmp_path / "events.jsonl", {"name": "Ada"})
    pipeline = tmp_path / "needy.yaml"
    pipeline.write_text(GREETER.replace("name.upper()", "shout(whisper(name))"))
    said = call("run", pipeline, "--input", events)
    assert said.code == 3
    assert "`shout`" in said.err
    assert "`whisper`" in said.err
    pipeline.write_text(GREETER.replace("offline/echo", "gpt-6-luna").replace("name.upper()", "shout(name)"))
    said = call("run", pipeline, "--input", events)
    assert said.code == 3
    assert "`shout`" in said.err, "one round shows all that is missing"
    assert "OPENAI_API_KEY" in said.err
    assert "--offline" in said.err
    pipeline.write_text(GREETER.replace("offline/echo", "offline/ecco"))
    said = call("run", pipeline, "--input", events, "--offline")
    assert said.code == 3
    assert "there is no model `offline/ecco`" in said.err
    assert "offline/echo" in said.err


def test_run_takes_its_helpers_from_a_file(call: Any, tmp_path: Path) -> None:
    events = lines(tmp_path / "events.jsonl", {"name": "Ada"})
    pipeline, helpers = tmp_path / "needy.yaml", tmp_path / "helpers.py"
    pipeline.write_text(GREETER.replace("name.upper()", "shout(name)"))
    helpers.write_text("def shout(text):\n    return text.upper() + '!'\n")
    said = call("run", pipeline, "--input", events, "--functions", helpers, "--output", "-", "--timeout", "120")
    assert said.code == 0, said.err
    assert said.lines[0]["output"] == "Hello ADA!, your name has 3 letters."


def test_results_and_a_summary_do_not_share_stdout(call: Any, folder: Path, tmp_path: Path) -> None:
    said = call("run", folder / "greeter.yaml", "--input", tmp_path / "e", "--json", "--output", "-")
    assert said.code == 2
    assert "both want stdout" in said.err


def test_an_output_that_cannot_be_written_is_told_before_anything_starts(
    call: Any, folder: Path, tmp_path: Path
) -> None:
    events = lines(tmp_path / "events.jsonl", {"name": "Ada"})
    said = call("run", folder / "greeter.yaml", "--input", events, "--output", tmp_path / "no/such/folder.jsonl")
    assert said.code == 2
    assert "cannot write" in said.err


def test_a_run_that_is_not_done_in_time_says_how_many_are_missing_and_where(
    call: Any, folder: Path, tmp_path: Path
) -> None:
    events = lines(tmp_path / "events.jsonl", {"seconds": 0}, {"seconds": 45})
    output = tmp_path / "out.jsonl"
    said = call("run", folder / "slow.yaml", "--input", events, "--output", output, "--json", "--timeout", "6s")
    assert said.code == 1
    assert (said.json["runs"], said.json["succeeded"]) == (2, 1)
    assert "1 runs have no result after 6 s: 1 at " in said.err
    assert [each["output"] for each in read(output)] == [0]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_drains_keeps_what_it_has_and_leaves_nothing_behind(
    start: Callable[..., Command], folder: Path, tmp_path: Path, number: signal.Signals
) -> None:
    events = lines(tmp_path / "events.jsonl", {"seconds": 0}, {"seconds": 4})
    output = tmp_path / "out.jsonl"
    run = start("run", folder / "slow.yaml", "--input", events, "--output", output)
    run.says("first result after")
    children = descendants(run.popen.pid)
    assert children
    assert run.end(number) == 130
    assert run.err.read_text().endswith("interrupted\n")
    assert "Traceback" not in run.err.read_text()
    assert len(output.read_text().splitlines()) == 1
    assert [pid for pid in children if alive(pid)] == []


def descendants(pid: int) -> list[int]:
    listed = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    parents = {int(line.split()[0]): int(line.split()[1]) for line in listed.splitlines()}
    found = [child for child, parent in parents.items() if parent == pid]
    return found + [below for child in found for below in descendants(child)]


def alive(pid: int) -> bool:
    state = Path(f"/proc/{pid}/stat")
    return state.exists() and state.read_text().rpartition(")")[2].split()[0] != "Z"


# --- send, results, dlq, audit, topics -------------------------------------------------------------------------------


def test_what_is_sent_has_results_under_the_ids_that_send_tells(
    call: Any, site: str, folder: Path, tmp_path: Path
) -> None:
    events = lines(tmp_path / "events.jsonl", {"name": "Ada"}, {"name": "Bob"})
    sent = call("send", folder / "greeter.yaml", "--input", events, "--broker", site, "--json")
    assert sent.code == 0, sent.err
    assert sent.json["sent"] == 2
    wanted = set(sent.json["run_ids"])
    seen: set[str] = set()
    while not wanted <= seen:  # other tests share the topic
        read = call("results", "Greeter", "--broker", site, "--timeout", "3s")
        assert read.code == 0
        seen = {each["run_id"] for each in read.lines}


def test_results_waits_for_as_many_as_are_asked_for(call: Any, site: str, folder: Path, tmp_path: Path) -> None:
    events = lines(tmp_path / "events.jsonl", {"name": "Ada"})
    call("send", folder / "greeter.yaml", "--input", events, "--broker", site)
    said = call("results", folder / "greeter.yaml", "--count", "1", "--timeout", "60s", "--broker", site, "--json")
    assert said.code == 0
    assert len(said.lines) == 1
    late = call("results", "greeter", "--count", "100000", "--timeout", "1s", "--broker", site)
    assert late.code == 1
    assert "of 100000 results were there after 1 s" in late.err


def test_a_dead_letter_is_listed_shown_mended_and_run_again(call: Any, site: str, folder: Path, tmp_path: Path) -> None:
    events = lines(tmp_path / "events.jsonl", {"name": "nobody", "id": "dead-1"}, {"name": "", "id": "dead-2"})
    call("send", folder / "greeter.yaml", "--input", events, "--broker", site, "--run-id-field", "id")
    wait_for(call, site, "dead-1", "dead-2")

    listed = call("dlq", "list", "greeter", "--broker", site, "--json", "--id", "dead-1").json
    (letter,) = listed["letters"]
    keys = "id run_id task reason message attempts topic partition offset bytes sha256"
    assert set(letter) == set(keys.split())
    assert (letter["run_id"], letter["task"], letter["reason"]) == ("dead-1", "look", "task_failed")
    assert (letter["topic"], letter["attempts"]) == ("greeter.input", 1)
    assert letter["bytes"] == len(json.dumps({"name": "nobody", "id": "dead-1"}))

    (shown,) = call("dlq", "show", "greeter", "--broker", site, "--json", "--id", letter["id"]).json["letters"]
    assert json.loads(shown["value"]) == {"name": "nobody", "id": "dead-1"}

    dry = call("dlq", "redrive", "greeter", "--broker", site, "--json", "--id", "dead-1", "--dry-run").json["letters"]
    assert [each["new_run_id"] for each in dry] == ["dead-1#2"]

    mended = tmp_path / "mended.json"
    mended.write_text('{"name": "somebody"}')
    done = call("dlq", "redrive", "greeter", "--broker", site, "--json", "--id", "dead-1", "--payload", mended)
    assert done.code == 0, done.err
    assert [each["new_run_id"] for each in done.json["letters"]] == ["dead-1#2"], "the dry run sent nothing"
    result = wait_for(call, site, "dead-1#2")["dead-1#2"]
    assert (result["status"], result["retry_of"], result["attempt"]) == ("succeeded", "dead-1", 2)
    assert result["output"] == "Hello SOMEBODY, your name has 8 letters."

    again = call("dlq", "redrive", "greeter", "--broker", site, "--json", "--reason", "task_failed")
    assert again.code == 0
    (skipped,) = [each for each in again.json["letters"] if each["run_id"] == "dead-1"]
    assert (skipped["new_run_id"], skipped["skipped"]) == (None, "it was redriven as dead-1#2, which is succeeded")


def test_a_letter_is_run_again_five_times_and_then_no_more(call: Any, site: str, folder: Path, tmp_path: Path) -> None:
    events = lines(tmp_path / "events.jsonl", {"name": "nobody", "id": "stubborn"})
    call("send", folder / "greeter.yaml", "--input", events, "--broker", site, "--run-id-field", "id")
    wait_for(call, site, "stubborn")
    for number in range(2, 7):
        said = call("dlq", "redrive", "greeter", "--broker", site, "--id", "stubborn")
        assert said.code == 0, said.err
        assert f"stubborn#{number}" in said.out
        assert wait_for(call, site, f"stubborn#{number}")[f"stubborn#{number}"]["status"] == "failed"
    said = call("dlq", "redrive", "greeter", "--broker", site, "--id", "stubborn")
    assert said.code == 1
    assert "up to #6" in said.err


def test_redrive_refuses_what_it_cannot_do(call: Any, site: str, tmp_path: Path) -> None:
    mended = tmp_path / "mended.json"
    mended.write_text("{}")
    for words, said_of_it in (
        (["--version", "9.9.9"], "begins with the active version, which is 1.0.0"),
        (["--id", "nobody-knows"], "there is no dead letter `nobody-knows`"),
        (["--reason", "bad_luck"], "there is no reason `bad_luck`"),
        (["--payload", mended], "--payload mends one letter"),
        (["--payload", tmp_path / "nowhere", "--id", "x"], "cannot read"),
    ):
        said = call("dlq", "redrive", "greeter", "--broker", site, *words)
        assert (said.code, said.out) == (2, "")
        assert said_of_it in said.err


def test_the_audit_tells_the_story_of_a_run(call: Any, site: str, folder: Path, tmp_path: Path) -> None:
    events = lines(tmp_path / "events.jsonl", {"name": "Ada", "id": "told"})
    call("send", folder / "greeter.yaml", "--input", events, "--broker", site, "--run-id-field", "id")
    wait_for(call, site, "told")
    story: dict[str, Any] = {"events": []}
    while "result" not in [event["kind"] for event in story["events"]]:
        story = call("audit", "told", "--broker", site, "--json").json
    assert story["run_id"] == "told"
    assert all(
        set(event) == {"event_id", "at", "task", "attempt", "kind", "details", "trace_id"} for event in story["events"]
    )
    assert ("look", "finished") in [(event["task"], event["kind"]) for event in story["events"]]
    assert len({event["event_id"] for event in story["events"]}) == len(story["events"])
    unknown = call("audit", "never-was", "--broker", site, "--json")
    assert (unknown.code, unknown.json["events"]) == (1, [])
    assert "nothing is known of run `never-was`" in unknown.err


def test_topics_are_missing_then_made_then_there(call: Any, broker: str, folder: Path) -> None:
    words = [folder / "greeter.yaml", "--broker", broker, "--prefix", "fresh.", "--json"]
    for command, states in (
        ("diff", {"missing"}),
        ("apply", {"created"}),
        ("diff", {"present"}),
        ("apply", {"present"}),
    ):
        said = call("topics", command, *words)
        assert said.code == 0, said.err
        assert {topic["state"] for topic in said.json["topics"]} == states
        assert all(set(topic) == {"name", "partitions", "config", "state"} for topic in said.json["topics"])


def test_sending_to_a_pipeline_that_nobody_serves_says_what_to_do(
    call: Any, broker: str, folder: Path, tmp_path: Path
) -> None:
    events = lines(tmp_path / "events.jsonl", {"name": "Ada"})
    said = call("send", folder / "greeter.yaml", "--input", events, "--broker", broker, "--prefix", "empty.")
    assert (said.code, said.out) == (3, "")
    assert "there is no topic `empty.greeter.input`" in said.err
    assert "topics apply" in said.err


def wait_for(call: Any, site: str, *run_ids: str) -> dict[str, Any]:
    """The results of these runs, when all of them are there."""
    end = time.monotonic() + WITHIN
    while time.monotonic() < end:
        found = {each["run_id"]: each for each in call("results", "greeter", "--broker", site).lines}
        if set(run_ids) <= set(found):
            return found
        time.sleep(0.1)
    raise AssertionError(f"no results of {set(run_ids) - set(found)}")


# --- worker and dev --------------------------------------------------------------------------------------------------


def test_a_worker_says_ready_first_answers_probes_and_drains(
    start: Callable[..., Command], folder: Path, broker: str
) -> None:
    port = free_port()
    words = ["worker", folder / "greeter.yaml", "--broker", broker, "--prefix", "probe.", "--json"]
    worker = start(*words, "--http", f"127.0.0.1:{port}")
    worker.says('"event":"ready"')
    ready = json.loads(worker.out.read_text().splitlines()[0])
    assert ready["event"] == "ready"
    assert ready["partitions"] > 0
    assert ready["pid"] in descendants(worker.popen.pid)
    assert ask(port, "/health/live") == ask(port, "/health/ready") == 200
    assert ask(port, "/metrics") == 200
    assert worker.end() == 0
    assert all(json.loads(line) for line in worker.out.read_text().splitlines())
    assert alive(ready["pid"]) is False


def test_a_killed_child_is_started_again(start: Callable[..., Command], folder: Path, broker: str) -> None:
    worker = start("worker", folder / "greeter.yaml", "--broker", broker, "--prefix", "killed.", "--json")
    worker.says('"event":"ready"')
    os.kill(json.loads(worker.out.read_text().splitlines()[0])["pid"], signal.SIGKILL)
    worker.until(lambda: worker.out.read_text().count('"event":"ready"') == 2)
    assert "the worker died (signal SIGKILL)" in worker.err.read_text()
    assert worker.end() == 0


def test_a_drain_that_cuts_something_is_1_and_says_so(
    call: Any, start: Callable[..., Command], folder: Path, broker: str, tmp_path: Path
) -> None:
    port, words = free_port(), [folder / "slow.yaml", "--broker", broker, "--prefix", "cut."]
    worker = start("worker", *words, "--json", "--drain", "1s", "--drain-calls", "1s", "--http", f"127.0.0.1:{port}")
    worker.says('"event":"ready"')
    call("send", *words, "--input", lines(tmp_path / "events.jsonl", {"seconds": 50}))
    worker.until(lambda: bool(in_flight(port)))
    assert worker.end() == 1
    assert "the time for draining is over" in worker.out.read_text()


def test_a_document_that_is_wrong_ends_a_worker_with_2_and_a_missing_helper_with_3(
    start: Callable[..., Command], tmp_path: Path, broker: str
) -> None:
    pipeline = tmp_path / "p.yaml"
    for text, code, said_of_it in (
        (GREETER.replace("prompt:", "promt:"), 2, "promt"),
        (GREETER.replace("name.upper()", "shout(name)"), 3, "`shout`"),
    ):
        pipeline.write_text(text)
        worker = start("worker", pipeline, "--broker", broker, "--json")
        assert worker.popen.wait(60) == code
        assert said_of_it in worker.err.read_text()
        assert worker.out.read_text() == ""


def test_dev_serves_reloads_what_changes_and_keeps_the_last_good_version(
    call: Any, start: Callable[..., Command], tmp_path: Path
) -> None:
    pipeline = tmp_path / "greeter.yaml"
    pipeline.write_text(GREETER)
    dev = start("dev", tmp_path)
    dev.says("serving, ")
    address = dev.err.read_text().split("--broker ")[1].split()[0]
    pipeline.write_text(GREETER.replace("prompt:", "promt:"))
    dev.says("the last good version is still served")
    assert "promt" in dev.err.read_text()
    pipeline.write_text(GREETER.replace("Hello {{", "Goodbye {{"))
    dev.until(lambda: dev.err.read_text().count("serving, ") == 2)
    events = lines(tmp_path / "events.jsonl", {"name": "Ada"})
    (run_id,) = call("send", pipeline, "--input", events, "--broker", address).out.split()
    assert wait_for(call, address, run_id)[run_id]["output"] == "Goodbye ADA, your name has 3 letters."
    assert dev.end(signal.SIGINT) == 130


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def in_flight(port: int) -> str:
    """`wait` while a script of the slow pipeline runs, by what the probe tells of open slots."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=5) as answer:
        apps = json.loads(answer.read())["checks"]["apps"]
    return "wait" if any(app["open"] for name, app in apps.items() if ".slow.0-0-0" in name) else ""


def ask(port: int, path: str) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refused:
        return refused.code
