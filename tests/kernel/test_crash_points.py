"""Crash between every two effects of a run, enumerated: it ends once, with one result."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from msgspec.structs import replace
from worlds import WAYS, FakeScripts, Theatre, Way, plan, task, variant

from stream_orchestrator.kernel.effects import RunScript, ScriptDone
from stream_orchestrator.plan.model import Plan

pytestmark = pytest.mark.timeout(600)  # many plays: minutes on a machine that is busy with other things


def chain() -> Plan:
    return plan(task("a"), task("b", "a", does="call"), task("c", "b"))


def diamond() -> Plan:
    return plan(task("a"), task("left", "a"), task("right", "a"), task("join", "left", "right"))


def wide() -> Plan:
    return plan(task("a"), task("b", "a", does="call"), task("c", "a", does="ask"), task("d", "b", "c"), task("e", "a"))


def troubled() -> Plan:
    slow = (variant("second", "bad_call", retries=1), variant("third", "script"))
    return plan(
        task("a", does="flaky", retries=2),
        task("b", "a", does="bad_call", retries=1, fallbacks=slow),
        task("c", "a", does="broken", has_fallback_value=True, fallback_value=7),
        task("d", "b", "c"),
    )


def aborted() -> Plan:
    return plan(
        task("a"), task("b", "a", does="flaky"), task("c", "a", does="call"), task("d", "b", "c"), task("e", "c")
    )


def shared() -> Plan:
    return plan(task("a", does="call"), task("b", "a"), task("c", "a", does="ask"), task("d", "b", "c"), task("e", "c"))


def skipping() -> Plan:
    return plan(
        task("a"),
        task("b", "a", condition="false"),
        task("c", "b"),
        task("d", "a", "c", does="broken", on_failure="continue"),
    )


def failing() -> Plan:
    return plan(task("a", does="broken"))


def failing_late() -> Plan:
    return plan(task("a"), task("b", "a"), task("c", "b", does="broken"), task("d", "b"), task("e", "c", "d"))


def retried_at_once() -> Plan:
    return plan(task("a", does="flaky", retries=1, retry_delay=0.0), task("b", "a", does="call"), task("c", "b"))


PLANS = [chain, diamond, wide, troubled, aborted, skipping, shared, failing, failing_late, retried_at_once]


ALL_WAYS = pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)


@ALL_WAYS
@pytest.mark.parametrize("make", PLANS, ids=lambda make: make.__name__)
async def test_a_run_ends_once_with_one_result_wherever_the_process_dies(make: Any, way: Way) -> None:
    calm = whole(make(), way)
    effects = await calm.play()
    for crash_at in range(1, effects + 1):
        theatre = whole(make(), way)
        await theatre.play(crash_at=lambda n, at=crash_at: n == at)
        assert_sound(theatre, f"crash before effect {crash_at} of {effects}")
        assert outcome(theatre) == outcome(calm), f"crash before effect {crash_at} of {effects}"
        # Of a run that is aborted, what was still begun is a matter of time.
        missing = calm.transitions() - theatre.transitions() if outcome(calm)[0] != "failed" else None
        assert not missing, f"crash before effect {crash_at} of {effects}: the audit lacks {missing}"


class Slower(FakeScripts):
    """Scripts that take longer than a slot may, the second time they run."""

    async def run(self, job: RunScript) -> ScriptDone:
        done = await super().run(job)
        return replace(done, seconds=2.0) if self.ran[job.info["task"]] > 1 else done


@pytest.mark.parametrize("make", PLANS, ids=lambda make: make.__name__)
async def test_a_run_ends_once_though_what_was_passed_is_sent_the_second_time(make: Any) -> None:
    calm = whole(make(), WAYS[0])
    effects = await calm.play()
    for crash_at in range(1, effects + 1):
        theatre = whole(make(), WAYS[0], scripts=Slower())
        await theatre.play(crash_at=lambda n, at=crash_at: n == at)
        assert_sound(theatre, f"crash before effect {crash_at} of {effects}")
        assert outcome(theatre) == outcome(calm), f"crash before effect {crash_at} of {effects}"


@ALL_WAYS
@pytest.mark.parametrize("make", PLANS, ids=lambda make: make.__name__)
async def test_a_run_ends_once_whatever_two_places_the_process_dies_in(make: Any, way: Way) -> None:
    effects = await whole(make(), way).play()
    for first, second in itertools.combinations(range(1, effects + 6), 2):
        theatre = whole(make(), way)
        await theatre.play(crash_at=lambda n, at=(first, second): n in at)
        assert_sound(theatre, f"crashes before effects {first} and {second}")


def outcome(theatre: Theatre) -> tuple[str, str | None]:
    result = theatre.results()[0]
    return result["status"], (result["error"] or {}).get("type")


def whole(made: Plan, way: Way, **more: Any) -> Theatre:
    theatre = Theatre(made, way=way, **more)
    theatre.begin("run-1")
    return theatre


def assert_sound(theatre: Theatre, where: str) -> None:
    records = theatre.world.topics["made.results"]
    assert records, f"{where}: the run was lost"
    assert not expired(theatre), f"{where}: the run stood still until its deadline"
    assert len({record.value for record in records}) == 1, f"{where}: copies differ"
    assert max(theatre.models.made.values(), default=1) == 1, f"{where}: a call was made twice"
    assert theatre.models.steadfast, f"{where}: one call id was asked two things"
    assert len(theatre.part.rows) == 1, f"{where}: rows are left: {list(theatre.part.rows)}"
    result = theatre.results()[0]
    outputs = result["outputs"]
    for name, output in outputs.items():
        if isinstance(output, dict) and "from" in output:
            for source, value in output["from"].items():
                assert outputs.get(source) == value, (
                    f"{where}: {name} saw another output of {source} than the result has"
                )


def expired(theatre: Theatre) -> list[str]:
    """Runs that nobody went on with: what is lost on the way ends like this, a day later."""
    return [each["run_id"] for each in theatre.results() if (each["error"] or {}).get("type") == "Expired"]
