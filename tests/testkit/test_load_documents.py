"""A `load_test` document through the command, on the embedded broker."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.broker import Broker

from stream_orchestrator.cli.main import main
from stream_orchestrator.streaming.client import administering

Write = Callable[[str, str], Path]

PIPELINE = """\
name: Halves
tasks:
  - name: half
    type: python_task
    script: |
      if n % 2:
          raise ValueError("odd")
      return n // 2
"""

LOAD = """\
name: Halves Load Test
type: load_test
inputs: [{n: 1}, {n: 2}, {n: 4}, {n: 6}]
test_scenarios:
  - {name: open, concurrent_users: 3, duration: 20 seconds, target_throughput: 20/second}
  - {name: closed, concurrent_users: 2, duration: 5 seconds, acceptable_error_rate: "<= 50%"}
validation: {error_rate: "< 1%", response_time_p95: "< 60 seconds", memory_usage: "< 4GB", cpu_usage: "<= 100%"}
"""


@pytest.mark.embedded
def test_every_event_of_a_load_is_counted_and_judged(write: Write, capfd: pytest.CaptureFixture[str]) -> None:
    write("halves.yaml", PIPELINE)
    path = write("halves_load.yaml", LOAD)
    code = main(["test", str(path), "--json", "--time-scale", "0.1", "--broker", "embedded"])
    (document,) = json.loads(capfd.readouterr().out)["documents"]
    at_rate, users = document["tests"]
    measured: dict[str, Any] = at_rate["measures"]
    assert code == 1
    assert (measured["sent"], measured["succeeded"], measured["failed"], measured["missing"]) == (40, 30, 10, 0)
    assert at_rate["failures"] == ["error_rate: expected < 1%, got 25%"]
    assert measured["response_time"]["p50"] <= measured["response_time"]["p99"] <= measured["response_time"]["max"]
    assert measured["memory_bytes"] > 20_000_000
    assert 0 < measured["cpu_share"] <= 1
    assert users["status"] == "passed", users
    assert users["measures"]["most_in_flight"] == 2
    assert users["measures"]["sent"] == users["measures"]["succeeded"] + users["measures"]["failed"]


@pytest.mark.kafka
def test_a_load_leaves_nothing_on_a_broker_that_stays_and_does_not_touch_the_real_topics(
    write: Write, capfd: pytest.CaptureFixture[str], kafka: Broker, asking: Callable[..., Any]
) -> None:
    write("halves.yaml", PIPELINE)
    path = write("halves_load.yaml", LOAD.replace("[{n: 1}, {n: 2}, {n: 4}, {n: 6}]", "{n: 2}"))
    address = f"kafka://{kafka.settings.bootstrap}"
    code = main(["test", str(path), "--json", "--time-scale", "0.1", "--broker", address, "--prefix", kafka.prefix])
    found = json.loads(capfd.readouterr().out)
    assert (code, found["passed"]) == (0, 2)
    assert asking(topics_of(kafka)) == []


async def topics_of(kafka: Broker) -> list[str]:
    async with administering(kafka.settings) as admin:
        return [topic["topic"] for topic in await admin.describe_topics() if topic["topic"].startswith(kafka.prefix)]


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        (("20/second", "0/second"), 2, "sends nothing"),
        (("inputs: [{n: 1}, {n: 2}, {n: 4}, {n: 6}]", "inputs: 3"), 2, "must be an event or a list of events"),
    ],
)
def test_a_load_that_cannot_be_meant_is_refused_before_anything_starts(
    write: Write, capfd: pytest.CaptureFixture[str], change: tuple[str, str], code: int, said: str
) -> None:
    write("halves.yaml", PIPELINE)
    path = write("halves_load.yaml", LOAD.replace(*change))
    assert main(["test", str(path)]) == code
    assert said in capfd.readouterr().err


def test_a_time_scale_of_nothing_is_refused(write: Write, capfd: pytest.CaptureFixture[str]) -> None:
    write("halves.yaml", PIPELINE)
    assert main(["test", str(write("halves_load.yaml", LOAD)), "--time-scale", "0"]) == 2
    assert "--time-scale" in capfd.readouterr().err
