"""Secrets: where they come from, and that they are not said."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from random import Random
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_orchestrator.trust.masking import MASK, Masker
from stream_orchestrator.trust.secrets import Secrets, is_ours

SECRET = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="*"), min_size=6, max_size=40)
AROUND = st.text(st.characters(max_codepoint=127), max_size=12)


@given(SECRET, AROUND, AROUND)
def test_no_text_shows_a_secret_in_any_of_its_usual_forms(secret: str, before: str, after: str) -> None:
    masker = Masker([secret])
    for form in (secret, quote(secret, safe=""), quote_plus(secret), json.dumps(secret)[1:-1], secret.encode().hex()):
        assert form not in masker.text(before + form + after).replace(MASK, "") or form in before + after


def _quoted(char: str, how: int) -> str:
    """A character as it is, or in one of the ways that clients and servers write it."""
    in_url = "".join(f"%{byte:02{'Xx'[how % 2]}}" for byte in char.encode())
    ways = [char, in_url, in_url, in_url.replace("%", "%25"), json.dumps(char)[1:-1]]
    return "+" if char == " " and how % 3 == 0 else ways[how % len(ways)]


@given(SECRET, AROUND, AROUND, st.randoms(use_true_random=False))
def test_whichever_of_its_characters_are_quoted_a_secret_is_hidden(
    secret: str, before: str, after: str, random: Random
) -> None:
    said = "".join(_quoted(char, random.randrange(30)) for char in secret)
    masked = Masker([secret]).text(f"{before}|{said}|{after}")
    assert MASK in masked
    assert said not in masked.replace(MASK, "") or said in before + after


@pytest.mark.parametrize(
    ("secret", "said"),
    [
        ("correct horse! battery", "correct+horse!+battery"),
        ("Summer%2024!", "Summer 24!"),
        ("Summer%2024!", "Summer+24!"),
        ("Summer%2024!", "Summer%2520%32%34!"),
        ('s3cr"t/key!x', "s3cr%22t/key!x"),
        ("Pa$$w0rd<>!", "Pa$$w0rd%3C%3e!"),
        ("Pa$$w0rd<>!", "Pa$$w0rd\\u003c\\u003E!"),
        ("a+b+c+d", "a b c d"),
        ("pässwörter", "p%C3%A4ssw%c3%b6rter"),
    ],
)
def test_a_secret_that_an_address_quotes_in_part_is_hidden(secret: str, said: str) -> None:
    assert Masker([secret]).text(f"http://host/a?k={said}&n=1") == "http://host/a?k=***&n=1"


def test_bytes_that_are_no_text_and_half_characters_are_hidden() -> None:
    assert Masker(["caf\udce9-token"]).text("a caf%E9-token, caf\udce9-token") == "a ***, ***"
    assert Masker(["half-\ud800-token"]).text("half-\ud800-token") == "***"


def test_text_that_is_hostile_to_patterns_is_masked_in_no_time() -> None:
    masker = Masker(["%25" * 20, "%" * 30, "+ " * 20 + "x"])
    started = time.monotonic()
    masker.text("%25" * 100_000 + "+ " * 100_000)
    assert time.monotonic() - started < 5


@given(SECRET, st.binary(max_size=20), st.binary(max_size=20))
def test_a_secret_within_base64_cannot_be_read_back(secret: str, before: bytes, after: bytes) -> None:
    said = base64.b64encode(before + secret.encode() + after).decode()
    kept = Masker([secret]).text(said)
    assert MASK in kept


@given(SECRET)
def test_other_text_is_left_alone(secret: str) -> None:
    text = "the quick brown fox"
    assert Masker([secret]).text(text) == text or secret in text


def test_a_short_value_is_let_through() -> None:
    assert Masker(["abc", ""]).text("abcdef") == "abcdef"


def test_the_longer_of_two_secrets_is_hidden_whole() -> None:
    assert Masker(["secret", "secret-and-more"]).text("a secret-and-more") == "a ***"


def test_json_is_masked_all_through() -> None:
    masked = Masker(["secret-value"]).value({"secret-value": [1, None, {"a": "x secret-value y"}]})
    assert masked == {"***": [1, None, {"a": "x *** y"}]}


def test_secrets_come_from_the_environment_and_then_from_mounted_files(tmp_path: Path) -> None:
    (tmp_path / "db.password").write_text("mounted\n")
    (tmp_path / "other").write_text("file")
    secrets = Secrets(environ={"OTHER": "upper", "exact": "lower"}, mounted=tmp_path)
    names = ("other", "exact", "db.password", "none")
    assert [secrets.get(name) for name in names] == ["upper", "lower", "mounted", None]


def test_a_rotated_secret_is_seen(tmp_path: Path) -> None:
    secrets = Secrets(environ={}, mounted=tmp_path)
    for value in ("one", "two"):
        (tmp_path / "key").write_text(value)
        assert secrets.get("key") == value


def test_no_name_leads_out_of_the_folder_or_to_our_own_keys(tmp_path: Path) -> None:
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    (tmp_path / "outside").write_text("secret")
    environ = {"OPENAI_API_KEY": "x", "KAFKA_PASSWORD": "x", "STREAM_ORCHESTRATOR__A__B": "x", "REDIS_URL": "x"}
    secrets = Secrets(environ=environ, mounted=mounted)
    for name in ("../outside", "/etc/passwd", ".", "", "a/b", *environ, *map(str.lower, environ), "kafka-password"):
        assert secrets.get(name) is None
    assert all(map(is_ours, environ))


def test_values_that_look_like_secrets_are_known_by_their_names() -> None:
    environ = {"OPENAI_API_KEY": "1", "DB_PASSWORD": "2", "PATH": "3", "OTEL_EXPORTER_OTLP_HEADERS": "4", "HOME": "5"}
    assert sorted(Secrets(environ=environ).known()) == ["1", "2", "4"]
