"""What a worker's log lets through."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest

from stream_orchestrator.cli import logs

CLIENT = "aiokafka.consumer.group_coordinator"


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    """This process's logging as it was."""
    root, shouting = logging.getLogger(), logging.getLogger(logs.SHOUTING)
    before = (root.level, list(root.handlers), shouting.level)
    shouting.setLevel(logging.NOTSET)
    yield
    root.setLevel(before[0])
    root.handlers[:] = before[1]
    shouting.setLevel(before[2])


def test_what_the_client_mends_by_itself_is_not_told_to_people(capsys: pytest.CaptureFixture[str]) -> None:
    logs.start_logging(as_json=False)
    logging.getLogger(CLIENT).error("Group Coordinator Request failed: GroupCoordinatorNotAvailableError")
    logging.getLogger("stream_orchestrator.streaming.worker").warning("one of ours")
    said = capsys.readouterr().err
    assert "Coordinator" not in said
    assert "one of ours" in said


def test_a_level_that_was_set_on_purpose_stays() -> None:
    logging.getLogger(logs.SHOUTING).setLevel(logging.DEBUG)
    logs.hush()
    assert logging.getLogger(logs.SHOUTING).level == logging.DEBUG


def test_a_line_of_a_script_says_in_json_whose_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    json_log = logs.start_logging(as_json=True)
    assert json_log is not None
    json_log.ready({})
    logging.getLogger("ours").info("hello", extra={"pipeline": "p", "task": "t", "run_id": "r1"})
    logging.getLogger("ours").info("nobody's", extra={"run_id": ""})
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()][1:]
    assert [(line["message"], line.get("run_id"), line.get("task")) for line in said] == [
        ("hello", "r1", "t"),
        ("nobody's", None, None),
    ]
