"""The oracle is proved before it is believed: by invented outcomes, and against a consumer that is wrong on purpose."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import wrong_consumer
from support.broker import Broker
from support.oracle import Answer, Verdict, examine, judge

from stream_orchestrator.streaming.client import Outgoing, produce
from stream_orchestrator.streaming.provisioning import apply
from stream_orchestrator.streaming.topic_kinds import topic_spec

EVENTS = 40
DIES_AFTER = 7


@dataclass(frozen=True)
class Fate:
    """What happens to one run: how many answers it has, and whether the last of them differs."""

    answers: int
    differs: bool


FATES = st.lists(st.builds(Fate, st.integers(0, 4), st.booleans()), max_size=30)


@given(fates=FATES, strangers=st.sets(st.from_regex(r"x[0-9]{1,3}", fullmatch=True), max_size=3), seed=st.randoms())
def test_every_loss_copy_and_difference_is_named_in_any_order(fates: list[Fate], strangers: set[str], seed) -> None:
    answers = [Answer(run_id=name, key=None, value=b"?") for name in strangers]
    for number, fate in enumerate(fates):
        values = [b"same"] * fate.answers
        if fate.differs and fate.answers > 1:
            values[-1] = b"other"
        answers += [Answer(run_id=str(number), key=b"k", value=value) for value in values]
    seed.shuffle(answers)
    verdict = judge([str(number) for number in range(len(fates))], answers)
    assert set(verdict.lost) == {str(n) for n, fate in enumerate(fates) if fate.answers == 0}
    assert verdict.copies == sum(max(0, fate.answers - 1) for fate in fates)
    assert set(verdict.different) == {str(n) for n, fate in enumerate(fates) if fate.differs and fate.answers > 1}
    assert set(verdict.strangers) == strangers
    assert verdict.ok is not bool(verdict.lost or verdict.different or strangers)


def test_a_loss_and_a_copy_do_not_cancel_out() -> None:
    verdict = judge(["a", "b"], [Answer(run_id="a", key=None, value=b"1")] * 2)
    assert (verdict.lost, verdict.copies, verdict.ok) == (("b",), 1, False)


def test_another_key_is_a_different_answer() -> None:
    answers = [Answer(run_id="a", key=key, value=b"1") for key in (b"k", None)]
    assert judge(["a"], answers).different == ("a",)


def test_calls_are_repeated_by_id_and_not_by_their_number() -> None:
    assert judge([], [], calls=["a", "b", "a", "a"]).calls_repeated == 2
    assert judge([], [], calls=["a", "b", "c", "d"]).calls_repeated == 0


def test_the_verdict_is_one_line_and_names_what_is_wrong() -> None:
    line = str(judge(["a", "b"], [Answer(run_id="a", key=None, value=b"1")]))
    assert "\n" not in line
    assert "lost 1" in line
    assert line.endswith("lost: b")


async def answered_wrongly(broker: Broker, calls: Path, *, commits: str, dies: bool) -> Verdict:
    """Send events, let the wrong consumer die on its way or not, run it again to the end, and ask the oracle."""
    source, target = broker.topic("in"), broker.topic("out")
    specs = [topic_spec(kind, name, partitions=1) for kind, name in (("input", source), ("results", target))]
    await apply(broker.settings, specs)
    sent = [f"run-{number}" for number in range(EVENTS)]
    records = [Outgoing(b"{}", key=run_id.encode(), headers=(("run-id", run_id.encode()),)) for run_id in sent]
    await produce(broker.settings, source, records)
    command = [sys.executable, wrong_consumer.__file__, broker.settings.bootstrap, source, target, commits]
    ends = []
    for die_after in (DIES_AFTER, 0) if dies else (0,):
        run = asyncio.to_thread(subprocess.run, [*command, str(die_after), str(calls)], timeout=30, check=False)
        ends.append((await run).returncode)
    assert ends == ([-signal.SIGKILL, 0] if dies else [0])
    verdict = await examine(broker.settings, sent, target, calls=calls.read_text().split())
    print(verdict)
    return verdict


@pytest.mark.kafka
async def test_a_consumer_that_commits_before_its_work_is_done_is_caught_losing(kafka: Broker, tmp_path: Path) -> None:
    verdict = await answered_wrongly(kafka, tmp_path / "calls", commits="early", dies=True)
    assert verdict.lost == tuple(f"run-{number}" for number in range(DIES_AFTER, EVENTS))
    assert (verdict.answered, verdict.copies, verdict.different) == (DIES_AFTER, 0, ())
    assert not verdict.ok


@pytest.mark.kafka
async def test_a_consumer_that_answers_with_a_uuid_is_caught_answering_differently(
    kafka: Broker, tmp_path: Path
) -> None:
    verdict = await answered_wrongly(kafka, tmp_path / "calls", commits="late", dies=True)
    assert verdict.different == tuple(f"run-{number}" for number in range(DIES_AFTER))
    assert (verdict.lost, verdict.copies, verdict.calls_repeated) == ((), DIES_AFTER, DIES_AFTER)
    assert not verdict.ok


@pytest.mark.kafka
async def test_the_same_consumer_undisturbed_is_not_accused(kafka: Broker, tmp_path: Path) -> None:
    verdict = await answered_wrongly(kafka, tmp_path / "calls", commits="late", dies=False)
    assert verdict.ok
    assert (verdict.answered, verdict.copies, verdict.calls_repeated) == (EVENTS, 0, 0)


@pytest.mark.kafka
async def test_the_oracle_waits_for_answers_that_are_on_their_way(kafka: Broker) -> None:
    topic = kafka.topic("out")
    await apply(kafka.settings, [topic_spec("results", topic, partitions=3)])
    waiting = asyncio.create_task(examine(kafka.settings, ["late"], topic, within=30))
    await produce(kafka.settings, topic, [Outgoing(b"1", headers=(("run-id", b"late"),))])
    assert (await waiting).ok
    assert (await examine(kafka.settings, ["never"], topic)).strangers == ("late",)
