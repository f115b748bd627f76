"""Tasks that arrive as data: checked like a file, held to what their pipeline allows, and ended once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import orjson
import pytest
from worlds import Theatre

from stream_orchestrator.plan.compile import compile_document
from stream_orchestrator.spec.loader import load_text
from stream_orchestrator.tasks import KINDS

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
from in_process import InProcess

PIPELINE = """
name: Made
input_variables: {steps: {type: array}, n: {type: integer, default: 2}}
tasks:
  - {name: before, type: python_task, script: "return n * 10"}
  - name: work
    type: dynamic_task_group
    tasks: "{{ steps }}"
    max_tasks: 4
    depends_on: [before]
  - {name: end, type: python_task, script: "return work"}
"""


def script(name: str, text: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": "python_task", "script": text, **more}


DIAMOND = [
    script("a", "return before + n"),
    script("b", "return a + 1"),
    script("c", "return a + 2"),
    script("d", "return [b, c]"),
]


def theatre(steps: Any, text: str = PIPELINE) -> Theatre:
    found = Theatre(compile_document(load_text(text)[0]), kinds=KINDS, scripts=InProcess())
    found.begin("run-1", orjson.dumps({"steps": steps}).decode())
    return found


async def played(steps: Any, text: str = PIPELINE) -> dict[str, Any]:
    one = theatre(steps, text)
    await one.play()
    return one.results()[0]


async def test_tasks_that_arrive_run_as_a_graph_and_see_what_is_around() -> None:
    assert (await played(DIAMOND))["output"] == [23, 24]


async def test_they_end_once_wherever_the_process_dies() -> None:
    calm = theatre(DIAMOND)
    effects = await calm.play()
    for crash_at in range(1, effects + 1):
        one = theatre(DIAMOND)
        await one.play(crash_at=lambda n, at=crash_at: n == at)
        assert [each["output"] for each in one.results()][:1] == [[23, 24]], f"crash before effect {crash_at}"
        assert not [row for row in one.part.rows.values() if type(row).__name__ != "Stub"]


async def test_a_call_among_them_is_answered() -> None:
    text = PIPELINE.replace("max_tasks: 4", "max_tasks: 4\n    allowed_types: [llm_task]")
    steps = [{"name": "ask", "type": "llm_task", "model": "m", "prompt": "about {{ before }}"}]
    assert (await played(steps, text))["output"] == "answer 0"


@pytest.mark.parametrize(
    ("steps", "kind", "says"),
    [
        ([script("a", "return (")], "InvalidTasks", "tasks[0].script"),
        ([{"name": "a", "type": "email_me"}], "InvalidTasks", "tasks[0].type"),
        ([script("a", "return b"), script("b", "return a")], "InvalidTasks", "wait for each other"),
        ([script("a", "return 1")] * 2, "InvalidTasks", "two tasks named `a`"),
        ([script(f"t{n}", "return 1") for n in range(5)], "TooManyTasks", "5 tasks arrived, and `max_tasks` is 4"),
        ([script("a", "import requests")], "TasksNotAllowed", "wants the network"),
        ([script("a", "import os\nreturn os.getenv('HOME')")], "TasksNotAllowed", "HOME"),
        ([script("a", "return missing(1)")], "TasksNotAllowed", "`missing`"),
        (
            [{"name": "g", "type": "for_loop", "iterate_over": [1], "tasks": [script("x", "1")]}],
            "TasksNotAllowed",
            "for_loop",
        ),
        ("not a list", "RunError", "must be a list"),
        ([3], "InvalidTasks", "tasks[0]"),
    ],
)
async def test_tasks_that_are_wrong_or_take_too_much_fail_the_group_and_nothing_of_them_runs(
    steps: Any, kind: str, says: str
) -> None:
    text = PIPELINE.replace("steps: {type: array}", "steps: {}") if isinstance(steps, str) else PIPELINE
    text = text.replace("steps: {}", "steps: {type: string}")
    told = (await played(steps, text))["error"]
    assert (told["type"], told["task"]) == (kind, "work")
    assert says in told["message"]


async def test_no_tasks_are_a_skipped_group() -> None:
    result = await played([])
    assert (result["status"], result["output"]) == ("succeeded", None)


async def test_a_type_that_may_not_arrive_is_refused_before_a_file_that_it_names_is_looked_for() -> None:
    for file in ("/etc/passwd", "/etc/no-such-file"):
        told = (await played([{"name": "a", "type": "component", "component": file}]))["error"]
        assert (told["type"], "passwd" in told["message"], "no-such" in told["message"]) == (
            "TasksNotAllowed",
            False,
            False,
        )


async def test_scripts_that_arrive_get_no_secrets() -> None:
    one = theatre([script("a", "return 1")])
    asked: list[Any] = []
    run = one.scripts.run

    async def watched(job: Any) -> Any:
        asked.append((job.info["task"], job.info.get("secrets", True)))
        return await run(job)

    one.scripts.run = watched
    await one.play()
    assert asked == [("before", True), ("a", False), ("end", True)]
