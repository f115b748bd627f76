"""EVENTS.jsonl: whole and right, or nothing is sent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_orchestrator.cli.events import read_events
from stream_orchestrator.errors import UsageError

KEYS = st.text(max_size=8)
EVENTS = st.dictionaries(
    KEYS, st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20), max_size=4
)


@given(
    events=st.lists(EVENTS, min_size=1, max_size=8),
    ascii_only=st.booleans(),
    end=st.sampled_from(["\n", "\r\n", "\n\n", " \n"]),
)
def test_every_event_comes_back_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, events: list[dict[str, Any]], ascii_only: bool, end: str
) -> None:
    lines = [json.dumps(event, ensure_ascii=ascii_only) for event in events]
    path = tmp_path_factory.mktemp("events") / "events.jsonl"
    path.write_bytes("".join(line + end for line in lines).encode("utf-8", "surrogatepass"))
    assert [event.value.decode() for event in read_events(path)] == lines


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"a": ', "not JSON"),
        ("{'a': 1}", "not JSON"),
        ('{"a": NaN}', "not JSON"),
        ("[1, 2]", "this is a list, not a JSON object"),
        ('"text"', "this is a text, not a JSON object"),
        ("null", "this is null, not a JSON object"),
        ("true", "this is a boolean, not a JSON object"),
        ("4.5", "this is a number, not a JSON object"),
        ('{"a": 1} {"a": 2}', "not JSON"),
    ],
)
def test_a_broken_line_is_told_with_its_number(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text(f'{{"a": 1}}\n\n{line}\n{{"a": 2}}\n')
    with pytest.raises(UsageError, match=rf"events\.jsonl:3: {said}") as raised:
        read_events(path)
    assert "nothing was sent" in raised.value.hint


def test_bytes_that_are_no_text_are_a_broken_line(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"a": 1}\n{"a": "\xff\xfe"}\n')
    with pytest.raises(UsageError, match=r":2: not JSON"):
        read_events(path)


@pytest.mark.parametrize("content", [b"", b"\n\n  \n", b"\xef\xbb\xbf"])
def test_a_file_without_events_is_told(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(content)
    with pytest.raises(UsageError, match="has no events"):
        read_events(path)


def test_a_byte_order_mark_is_no_part_of_the_first_event(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}\n')
    assert [event.value for event in read_events(path)] == [b'{"a": 1}']


def test_a_missing_file_and_a_folder_are_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no file"):
        read_events(tmp_path / "nowhere.jsonl")
    with pytest.raises(UsageError, match="cannot read"):
        read_events(tmp_path)


def test_key_and_run_id_come_from_fields_and_stay_in_the_event(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"id": "ä-1", "customer": 17}\n{"id": 5, "customer": 1.5}\n')
    one, two = read_events(path, key_field="customer", run_id_field="id")
    assert (one.key, one.run_id, one.headers) == (b"17", "ä-1", (("run-id", "ä-1".encode()),))
    assert (two.key, two.run_id) == (b"1.5", "5")
    assert one.value == '{"id": "ä-1", "customer": 17}'.encode()


def test_without_a_field_for_it_an_event_has_no_run_id_and_no_key(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"id": "a"}\n')
    (event,) = read_events(path)
    assert (event.key, event.run_id, event.headers) == (None, None, ())


@pytest.mark.parametrize(
    ("line", "state"),
    [
        ('{"b": 1}', "is missing"),
        ('{"id": ""}', "is empty"),
        ('{"id": null}', "is not a text or a number"),
        ('{"id": true}', "is not a text or a number"),
        ('{"id": {"x": 1}}', "is not a text or a number"),
    ],
)
def test_a_line_without_its_id_is_told_with_its_number_and_what_it_has(tmp_path: Path, line: str, state: str) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text(f'{{"id": "a"}}\n{line}\n')
    with pytest.raises(UsageError, match=rf":2: the field `id` {state}") as raised:
        read_events(path, run_id_field="id")
    assert "--run-id-field" in raised.value.hint
