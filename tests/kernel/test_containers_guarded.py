"""What must not be believed, must not be left behind, and must not be paid for: containers at their edges."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from test_arriving_tasks import PIPELINE as ARRIVING
from test_arriving_tasks import script as arriving
from test_containers import CONDITION, GROUP, TRIED_AGAIN, WHILE_LOOP, InProcess, left_of, made, result, theatre
from worlds import StormyWorld, Theatre

from stream_orchestrator.errors import SpecError
from stream_orchestrator.kernel import events, ids, outside
from stream_orchestrator.kernel.events import Begin, Cancel, Nest, Report, Token
from stream_orchestrator.kernel.limits import MAX_RECORD
from stream_orchestrator.kernel.memory import MemoryRecord
from stream_orchestrator.plan.codec import content_hash
from stream_orchestrator.plan.compile import compile_document
from stream_orchestrator.spec.loader import load_text
from stream_orchestrator.tasks import KINDS

pytestmark = pytest.mark.timeout(600)


# --- numbers and names in templates ------------------------------------------------------------------------------


@pytest.mark.parametrize(("most", "status"), [("{{ ns | length }}", "succeeded"), ("{{ ns[0] }}", "failed")])
async def test_a_limit_of_iterations_may_be_computed(most: str, status: str) -> None:
    loop = f"""
  - name: loop
    type: for_loop
    iterate_over: "{{{{ ns }}}}"
    max_iterations: "{most}"
    tasks: [{{name: one, type: python_task, script: "return item['value']"}}]
"""
    played = theatre(loop)
    await played.play()
    assert result(played)["status"] == status


@pytest.mark.parametrize("most", ["2", "'{{ ns[1] }}'"])
async def test_a_while_loop_ends_after_as_many_iterations_as_are_computed(most: str) -> None:
    played = theatre(WHILE_LOOP.replace("max_iterations: 10", f"max_iterations: {most}"))
    await played.play()
    assert result(played)["output"]["left"] == 1


@pytest.mark.parametrize("most", ["'{{ ns }}'", "\"{{ 'four' }}\"", "'{{ ns[0] - 1 }}'"])
async def test_a_limit_that_is_no_number_fails_the_loop_and_not_the_worker(most: str) -> None:
    played = theatre(WHILE_LOOP.replace("max_iterations: 10", f"max_iterations: {most}"))
    await played.play()
    assert "max_iterations" in result(played)["error"]["message"]


async def test_a_loop_may_begin_with_a_task_that_is_repeated() -> None:
    tasks = """
  - name: rows
    type: for_loop
    iterate_over: "{{ ns }}"
    tasks:
      - {name: cells, type: python_task, for_each: "{{ [item.value, 9] }}", script: "return item['value']"}
      - {name: told, type: python_task, script: "return [item['value'], sum(cells)]"}
"""
    played = theatre(tasks)
    await played.play()
    assert result(played)["output"] == [[1, 10], [2, 11], [3, 12]]


@pytest.mark.parametrize("limit", ["2", "'{{ two }}'"])
@pytest.mark.parametrize("alone", [True, False], ids=["alone", "in a group"])
async def test_a_task_that_is_repeated_says_how_often_at_once(limit: str, alone: bool) -> None:
    repeated = f"""type: python_task
        for_each: "{{{{ ns }}}}"
        max_concurrency: {limit}
        script: "return item['value']"
"""
    before = "\n  - {name: two, type: python_task, script: return 2}\n"
    group = (
        f"  - name: g\n    type: parallel_group\n    tasks:\n      - name: 'c_{{{{ item.index }}}}'\n        {repeated}"
    )
    task = f"  - name: g\n    {repeated}".replace("\n        ", "\n    ")
    played = theatre(before + (task if alone else group), str([1] * 12))
    await played.play()
    assert result(played)["outputs"]["g"] == [1] * 12
    assert played.scripts.most <= 2


# --- hashes --------------------------------------------------------------------------------------------------------


def test_a_pipeline_without_containers_has_the_hash_that_earlier_releases_gave_it() -> None:
    text = """name: Made
input_variables: {ns: {type: array}}
tasks:
  - {name: a, type: python_task, script: "return 1"}
  - {name: b, type: llm_task, prompt: "{{ a }}", model: gpt-4o}
"""
    plan = compile_document(load_text(text)[0])
    assert plan.hash == "788a3a21a8621acf972be4e6bf615c143e8ca1253ee439fb0ae47357ad3d7693"


def test_the_hash_covers_what_is_inside_and_not_where_other_pipelines_lie() -> None:
    plan = made(GROUP)
    assert made(GROUP.replace("** 2", "** 3")).hash != plan.hash
    assert content_hash(replace(plan, beside=("/one/b.yaml",))) == content_hash(replace(plan, beside=("/two/b.yaml",)))


# --- records of strangers ------------------------------------------------------------------------------------------


def begin(**more: Any) -> Begin:
    fields: dict[str, Any] = {"payload": '{"ns": []}', "key": None, "headers": (), "position": "x/0/0"}
    return Begin(run_id="forged", accepted_at=1.7e9, deadline=1.7e9 + 100, **{**fields, **more})


def nest(**more: Any) -> Nest:
    fields: dict[str, Any] = {"parent": "p", "root": "p", "inbox": "made.v.squares", "partition": 0, "index": 0}
    return Nest(**{**fields, "path": ("squares.0",), "label": "x", **more})


FORGED = {
    "an item at the door": ("made.v.start", begin(nest=nest())),
    "an item of nowhere": ("made.v.squares.0.start", begin(nest=nest(path=("nothing.7",)))),
    "an item of elsewhere": ("made.v.squares.0.start", begin(nest=nest(inbox="other.topic"))),
    "an item from no partition": ("made.v.squares.0.start", begin(nest=nest(partition=99))),
    "a run in a body": ("made.v.squares.0.start", begin()),
}


@pytest.mark.parametrize("name", FORGED)
async def test_a_forged_begin_is_put_aside_and_no_restart_stumbles_over_it(name: str) -> None:
    played = theatre(GROUP)
    topic, event = FORGED[name]
    played.world.append(topic, b"forged", events.encode(event))
    await played.play()
    await played.world.crash()
    await played.play()
    assert result(played)["output"] == [14, 4]
    assert len(played.world.topics["internal.dlq"]) == 1
    assert "other.topic" not in played.world.topics
    assert not left_of(played)


@pytest.mark.parametrize("tasks", ["", "no json", "[1]", "{}", '[{"name": 1}]'])
async def test_a_forged_item_of_arriving_tasks_is_put_aside(tasks: str) -> None:
    played = Theatre(compile_document(load_text(ARRIVING)[0]), kinds=KINDS, scripts=InProcess())
    event = begin(nest=nest(path=("work.0",), inbox="made.v.work", tasks=tasks))
    played.world.append("made.v.work.0.start", b"forged", events.encode(event))
    played.begin("run-1", '{"steps": []}')
    await played.play()
    await played.world.crash()
    await played.play()
    assert result(played)["status"] == "succeeded"
    assert not left_of(played)


async def test_tokens_and_cancels_for_an_item_at_another_place_change_nothing() -> None:
    tasks = GROUP.replace("return item['value'] ** 2", "return wait(item['value'])")
    played = theatre(tasks)
    played.scripts.functions["wait"] = lambda value: value**2
    item = ids.item_id("run-1", "squares", 1, 0)
    forged = Token(run_id=item, source=":start", report=Report(task=":start", kind="value"))
    seen = 0

    def before(name: str) -> None:
        nonlocal seen
        if name == "publish made.v.squares" and not seen:
            seen = 1
        if name == "publish made.v.squares.0.start" and seen == 0:
            seen = 2
            for topic in ("made.v.squares", "made.v.total", "made.v.result"):
                played.world.append(topic, None, events.encode(forged))
            played.world.append("made.v.start", None, events.encode(Cancel(run_id=item)))

    played.world.before_effect = before
    await played.world.run(until=played.quiet)
    assert result(played)["output"] == [14, 4]
    assert not left_of(played)


def heard(way: outside.Way, run_id: str) -> list[str]:
    """Where a listener of `made` publishes to, when a result comes that way."""
    sent = []

    class Part:
        def publish(self, topic: str, **_: Any) -> asyncio.Future[Any]:
            sent.append(topic)
            future = asyncio.get_running_loop().create_future()
            future.set_result(None)
            return future

    listener = outside.Listener("other.results", "made", frozenset({"made.v.ask"}), 3)
    headers = (("run-id", run_id.encode()), (outside.WAY, outside.encode(way)))
    record = MemoryRecord("other.results", 0, 0, 0, None, b'{"status": "succeeded"}', headers)
    work = listener.receive(record, Part())  # type: ignore[arg-type]
    if work is not None:
        work.close()
    return sent


WAY = outside.Way(inbox="made.v.ask", partition=2, run_id="run-1", item="run-1~ask.1.0", index=0, label="ask")


async def test_a_result_comes_back_only_from_the_run_that_its_item_began_and_only_to_who_waits() -> None:
    ours = outside.run_id("made", WAY.item)
    assert heard(WAY, ours) == ["made.v.ask"]
    assert not heard(WAY, "any-other-run")
    for inbox in ("made.v.nothing", "made.v.", "made.v.result", "other.v.ask"):
        stranger = outside.Way(**{**{f: getattr(WAY, f) for f in WAY.__struct_fields__}, "inbox": inbox})
        assert not heard(stranger, ours), inbox


async def test_a_fallback_of_a_task_that_arrives_is_of_an_allowed_type_too() -> None:
    text = ARRIVING.replace("max_tasks: 4", "max_tasks: 4\n    allowed_types: [python_task]")
    spare = {"name": "spare", "type": "llm_task", "model": "m", "prompt": "x"}
    steps = [arriving("a", "raise ValueError(1)", error_handling={"fallback": spare})]
    played = Theatre(compile_document(load_text(text)[0]), kinds=KINDS, scripts=InProcess())
    played.begin("run-1", orjson.dumps({"steps": steps}).decode())
    await played.play()
    assert result(played)["error"]["type"] == "TasksNotAllowed"
    assert not played.world.topics["calls.m"]


# --- items that nobody waits for any more --------------------------------------------------------------------------

BESIDE = """
  - name: loop
    type: for_loop
    iterate_over: "{{ ns }}"
    tasks: [{name: step, type: python_task, script: "return paid()"}]
  - {name: breaks, type: python_task, script: "return 1 / 0"}
"""


async def test_items_of_an_aborted_run_do_not_go_on_after_a_crash() -> None:
    numbers = str(list(range(40)))
    effects = await _aborted(numbers, None)
    for crash_at in range(1, effects + 1):
        await _aborted(numbers, crash_at)


async def _aborted(numbers: str, crash_at: int | None) -> int:
    played = theatre(BESIDE, numbers)
    paid: list[int] = []
    played.scripts.functions["paid"] = lambda: paid.append(1)
    effects = await played.play(crash_at=lambda n: n == crash_at)
    assert result(played)["status"] == "failed"
    assert len(paid) < 20, f"crash at {crash_at}: {len(paid)} of 40 items were run for a run that had failed"
    assert not left_of(played)
    return effects


@given(seed=st.integers(0, 10**6), crashes=st.frozensets(st.integers(5, 120), max_size=2))
@example(seed=256, crashes=frozenset([36]))
@example(seed=286, crashes=frozenset([36]))
@settings(max_examples=60)
async def test_no_crash_leaves_items_running_that_their_container_gave_up(seed: int, crashes: frozenset[int]) -> None:
    tasks = """
  - name: both
    type: parallel_group
    error_handling: {retry_count: 1, retry_delay: 1, on_failure: continue}
    tasks:
      - {name: quick, type: python_task, script: "return 1 / 0"}
      - name: lingers
        type: python_task
        error_handling: {retry_count: 50, retry_delay: 100, retry_backoff: 1}
        timeout: 50000
        script: "return 1 / 0"
  - {name: end, type: python_task, script: "return 1"}
"""
    played = theatre(tasks, world=StormyWorld(seed, crashes))
    began = played.clock()
    await played.play()
    assert result(played)["output"] == {"both": None, "end": 1}
    assert played.clock() - began < 1000, "an item went on for hours"
    assert not left_of(played)


# --- what a run tells -----------------------------------------------------------------------------------------------


async def test_an_attempt_that_was_given_up_does_not_degrade_the_one_that_succeeded() -> None:
    tasks = TRIED_AGAIN.replace("if item['value'] == 2:", "if fails(item['value']):").replace(
        "      - name: one\n        type: python_task\n",
        "      - {name: soft, type: python_task, script: return 1 / soft(0), error_handling: {on_failure: continue}}\n"
        "      - name: one\n        type: python_task\n        depends_on: [soft]\n",
    )
    played = theatre(tasks)
    calls = {"soft": 0, "fails": 0}

    def soft(_: int) -> int:
        calls["soft"] += 1
        return 0 if calls["soft"] == 1 else 1

    def fails(value: int) -> bool:
        calls["fails"] += value == 2
        return value == 2 and calls["fails"] == 1

    played.scripts.functions.update(soft=soft, fails=fails)
    await played.play()
    told = result(played)
    assert told["output"] == [1, 2, 3]
    assert (told["status"], told["degraded"]) == ("succeeded", [])


async def test_what_items_cost_is_told_when_their_container_runs_out_of_time() -> None:
    tasks = """
  - name: loop
    type: for_loop
    iterate_over: "{{ ns }}"
    timeout: 100
    error_handling: {on_failure: continue}
    tasks:
      - {name: ask, type: llm_task, model: m, prompt: "about {{ item.value }}"}
      - name: never
        type: python_task
        condition: "{{ item.index == 1 }}"
        depends_on: [ask]
        timeout: 50000
        error_handling: {retry_count: 50, retry_delay: 60}
        script: "return 1 / 0"
"""
    played = theatre(tasks)
    await played.play()
    told = result(played)
    assert told["status"] == "degraded"
    assert told["usage"]["calls"] >= 1, "a call was paid and is not told"


async def test_what_a_loop_keeps_fits_into_its_row_or_ends_its_run() -> None:
    played = theatre(WHILE_LOOP.replace("'seen': seen + [left]", "'seen': 'x' * 8_000_000"))
    played.begin("run-2", '{"ns": []}')
    sizes, write = [0], played.part.write

    def measured(key: bytes) -> Any:
        sizes.append(len(played.part.app.codec.encode(played.part.rows[key])))
        return write(key)

    played.part.write = measured  # type: ignore[method-assign]
    await played.play()
    told = {each["run_id"]: each for each in played.results()}
    assert told["run-1"]["error"]["type"] == "TooLarge"
    assert told["run-2"]["status"] == "succeeded"
    assert max(sizes) <= MAX_RECORD


# --- many items -----------------------------------------------------------------------------------------------------


async def test_a_restart_in_which_a_condition_means_something_else_stops_no_worker() -> None:
    tasks = CONDITION.replace("{{ size > 2 }}", "{{ env.MODE == 'one' }}")
    text = f"name: Made\nenv: [MODE]\ninput_variables: {{ns: {{type: array}}}}\ntasks:{tasks}"
    text = text.replace("    else:\n      - {name: few, type: python_task, script: \"return ['few', size]\"}\n", "")
    text = text.replace("[choice, many, few]", "[choice, many]")
    mode = {"MODE": "one"}
    plan = compile_document(load_text(text)[0])
    for crash_at in range(1, 30):
        mode["MODE"] = "one"
        played = Theatre(plan, kinds=KINDS, scripts=InProcess(), env=mode)
        played.begin("run-1", '{"ns": [1]}')

        def crash(n: int, at: int = crash_at) -> bool:
            mode["MODE"] = "two" if n >= at else "one"
            return n == at

        await played.play(crash_at=crash)
        assert result(played)["output"] in ([["many", 1], ["many", 1]], None, [None, None]), crash_at


async def test_five_times_as_many_items_take_about_five_times_as_long() -> None:
    async def seconds(count: int) -> float:
        began = time.process_time()
        played = theatre(GROUP, str(list(range(count))))
        await played.play()
        assert len(result(played)["outputs"]["squares"]) == count
        return time.process_time() - began

    await seconds(50)
    few, many = await seconds(300), await seconds(1500)
    assert many < few * 5 * 2.5


def test_a_name_for_two_things_is_refused_inside_too() -> None:
    tasks = """
  - name: g
    type: for_loop
    iterate_over: "{{ ns }}"
    item_variable: x
    tasks: [{name: x, type: python_task, script: "return 1"}]
"""
    with pytest.raises(SpecError, match="a name of the loop"):
        made(tasks)
