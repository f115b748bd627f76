"""Broker addresses and credentials, as a command line and an environment give them."""

from __future__ import annotations

import ssl

import faust
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_orchestrator.errors import MissingError, UsageError
from stream_orchestrator.spec.config import from_environ
from stream_orchestrator.spec.settings import Kafka
from stream_orchestrator.streaming.settings import StreamSettings, parse_broker, settings_from

SECTION = "STREAM_ORCHESTRATOR__KAFKA__"
HOSTS = st.from_regex(r"[a-z][a-z0-9-]{0,20}(\.[a-z]{2,5})?", fullmatch=True) | st.just("[::1]") | st.just("127.0.0.1")


def kafka_of(environ: dict[str, str]) -> Kafka:
    return from_environ(environ).section(Kafka)


@given(addresses=st.lists(st.tuples(HOSTS, st.integers(1, 65535)), min_size=1, max_size=4), scheme=st.booleans())
def test_every_list_of_hosts_and_ports_is_read_as_it_was_written(
    addresses: list[tuple[str, int]], scheme: bool
) -> None:
    plain = ",".join(f"{host}:{port}" for host, port in addresses)
    assert parse_broker(f"kafka://{plain}" if scheme else plain) == plain


@pytest.mark.parametrize(
    ("text", "bootstrap"), [("kafka://a", "a:9092"), ("a, b:1", "a:9092,b:1"), ("[::1]", "[::1]:9092")]
)
def test_a_missing_port_is_kafkas_own(text: str, bootstrap: str) -> None:
    assert parse_broker(text) == bootstrap


@pytest.mark.parametrize(
    "text", ["", "kafka://", "a:", "a:x", "a:0", "a:65536", ":9092", "a,,b", "http://a:1", "::1", "a:1/b", "a:-1"]
)
def test_what_is_no_address_is_refused_with_the_form_that_is(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_broker(text)
    assert "kafka://host:port" in caught.value.hint


@pytest.mark.parametrize(
    ("broker", "environ", "bootstrap"),
    [
        (None, {}, None),
        ("embedded", {"KAFKA_BOOTSTRAP_SERVERS": "env:1"}, None),
        (None, {"KAFKA_BOOTSTRAP_SERVERS": "env:1"}, "env:1"),
        ("kafka://flag:2", {"KAFKA_BOOTSTRAP_SERVERS": "env:1"}, "flag:2"),
        (None, {"KAFKA_BOOTSTRAP_SERVERS": ""}, None),
    ],
)
def test_the_flag_stands_before_the_environment_before_the_embedded_broker(
    broker: str | None, environ: dict[str, str], bootstrap: str | None
) -> None:
    settings = settings_from(broker, kafka_of(environ))
    assert (settings and settings.bootstrap) == bootstrap


def test_a_user_without_a_protocol_goes_over_tls_because_the_other_guess_shows_the_password() -> None:
    environ = {
        SECTION + "SASL_USERNAME": "app",
        SECTION + "SASL_PASSWORD": "hush",
        SECTION + "SASL_MECHANISM": "scram-sha-512",
    }
    settings = settings_from("kafka://a:1", kafka_of(environ))
    assert settings is not None
    assert (settings.security_protocol, settings.sasl_mechanism) == ("SASL_SSL", "SCRAM-SHA-512")
    kwargs = settings.connection()
    assert isinstance(kwargs["ssl_context"], ssl.SSLContext)
    assert (kwargs["sasl_plain_username"], kwargs["sasl_plain_password"]) == ("app", "hush")


def test_the_password_is_in_no_repr() -> None:
    assert "hush" not in repr(StreamSettings(bootstrap="a:1", sasl_username="app", sasl_password="hush"))


@pytest.mark.parametrize("key", ["SECURITY_PROTOCOL", "SASL_MECHANISM"])
def test_an_unknown_mechanism_is_refused_with_the_list_of_known_ones(key: str) -> None:
    with pytest.raises(UsageError) as caught:
        settings_from("kafka://a:1", kafka_of({SECTION + key: "KERBEROS"}))
    assert "SSL" in caught.value.hint or "SCRAM-SHA-256" in caught.value.hint


def test_sasl_without_a_user_is_refused_before_anything_connects() -> None:
    with pytest.raises(UsageError) as caught:
        settings_from("kafka://a:1", kafka_of({SECTION + "SECURITY_PROTOCOL": "SASL_SSL"}))
    assert "SASL_USERNAME" in caught.value.hint


def test_a_tls_file_that_is_not_there_is_missing_and_named() -> None:
    settings = settings_from("kafka://a:1", kafka_of({SECTION + "SSL_CAFILE": "/no/such/ca.pem"}))
    assert settings is not None
    assert settings.security_protocol == "SSL"
    with pytest.raises(MissingError, match=r"/no/such/ca\.pem"):
        settings.connection()


def test_the_embedded_broker_gets_no_idempotence_no_static_member_and_a_short_session() -> None:
    settings = StreamSettings(bootstrap="a:1", embedded=True, instance_id="me")
    assert settings.producer()["enable_idempotence"] is False
    assert settings.membership() == {"session_timeout_ms": 3000, "heartbeat_interval_ms": 1000}


def test_kafka_gets_idempotence_and_static_members() -> None:
    settings = StreamSettings(bootstrap="a:1", instance_id="me")
    assert settings.producer()["enable_idempotence"] is True
    assert settings.membership() == {
        "session_timeout_ms": 10_000,
        "heartbeat_interval_ms": 1000,
        "group_instance_id": "me",
    }


def test_faust_gets_the_same_credentials() -> None:
    assert StreamSettings(bootstrap="a:1").faust_credentials() is None
    over_tls = StreamSettings(bootstrap="a:1", security_protocol="SSL").faust_credentials()
    assert isinstance(over_tls, faust.SSLCredentials)
    user = StreamSettings(
        bootstrap="a:1",
        security_protocol="SASL_SSL",
        sasl_mechanism="SCRAM-SHA-256",
        sasl_username="app",
        sasl_password="hush",
    ).faust_credentials()
    assert isinstance(user, faust.SASLCredentials)
    assert (user.username, user.password, user.mechanism.value) == ("app", "hush", "SCRAM-SHA-256")
    assert user.ssl_context is not None
