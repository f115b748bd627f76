"""What leaves this machine goes only where the pipeline says it may, and not in plain text."""

from __future__ import annotations

from typing import Any

import pytest

from stream_orchestrator.calls.borders import refuse_crossings
from stream_orchestrator.calls.service_settings import ServiceSettings
from stream_orchestrator.calls.settings import CallSettings
from stream_orchestrator.errors import MissingError
from stream_orchestrator.plan.compile import compile_document
from stream_orchestrator.plan.model import Plan
from stream_orchestrator.spec.loader import load_text
from stream_orchestrator.streaming.settings import StreamSettings

HERE = "http://127.0.0.1:8000/v1"


def plan(extra: str, task: str = "{name: a, type: llm_task, model: gpt-6-luna, prompt: hi}") -> Plan:
    [located] = load_text(f"name: Bordered\n{extra}\ntasks: [{task}]\n")
    return compile_document(located)


def resident(region: str = "EU") -> Plan:
    return plan(f"privacy_settings: {{data_residency: {region}}}")


def refused(
    made: Plan,
    *,
    services: ServiceSettings | None = None,
    plain: tuple[str, ...] = (),
    stores: bool = False,
    **calls: Any,
) -> str:
    settings = CallSettings(**calls)
    try:
        refuse_crossings([made], settings, services or ServiceSettings(), plain_brokers=plain, stores=stores)
    except MissingError as error:
        return f"{error}\n{error.hint}"
    return ""


def test_a_model_whose_region_nobody_has_said_is_refused_with_the_setting_that_says_it() -> None:
    said = refused(resident())
    assert "nobody has said where it is" in said
    assert "STREAM_ORCHESTRATOR__CALLS__REGIONS__OPENAI" in said


def test_a_model_in_another_region_is_refused() -> None:
    assert "it is in US" in refused(resident(), regions={"openai": "us"})


@pytest.mark.parametrize(
    "calls", [{"regions": {"openai": "eu"}}, {"offline": True}, {"openai_base_url": HERE}], ids=str
)
def test_the_same_region_the_offline_models_and_this_machine_are_let_through(calls: dict[str, Any]) -> None:
    assert not refused(resident(), **calls)


def test_other_services_have_a_region_as_well() -> None:
    made = plan("privacy_settings: {data_residency: EU}", '{name: a, type: api_task, url: "https://api.example.org/x"}')
    assert "`api`" in refused(made)
    assert not refused(made, regions={"api": "EU"})


def test_without_residency_nobody_asks_for_regions() -> None:
    assert not refused(plan("description: free"))


@pytest.mark.parametrize(
    ("calls", "services", "plain", "named"),
    [
        ({"openai_base_url": "http://models.example.org/v1"}, ServiceSettings(), (), "http://models.example.org/v1"),
        ({}, ServiceSettings(), ("broker.example.org:9092",), "broker.example.org:9092"),
    ],
)
def test_plain_text_to_another_machine_is_refused(
    calls: dict[str, Any], services: ServiceSettings, plain: tuple[str, ...], named: str
) -> None:
    made = plan("security: {encryption_in_transit: true}")
    assert named in refused(made, services=services, plain=plain, **calls)
    assert not refused(plan("description: free"), services=services, plain=plain, **calls)


def test_https_and_this_machine_are_let_through() -> None:
    made = plan("security: {encryption_in_transit: true}")
    assert not refused(made)
    assert not refused(made, openai_base_url=HERE)


def test_brokers_on_this_machine_with_tls_or_embedded_are_not_plain() -> None:
    assert StreamSettings(bootstrap="one.example:9092,localhost:9092,[::1]:9092").plain_servers == ("one.example:9092",)
    assert StreamSettings(bootstrap="one.example:9092", security_protocol="SSL").plain_servers == ()
    assert StreamSettings(bootstrap="one.example:9092", embedded=True).plain_servers == ()
    secret = {"sasl_username": "u", "sasl_password": "p"}
    assert StreamSettings(bootstrap="one.example:1", security_protocol="SASL_PLAINTEXT", **secret).plain_servers


def test_a_promise_to_encrypt_what_is_stored_is_refused_where_it_is_not_kept() -> None:
    made = plan("security: {encryption_at_rest: true}")
    said = refused(made, stores=True)
    assert "in plain text in topics and tables" in said
    assert "STREAM_ORCHESTRATOR__KAFKA__ENCRYPTED_DISKS=true" in said
    assert not refused(made, stores=False)


def test_a_budget_is_refused_where_calls_cost_money_unless_it_is_said_that_nobody_keeps_it() -> None:
    made = plan('cost_management: {budget_limit: "$10/month"}')
    said = refused(made)
    assert "$10/month" in said
    assert "STREAM_ORCHESTRATOR__CALLS__BUDGETS=unkept" in said
    assert not refused(made, offline=True)
    assert not refused(made, budgets="unkept")
    assert not refused(
        plan('cost_management: {budget_limit: "$10/month"}', "{name: a, type: python_task, script: '1'}")
    )
