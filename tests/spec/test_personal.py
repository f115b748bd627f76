"""Anonymising: what tells who a person is becomes a mark, and nothing else changes."""

from __future__ import annotations

import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stream_orchestrator.spec.personal import anonymized, without_persons

PERSONS = {
    "EMAIL": ["ada@example.org", "ada.löv+x@mail.exämple.co.uk", "o'brien@example.com"],
    "PHONE": ["555-123-4567", "(555) 123-4567", "+49 (0)30 1234-567", "0151 23456789", "030/1234567", "+15551234567"],
    "SSN": ["078-05-1120", "078 05 1120"],
    "CARD": ["4111 1111 1111 1111", "5500-0000-0000-0004", "378282246310005"],
    "IBAN": ["DE89 3704 0044 0532 0130 00", "GB29NWBK60161331926819"],
    "IP": ["10.20.30.40", "fe80::1ff:fe23:4567:890a", "2001:db8:0:0:0:0:2:1"],
}
OTHERS = [
    "2024-01-15T10:30:00+01:00",
    "12:30:45",
    "v1.2.3",
    "1.234.567",
    "999.999.1.1",
    "1234567890123",
    "a@b",
    "std::vector::size",
    "DE00 0000 0000 0000 0000 00",
    "10 000 000 000 000",
    "order 20240115-77",
]


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in PERSONS.items() for text in texts])
@pytest.mark.parametrize("around", ["{}", "Ask {}, please.", "<{}>", '"{}"', "x\n{}\ny"])
def test_a_person_becomes_a_mark(kind: str, text: str, around: str) -> None:
    assert without_persons(around.format(text)) == around.format(f"[{kind}_REDACTED]")


@pytest.mark.parametrize("text", OTHERS)
def test_what_only_looks_a_little_like_it_stays(text: str) -> None:
    assert without_persons(text) == text


def test_texts_are_changed_wherever_they_are_and_nothing_else_is() -> None:
    value = {"a": ["ada@example.org", 5551234567, {"b": "10.20.30.40"}], "n": None, "t": True, "f": 1.5}
    marked = {"a": ["[EMAIL_REDACTED]", 5551234567, {"b": "[IP_REDACTED]"}], "n": None, "t": True, "f": 1.5}
    assert anonymized(value) == marked


def test_keys_of_maps_are_texts_too_and_two_of_them_stay_two() -> None:
    assert anonymized({"ada@example.org": 1, "bob@example.org": 2}) == {
        "[EMAIL_REDACTED]": 1,
        "[EMAIL_REDACTED] 2": 2,
    }


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("4111 1111 1111 1111 555-123-4567", "[CARD_REDACTED] [PHONE_REDACTED]"),
        ("order 123 456 4111 1111 1111 1111", "order 123 456 [CARD_REDACTED]"),
        ("4111-1111-1111-1111 4111 1111 1111 1111", "[CARD_REDACTED] [CARD_REDACTED]"),
        ("4111111111111111 12345", "[CARD_REDACTED] 12345"),
        ("7 4111111111111111", "7 [CARD_REDACTED]"),
        ("DE89 3704 0044 0532 0130 00 1234", "[IBAN_REDACTED] 1234"),
    ],
)
def test_a_number_is_found_among_others(text: str, left: str) -> None:
    assert without_persons(text) == left


KNOWN = [text for texts in PERSONS.values() for text in texts]
PIECES = st.sampled_from([*KNOWN, *OTHERS, " ", "-", "0", "@", ".", ":"])


@settings(max_examples=300)
@example("ada@example.orgada@example.orgada@example.org4111 1111 1111 1111 555-123-4567")
@given(st.lists(PIECES | st.text(max_size=6), max_size=8).map("".join))
def test_anonymising_twice_changes_nothing(text: str) -> None:
    once = without_persons(text)
    assert without_persons(once) == once


@pytest.mark.parametrize(
    "piece", ["a", "1", "a@", "1-", "A1 ", ":1", "+1 ", "1.", "0 ", "123 ", "1234 ", "4111 1111 1111 1111 "]
)
def test_no_text_takes_long(piece: str) -> None:
    started = time.perf_counter()
    without_persons(piece * 200_000)
    assert time.perf_counter() - started < 20, "it should take about a tenth of a second"
