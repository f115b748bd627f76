"""Envelopes: opened by who has the key, for the topic they were sealed for, and by nobody else."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_orchestrator.errors import MissingError, UsageError
from stream_orchestrator.trust import sealing
from stream_orchestrator.trust.sealing import MAGIC, Seal, fresh_key, opened

KEY = fresh_key()


@settings(max_examples=100)
@given(st.binary(max_size=2000))
def test_what_was_sealed_comes_back_and_stands_nowhere_in_the_envelope(value: bytes) -> None:
    seal = Seal(KEY)
    envelope = seal.seal(value, "a.table")
    assert Seal(KEY).open(envelope, "a.table") == value
    assert envelope != seal.seal(value, "a.table")
    assert len(value) < 8 or value not in envelope


@settings(max_examples=100)
@given(st.integers(0, 200), st.integers(1, 255))
def test_a_changed_envelope_is_never_opened(at: int, by: int) -> None:
    envelope = bytearray(Seal(KEY).seal(b"v" * 100, "a.table"))
    at = len(MAGIC) + at % (len(envelope) - len(MAGIC))
    envelope[at] ^= by
    with pytest.raises(MissingError, match="cannot be opened"):
        Seal(KEY).open(bytes(envelope), "a.table")


def test_an_envelope_of_another_topic_or_key_stays_closed() -> None:
    envelope = Seal(KEY).seal(b"v", "a.table")
    with pytest.raises(MissingError, match="another topic"):
        Seal(KEY).open(envelope, "b.table")
    with pytest.raises(MissingError, match="another key"):
        Seal(fresh_key()).open(envelope, "a.table")
    with pytest.raises(MissingError, match="there is no key"):
        opened(envelope, None, "a.table")


def test_a_former_key_opens_what_it_sealed_and_seals_nothing_new() -> None:
    new = fresh_key()
    both = Seal(new, (KEY,))
    assert both.open(Seal(KEY).seal(b"old", "t"), "t") == b"old"
    assert Seal(new).open(both.seal(b"new", "t"), "t") == b"new"


@pytest.mark.parametrize("value", [None, b"", b"{}", b"r{}", MAGIC[:3]])
def test_what_is_no_envelope_is_given_back(value: bytes | None) -> None:
    assert opened(value, Seal(KEY), "t") == value


@pytest.mark.parametrize("key", ["", "short", "x" * 44, "ü" * 20])
def test_a_key_that_is_none_is_told_with_how_to_make_one(key: str) -> None:
    with pytest.raises(UsageError) as wrong:
        Seal(key)
    assert "openssl rand -base64 32" in wrong.value.hint


def test_a_data_key_is_not_used_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "KEY_USES", 2)
    seal = Seal(KEY)
    wrapped = {seal.seal(b"v", "t")[12:72] for _ in range(6)}
    assert len(wrapped) == 3


def test_no_repr_shows_a_key() -> None:
    assert KEY not in repr(Seal(KEY))
