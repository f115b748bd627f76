"""Hostile values in every place that a value can go: nothing runs, and all of them come back as they came.

Two canaries tell whether anything ran: a file that shells and `os.system` would make, and the helper function `canary`,
which scripts can call and which is counted here, outside of the sandbox. A payload that is rendered, formatted or
parsed comes back changed. `pytest -s tests/proofs/test_injection.py` prints the matrix.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from support.broker import Broker
from support.hostile import payloads
from support.site import WorkerProcess

import stream_orchestrator
from stream_orchestrator.cli.broker import address_of
from stream_orchestrator.errors import SpecError
from stream_orchestrator.kernel.effects import CallRequest
from stream_orchestrator.spec.problems import Problem
from stream_orchestrator.streaming.client import Outgoing, produce, read_all

HERE = Path(__file__).parent / "pipelines"
LOG_LINE, MESSAGE, REASON = 8 * 1024, 4_000, 500  # characters that are kept of what a script says, raises, degrades by
AT_ONCE = 3


@dataclass
class Matrix:
    """What came back, place by place."""

    executed: int = 0
    cells: dict[tuple[str, str], bool] = field(default_factory=dict)
    refused: set[tuple[str, str]] = field(default_factory=set)

    def canary(self, *_: Any) -> str:
        """The helper function that no payload may reach."""
        self.executed += 1
        return "alive"

    def check(self, payload: str, place: str, *, sent: Any, came_back: Any) -> None:
        """Whether it came back as it was sent, to the last character."""
        self.cells[payload, place] = sent == came_back
        if sent != came_back:
            print(f"  changed: {payload} in {place}: sent {str(sent)[:200]!r}, came back {str(came_back)[:300]!r}")

    def check_text(self, payload: str, place: str, *, sent: str, came_back: str, most: int) -> None:
        """The same where only `most` characters are kept: what is there is the beginning, and says that it was cut."""
        cut = len(sent) > most == len(came_back) and came_back == f"{sent[: most - 3]}..."
        self.check(payload, place, sent=sent, came_back=sent if cut else came_back)

    def report(self, canary: Path) -> None:
        """Print the counts, and hold them to zero."""
        names, places = {name for name, _ in self.cells}, {place for _, place in self.cells}
        changed = [cell for cell, same in self.cells.items() if not same]
        executed = self.executed + canary.exists()
        print(
            f"\n{len(names)} payloads x {len(places)} places, {len(self.cells)} cells: executed {executed}, "
            f"changed {len(changed)}, refused with a place and a hint {len(self.refused)}"
        )
        assert executed == 0
        assert changed == []
        assert len(names) >= 20


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    return tmp_path / "canary"


def shout(value: str, word: str) -> str:
    """A helper function: both of its arguments are the payload."""
    return value if value == word else f"{value!r} is not {word!r}"


def model(payload: str) -> Callable[[CallRequest], str]:
    """A model that gives back what it was sent, and one that says the payload by itself."""

    def answer(request: CallRequest) -> str:
        said = {message["role"]: message["content"] for message in request.messages}
        match request.model:
            case "echo":
                return said["user"]
            case "echo_system":
                return said["system"]
            case "parrot":
                return payload
            case _:
                return request.model

    return answer


async def all_of(works: Iterator[Awaitable[None]]) -> None:
    """All of them, few at a time."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(work: Awaitable[None]) -> None:
        async with gate:
            await work

    await asyncio.gather(*(one(work) for work in works))


async def test_the_canaries_sing_when_something_runs(canary: Path, tmp_path: Path) -> None:
    """The proof of the proof: the same text as code is noticed by both."""
    matrix = Matrix()
    pipeline = written(tmp_path, [{"name": "t", "type": "python_task", "script": "return canary('x')"}])
    result = await pipeline.run({}, functions={"canary": matrix.canary})
    assert (result.output, matrix.executed) == ("alive", 1)
    await (await asyncio.create_subprocess_shell(f"touch {canary}")).wait()
    assert canary.exists()


async def test_hostile_values_come_back_unchanged_from_every_place_of_a_pipeline(
    canary: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="stream_orchestrator")
    pipeline = stream_orchestrator.load(HERE / "injection-proof.yaml")
    matrix = Matrix()
    helpers = {"canary": matrix.canary, "shout": shout}

    async def one(name: str, payload: str) -> None:
        result = await pipeline.run({"x": payload, "same": payload}, functions=helpers, models=model(payload))
        assert result.status == "degraded", f"{name}: {result.error}"  # its one fallback has answered
        for task in pipeline.plan.tasks:
            expected: Any = payload
            match task.name:
                case "prompt_inside_text" | "prompt_loop" | "answer_in_prompt" | "output_in_prompt" | "lookup":
                    expected = f"[{payload}]"
                case "output_key":
                    expected = {payload: payload}
                case "condition_false":
                    expected = None
            matrix.check(name, task.name, sent=expected, came_back=result.outputs[task.name])
        whole = {"whole": payload, "inside": f"[{payload}]", "answered": payload}
        matrix.check(name, "output:", sent=whole, came_back=result.output)
        (entry,) = result.degraded
        reason = f"ValueError: line 1: {payload}"
        matrix.check_text(name, "reason of a fallback", sent=reason, came_back=entry["reason"], most=REASON)

    await all_of(one(name, payload) for name, payload in payloads(canary).items())
    check_logs(matrix, canary, [record.getMessage() for record in caplog.records])
    matrix.report(canary)


def check_logs(matrix: Matrix, canary: Path, messages: list[str]) -> None:
    """What scripts logged and printed is there, cut at the documented length, and printed line by line."""
    logged = [each.removeprefix("injection-proof/logged: ") for each in messages if "/logged: " in each]
    printed = [each.removeprefix("injection-proof/printed: ") for each in messages if "/printed: " in each]
    for name, payload in payloads(canary).items():
        whole = shortened(payload)
        matrix.check(name, "log line", sent=whole, came_back=whole if whole in logged else logged)
        missing = [line for line in payload.split("\n") if line and line[:LOG_LINE] not in printed]
        matrix.check(name, "printed line", sent=[], came_back=missing)


def shortened(text: str) -> str:
    """A log line as it is kept."""
    return text if len(text) <= LOG_LINE else f"{text[:LOG_LINE]}... ({len(text):,} characters)"


async def test_a_hostile_error_message_is_only_a_message(canary: Path, tmp_path: Path) -> None:
    matrix = Matrix()
    script = 'raise ValueError("{{ x }}")\n'
    pipeline = written(tmp_path, [{"name": "t", "type": "python_task", "script": script}], x={"type": "string"})

    async def one(name: str, payload: str) -> None:
        result = await pipeline.run({"x": payload}, functions={"canary": matrix.canary})
        assert result.error is not None
        assert result.error["type"] == "ValueError"
        came_back = result.error["message"]
        matrix.check_text(name, "error message", sent=f"line 1: {payload}", came_back=came_back, most=MESSAGE)

    await all_of(one(name, payload) for name, payload in payloads(canary).items())
    matrix.report(canary)


async def test_hostile_texts_in_a_document_are_data_or_refused_with_a_place(canary: Path, tmp_path: Path) -> None:
    """Where the document itself holds the text: it means what it says, or it is an error with a place and a hint."""
    matrix = Matrix()

    async def one(name: str, payload: str) -> None:
        tasks, variables, looks = [], {}, []
        for place, (some, few, look) in document_places(payload).items():
            if refused(tmp_path / name / place, some, few):
                matrix.refused.add((name, place))
                continue
            tasks, variables, looks = [*tasks, *some], {**variables, **few}, [*looks, (place, look)]
        result = await written(tmp_path / name, tasks, **variables).run({}, functions={"canary": matrix.canary})
        for place, look in looks:
            matrix.check(name, place, sent=payload, came_back=look(result.outputs))

    await all_of(one(name, text) for name, text in payloads(canary).items())
    matrix.report(canary)
    kept = {place for _, place in matrix.cells}
    assert kept == set(document_places("")), "a place that refuses everything proves nothing"


Fragment = tuple[list[dict[str, Any]], dict[str, Any], Callable[[dict[str, Any]], Any]]


def document_places(payload: str) -> dict[str, Fragment]:
    """Where a document holds texts: tasks and variables with the payload in them, and where it comes back."""
    fails = {"type": "python_task", "script": "raise ValueError('x')"}
    fine = {"type": "python_task", "script": "return 'fine'"}
    listed = "return [name for name in context.get_all_variables() if name not in ('y', 'z')][0]"
    ours = {"described", "failed", "defaulted", "chosen", "after", "named"}
    return {
        "fallback value": (
            [{"name": "failed", **fails, "error_handling": {"fallback_value": payload}}],
            {},
            lambda outputs: outputs["failed"],
        ),
        "default": (
            [{"name": "defaulted", "type": "python_task", "script": "return y"}],
            {"y": {"type": "string", "default": payload}},
            lambda outputs: outputs["defaulted"],
        ),
        "option": (
            [{"name": "chosen", "type": "python_task", "script": "return z"}],
            {"z": {"type": "string", "options": [payload], "default": payload}},
            lambda outputs: outputs["chosen"],
        ),
        "description": (
            [{"name": "described", **fine, "description": payload}],
            {},
            lambda outputs: payload if outputs["described"] == "fine" else outputs["described"],
        ),
        "task name": (
            [{"name": payload, **fine}, {"name": "after", "depends_on": [payload], **fine}],
            {},
            lambda outputs: next(iter(outputs.keys() - ours)),
        ),
        "variable name": (
            [{"name": "named", "type": "python_task", "script": listed}],
            {f"v{payload}": {"type": "string", "default": "value"}},
            lambda outputs: outputs["named"][1:],
        ),
    }


def refused(folder: Path, tasks: list[dict[str, Any]], variables: dict[str, Any]) -> bool:
    """Whether such a document is an error; then it has a place and a hint."""
    try:
        written(folder, tasks, **variables)
    except SpecError as error:
        problems = error.problems
    else:
        return False
    for problem in problems:
        assert isinstance(problem, Problem)
        assert problem.line >= 1
        assert problem.to_json()["hint"]
    return True


def written(folder: Path, tasks: list[dict[str, Any]], /, **variables: Any) -> stream_orchestrator.Pipeline:
    """A pipeline of these tasks and variables."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "made.yaml"
    document = {"name": "made", "input_variables": variables, "tasks": tasks}
    path.write_text(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return stream_orchestrator.load(path)


BROKER_PIPELINE = {
    "name": "Injected",
    "version": "1.0.0",
    "input_variables": {"x": {"type": "string"}, "fail": {"type": "boolean", "default": False}},
    "tasks": [
        {
            "name": "said",
            "type": "python_task",
            "script": "logger.info({{ x }})\nprint({{ run.id }})\n"
            "context.log_audit_event({'x': {{ x }}})\n"
            "if fail:\n    raise ValueError('{{ x }}')\n"
            "return {'x': x, 'id': '{{ run.id }}', 'key': {{ run.key }}}\n",
        },
        {"name": "echoed", "type": "llm_task", "model": "offline/echo", "prompt": "[{{ said.x }}{{ run.id }}]"},
    ],
}


@pytest.mark.timeout(180)
async def test_hostile_keys_headers_run_ids_and_log_lines_cross_a_broker_unchanged(
    broker: Broker, canary: Path, tmp_path: Path
) -> None:
    matrix = Matrix()
    document = tmp_path / "injected.yaml"
    document.write_text(yaml.safe_dump(BROKER_PIPELINE, sort_keys=False))
    flags = ("--broker", address_of(broker.settings), "--prefix", broker.prefix)
    worker = WorkerProcess([document], *flags, env={}, log=tmp_path / "worker.log")
    try:
        await worker.ready()
        sent = events(canary)
        await produce(broker.settings, broker.topic("injected.input"), [each for _, _, each in sent])
        results = await answers(broker, len(sent))
    finally:
        code = await worker.end()
    assert code == 0, (tmp_path / "worker.log").read_text()[-2000:]
    letters = {header(each, "i"): each for each in await read_all(broker.settings, broker.topic("injected.dlq"))}
    for kind, name, event in sent:
        number = dict(event.headers)["i"]
        check_result(matrix, kind, name, event, results[number])
        check_letter(matrix, kind, name, event, letters.get(number))
    await check_audit(matrix, broker, canary)
    check_worker_log(matrix, canary, worker, tmp_path)
    matrix.report(canary)


def events(canary: Path) -> list[tuple[str, str, Outgoing]]:
    """Each payload as value, key and header; as a run id; and in a run that fails."""
    sent: list[tuple[str, str, Outgoing]] = []
    for name, text in payloads(canary).items():
        raw = text.encode("utf-8", "surrogatepass")
        for kind in ("carried", "run id", "failing"):
            value = orjson.dumps({"x": text, "fail": kind == "failing"})
            headers = [("i", str(len(sent)).encode()), ("x-hostile", raw)]
            if "\x00" not in text:
                headers.append((f"x-{text[:200]}", b"value"))
            if kind == "run id":
                headers.append(("run-id", raw))
            sent.append((kind, name, Outgoing(value, key=raw, headers=tuple(headers))))
    return sent


async def answers(broker: Broker, count: int) -> dict[bytes, Any]:
    """The result records by the number that their event carried."""
    found: dict[bytes, Any] = {}
    for _ in range(300):
        found = {header(each, "i"): each for each in await read_all(broker.settings, broker.topic("injected.results"))}
        if len(found) >= count:
            return found
        await asyncio.sleep(0.1)
    raise AssertionError(f"{count - len(found)} of {count} events have no result")


def header(record: Any, name: str) -> bytes:
    return dict(record.headers)[name]


def check_result(matrix: Matrix, kind: str, name: str, event: Outgoing, record: Any) -> None:
    result = orjson.loads(record.value)
    text = orjson.loads(event.value or b"")["x"]
    run_id = dict(event.headers).get("run-id", b"").decode("utf-8", "surrogatepass")
    allowed = not run_id or (run_id.isprintable() and len(run_id) <= 512 and not {"#", "~"} & set(run_id))
    matrix.check(name, f"key ({kind})", sent=event.key, came_back=record.key)
    carried = [each for each in event.headers if each[0] not in {"i", "run-id"}]
    ours = [each for each in record.headers if each[0].startswith("x-")]
    matrix.check(name, f"headers ({kind})", sent=carried, came_back=ours)
    if not allowed:
        assert result["status"] == "rejected", result
        matrix.refused.add((name, "run id"))
        return
    if run_id:
        ids = [result["run_id"], header(record, "run-id").decode()]
        matrix.check(name, "run id", sent=[run_id, run_id], came_back=ids)
    if kind == "failing":
        message = result["error"]["message"]
        matrix.check_text(name, "error message", sent=f"line 5: {text}", came_back=message, most=MESSAGE)
        return
    assert result["status"] == "succeeded", f"{name}, {kind}: {str(result)[:600]}"
    key = (event.key or b"").decode("latin-1")
    output = {"x": text, "id": result["run_id"], "key": key}
    matrix.check(name, f"script ({kind})", sent=output, came_back=result["outputs"]["said"])
    matrix.check(name, f"prompt ({kind})", sent=f"[{text}{result['run_id']}]", came_back=result["outputs"]["echoed"])


def check_letter(matrix: Matrix, kind: str, name: str, event: Outgoing, letter: Any) -> None:
    """A dead letter is the record as it came, and our headers after it."""
    if letter is None:
        assert kind != "failing", name
        return
    sent = [event.key, event.value, list(event.headers)]
    came_back = [letter.key, letter.value, list(letter.headers)[: len(event.headers)]]
    matrix.check(name, f"dead letter ({kind})", sent=sent, came_back=came_back)
    if kind == "failing":
        message = f"line 5: {orjson.loads(event.value or b'')['x']}"
        told = header(letter, "dlq-message").decode()
        matrix.check(name, "dead letter's message", sent=message[:1990], came_back=told[:1990])


async def check_audit(matrix: Matrix, broker: Broker, canary: Path) -> None:
    found = await read_all(broker.settings, broker.topic("orchestrator.audit"))
    records = [orjson.loads(each.value or b"") for each in found]
    entries = [
        told["details"]["entry"]["x"] for record in records for told in record["transitions"] if told["kind"] == "noted"
    ]
    for name, text in payloads(canary).items():
        matrix.check(name, "audit entry", sent=text, came_back=text if text in entries else entries)


def check_worker_log(matrix: Matrix, canary: Path, worker: WorkerProcess, folder: Path) -> None:
    """Each line of the log is one object of ours: no message can make a second one."""
    assert not worker.broken, f"these lines are no JSON objects: {worker.broken[:3]}"
    kinds = [event["event"] for event in worker.events]
    assert kinds.count("ready") == 1, "a forged event"
    messages = [event.get("message", "") for event in worker.events]
    for name, text in payloads(canary).items():
        line = f"injected/said: {shortened(text)}"
        matrix.check(name, "log line", sent=line, came_back=line if line in messages else "missing")
    assert "Traceback" not in (folder / "worker.log").read_text()
