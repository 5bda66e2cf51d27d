"""What goes wrong at a Kafka cluster, in the words of the log's contract."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from kafka import errors

from operators.errors import Fenced, LogError, LogUnavailable, RecordTooLarge

_WRITER_GONE = (errors.ProducerFencedError, errors.InvalidProducerEpochError)

# The first row that fits decides; kafka-python marks by `retriable` what may pass by itself.
_MEANING: tuple[tuple[tuple[type[BaseException], ...], type[LogError], str], ...] = (
    (_WRITER_GONE, Fenced, "a newer process writes under this name, or the cluster gave up waiting"),
    ((errors.CommitFailedError, errors.IllegalGenerationError, errors.UnknownMemberIdError,
      errors.RebalanceInProgressError, errors.FencedInstanceIdError), Fenced, "the group has moved on"),
    ((errors.SaslAuthenticationFailedError, errors.UnsupportedSaslMechanismError, errors.IllegalSaslStateError),
     LogError, "the cluster refuses our credentials"),
    ((errors.AuthorizationError,), LogError, "the cluster does not allow it"),
    ((errors.MessageSizeTooLargeError, errors.RecordListTooLargeError), RecordTooLarge,
     "larger than the topic takes"),
    ((errors.UnknownTopicOrPartitionError,), LogError, "there is no such topic"),
    ((errors.RetriableError, OSError), LogUnavailable, "the cluster does not answer"),
    ((errors.BrokerResponseError, errors.KafkaConfigurationError), LogError, "the cluster refuses"),
    ((errors.KafkaError,), LogUnavailable, "the cluster does not answer as it should"),
)


def translated(error: BaseException, what: str) -> LogError | None:
    """The contract's error for one that `what` met; None where it is none of Kafka's."""
    error = _innermost(error)
    for kinds, meaning, reason in _MEANING:
        if isinstance(error, kinds):
            return meaning(f"{what}: {reason} ({_told(error)})")
    return None


def is_writer_gone(error: BaseException | None) -> bool:
    """Whether this is why nothing can be written under the name any more."""
    return error is not None and isinstance(_innermost(error), _WRITER_GONE)


@contextmanager
def translating(what: str) -> Iterator[None]:
    """Raise the contract's errors instead of Kafka's; `what` begins their message."""
    try:
        yield
    except (errors.KafkaError, OSError) as error:
        if meant := translated(error, what):
            raise meant from error
        raise


def _innermost(error: BaseException) -> BaseException:
    """kafka-python hands the reason of a producer's end as an argument of the error that follows from it."""
    return next((item for item in error.args if isinstance(item, errors.KafkaError)), error)


def _told(error: BaseException) -> str:
    """The error in one line, its type once."""
    name, text = type(error).__name__, " ".join(str(error).split())
    return text if text.startswith(name) else f"{name}: {text}" if text else name
