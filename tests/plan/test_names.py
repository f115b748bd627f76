from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_orchestrator.plan import names
from stream_orchestrator.plan.model import RESULT, START, Plan


def a_plan(slug: str = "orders", version: str = "1.2.0") -> Plan:
    return Plan(title="Orders", slug=slug, version=version, tasks=(), hash="0123456789abcdef")


@pytest.mark.parametrize(
    ("text", "slug"),
    [
        ("Customer Data Processor", "customer-data-processor"),
        ("  A -- b__c  ", "a-b-c"),
        ("Straße Ångström Łódź", "strasse-angstrom-lodz"),
        ("v1.2.0", "v1-2-0"),
        ("Crème brûlée", "creme-brulee"),
    ],
)
def test_a_name_becomes_lower_case_words_joined_by_dashes(text, slug):
    assert names.slug(text) == slug


def test_letters_without_an_ascii_form_leave_a_hash_so_that_names_stay_apart():
    assert names.slug("数据 A") != names.slug("分析 A")
    assert names.slug("数据 A").startswith("a-")
    assert names.slug("分析") != names.slug("数据")


@given(st.text(max_size=300))
def test_a_slug_is_never_empty_never_long_and_holds_only_what_topics_may(text):
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", names.slug(text))
    assert len(names.slug(text)) <= names.MAX_SLUG


@given(
    st.text(alphabet="abcdefghij", min_size=101, max_size=140),
    st.text(alphabet="abcdefghij", min_size=101, max_size=140),
)
def test_long_names_with_the_same_beginning_get_different_slugs(one, other):
    one, other = "x" * 95 + one, "x" * 95 + other
    assert (names.slug(one) == names.slug(other)) == (one == other)


@given(st.text(max_size=60))
def test_a_slug_is_its_own_slug(text):
    assert names.slug(names.slug(text)) == names.slug(text)


def test_topics_of_a_version_hold_slug_version_and_hash():
    plan = a_plan()
    assert names.version_id(plan) == "orders.1-2-0-01234567"
    assert names.inbox("dev-", plan, "score") == "dev-orders.1-2-0-01234567.score"
    assert names.app_id("dev-", plan) == "dev-orders.1-2-0-01234567"


def test_no_task_can_have_the_inbox_or_the_table_of_the_house():
    plan = a_plan()
    ours = {names.inbox("", plan, START), names.inbox("", plan, RESULT), names.table_topic("", plan)}
    theirs = {
        names.inbox("", plan, names.task_slug(name)) for name in ("start", "result", "table", ":start", "Result!")
    }
    assert len(ours) == 3
    assert not ours & theirs


@pytest.mark.parametrize("made", [names.input_topic, names.results_topic, names.dlq_topic, names.ingest_topic])
def test_the_prefix_stands_before_every_topic_of_a_pipeline(made):
    assert made("staging.", "orders").startswith("staging.orders.")


def test_topics_of_the_house_begin_with_its_name():
    found = [
        names.calls_topic("p-", "openai"),
        names.answers_topic("p-", "openai"),
        names.plans_topic("p-"),
        names.audit_topic("p-"),
        names.house_dlq_topic("p-"),
    ]
    assert len(set(found)) == 5
    assert all(topic.startswith("p-orchestrator.") for topic in found)
