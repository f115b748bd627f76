"""A run that was aborted has failed, whatever a crash took of the reason."""

from __future__ import annotations

import orjson
import pytest
from msgspec.structs import replace
from worlds import WAYS, Theatre, plan, task

from stream_orchestrator.kernel import ids, results
from stream_orchestrator.kernel.events import Report
from stream_orchestrator.kernel.rows import RunRow


@pytest.mark.parametrize(("aborted_by", "kind"), [("a", "cancelled"), ("", "cancelled"), ("a", "value")])
async def test_an_aborted_run_whose_error_is_lost_is_failed_and_never_a_success_with_null(
    aborted_by: str, kind: str
) -> None:
    theatre = Theatre(plan(task("a")), way=WAYS[-1])
    theatre.begin("run-1")
    await theatre.world.run(until=lambda: ids.run_key("run-1") in theatre.part.durable)
    run = theatre.part.get(ids.run_key("run-1"))
    assert isinstance(run, RunRow)
    around = theatre.engine.around(replace(run, aborted_by=aborted_by))
    outcome = results.build(around, {"a": Report(task="a", kind=kind)}, 1.0)  # type: ignore[arg-type]
    assert outcome.status == "failed"
    assert outcome.letter is not None
    assert orjson.loads(outcome.result)["error"]["type"] == "Aborted"
    await theatre.world.stop()
