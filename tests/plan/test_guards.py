"""`privacy_settings` and `security` in the plan, and what cannot go together."""

from __future__ import annotations

import pytest

from stream_orchestrator.plan.codec import from_json, to_json
from stream_orchestrator.plan.compile import compile_document, examine
from stream_orchestrator.plan.model import Guards
from stream_orchestrator.spec.loader import load_text
from stream_orchestrator.spec.problems import errors_in
from stream_orchestrator.streaming.provisioning import Existing, Profile, _judge
from stream_orchestrator.streaming.settings import StreamSettings
from stream_orchestrator.streaming.topic_kinds import topic_spec

TASKS = "tasks: [{name: a, type: python_task, script: return 1}]\n"
DAY_MS = 86_400_000


def errors(text: str) -> list[tuple[str, int]]:
    [located] = load_text(text + TASKS)
    return [(problem.rule, problem.line) for problem in errors_in(examine(located)[1])]


def test_the_plan_knows_what_was_said_of_its_data_and_its_bytes_keep_it() -> None:
    text = (
        "privacy_settings: {data_residency: eu, retention_period: 90 days, anonymization: true, audit_trail: true}\n"
        "security: {encryption_in_transit: true}\n"
    )
    [located] = load_text(text + TASKS)
    plan = compile_document(located)
    assert plan.guards == Guards(anonymize=True, residency="EU", retention=90 * 86_400.0, tls=True)
    assert from_json(to_json(plan)) == plan


def test_another_promise_is_another_version() -> None:
    [plain], [careful] = load_text(TASKS), load_text(f"privacy_settings: {{anonymization: true}}\n{TASKS}")
    assert compile_document(plain).hash != compile_document(careful).hash


def test_a_file_beside_anonymization_is_an_error_at_the_file() -> None:
    text = "privacy_settings: {anonymization: true}\ninput_variables:\n  doc: {type: file}\n"
    assert errors(text) == [("file-not-anonymized", 3)]


def test_events_may_not_go_before_their_run_could_end() -> None:
    assert errors('privacy_settings: {retention_period: "1 hour"}\n') == [("retention-too-short", 1)]
    assert errors('privacy_settings: {retention_period: "1 hour"}\ntimeout: "10 minutes"\n') == []


@pytest.mark.parametrize("value", ["{data_residency: [EU]}", "{anonymization: perhaps}", "{retention: 3}", "yes"])
def test_what_nobody_can_mean_is_told(value: str) -> None:
    assert errors(f"privacy_settings: {value}\n")


@pytest.mark.parametrize(
    ("kept", "state"), [(str(DAY_MS), "present"), (str(2 * DAY_MS), "kept_too_long"), ("-1", "kept_too_long")]
)
def test_a_topic_that_keeps_more_than_was_promised_stops_the_start(kept: str, state: str) -> None:
    spec = topic_spec("results", "a.results", partitions=1, retention=86_400.0)
    found = Existing(partitions=1, replication=1, config={**spec.config, "retention.ms": kept})
    judged = _judge(spec, found, settings=StreamSettings(bootstrap="b:1"), profile=Profile())
    assert judged.state == state
    assert ("retention.ms=86400000" in judged.mend) == (state == "kept_too_long")
