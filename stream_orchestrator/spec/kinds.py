"""The kinds of documents and their models. A kind is one line in `KINDS`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, PlainValidator, WithJsonSchema

from stream_orchestrator.spec import quantities
from stream_orchestrator.spec.fields import (
    AlertCondition,
    Bound,
    PositiveSeconds,
    RateAmount,
    Seconds,
    Shift,
    Spec,
    Text,
    Texts,
    about,
    bad_value,
    kind_name,
    needed,
)
from stream_orchestrator.spec.pipeline import (
    Alerting,
    CacheStrategy,
    CacheSwitch,
    Component,
    CostManagement,
    Header,
    Logging,
    ModelStrategy,
    ModelTier,
    Monitoring,
    Pipeline,
    ResourceManagement,
    Security,
    Version,
)

PIPELINE, COMPONENT, CONFIG = "pipeline", "component", "config"


def _positive(value: int) -> int:
    if value < 1:
        raise bad_value("must be at least 1", "write a whole number above zero")
    return value


def _percentage(value: Any) -> float:
    number = quantities.share(value).value * 100 if isinstance(value, str) and value.endswith("%") else value
    if isinstance(number, bool) or not isinstance(number, int | float) or not 0 <= number <= 100:
        raise bad_value("must be a percentage from 0 to 100", "write `25` for a quarter")
    return float(number)


def _step(value: Any) -> Any:
    """A step is a name, or a map of one name to what it is given."""
    named = isinstance(value, dict) and len(value) == 1
    if not named and not (isinstance(value, str) and value.strip()):
        got = f"a map of {len(value)} keys" if isinstance(value, dict) else kind_name(value)
        raise bad_value(
            f"must be a name, or a name with what it is given, not {got}", "write `- name` or `- name: value`"
        )
    return value


Positive = Annotated[int, AfterValidator(_positive)]
Percentage = Annotated[float, PlainValidator(_percentage), WithJsonSchema({"type": ["number", "string"]})]
Step = Annotated[
    str | dict[str, Any], PlainValidator(_step), WithJsonSchema({"type": ["string", "object"], "maxProperties": 1})
]


class CaseValidation(Spec):
    """Bounds of one test."""

    noun: ClassVar[str] = "`validation` of a test"

    response_time: Bound | None = about('"< 30 seconds"')
    memory_usage: Bound | None = about('"< 1GB"')


class TestCase(Spec):
    """One test of a suite."""

    noun: ClassVar[str] = "a test"
    __test__ = False  # not a test of pytest's

    name: Text = needed("its name")
    description: str | None = about("what it shows")
    input: dict[str, Any] | None = about("the event")
    expected_output: Any = about("a part of the output; values may be comparisons")
    expected_error: Text | None = about("the type of the error")
    error_message: Text | None = about("text that the error's message holds")
    validation: CaseValidation | None = about("bounds")
    mocks: Any = about("answers of models and helpers")


class TestSuite(Header):
    """Tests of one pipeline."""

    noun: ClassVar[str] = "a test suite"
    __test__ = False

    type: Literal["test_suite"] = needed("`test_suite`")
    pipeline: Text | None = about("which pipeline; default: the one that the suite's name holds")
    tests: list[TestCase] = needed("the tests", min_length=1)


class IntegrationCase(Spec):
    """One test with services around it."""

    noun: ClassVar[str] = "an integration test"

    name: Text = needed("its name")
    description: str | None = about("what it shows")
    pipeline: Text = needed("which pipeline")
    inputs: dict[str, Any] | None = about("the event")
    validate_: list[Step] | None = about("what must hold afterwards, each a name and a value", alias="validate")


class IntegrationTest(Header):
    """Tests with setup and teardown."""

    noun: ClassVar[str] = "an integration test"

    type: Literal["integration_test"] = needed("`integration_test`")
    setup: list[Step] | None = about("steps before, each a helper function")
    tests: list[IntegrationCase] = needed("the tests", min_length=1)
    teardown: list[Step] | None = about("steps after")


class Scenario(Spec):
    """One load."""

    noun: ClassVar[str] = "a test scenario"

    name: Text = needed("its name")
    concurrent_users: Positive = needed("how many at once")
    duration: PositiveSeconds = needed("how long")
    ramp_up_time: Seconds | None = about("how long until all are there")
    target_throughput: RateAmount | None = about('"5 requests/second"')
    acceptable_error_rate: Bound | None = about('"< 5%"')


class LoadValidation(Spec):
    """Bounds under load."""

    noun: ClassVar[str] = "`validation` of a load test"

    response_time_p95: Bound | None = about('"< 60 seconds"')
    error_rate: Bound | None = about('"< 1%"')
    memory_usage: Bound | None = about('"< 2GB"')
    cpu_usage: Bound | None = about('"< 80%"')


class LoadTest(Header):
    """What the pipeline bears."""

    noun: ClassVar[str] = "a load test"

    type: Literal["load_test"] = needed("`load_test`")
    pipeline: Text | None = about("which pipeline; default: the one that the test's name holds")
    test_scenarios: list[Scenario] = needed("the loads", min_length=1)
    validation: LoadValidation | None = about("bounds")


class ReplayTest(Header):
    """Recorded runs, run again."""

    noun: ClassVar[str] = "a replay test"

    type: Literal["replay_test"] = needed("`replay_test`")
    pipeline: Text | None = about("which pipeline")
    runs: Any = about("the recorded runs")


class Config(Spec):
    """Settings of an environment."""

    noun: ClassVar[str] = "a config"

    name: Text | None = about("what it configures")
    type: Literal["config"] | None = about("`config`, or nothing")
    description: str | None = about("what it is for")
    extends: Text | None = about("the file it builds on")
    monitoring: Monitoring | None = about("what is watched")
    model_settings: ModelStrategy | None = about("which models answer")
    model_strategy: ModelStrategy | None = about("which models answer")
    model_tier_strategy: dict[str, ModelTier] | None = about("models by price and quality")
    cost_management: CostManagement | None = about("money")
    cache: CacheSwitch | None = about("the cache")
    cache_strategy: CacheStrategy | None = about("defaults of caching")
    logging: Logging | None = about("how much is logged")
    alerting: Alerting | None = about("who is told")
    security: Security | None = about("how data is kept")
    resource_management: ResourceManagement | None = about("what may be used")
    channels: dict[str, Any] | None = about("how channels are reached")
    topics: dict[str, Any] | None = about("topics: prefix, partitions")
    calls: dict[str, Any] | None = about("calls of models")
    trust: dict[str, Any] | None = about("what scripts may reach")
    fetch: dict[str, Any] | None = about("what the web guard lets through")
    scanner: dict[str, Any] | None = about("the virus scanner")


class Environment(Spec):
    """One of the two sides of a deployment."""

    noun: ClassVar[str] = "an environment"

    pipeline_version: Version = needed("the version that serves it")
    traffic_percentage: Percentage = needed("its part of the traffic")
    health_check: Text | None = about("where its health is asked")


class Environments(Spec):
    """Both sides."""

    noun: ClassVar[str] = "`environments`"

    blue: Environment = needed("the one that serves")
    green: Environment = needed("the one that comes")


DEPLOYMENT_STEPS = (
    "deploy_to_green",
    "run_smoke_tests",
    "gradual_traffic_shift",
    "monitor_metrics",
    "rollback_if_issues_detected",
)


class ShiftStep(Spec):
    """`gradual_traffic_shift`."""

    gradual_traffic_shift: list[Shift] = needed("the steps", min_length=1)


class WatchStep(Spec):
    """`monitor_metrics`."""

    monitor_metrics: list[Text] = needed("the metrics", min_length=1)


def _deployment_step(value: Any) -> Any:
    name = next(iter(value), "") if isinstance(value, dict) and len(value) == 1 else value
    if not isinstance(name, str) or name not in DEPLOYMENT_STEPS:
        raise bad_value("is no step of a deployment", f"use {', '.join(f'`{step}`' for step in DEPLOYMENT_STEPS)}")
    return value


def _step_model(value: Any) -> Any:
    models: dict[str, type[Spec]] = {"gradual_traffic_shift": ShiftStep, "monitor_metrics": WatchStep}
    model = models.get(next(iter(value))) if isinstance(value, dict) else None
    return model.model_validate(value) if model else value


DeploymentStep = Annotated[
    str | dict[str, Any],
    PlainValidator(lambda value: _step_model(_deployment_step(value))),
    WithJsonSchema({"anyOf": [{"enum": list(DEPLOYMENT_STEPS)}, {"type": "object", "maxProperties": 1}]}),
]


class Deployment(Header):
    """How a version takes over."""

    noun: ClassVar[str] = "a deployment"

    type: Literal["deployment"] | None = about("`deployment`, or nothing")
    strategy: Literal["blue_green"] = needed("`blue_green`")
    pipeline: Text | None = about("which pipeline; default: the one that the deployment's name holds")
    environments: Environments = needed("the two sides")
    deployment_process: list[DeploymentStep] | None = about("what is done, in order")


class HealthCheck(Spec):
    """One question about health."""

    noun: ClassVar[str] = "a health check"

    name: Text = needed("its name")
    endpoint: Text | None = about("where it is asked")
    checks: list[Text] | None = about("what is asked")
    frequency: PositiveSeconds | None = about("how often")
    timeout: PositiveSeconds | None = about("how long an answer may take")


class Alert(Spec):
    """When somebody is told."""

    noun: ClassVar[str] = "an alert"

    name: Text = needed("its name")
    condition: AlertCondition = needed('"error_rate > 5%"')
    duration: Seconds | None = about("how long it must hold")
    severity: Literal["critical", "error", "warning", "info"] | None = about("how bad it is")
    channels: Texts | None = about("who is told")
    description: str | None = about("what to do then")


class Dashboard(Spec):
    """One page of metrics."""

    noun: ClassVar[str] = "a dashboard"

    name: Text = needed("its name")
    metrics: list[Text] = needed("what it shows", min_length=1)


class MonitoringDocument(Header):
    """What is watched, and who is told."""

    noun: ClassVar[str] = "a monitoring document"

    type: Literal["monitoring"] | None = about("`monitoring`, or nothing")
    pipeline: Text | None = about("which pipeline; default: the one that the document's name holds")
    health_checks: list[HealthCheck] | None = about("questions about health")
    alerts: list[Alert] | None = about("when somebody is told")
    dashboards: list[Dashboard] | None = about("pages of metrics")


class Functions(Header):
    """Helper functions for scripts."""

    noun: ClassVar[str] = "a functions list"

    type: Literal["functions"] | None = about("`functions`, or nothing")
    functions: Texts = needed("files or modules")


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of document; one of `telling_keys` at the top tells it where `type` does not."""

    name: str
    model: type[BaseModel]
    telling_keys: tuple[str, ...] = ()


KINDS = (
    Kind(PIPELINE, Pipeline),
    Kind(COMPONENT, Component),
    Kind("test_suite", TestSuite),
    Kind("integration_test", IntegrationTest),
    Kind("load_test", LoadTest),
    Kind("replay_test", ReplayTest),
    Kind(CONFIG, Config),
    Kind("deployment", Deployment, ("strategy",)),
    Kind("monitoring", MonitoringDocument, ("alerts", "health_checks", "dashboards")),
    Kind("functions", Functions, ("functions",)),
)
BY_NAME = {kind.name: kind for kind in KINDS}
