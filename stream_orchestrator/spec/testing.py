"""The models of test documents: suites, integration tests, load tests, replays."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, PlainValidator, WithJsonSchema

from stream_orchestrator.spec.fields import (
    Bound,
    PositiveSeconds,
    RateAmount,
    Seconds,
    Spec,
    Text,
    Texts,
    about,
    bad_value,
    is_template,
    kind_name,
    needed,
)
from stream_orchestrator.spec.pipeline import Header

STATUSES = ("succeeded", "degraded", "failed", "rejected")
Status = Literal["succeeded", "degraded", "failed", "rejected"]


def _positive(value: int) -> int:
    if value < 1:
        raise bad_value("must be at least 1", "write a whole number above zero")
    return value


def _step(value: Any) -> Any:
    """A step is a name, or a map of one name to what it is given."""
    named = isinstance(value, dict) and len(value) == 1
    if not named and not (isinstance(value, str) and value.strip()):
        got = f"a map of {len(value)} keys" if isinstance(value, dict) else kind_name(value)
        raise bad_value(
            f"must be a name, or a name with what it is given, not {got}", "write `- name` or `- name: value`"
        )
    return value


def _event(value: Any) -> Any:
    if not isinstance(value, dict) and not is_template(value):
        raise bad_value(f"must be a map, not {kind_name(value)}", 'write a map, or a template: "{{ tickets.first }}"')
    return value


def _rate_above_zero(value: Any) -> Any:
    if value is not None and value.base <= 0:
        raise bad_value("sends nothing", 'write a rate above zero, such as "5 requests/second"')
    return value


Event = Annotated[dict[str, Any] | str, PlainValidator(_event), WithJsonSchema({"type": ["object", "string"]})]
Positive = Annotated[int, AfterValidator(_positive)]
Throughput = Annotated[RateAmount, AfterValidator(_rate_above_zero)]
Step = Annotated[
    str | dict[str, Any], PlainValidator(_step), WithJsonSchema({"type": ["string", "object"], "maxProperties": 1})
]
MOCKS = "answers of models and helpers by name, instead of the real ones"
FUNCTIONS = "files or modules of helper functions, for steps, checks and scripts"


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
    input: Event | None = about("the event")
    expected_output: Any = about("a part of the output; values may be comparisons")
    expected_status: Status | None = about("how the run ends; default: without an error")
    expected_error: Text | None = about("the type of the error")
    error_message: Text | None = about("text that the error's message holds")
    validation: CaseValidation | None = about("bounds")
    mocks: dict[str, Any] | None = about(MOCKS)


class TestSuite(Header):
    """Tests of one pipeline."""

    noun: ClassVar[str] = "a test suite"
    __test__ = False

    type: Literal["test_suite"] = needed("`test_suite`")
    pipeline: Text | None = about("which pipeline; default: the one whose name the file's or the suite's name holds")
    functions: Texts | None = about(FUNCTIONS)
    mocks: dict[str, Any] | None = about(f"{MOCKS}, in every test")
    tests: list[TestCase] = needed("the tests", min_length=1)


class IntegrationCase(Spec):
    """One test with services around it."""

    noun: ClassVar[str] = "an integration test"

    name: Text = needed("its name")
    description: str | None = about("what it shows")
    pipeline: Text | None = about("which pipeline; default: the one whose name the file's or the document's name holds")
    inputs: Event | None = about("the event")
    validate_: list[Step] | None = about("what must hold afterwards, each a name and a value", alias="validate")
    mocks: dict[str, Any] | None = about(MOCKS)


class IntegrationTest(Header):
    """Tests with setup and teardown."""

    noun: ClassVar[str] = "an integration test"

    type: Literal["integration_test"] = needed("`integration_test`")
    functions: Texts | None = about(FUNCTIONS)
    mocks: dict[str, Any] | None = about(f"{MOCKS}, in every test")
    setup: list[Step] | None = about("steps before, each a helper function")
    tests: list[IntegrationCase] = needed("the tests", min_length=1)
    teardown: list[Step] | None = about("steps after, whatever happened")


class Scenario(Spec):
    """One load."""

    noun: ClassVar[str] = "a test scenario"

    name: Text = needed("its name")
    concurrent_users: Positive = needed("how many at once; with `target_throughput`, how many keys the events have")
    duration: PositiveSeconds = needed("how long")
    ramp_up_time: Seconds | None = about("how long until the whole load is there")
    target_throughput: Throughput | None = about('"5 requests/second": events come at this rate, answered or not')
    acceptable_error_rate: Bound | None = about('"< 5%"; instead of `validation.error_rate`')


class LoadValidation(Spec):
    """Bounds under load."""

    noun: ClassVar[str] = "`validation` of a load test"

    response_time_p95: Bound | None = about('"< 60 seconds"')
    error_rate: Bound | None = about('"< 1%"')
    memory_usage: Bound | None = about('"< 2GB"')
    cpu_usage: Bound | None = about('"< 80%", of all cores')


class LoadTest(Header):
    """What the pipeline bears."""

    noun: ClassVar[str] = "a load test"

    type: Literal["load_test"] = needed("`load_test`")
    pipeline: Text | None = about("which pipeline; default: the one whose name the file's or the test's name holds")
    functions: Texts | None = about(FUNCTIONS)
    inputs: Any = about("the event, or a list of events that are sent in turn; default: made from `input_variables`")
    test_scenarios: list[Scenario] = needed("the loads", min_length=1)
    validation: LoadValidation | None = about("bounds")


class ReplayValidation(Spec):
    """Bounds of a replay."""

    noun: ClassVar[str] = "`validation` of a replay test"

    same_status: Bound | None = about('"== 100%" of the runs end as they did')
    same_output: Bound | None = about('">= 95%" of the runs have the output that they had')
    response_time_p95: Bound | None = about('"< 60 seconds"')
    error_rate: Bound | None = about('"< 1%"')
    cost: Bound | None = about('"<= $1", of all runs together')


class ReplayTest(Header):
    """Recorded events, run again on this version, beside what they gave then."""

    noun: ClassVar[str] = "a replay test"

    type: Literal["replay_test"] = needed("`replay_test`")
    pipeline: Text | None = about("which pipeline; default: the one whose name the file's or the test's name holds")
    functions: Texts | None = about(FUNCTIONS)
    events: Positive | None = about("how many of the last events of the input topic; default 100")
    runs: Text | None = about("a file of recorded runs instead, one `{input, result}` a line")
    ignore: list[Text] | None = about("parts of the output that are not compared, such as `draft.text`")
    validation: ReplayValidation | None = about("bounds; default: no run fails that did not fail then")
