"""What scripts write leaves with their slots: wherever a crash cuts one off, each step writes once."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
from msgspec.structs import replace
from worlds import FakeScripts, Theatre, plan, task

from stream_orchestrator.kernel import state
from stream_orchestrator.kernel.effects import RunScript, ScriptDone
from stream_orchestrator.kernel.memory import App
from stream_orchestrator.kernel.notebook import Notebook
from stream_orchestrator.kernel.state import ValueRow
from stream_orchestrator.kernel.state_owner import StateOwner

PLANS = {
    "one after another": lambda: plan(task("a"), task("b", "a"), task("c", "b")),
    "side by side": lambda: plan(task("a"), task("b", "a"), task("c", "a"), task("d", "b", "c")),
    "tried again": lambda: plan(task("a", does="flaky", retries=2, retry_delay=1.0), task("b", "a")),
    "asking a model": lambda: plan(task("a", does="ask"), task("b", "a")),
}


class Writers(FakeScripts):
    """Scripts that set two values, and end as their kind does."""

    def __init__(self, book: Notebook) -> None:
        super().__init__()
        self.book = book

    async def run(self, job: RunScript) -> ScriptDone:
        info = {**job.info, "pipeline": "made", "run_id": "r"}
        session, done = self.book.session(info), await super().run(job)
        for number in range(2):
            key = f"{info['task']}/{info['attempt']}/{number}"
            value = f"{key} by process {sum(self.ran.values())}"
            await session.answer({"do": "set", "kind": "global", "key": key, "value": value})
            await session.answer({"do": "set", "kind": "global", "key": "last", "value": value})
        return done if done.kind == "call" else replace(done, events=session.close())


class Rows(dict[bytes, Any]):
    def row(self, key: bytes) -> Any:
        return self.get(key)

    def used(self, kind: str, namespace: str) -> int:
        return 0


def play(name: str, crash_at: int | None) -> tuple[int, Theatre, Any]:
    rows = Rows()
    book = Notebook(view=rows)
    theatre = Theatre(PLANS[name](), scripts=Writers(book), notebook=book)
    book.clock = theatre.clock
    object.__setattr__(theatre.engine, "wires", replace(theatre.wires, state="state"))
    owner = StateOwner(topic="state", letters="letters")
    part = theatre.world.add(App({"state": owner}, state.Codec, owner.on_due, owner.on_recovered))
    theatre.begin("r")
    count = asyncio.run(theatre.play(crash_at=lambda n: n == crash_at))
    return count, theatre, part


@pytest.mark.parametrize("name", PLANS)
def test_wherever_it_crashes_every_step_has_written_and_the_first_copy_of_each_write_holds(name: str) -> None:
    total, _, calm = play(name, None)
    wanted = {row.key for row in calm.rows.values() if isinstance(row, ValueRow)}
    assert len(wanted) > 4
    for at in range(1, total + 1):
        _, theatre, part = play(name, at)
        assert [result["status"] for result in theatre.results()][:1] == ["succeeded"]
        found = {row.key: bytes(row.value) for row in part.rows.values() if isinstance(row, ValueRow)}
        assert found.keys() == wanted, at
        assert found == _folded(theatre), at


def _folded(theatre: Theatre) -> dict[str, bytes]:
    """The log read by hand: of copies of a write only the first."""
    seen: Counter[str] = Counter()
    values: dict[str, bytes] = {}
    for record in theatre.world.topics["state"]:
        write = state.decode_event(record.value)
        assert isinstance(write, state.Write)
        seen[write.id] += 1
        if seen[write.id] == 1:
            values[write.key] = bytes(write.value)
    return values
