"""The errors of the service, and nothing about HTTP.

Each class has a stable `code`; the one table from class to status stands in `api.errors`.

    EmbedderError
    ├── InvalidInput          the caller's text, field or number is wrong
    │   └── EmptyInput        there is nothing to embed (some dialects give it a status of its own)
    ├── ModelNotFound         the request names a model that is not served
    ├── Overloaded            refused at the door, before any work; carries when to come back
    ├── Unavailable           starting, draining or failed; carries when to come back
    ├── DeadlineExceeded      the request's time passed, waiting or running
    ├── Cancelled             the caller has gone
    ├── EncodingFailed        the forward pass failed for this text alone
    │   ├── OutOfMemory       a forward pass did not fit the device
    │   └── NonFiniteOutput   the vector held NaN or infinity, in fp32 too
    └── StartupFailed         the process cannot serve; its `reason` goes to the termination log
        ├── DeviceUnavailable a device was asked for and is not there
        ├── ModelLoadFailed   a folder is not a model we can load, or a file is broken
        ├── ModelMissing      no such model on the hub, or a file is not in the offline cache
        ├── ModelDownloadFailed  the hub is down or the transfer broke
        └── ModelGated        the hub refuses: a licence must be accepted or a token given
"""

from typing import ClassVar


class EmbedderError(Exception):
    """Anything this service refuses or fails to do, told so that a person can act on it."""

    code: ClassVar[str] = "error"

    def __init__(
        self,
        message: str,
        *,
        field: str | None = None,
        limit: float | str | None = None,
        value: object = None,
        index: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.limit = limit
        self.value = value
        self.index = index


class InvalidInput(EmbedderError):
    """The request is wrong in a way its sender can mend."""

    code = "invalid_input"


class EmptyInput(InvalidInput):
    """There is no text at all."""

    code = "empty_input"


class ModelNotFound(EmbedderError):
    """The request names a model that this service does not hold."""

    code = "model_not_found"


class Overloaded(EmbedderError):
    """Refused before any work was done; `retry_after` seconds is when room is expected."""

    code = "overloaded"

    def __init__(
        self, message: str, *, reason: str, retry_after: float, limit: float | None = None
    ) -> None:
        super().__init__(message, limit=limit)
        self.reason = reason
        self.retry_after = retry_after


class Unavailable(EmbedderError):
    """The service is starting, draining or failed."""

    code = "unavailable"

    def __init__(self, message: str, *, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class DeadlineExceeded(EmbedderError):
    """The time the request had is over."""

    code = "deadline_exceeded"


class Cancelled(EmbedderError):
    """The caller went away; nobody reads the answer."""

    code = "cancelled"


class EncodingFailed(EmbedderError):
    """The forward pass raised for this text; its batch mates are not touched."""

    code = "encoding_failed"


class OutOfMemory(EncodingFailed):
    """The device could not hold this pass, not even for one text alone."""

    code = "out_of_memory"


class NonFiniteOutput(EncodingFailed):
    """The model answered NaN or infinity, in fp32 as well."""

    code = "non_finite_output"


class StartupFailed(EmbedderError):
    """The process cannot serve. `reason` is the word the operator reads."""

    code = "startup_failed"
    reason: ClassVar[str] = "StartupFailed"


class DeviceUnavailable(StartupFailed):
    """A device was asked for by name and is not usable here."""

    reason = "DeviceUnavailable"


class ModelLoadFailed(StartupFailed):
    """The folder or its weights are not a model this service can load."""

    reason = "ModelLoadFailed"


class ModelMissing(StartupFailed):
    """No model of that name or revision, or a file is missing from the offline cache."""

    reason = "ModelNotFound"


class ModelDownloadFailed(StartupFailed):
    """The hub could not be reached or the transfer broke."""

    reason = "ModelDownloadFailed"


class ModelGated(StartupFailed):
    """The hub refuses this model without a token or an accepted licence."""

    reason = "ModelGated"
