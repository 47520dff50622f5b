"""Every error that jobctl raises on purpose, each with its exit code.

::

    JobctlError                     1  something went wrong
      UsageError                    2  the call itself is wrong
        ProcessorError              2  a processor module or handler is not usable
      NotFoundError                 3  no such chain or job
      ConflictError                 4  the state of the chain does not allow it
        AlreadySettledError         4  somebody else settled the job first
        GuardError                  4  the chain is not at the step that was expected
        BlockedError                4  the job still waits for other chains
        DuplicateIdError            4  the id is taken
        DuplicateKeyError           4  the key is taken
        NotWaitingError             4  the job is neither scheduled nor ready
        NotFailedError              4  the job has not failed
        NotReadyError               4  the job cannot be worked now
        ReferencedError             4  others wait for the chain
        AttemptLostError            4  the attempt no longer holds its job
      InvalidDataError              5  input or output is not acceptable
      SchemaError                   6  the database's schema does not fit this version
        SchemaOutdatedError         6  migrate the database first
        SchemaTooNewError           6  update jobctl first
      UnsuccessfulError             8  the answer is no
      TryAgainError                75  nothing is wrong with the call; try again later
        DatabaseUnavailableError   75  the database cannot be reached
        LockTimeoutError           75  somebody else holds what is needed
      WaitTimeoutError            124  the time given ran out

The message is one sentence that says what is wrong and, where there is something to do, what.
Facts that a caller can act on are attributes, never only in the text.
"""

from __future__ import annotations

from typing import ClassVar


class JobctlError(Exception):
    """The root of all errors that jobctl raises on purpose."""

    exit_code: ClassVar[int] = 1

    @property
    def details(self) -> dict[str, object]:
        """The attributes of this error, for ``--json``."""
        return dict(vars(self))


class UsageError(JobctlError):
    """The call itself is wrong: an argument, an option or the configuration."""

    exit_code = 2


class ProcessorError(UsageError):
    """A processor module cannot be loaded, or a handler's signature is not one of the known modes."""


class NotFoundError(JobctlError):
    """There is no chain or job with this id."""

    exit_code = 3

    def __init__(self, message: str, *, id: str) -> None:  # noqa: A002 - the field's name everywhere
        super().__init__(message)
        self.id = id


class ConflictError(JobctlError):
    """The chain's state does not allow what was asked; nothing was changed."""

    exit_code = 4


class AlreadySettledError(ConflictError):
    """The job is not its chain's current one any more, or the chain is closed."""

    def __init__(self, message: str, *, id: str, chain_id: str, status: str) -> None:  # noqa: A002 - as above
        super().__init__(message)
        self.id = id
        self.chain_id = chain_id
        self.status = status


class GuardError(ConflictError):
    """The chain's current job is not of the type that the caller expected."""

    def __init__(self, message: str, *, chain_id: str, expected: str, current: str) -> None:
        super().__init__(message)
        self.chain_id = chain_id
        self.expected = expected
        self.current = current


class BlockedError(ConflictError):
    """The job still waits for other chains."""

    def __init__(self, message: str, *, id: str, waits_for: list[str]) -> None:  # noqa: A002 - as above
        super().__init__(message)
        self.id = id
        self.waits_for = waits_for


class DuplicateIdError(ConflictError):
    """A chain or job with this id exists already."""

    def __init__(self, message: str, *, id: str | None = None) -> None:  # noqa: A002 - as above
        super().__init__(message)
        self.id = id


class DuplicateKeyError(ConflictError):
    """A chain with this key exists already, and the caller did not want it in the new one's place."""

    def __init__(self, message: str, *, id: str, key: str) -> None:  # noqa: A002 - as above
        super().__init__(message)
        self.id = id
        self.key = key


class NotWaitingError(ConflictError):
    """The job is neither scheduled nor ready: it cannot be moved in time."""

    def __init__(self, message: str, *, id: str, status: str) -> None:  # noqa: A002 - as above
        super().__init__(message)
        self.id = id
        self.status = status


class NotFailedError(ConflictError):
    """The job has not failed: it needs no other round of attempts."""

    def __init__(self, message: str, *, id: str, status: str) -> None:  # noqa: A002 - as above
        super().__init__(message)
        self.id = id
        self.status = status


class NotReadyError(ConflictError):
    """The job cannot be worked now: it is running, failed, paused, or not due yet."""

    def __init__(self, message: str, *, id: str, status: str) -> None:  # noqa: A002 - as above
        super().__init__(message)
        self.id = id
        self.status = status


class ReferencedError(ConflictError):
    """Other chains wait for the chain."""

    def __init__(self, message: str, *, id: str, waiting: list[str]) -> None:  # noqa: A002 - as above
        super().__init__(message)
        self.id = id
        self.waiting = waiting


class AttemptLostError(ConflictError):
    """The attempt does not hold its job any more: nothing that it does is written."""

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class InvalidDataError(JobctlError):
    """An input or output is not JSON, or not what the type's processor takes."""

    exit_code = 5


class SchemaError(JobctlError):
    """The database's schema does not fit this version of jobctl."""

    exit_code = 6

    def __init__(self, message: str, *, found: int, known: int) -> None:
        super().__init__(message)
        self.found = found
        self.known = known


class SchemaOutdatedError(SchemaError):
    """The schema is missing or older than this version of jobctl needs."""


class SchemaTooNewError(SchemaError):
    """The schema was migrated by a later version of jobctl."""


class UnsuccessfulError(JobctlError):
    """The answer to the question asked is no: an awaited chain failed or was cancelled, or did not end as it should."""

    exit_code = 8

    def __init__(self, message: str, *, id: str | None, status: str | None) -> None:  # noqa: A002 - as above
        super().__init__(message)
        self.id = id
        self.status = status


class TryAgainError(JobctlError):
    """Nothing is wrong with the call; the same call can succeed later."""

    exit_code = 75


class DatabaseUnavailableError(TryAgainError):
    """The database cannot be reached, or does not let us in."""


class LockTimeoutError(TryAgainError):
    """Another transaction holds what this one needs."""


class WaitTimeoutError(JobctlError):
    """The time given ran out before the chains closed."""

    exit_code = 124

    def __init__(self, message: str, *, open: list[str]) -> None:  # noqa: A002 - the chains still open
        super().__init__(message)
        self.open = open
