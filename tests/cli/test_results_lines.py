"""`results`: JSON Lines of results, whatever else somebody wrote to the topic."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from stream_orchestrator.cli.commands import results
from stream_orchestrator.streaming.client import record_of
from stream_orchestrator.streaming.records import Record

RESULT = b'{"run_id": "r", "status": "succeeded"}'


def record(value: bytes | None) -> Record:
    return Record("p.results", 0, 7, 0, None, value, ())


def test_a_result_goes_out_byte_for_byte(capfdbinary: Any) -> None:
    assert results._line(record(RESULT))
    assert capfdbinary.readouterr() == (RESULT + b"\n", b"")


@pytest.mark.parametrize(
    "value",
    [None, b"", b"junk", b"null", b"[]", b"{}", b"\xff\xfe", b'{"run_id": "r"}', RESULT.replace(b" ", b"\n")],
    ids=str,
)
def test_what_is_no_result_is_left_out_and_told(value: bytes | None, capfdbinary: Any) -> None:
    assert not results._line(record(value))
    out, err = capfdbinary.readouterr()
    assert out == b""
    assert b"p.results/0/7 is not a result" in err


def test_a_header_that_is_null_is_read_as_empty() -> None:
    raw = SimpleNamespace(
        topic="p.dlq", partition=0, offset=1, timestamp=2, key=None, value=b"v", headers=(("x", None), ("y", b"1"))
    )
    assert record_of(raw).headers == (("x", b""), ("y", b"1"))
