"""Health over HTTP, readiness by progress, and the audit of one run."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_orchestrator.errors import MissingError, UsageError
from stream_orchestrator.observe.audit import read_run
from stream_orchestrator.observe.health import Health, Progress, Verdict
from stream_orchestrator.observe.metrics import Metrics
from stream_orchestrator.observe.server import HealthServer, parse_address


async def get(server: HealthServer, path: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as client, client.get(f"http://{server.address}{path}") as response:
        return response.status, await response.text()


# --- the port


async def test_a_worker_shows_its_health_and_its_metrics() -> None:
    metrics, health = Metrics(), Health()
    verdict: Verdict = (False, {"reason": "no partition is assigned"})
    health.add("partitions", lambda: verdict)
    server = HealthServer(ready=health, metrics=metrics.render)
    await server.start()
    assert (await get(server, "/health/live"))[0] == 200
    status, body = await get(server, "/health/ready")
    assert status == 503
    assert json.loads(body) == {
        "ok": False,
        "checks": {"partitions": {"ok": False, "reason": "no partition is assigned"}},
    }
    verdict = (True, {})
    assert (await get(server, "/health/ready"))[0] == 200
    metrics.count("runs_total")
    assert "stream_orchestrator_runs_total 1" in (await get(server, "/metrics"))[1]
    assert (await get(server, "/nothing"))[0] == 404
    await server.stop()
    await server.stop()


async def test_the_port_is_loopback_by_default_and_free_when_none_is_named() -> None:
    one, other = HealthServer(ready=Health()), HealthServer(ready=Health())
    await one.start()
    await other.start()
    assert one.address.startswith("127.0.0.1:")
    assert not one.address.endswith(":0")
    assert one.address != other.address
    await one.stop()
    await other.stop()


async def test_a_port_that_is_taken_is_named_with_what_to_do() -> None:
    one = HealthServer(ready=Health())
    await one.start()
    host, port = parse_address(one.address)
    with pytest.raises(MissingError, match=str(port)) as caught:
        await HealthServer(host, port, ready=Health()).start()
    assert "--http" in caught.value.hint
    await one.stop()


@pytest.mark.parametrize(
    ("text", "address"),
    [("0.0.0.0:80", ("0.0.0.0", 80)), (":8080", ("127.0.0.1", 8080)), ("0", ("127.0.0.1", 0)), ("[::1]:9", ("::1", 9))],
)
def test_an_address_without_a_host_is_loopback(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["", "localhost", "host:", "host:99999", "host:-1", "host:x"])
def test_what_is_no_address_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError):
        parse_address(text)


# --- readiness


def test_nothing_is_ready_before_anything_is_known() -> None:
    assert Health()()[0] is False
    assert Progress()()[0] is False


def test_a_check_that_raises_does_not_hold_and_says_why() -> None:
    health = Health()
    health.add("broken", lambda: 1 / 0)  # type: ignore[arg-type, return-value]
    ok, details = health()
    assert not ok
    assert details["broken"]["reason"].startswith("ZeroDivisionError")


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def progress() -> tuple[Progress, Clock]:
    clock = Clock()
    return Progress(stalled_after=60, clock=clock), clock


def test_a_worker_is_ready_when_its_partitions_are_assigned_and_recovered() -> None:
    check, _ = progress()
    check.saw(assigned=0, recovered=0, lag=0, acked={})
    assert not check()[0]
    check.saw(assigned=4, recovered=3, lag=9, acked={})
    assert check()[1]["reason"] == "1 partitions are still being recovered"
    check.saw(assigned=4, recovered=4, lag=9, acked={})
    assert check()[0]


def test_lag_without_progress_is_not_ready_and_progress_makes_it_ready_again() -> None:
    check, clock = progress()
    check.saw(assigned=1, recovered=1, lag=5, acked={0: 10})
    clock.now = 59
    check.saw(assigned=1, recovered=1, lag=6, acked={0: 10})
    assert check()[0]
    clock.now = 60
    assert check()[1]["reason"] == "6 records wait and nothing was acked for 60 s"
    check.saw(assigned=1, recovered=1, lag=5, acked={0: 11})
    assert check()[0]


def test_an_idle_worker_without_lag_stays_ready() -> None:
    check, clock = progress()
    for clock.now in range(0, 1_000, 50):
        check.saw(assigned=1, recovered=1, lag=0, acked={0: 10})
    check.saw(assigned=1, recovered=1, lag=3, acked={0: 10})
    clock.now += 59
    assert check()[0], "the lag is new; it has its time"


# --- the audit of a run


@dataclass(frozen=True)
class Told:
    key: bytes | None
    value: bytes | None


def slot(event_id: str, *transitions: dict[str, Any], run_id: str = "r1") -> Told:
    body = {"format": 1, "event_id": event_id, "run_id": run_id, "trace_id": "t1", "transitions": list(transitions)}
    return Told(run_id.encode(), json.dumps(body).encode())


def transition(kind: str, at: str, task: str = "a") -> dict[str, Any]:
    return {"task": task, "attempt": 1, "kind": kind, "at": at, "details": {"why": kind}}


async def stream(*records: Told) -> AsyncIterator[Told]:
    for record in records:
        yield record


async def test_the_story_of_a_run_has_every_transition_once_and_in_order() -> None:
    started = slot(
        "e2", transition("started", "2026-01-01T00:00:01.000Z"), transition("finished", "2026-01-01T00:00:01.000Z")
    )
    story = await read_run(
        "r1",
        stream(
            started,
            slot("e1", transition("accepted", "2026-01-01T00:00:00.000Z", task="")),
            slot("x1", transition("accepted", "2026-01-01T00:00:00.000Z"), run_id="r2"),
            started,
        ),
    )
    assert story["run_id"] == "r1"
    assert [event["kind"] for event in story["events"]] == ["accepted", "started", "finished"]
    assert story["events"][1] == {
        "event_id": "e2.0",
        "at": "2026-01-01T00:00:01.000Z",
        "task": "a",
        "attempt": 1,
        "kind": "started",
        "details": {"why": "started"},
        "trace_id": "t1",
    }


async def test_a_run_that_nobody_knows_has_no_events() -> None:
    assert await read_run("r9", stream(slot("e1", transition("accepted", "x")))) == {"run_id": "r9", "events": []}


@pytest.mark.parametrize(
    "value",
    [None, b"", b"no", b"[]", b"{}", b'{"event_id": 3}', b'{"event_id": "e", "run_id": "r1", "transitions": [3]}'],
)
async def test_a_record_that_cannot_be_read_is_left_out_and_told(
    value: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    story = await read_run("r1", stream(Told(b"r1", value), slot("e1", transition("accepted", "x"))))
    assert [event["kind"] for event in story["events"]] == ["accepted"]
    assert "cannot be read" in caplog.text


@given(st.permutations([0, 1, 2, 3, 3, 2]))
async def test_copies_and_their_order_do_not_change_the_story(order: list[int]) -> None:
    slots = [slot(f"e{n}", transition(str(n), f"2026-01-01T00:00:0{n}.000Z")) for n in range(4)]
    story = await read_run("r1", stream(*(slots[n] for n in order)))
    assert [event["kind"] for event in story["events"]] == ["0", "1", "2", "3"]


async def test_what_was_done_again_after_a_crash_is_told_once_whatever_stands_beside_it() -> None:
    first = [transition("started", "1"), transition("finished", "2"), transition("started", "3", task="b")]
    again = [transition("started", "7"), transition("finished", "8")]
    story = await read_run("r1", stream(slot("e1", *first), slot("e2", *again)))
    assert [(event["task"], event["kind"], event["at"]) for event in story["events"]] == [
        ("a", "started", "1"),
        ("a", "finished", "2"),
        ("b", "started", "3"),
    ]


async def test_a_script_that_notes_the_same_thing_twice_has_noted_it_twice() -> None:
    noted = transition("noted", "1")
    assert len((await read_run("r1", stream(slot("e1", noted, noted))))["events"]) == 2
