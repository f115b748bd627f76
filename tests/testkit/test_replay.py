"""`replay_test`: recorded events on another version, beside what they gave."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.broker import Broker

from stream_orchestrator.cli.main import main
from stream_orchestrator.spec.testing import ReplayValidation
from stream_orchestrator.streaming.client import read_all
from stream_orchestrator.streaming.records import Record
from stream_orchestrator.testkit.changes import change
from stream_orchestrator.testkit.recorded import last_of
from stream_orchestrator.testkit.records import Result
from stream_orchestrator.testkit.replay import Pair, judge, told

Write = Callable[[str, str], Path]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text("ab>=1", max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=2), inner, max_size=3),
    max_leaves=8,
)


def result(status: str = "succeeded", output: Any = None, *, usd: float = 0.0, seconds: int = 1) -> Result:
    bad = status in ("failed", "rejected")
    return Result(
        format=1,
        run_id="r",
        attempt=1,
        retry_of=None,
        pipeline="p",
        version="1.0.0",
        status=status,
        output=output,
        output_sha256="",
        outputs={},
        error={"type": "ValueError", "message": "odd"} if bad else None,
        degraded=[],
        cost={"usd": usd},
        usage={"calls": 1},
        timings={"accepted_at": "2026-01-01T00:00:00.000Z", "finished_at": f"2026-01-01T00:00:{seconds:02}.000Z"},
        trace_id="",
    )


class Standing:
    """A reader of partitions that hold these times."""

    def __init__(self, *partitions: list[int]) -> None:
        self._records = [
            Record("in", number, offset, at, None, b"", ())
            for number, times in enumerate(partitions)
            for offset, at in enumerate(times)
        ]
        self.asked: dict[tuple[str, int], int] = {}

    async def bounds(self) -> dict[tuple[str, int], tuple[int, int]]:
        ends = Counter(record.partition for record in self._records)
        return {("in", number): (0, end) for number, end in ends.items()}

    async def go_on_from(self, offsets: dict[tuple[str, int], int]) -> None:
        self.asked = offsets

    async def batches(self) -> AsyncIterator[list[Record]]:
        for record in self._records:
            if record.offset >= self.asked["in", record.partition]:
                yield [record]


async def test_the_newest_events_are_taken_whatever_partition_they_are_in() -> None:
    reader = Standing([1, 2, 3, 50, 51, 52], [4, 5, 60], [6])
    found = await last_of(reader, 4)  # type: ignore[arg-type]
    assert [record.timestamp_ms for record in found] == [50, 51, 52, 60]
    assert reader.asked == {("in", 0): 2, ("in", 1): 0, ("in", 2): 0}


@given(VALUES)
def test_what_is_the_same_has_not_changed(value: Any) -> None:
    assert change(value, json.loads(json.dumps(value)), "", frozenset()) == []


@given(VALUES, VALUES)
def test_what_is_not_the_same_has_changed_from_either_side(left: Any, right: Any) -> None:
    differ = json.dumps(left, sort_keys=True) != json.dumps(right, sort_keys=True)
    assert bool(change(left, right, "", frozenset())) == bool(change(right, left, "", frozenset())) == differ


def test_changes_are_told_with_their_place_and_those_that_are_ignored_are_not() -> None:
    then = {"a": {"at": 1, "n": ">= 1"}, "gone": 1, "list": [1, 2], "kind": True}
    now = {"a": {"at": 2, "n": 3}, "new": 1, "list": [1, 3], "kind": 1}
    assert change(then, now, "", frozenset({"a.at", "new"})) == [
        'a.n: was ">= 1", is 3',
        "gone: is gone",
        "list[1]: was 2, is 3",
        "kind: was true, is 1",
    ]


def pairs(*sides: tuple[Result | None, Result | None]) -> list[Pair]:
    return [
        Pair(f"r{n}", then, now, () if then is None or now is None or then.output == now.output else ("output: x",))
        for n, (then, now) in enumerate(sides)
    ]


def judged(found: list[Pair], **limits: str) -> list[str]:
    return judge(found, ReplayValidation.model_validate(limits), told(found))


def test_without_bounds_no_run_may_end_worse_than_it_did() -> None:
    fine = pairs((result(), result(output=2)), (result("failed"), result("failed")), (result("failed"), result()))
    assert judged(fine) == []
    worse = judged(pairs((result(), result("failed")), (result("degraded"), None)))
    assert worse[0] == "r0: failed, and succeeded then: ValueError: odd"
    assert worse[1] == "r1: has no result in time, and was degraded then"


def test_a_replay_is_judged_by_its_bounds() -> None:
    found = pairs((result(usd=1.0), result(output=2, usd=2.0, seconds=9)), (result(), result("failed")))
    limits = {"same_status": "== 100%", "same_output": "> 60%", "response_time_p95": "< 5 seconds", "cost": "<= $1"}
    said = judged(found, **limits, error_rate="< 10%")
    assert [line.split(":")[0] for line in said] == [
        "same_status",
        "same_output",
        "response_time_p95",
        "cost",
        "error_rate",
    ]


def test_a_replay_that_compares_nothing_fails() -> None:
    assert "nothing could be compared" in judged(pairs((None, result())))[0]


V1 = """\
name: Halves
version: 1.0.0
tasks:
  - name: half
    type: python_task
    script: |
      if n == 13:
          raise ValueError("unlucky")
      return {"half": n / 2, "id": run["id"]}
    error_handling: {retry_count: 0}
"""
V2 = V1.replace("1.0.0", "2.0.0").replace("n == 13", "n == 4").replace("n / 2,", "n / 2 + (n > 6),")


@pytest.mark.embedded
def test_the_last_events_run_on_the_new_version_and_nothing_reaches_the_recorded_topics(
    write: Write, embedded: Broker, tmp_path: Path, capfd: pytest.CaptureFixture[str], asking: Callable[..., Any]
) -> None:
    broker = f"embedded://{embedded.settings.bootstrap}"
    old, new = write("old/halves-v1.0.0.yaml", V1), write("halves-v2.0.0.yaml", V2)
    for numbers, ended in (((1, 2), 0), ((13, 4, 5, 6, 7, 8), 1)):
        events = write("events.jsonl", "".join(f'{{"n": {n}}}\n' for n in numbers))
        command = ["run", str(old), "--input", str(events), "--broker", broker, "--prefix", embedded.prefix]
        assert main(command) == ended
    before = asking(read_all(embedded.settings, f"{embedded.prefix}halves.input", f"{embedded.prefix}halves.results"))

    text = "name: Halves Replay\ntype: replay_test\nevents: 6\nvalidation: {same_output: '>= 90%'}\n"
    path = write("halves_replay.yaml", text + f"pipeline: {new.name}\n")
    capfd.readouterr()
    code = main(["test", str(path), "--json", "--broker", broker, "--prefix", embedded.prefix])
    (test,) = json.loads(capfd.readouterr().out)["documents"][0]["tests"]
    measured = test["measures"]

    after = asking(read_all(embedded.settings, f"{embedded.prefix}halves.input", f"{embedded.prefix}halves.results"))
    assert {(r.topic, r.partition, r.offset) for r in before} == {(r.topic, r.partition, r.offset) for r in after}
    by_input = {run["then"]["output"]["half"] * 2 if run["then"]["output"] else 13: run for run in measured["runs"]}
    assert set(by_input) == {13, 4, 5, 6, 7, 8}
    assert (by_input[5]["changes"], by_input[5]["then"]["version"], by_input[5]["now"]["version"]) == (
        [],
        "1.0.0",
        "2.0.0",
    )
    assert by_input[7]["changes"] == ["half: was 3.5, is 4.5"]
    assert (by_input[13]["then"]["status"], by_input[13]["now"]["status"]) == ("failed", "succeeded")
    assert (measured["events"], measured["unrecorded"], measured["missing"]) == (6, 0, 0)
    assert (measured["then"]["errors"], measured["now"]["errors"]) == (1, 1)
    assert test["failures"][0].startswith("same_output: expected >= 90%, got 33.3%")
    assert test["failures"][1].endswith("failed, and succeeded then: ValueError: line 2: unlucky")
    assert code == 1


@pytest.mark.embedded
def test_runs_of_a_file_are_replayed_without_any_other_broker(write: Write, capfd: pytest.CaptureFixture[str]) -> None:
    write("halves-v2.0.0.yaml", V2)
    then = result(output={"half": 1.0, "id": "r"}).model_dump()
    write("runs.jsonl", json.dumps({"input": {"n": 2}, "result": then}) + "\n" + '{"input": {"n": 4}}\n')
    code = main(["test", str(write("halves_replay.yaml", "type: replay_test\nruns: runs.jsonl\n")), "--json"])
    (test,) = json.loads(capfd.readouterr().out)["documents"][0]["tests"]
    assert (code, test["failures"]) == (0, [])
    assert (test["measures"]["events"], test["measures"]["unrecorded"], test["measures"]["same_output"]) == (2, 1, 1.0)


@pytest.mark.parametrize(
    ("runs", "code", "said"),
    [
        ("runs: none.jsonl", 2, "none.jsonl"),
        ("runs: broken.jsonl", 2, "broken.jsonl:2: this is no recorded run"),
        ("events: 5", 3, "no broker was named"),
    ],
)
def test_a_replay_of_nothing_is_refused(
    write: Write,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    runs: str,
    code: int,
    said: str,
) -> None:
    monkeypatch.delenv("KAFKA_BOOTSTRAP_SERVERS", raising=False)
    write("halves-v2.0.0.yaml", V2)
    write("broken.jsonl", '{"input": {"n": 2}}\n{"n": 2}\n')
    assert main(["test", str(write("halves_replay.yaml", f"type: replay_test\n{runs}\n"))]) == code
    assert said in capfd.readouterr().err
