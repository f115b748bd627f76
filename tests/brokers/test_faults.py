"""Every error of the client library has a place in ours."""

from __future__ import annotations

import inspect

import aiokafka.errors
import pytest

from stream_orchestrator.errors import HouseError, MissingError, OrchestratorError, RunError
from stream_orchestrator.streaming.faults import FAULTS, translate, translated

# The roots say nothing by themselves; what is raised is always below them.
ROOTS = {aiokafka.errors.KafkaError, aiokafka.errors.BrokerResponseError}
THEIRS = sorted(
    {
        member
        for _, member in inspect.getmembers(aiokafka.errors, inspect.isclass)
        if issubclass(member, Exception) and member.__module__ == "aiokafka.errors"
    }
    - ROOTS,
    key=lambda member: member.__name__,
)


def test_the_walk_over_the_library_finds_its_errors() -> None:
    assert len(THEIRS) > 90


@pytest.mark.parametrize("theirs", THEIRS, ids=lambda theirs: theirs.__name__)
def test_no_kafka_error_reaches_a_user_as_a_stranger(theirs: type[Exception]) -> None:
    assert theirs in FAULTS, f"{theirs.__name__} has no line in streaming/faults.py"
    ours, hint = FAULTS[theirs]
    assert issubclass(ours, OrchestratorError)
    assert hint or ours is HouseError


def test_a_refused_connection_is_missing_and_says_where() -> None:
    theirs = aiokafka.errors.KafkaConnectionError("Unable to bootstrap from [('a', 1, <AddressFamily.AF_INET: 2>)]")
    error = translate(theirs, bootstrap="a:1")
    assert isinstance(error, MissingError)
    assert str(error) == "no Kafka answers at a:1"
    assert "--broker" in error.hint


def test_a_record_that_is_too_large_concerns_its_run_alone() -> None:
    assert isinstance(translate(aiokafka.errors.MessageSizeTooLargeError(), bootstrap="a:1"), RunError)


def test_what_the_table_does_not_know_is_our_own_failure_so_nothing_is_acked() -> None:
    class NewInTheNextRelease(aiokafka.errors.BrokerResponseError):
        errno = 9999
        message = "NEW"

    with pytest.raises(HouseError) as caught, translated("a:1"):
        raise NewInTheNextRelease
    assert isinstance(caught.value.__cause__, NewInTheNextRelease)


@pytest.mark.parametrize("theirs", [TimeoutError, ConnectionRefusedError])
def test_silence_is_a_broker_that_is_not_there(theirs: type[Exception]) -> None:
    with pytest.raises(MissingError, match="no Kafka answers at a:1"), translated("a:1"):
        raise theirs
