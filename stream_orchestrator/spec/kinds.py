"""The kinds of documents and their models. A kind is one line in `KINDS`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, PlainValidator, WithJsonSchema

from stream_orchestrator.spec import quantities
from stream_orchestrator.spec.fields import (
    AlertCondition,
    PositiveSeconds,
    Seconds,
    Shift,
    Spec,
    Text,
    Texts,
    about,
    bad_value,
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
from stream_orchestrator.spec.settings import (
    Blobs,
    Calls,
    Cli,
    Email,
    Fetch,
    Files,
    Kafka,
    Scanner,
    Scripts,
    Search,
    Topics,
    Trust,
)
from stream_orchestrator.spec.testing import IntegrationTest, LoadTest, ReplayTest, TestSuite

PIPELINE, COMPONENT, CONFIG = "pipeline", "component", "config"


def _percentage(value: Any) -> float:
    number = quantities.share(value).value * 100 if isinstance(value, str) and value.endswith("%") else value
    if isinstance(number, bool) or not isinstance(number, int | float) or not 0 <= number <= 100:
        raise bad_value("must be a percentage from 0 to 100", "write `25` for a quarter")
    return float(number)


Percentage = Annotated[float, PlainValidator(_percentage), WithJsonSchema({"type": ["number", "string"]})]


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
    topics: Topics | None = about("topics that are made")
    kafka: Kafka | None = about("how the broker is reached")
    scripts: Scripts | None = about("processes that run scripts")
    calls: Calls | None = about("calls of models")
    trust: Trust | None = about("what scripts may reach")
    fetch: Fetch | None = about("what the web guard lets through")
    files: Files | None = about("files that events refer to")
    search: Search | None = about("where the web is searched")
    email: Email | None = about("how mail is sent")
    scanner: Scanner | None = about("the virus scanner")
    blobs: Blobs | None = about("where large values are kept")
    cli: Cli | None = about("the command line")


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
