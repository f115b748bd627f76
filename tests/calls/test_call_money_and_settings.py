"""Prices, tokens, routes, waits and settings."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_orchestrator.calls import prices, tokens
from stream_orchestrator.calls.retry_after import retry_after
from stream_orchestrator.calls.routing import service_of
from stream_orchestrator.calls.settings import CallSettings
from stream_orchestrator.errors import UsageError


@pytest.mark.parametrize(
    ("model", "service"),
    [
        ("offline/echo", "offline"),
        ("offline", "offline"),
        ("claude-3-opus", "anthropic"),
        ("Claude-3-Opus", "anthropic"),
        ("anthropic/claude-3-opus", "anthropic"),
        ("gpt-4o", "openai"),
        ("my-own-model", "openai"),
        ("offline-ish", "openai"),
        ("", "openai"),
    ],
)
def test_every_model_name_has_one_service(model: str, service: str) -> None:
    assert service_of(model) == service


def test_a_price_comes_from_the_table_without_a_network() -> None:
    assert prices.cost("gpt-4o-mini", 1_000_000, 0) == pytest.approx(0.15, rel=0.01)
    assert prices.cost("anthropic/claude-3-5-sonnet-20241022", 0, 1_000_000) == pytest.approx(15, rel=0.01)
    assert prices.known("gpt-4o-mini")


def test_an_unknown_model_costs_nothing_and_is_known_as_unknown() -> None:
    assert prices.cost("nobody-knows-me", 1_000, 1_000) == 0.0
    assert not prices.known("nobody-knows-me")


def test_an_override_wins_over_the_table_and_makes_a_model_known() -> None:
    mine = {"gpt-4o-mini": (1.0, 10.0), "mine": (2.0, 0.0)}
    assert prices.cost("gpt-4o-mini", 500_000, 100_000, overrides=mine) == pytest.approx(1.5)
    assert prices.cost("mine", 500_000, 0, overrides=mine) == pytest.approx(1.0)
    assert prices.known("mine", overrides=mine)


def test_offline_models_are_known_to_cost_nothing() -> None:
    assert prices.cost("offline/echo", 10**9, 10**9) == 0.0
    assert prices.known("offline/echo")


@given(st.text(), st.text())
def test_a_longer_text_is_never_estimated_as_fewer_tokens(text: str, more: str) -> None:
    assert tokens.estimate(text) <= tokens.estimate(text + more) <= len(text + more)
    assert (tokens.estimate(text) == 0) == (text == "")


def test_prose_is_estimated_within_a_fifth() -> None:
    text = "The quick brown fox jumps over the lazy dog, and nobody in the village is surprised by it any more."
    assert tokens.estimate(text) == pytest.approx(22, rel=0.2)  # 22 by the tokeniser of GPT-4o


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        (
            {
                "anthropic-ratelimit-requests-reset": "2026-01-01T00:00:10Z",
                "anthropic-ratelimit-requests-remaining": "0",
            },
            10.0,
        ),
        ({"x-ratelimit-reset": "1767225605"}, 5.0),
        ({"x-ratelimit-reset": "1767225595"}, 0.0),
        ({"x-ratelimit-reset-tokens": "1s", "x-ratelimit-reset-requests": "6m0s"}, 360.0),
        ({"x-ratelimit-reset-tokens": "1h2m3.5s"}, 3723.5),
        ({"retry-after": "-4"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "Thu, 01 Jan 2026 00:00:30 GMT"}, 30.0),
        ({"retry-after": "Wed, 01 Jan 2025 00:00:30 GMT"}, 0.0),
        ({"retry-after": "Thu, 99 Jan 2026"}, None),
    ],
    ids=str,
)
def test_a_wait_is_read_in_every_form_that_services_use(headers: dict[str, str], wait: float | None) -> None:
    assert retry_after(headers, now=1767225600.0, limited=True) == wait  # 2026-01-01T00:00:00Z


def test_a_reset_is_a_wait_only_for_a_rate_limit() -> None:
    assert retry_after({"x-ratelimit-reset": "5"}, now=0.0, limited=False) is None


@given(
    st.dictionaries(
        st.sampled_from(["retry-after", "retry-after-ms", "x-ratelimit-reset", "date"]), st.text(max_size=30)
    )
)
def test_no_header_makes_a_wait_that_is_not_a_time(headers: dict[str, str]) -> None:
    wait = retry_after(headers, now=1767225600.0, limited=True)
    assert wait is None or 0 <= wait < float("inf")


def test_settings_are_read_from_the_environment() -> None:
    settings = CallSettings.from_env(
        {
            "OPENAI_API_KEY": " k1 \n",
            "OPENAI_BASE_URL": "http://127.0.0.1:9/v1/",
            "STREAM_ORCHESTRATOR__CALLS__MAX_IN_FLIGHT": "7",
            "STREAM_ORCHESTRATOR__CALLS__CONNECT_TIMEOUT": "500ms",
        }
    )
    assert settings.openai_key == "k1"
    assert settings.openai_base_url == "http://127.0.0.1:9/v1"
    assert settings.anthropic_base_url == "https://api.anthropic.com"
    assert (settings.max_in_flight, settings.connect_timeout, settings.offline) == (7, 0.5, False)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OPENAI_BASE_URL", "api.openai.com/v1"),
        ("ANTHROPIC_BASE_URL", "file:///etc/passwd"),
        ("OPENAI_API_KEY", "two words"),
        ("OPENAI_API_KEY", "schlüssel"),
        ("STREAM_ORCHESTRATOR__CALLS__MAX_IN_FLIGHT", "many"),
        ("STREAM_ORCHESTRATOR__CALLS__CONNECT_TIMEOUT", "0"),
        ("STREAM_ORCHESTRATOR__CALLS__FIRST_BYTE_TIMEOUT", "-1"),
    ],
)
def test_a_setting_that_cannot_be_meant_is_refused_by_name_and_never_shown_if_it_is_a_key(
    name: str, value: str
) -> None:
    with pytest.raises(UsageError, match=name) as caught:
        CallSettings.from_env({name: value})
    assert caught.value.hint
    if name.endswith("KEY"):
        assert value not in str(caught.value)
