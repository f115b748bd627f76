"""`load(path).run(inputs)`: a pipeline in memory, as notebooks and unit tests use it."""

from __future__ import annotations

import asyncio
import functools
import gc
import hashlib
from pathlib import Path
from typing import Any

import orjson
import pytest

import stream_orchestrator
from stream_orchestrator.errors import MissingError, SpecError
from stream_orchestrator.kernel.effects import Answer, CallRequest

COUNT = """\
name: "Count"
version: "1.2.0"
input_variables:
  text: {type: "string", required: true}
tasks:
  - name: "words"
    type: "python_task"
    script: |
      return "{{ text }}".split()
  - name: "count"
    type: "python_task"
    script: |
      len(words)
"""

ASK = """\
name: "Ask"
tasks:
  - name: "answer"
    type: "llm_task"
    model: "offline/echo"
    prompt: "About {{ topic }}"
    error_handling: {retry_count: 0}
"""

HELP = """\
name: "Help"
tasks:
  - name: "helped"
    type: "python_task"
    script: |
      return double(n) + 1
"""

TALK = """\
name: "Talk"
tasks:
  - name: "talk"
    type: "llm_task"
    model: "m"
    script: |
      first = process_with_llm("one")
      second = process_with_llm("two: " + first["text"], model="other")
      return [first["text"], second["text"], first["tokens"] > 0]
"""


@pytest.fixture
def pipeline(tmp_path: Path) -> Any:
    def load(text: str) -> Any:
        path = tmp_path / "made.yaml"
        path.write_text(text, encoding="utf-8")
        return stream_orchestrator.load(path)

    return load


def double(n: int) -> int:
    return 2 * n


async def test_a_result_has_every_key_of_the_record_and_says_what_the_run_gave(pipeline: Any) -> None:
    result = await pipeline(COUNT).run({"text": "a b c"})
    assert list(result.model_dump()) == [
        *("format", "run_id", "attempt", "retry_of", "pipeline", "version", "status", "output", "output_sha256"),
        *("outputs", "error", "degraded", "cost", "usage", "timings", "trace_id"),
    ]
    assert (result.status, result.output, result.outputs) == ("succeeded", 3, {"words": ["a", "b", "c"], "count": 3})
    assert (result.format, result.attempt, result.retry_of, result.error, result.degraded) == (1, 1, None, None, [])
    assert (result.pipeline, result.version) == ("count", "1.2.0")
    assert result.output_sha256 == hashlib.sha256(orjson.dumps(3)).hexdigest()
    assert set(result.timings["tasks"]) == {"words", "count"}
    assert result.usage == {"input_tokens": 0, "output_tokens": 0, "calls": 0, "cached_calls": 0}


async def test_two_runs_in_one_loop_one_after_the_other_and_at_once(pipeline: Any) -> None:
    made = pipeline(COUNT)
    first = await made.run({"text": "a"})
    second, third = await asyncio.gather(made.run({"text": "a b"}), made.run({"text": "a b c"}))
    assert [first.output, second.output, third.output] == [1, 2, 3]
    assert len({first.run_id, second.run_id, third.run_id}) == 3


def test_nothing_is_left_open_when_a_run_is_over(pipeline: Any, recwarn: pytest.WarningsRecorder) -> None:
    made = pipeline(COUNT)
    for text in ("a", "b"):
        asyncio.run(made.run({"text": text}))
    gc.collect()
    assert [str(each.message) for each in recwarn.list] == []


async def test_input_that_is_not_valid_is_a_rejected_result(pipeline: Any) -> None:
    result = await pipeline(COUNT).run({"text": 5})
    assert (result.status, result.output, result.outputs) == ("rejected", None, {})
    assert result.error["type"] == "InvalidInput"
    assert "`text`" in result.error["message"]


async def test_a_failing_run_is_a_result_and_no_exception(pipeline: Any) -> None:
    result = await pipeline(COUNT.replace("len(words)", "return words[99]")).run({"text": "a"})
    assert (result.status, result.output, result.outputs) == ("failed", None, {"words": ["a"]})
    assert result.error == {
        "type": "IndexError",
        "message": result.error["message"],
        "task": "count",
        "attempts": 1,
        "retryable": True,
    }


async def test_a_script_that_does_not_end_is_stopped_at_its_timeout(pipeline: Any) -> None:
    slow = COUNT.replace("len(words)", "while True: pass").replace(
        'name: "count"', 'name: "count"\n    timeout: "0.3 seconds"'
    )
    result = await pipeline(slow).run({"text": "a"})
    assert (result.status, result.error["type"], result.error["task"]) == ("failed", "Timeout", "count")


async def test_a_run_ends_at_its_deadline_although_a_script_goes_on(pipeline: Any) -> None:
    slow = COUNT.replace("len(words)", "while True: pass").replace('version: "1.2.0"', 'timeout: "0.5 seconds"')
    result = await pipeline(slow).run({"text": "a"})
    assert (result.status, result.error["type"]) == ("failed", "Expired")
    assert result.outputs == {"words": ["a"]}


# --- helper functions


@pytest.mark.parametrize(
    "functions",
    [double, [double], (double,), {"double": lambda n: n + n}, {"double": functools.partial(double)}],
    ids=["one", "list", "tuple", "lambda", "partial"],
)
async def test_helper_functions_are_callables_or_a_map_of_them(pipeline: Any, functions: Any) -> None:
    assert (await pipeline(HELP).run({"n": 4}, functions=functions)).output == 9


@pytest.mark.parametrize(
    "wrap", [lambda path: str(path), lambda path: path, lambda path: [path], lambda path: [str(path)]]
)
async def test_helper_functions_are_files(pipeline: Any, tmp_path: Path, wrap: Any) -> None:
    path = tmp_path / "helpers.py"
    path.write_text("def double(n):\n    return n * 2\n", encoding="utf-8")
    assert (await pipeline(HELP).run({"n": 5}, functions=wrap(path))).output == 11


async def test_a_helper_may_be_a_coroutine_and_what_it_raises_is_the_script_s(pipeline: Any) -> None:
    async def later(n: int) -> int:
        await asyncio.sleep(0)
        return n * 2

    def broken(n: int) -> int:
        raise LookupError("not today")

    assert (await pipeline(HELP).run({"n": 1}, functions={"double": later})).output == 3
    failed = await pipeline(HELP).run({"n": 1}, functions={"double": broken})
    assert failed.status == "failed"
    assert "not today" in failed.error["message"]


async def test_a_missing_helper_is_named_before_anything_runs(pipeline: Any) -> None:
    with pytest.raises(MissingError, match="`double`"):
        await pipeline(HELP).run({"n": 1})


async def test_a_function_without_a_name_is_refused_with_the_way_out(pipeline: Any) -> None:
    for nameless in (functools.partial(double), lambda n: n):
        with pytest.raises(TypeError, match="functions="):
            await pipeline(HELP).run({"n": 1}, functions=[nameless])


# --- models


def shouting(request: CallRequest) -> str:
    return request.messages[-1]["content"].upper()


async def shouting_later(request: CallRequest) -> str:
    await asyncio.sleep(0)
    return shouting(request)


@pytest.mark.parametrize(
    ("models", "output"),
    [
        ("yes", "yes"),
        ("", ""),
        (["first", "second"], "first"),
        (shouting, "ABOUT CATS"),
        (shouting_later, "ABOUT CATS"),
        ({"*": "any"}, "any"),
        ({"offline/echo": "this one", "*": "any"}, "this one"),
        (lambda request: {"a": [1]}, '{"a":[1]}'),
        (lambda request: Answer(text="whole", model="x", usd=0.5), "whole"),
    ],
)
async def test_models_are_texts_lists_functions_or_a_map_of_them(pipeline: Any, models: Any, output: str) -> None:
    result = await pipeline(ASK).run({"topic": "cats"}, models=models)
    assert (result.status, result.output, result.usage["calls"]) == ("succeeded", output, 1)


@pytest.mark.parametrize("models", [{}, {"other": "x"}, [], {"*": []}])
async def test_a_model_that_nobody_answers_for_fails_its_task(pipeline: Any, models: Any) -> None:
    result = await pipeline(ASK).run({"topic": "cats"}, models=models)
    assert (result.status, result.error["type"]) == ("failed", "NoAnswer")


async def test_a_model_that_raises_is_a_model_that_fails(pipeline: Any) -> None:
    def broken(request: CallRequest) -> str:
        raise ConnectionError("no route")

    result = await pipeline(ASK).run({"topic": "cats"}, models=broken)
    assert (result.error["type"], result.error["message"]) == ("ConnectionError", "no route")


async def test_without_models_offline_ones_answer_for_themselves(pipeline: Any) -> None:
    result = await pipeline(ASK).run({"topic": "cats"})
    assert result.status == "succeeded"
    assert "cats" in result.output


async def test_a_script_s_questions_are_asked_once_each_and_their_answers_kept(pipeline: Any) -> None:
    asked: list[tuple[str, str]] = []

    def answer(request: CallRequest) -> str:
        asked.append((request.model, request.messages[0]["content"]))
        return f"answer {len(asked)}"

    result = await pipeline(TALK).run({}, models=answer)
    assert result.output == ["answer 1", "answer 2", True]
    assert asked == [("m", "one"), ("other", "two: answer 1")]
    assert (result.usage["calls"], result.timings["tasks"]["talk"]["attempts"]) == (2, 1)


# --- load


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="no file"):
        stream_orchestrator.load(tmp_path / "nowhere.yaml")


def test_a_document_with_errors_lists_them_all(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(COUNT.replace("version", "versoin").replace("script", "scirpt", 1), encoding="utf-8")
    with pytest.raises(SpecError) as caught:
        stream_orchestrator.load(path)
    assert len(caught.value.problems) >= 2
