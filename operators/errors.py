"""Every error Lookout raises on purpose, as one tree.

    LookoutError
    ├── SettingsError            a key, value or flag the user gave is wrong                (exit code 2)
    ├── SourceError              a camera or file cannot be opened or read      retriable
    │   ├── SourceTimeout        it accepted and then sent nothing              retriable
    │   └── UnsupportedSource    nothing in it that Lookout can see or hear
    ├── MediaError               a segment that does not decode
    ├── CodecError               bytes that are not the record they claim to be
    ├── LethalRecord             what killed the process, again and again, is not tried any more
    ├── BundleError              a model bundle that is incomplete, altered or does not fit (exit code 2)
    ├── BackendError             an inference engine that cannot load or run a graph
    ├── LogError                 the log cannot be read or written
    │   ├── LogUnavailable       it may be there again soon                     retriable
    │   ├── Fenced               another member owns the partitions now         retriable
    │   └── RecordTooLarge       larger than the topic takes
    ├── StorageError             evidence cannot be put or read where it is kept    retriable
    └── DeliveryError            an alert did not reach its receiver            retriable
        └── DeliveryRefused      and trying again cannot help
            └── ReceiverGone     for this alert nor for any other

The worker decides from the class attribute `retriable` alone: a retriable error is tried again, any
other sends its record to the stage's dead-letter topic. A message names the field, camera or offset
and never carries a credential.
"""

from __future__ import annotations

from collections.abc import Iterator


class LookoutError(Exception):
    """Root of the tree; catching it catches every error Lookout raises on purpose."""

    retriable = False


class SettingsError(LookoutError):
    """A configuration key, value or command-line argument is wrong; the message names it."""


class SourceError(LookoutError):
    """A camera or file cannot be opened or read at this moment."""

    retriable = True


class SourceTimeout(SourceError):
    """The source accepted the connection and then sent nothing within the read timeout."""


class UnsupportedSource(SourceError):
    """The source holds no stream that Lookout can see or hear; trying again cannot help."""

    retriable = False


class MediaError(LookoutError):
    """A segment's media cannot be read or decoded."""


class CodecError(LookoutError):
    """Bytes from a topic are not the record they claim to be, or of a version not known here."""


class LethalRecord(LookoutError):
    """A record that kills every process which has it in hand."""


class BundleError(LookoutError):
    """A model bundle is incomplete, altered, or does not fit this version of Lookout."""


class BackendError(LookoutError):
    """An inference engine cannot load or run a graph."""


class LogError(LookoutError):
    """The log cannot be read or written."""


class LogUnavailable(LogError):
    """The log is busy or out of reach; it may answer again soon."""

    retriable = True


class Fenced(LogError):
    """The transaction's consumer no longer owns the partitions it wants to commit."""

    retriable = True


class RecordTooLarge(LogError):
    """The record is larger than its topic takes."""


class StorageError(LookoutError):
    """The place where evidence is kept cannot be read or written."""

    retriable = True


class DeliveryError(LookoutError):
    """An alert did not reach its receiver; it is tried again on schedule."""

    retriable = True

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s  # how long the receiver asked to be left alone


class DeliveryRefused(DeliveryError):
    """The receiver cannot ever take this alert (gone, forbidden address, malformed)."""

    retriable = False


class ReceiverGone(DeliveryRefused):
    """The receiver says that it wants no alerts any more."""


def every_kind(root: type[LookoutError] = LookoutError) -> Iterator[type[LookoutError]]:
    """The classes of the tree, each once."""
    yield root
    for kind in root.__subclasses__():
        yield from every_kind(kind)
