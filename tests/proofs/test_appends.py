"""What a run may write. Records and bytes are counted, not timed: the same everywhere, so the bars are exact.

pytest tests/proofs/test_appends.py         python -m bench.appends prints the same by topic
"""

from __future__ import annotations

import pytest
from support.broker import Broker

from bench import appends
from bench.appends import Written
from stream_orchestrator.streaming.records import Record

APPENDS, BYTES = 24, 30 * 1024  # it is 17 and 22 KB where no script takes a second: see `kernel.slot`
RUNS = 40


@pytest.mark.embedded
async def test_a_run_through_script_model_and_script_is_at_most_24_records_and_30_kb(embedded: Broker) -> None:
    written = await appends.measure(embedded.settings, RUNS)
    by_topic = {topic: (count / RUNS, written.bytes[topic] / RUNS) for topic, count in written.appends.items()}
    assert written.appends.total() / RUNS <= APPENDS, by_topic
    assert written.bytes.total() / RUNS <= BYTES, by_topic
    # Whole numbers, topic by topic: had a record of a partition slipped in, or one of a run been missed, it shows here.
    assert all(count % RUNS == 0 for count in written.appends.values()), by_topic
    assert written.appends["appends.input"] == written.appends["appends.results"] == RUNS


def test_key_value_and_headers_are_counted_and_a_tombstone_is_a_record() -> None:
    written = Written(1)
    written.add("a", record(key=b"12", value=b"345", headers=(("six", b"789"),)))
    written.add("a", record(key=b"12", value=None))
    assert (written.appends["a"], written.bytes["a"]) == (2, 13)


def record(**more: object) -> Record:
    fields = {"topic": "a", "partition": 0, "offset": 0, "timestamp_ms": 0, "headers": ()}
    return Record(**{**fields, **more})  # type: ignore[arg-type]
