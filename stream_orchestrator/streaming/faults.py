"""Kafka's errors, said in our words. The one table; a test walks aiokafka for what is missing in it.

Promise: no error of the client library passes `translated`; each becomes ours, with the next thing to do, and keeps the
original as its cause. What the table does not know is our own fault (`HouseError`): nothing is acked on its account.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from aiokafka import errors as kafka

from stream_orchestrator.errors import HouseError, MissingError, OrchestratorError, RunError, UsageError

Fault = tuple[type[OrchestratorError], str]

_UNREACHABLE: Fault = (MissingError, "is Kafka running there? --broker and KAFKA_BOOTSTRAP_SERVERS say where to look")
_NOT_LET_IN: Fault = (
    MissingError,
    "STREAM_ORCHESTRATOR__KAFKA__SECURITY_PROTOCOL, SASL_MECHANISM, SASL_USERNAME and SASL_PASSWORD say who we are",
)
_NOT_ALLOWED: Fault = (MissingError, "this user needs read, write and describe rights on our topics and groups")
_NO_TOPIC: Fault = (MissingError, "`stream-orchestrator topics apply FILE` creates the topics of a pipeline")
_TOO_WEAK: Fault = (MissingError, "fewer brokers are in sync than the topic asks for; bring the others back")
_TOO_OLD: Fault = (MissingError, "Apache Kafka 3.0 or later is needed")
_REFUSED: Fault = (MissingError, "the cluster does not take these topic settings; `topics diff` shows them")
_TOO_LARGE: Fault = (RunError, "a record may have 16 MiB; send a reference to what is larger")
_MISCONFIGURED: Fault = (UsageError, "look at the STREAM_ORCHESTRATOR__KAFKA__ settings")
_OURS: Fault = (HouseError, "")

FAULTS: dict[type[BaseException], Fault] = {
    **dict.fromkeys(
        (
            kafka.NoBrokersAvailable,
            kafka.NodeNotReadyError,
            kafka.KafkaConnectionError,
            kafka.KafkaUnavailableError,
            kafka.KafkaTimeoutError,
            kafka.RequestTimedOutError,
            kafka.MetadataEmptyBrokerList,
            kafka.StaleMetadata,
            kafka.BrokerNotAvailableError,
            kafka.ReplicaNotAvailableError,
            kafka.LeaderNotAvailableError,
            kafka.NotLeaderForPartitionError,
            kafka.NotControllerError,
            kafka.CoordinatorNotAvailableError,
            kafka.CoordinatorLoadInProgressError,
            kafka.NotCoordinatorError,
            kafka.GroupCoordinatorNotAvailableError,
            kafka.GroupLoadInProgressError,
            kafka.NotCoordinatorForGroupError,
            kafka.KafkaStorageError,
            kafka.LogDirNotFound,
            kafka.ListenerNotFound,
            kafka.ReassignmentInProgress,
        ),
        _UNREACHABLE,
    ),
    **dict.fromkeys(
        (
            kafka.AuthenticationMethodNotSupported,
            kafka.AuthenticationFailedError,
            kafka.SaslAuthenticationFailed,
            kafka.UnsupportedSaslMechanismError,
            kafka.IllegalSaslStateError,
            kafka.SecurityDisabled,
            kafka.InvalidPrincipalType,
            kafka.DelegationTokenAuthDisabled,
            kafka.DelegationTokenNotFound,
            kafka.DelegationTokenOwnerMismatch,
            kafka.DelegationTokenRequestNotAllowed,
            kafka.DelegationTokenExpired,
        ),
        _NOT_LET_IN,
    ),
    **dict.fromkeys(
        (
            kafka.TopicAuthorizationFailedError,
            kafka.GroupAuthorizationFailedError,
            kafka.ClusterAuthorizationFailedError,
            kafka.TransactionalIdAuthorizationFailed,
            kafka.DelegationTokenAuthorizationFailed,
        ),
        _NOT_ALLOWED,
    ),
    **dict.fromkeys((kafka.UnknownTopicOrPartitionError, kafka.GroupIdNotFound), _NO_TOPIC),
    **dict.fromkeys((kafka.NotEnoughReplicasError, kafka.NotEnoughReplicasAfterAppendError), _TOO_WEAK),
    **dict.fromkeys(
        (
            kafka.UnrecognizedBrokerVersion,
            kafka.IncompatibleBrokerVersion,
            kafka.UnsupportedVersionError,
            kafka.UnsupportedForMessageFormatError,
            kafka.UnsupportedCodecError,
        ),
        _TOO_OLD,
    ),
    **dict.fromkeys(
        (
            kafka.InvalidTopicError,
            kafka.InvalidPartitionsError,
            kafka.InvalidReplicationFactorError,
            kafka.InvalidReplicationAssignmentError,
            kafka.InvalidConfigurationError,
            kafka.PolicyViolationError,
            kafka.QuotaViolationError,
        ),
        _REFUSED,
    ),
    **dict.fromkeys(
        (kafka.MessageSizeTooLargeError, kafka.RecordTooLargeError, kafka.RecordListTooLargeError), _TOO_LARGE
    ),
    **dict.fromkeys((kafka.KafkaConfigurationError, kafka.InvalidSessionTimeoutError), _MISCONFIGURED),
    **dict.fromkeys(
        (
            kafka.KafkaProtocolError,
            kafka.CorrelationIdError,
            kafka.Cancelled,
            kafka.TooManyInFlightRequests,
            kafka.IllegalStateError,
            kafka.IllegalArgumentError,
            kafka.IllegalOperation,
            kafka.ConsumerStoppedError,
            kafka.ProducerClosed,
            kafka.ProducerFenced,
            kafka.CommitFailedError,
            kafka.NoOffsetForPartitionError,
            kafka.NoError,
            kafka.UnknownError,
            kafka.OffsetOutOfRangeError,
            kafka.CorruptRecordException,
            kafka.InvalidMessageError,
            kafka.InvalidFetchRequestError,
            kafka.StaleControllerEpochError,
            kafka.StaleLeaderEpochCodeError,
            kafka.OffsetMetadataTooLargeError,
            kafka.InvalidCommitOffsetSizeError,
            kafka.InvalidRequiredAcksError,
            kafka.InvalidTimestampError,
            kafka.InvalidRequestError,
            kafka.IllegalGenerationError,
            kafka.InconsistentGroupProtocolError,
            kafka.InvalidGroupIdError,
            kafka.UnknownMemberIdError,
            kafka.MemberIdRequired,
            kafka.RebalanceInProgressError,
            kafka.NonEmptyGroup,
            kafka.TopicAlreadyExistsError,
            kafka.OutOfOrderSequenceNumber,
            kafka.DuplicateSequenceNumber,
            kafka.UnknownProducerId,
            kafka.InvalidProducerEpoch,
            kafka.InvalidProducerIdMapping,
            kafka.InvalidTxnState,
            kafka.InvalidTransactionTimeout,
            kafka.ConcurrentTransactions,
            kafka.TransactionCoordinatorFenced,
            kafka.OperationNotAttempted,
            kafka.FetchSessionIdNotFound,
            kafka.InvalidFetchSessionEpoch,
        ),
        _OURS,
    ),
}


def fault_of(theirs: type[BaseException]) -> Fault:
    """What that error is to us, and the hint; what has no line of its own is our own failure."""
    return FAULTS.get(theirs, _OURS)


def translate(error: Exception, *, bootstrap: str) -> OrchestratorError:
    """That error in our words, with where it happened. Raise it `from` the original."""
    if isinstance(error, kafka.KafkaConnectionError | kafka.NodeNotReadyError):
        return unreachable(bootstrap)  # their own words name nodes and address families, not what to do
    ours, hint = fault_of(type(error))
    said = str(error) or type(error).__name__
    return ours(f"Kafka at {bootstrap}: {said}", hint=hint)


@contextmanager
def translated(bootstrap: str) -> Iterator[None]:
    """Errors of the client library inside become ours; a time-out inside is a broker that does not answer."""
    try:
        yield
    except (kafka.KafkaError, kafka.ConsumerStoppedError, kafka.IllegalOperation) as fault:
        raise translate(fault, bootstrap=bootstrap) from fault
    except (TimeoutError, OSError) as fault:
        raise unreachable(bootstrap) from fault


def unreachable(bootstrap: str) -> OrchestratorError:
    """Nobody answers there."""
    ours, hint = _UNREACHABLE
    return ours(f"no Kafka answers at {bootstrap}", hint=hint)
