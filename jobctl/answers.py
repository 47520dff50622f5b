"""What a handler may answer, besides an output."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NoReturn

from jobctl.model import Schedule
from jobctl.naming import Named, type_name_of


@dataclass(frozen=True, slots=True)
class Continuation:
    """What a handler returns to hand over to a successor. Made by continue_with."""

    type_name: str
    input: Any
    schedule: Schedule
    blocked_by: tuple[str, ...] = ()
    priority: int | None = None
    id: str | None = None


class Rescheduled(BaseException):
    """Raised by reschedule: the attempt ends, and the job is due at another time."""

    def __init__(self, schedule: Schedule) -> None:
        super().__init__()
        self.schedule = schedule


class GivenUp(BaseException):
    """Raised by fail: no further attempt would help, and the job waits for a person."""


class CommandFailedError(Exception):
    """Raised by a handler whose work failed outside of Python: its text, without a traceback, is the attempt's error.

    Attributes:
        again: Another attempt is asked for: this one does not use them up.
    """

    def __init__(self, message: str, *, again: bool = False) -> None:
        super().__init__(message)
        self.again = again


def continue_with(
    successor: str | Named,
    input: Any = None,  # noqa: A002 - the field's name everywhere
    *,
    after: timedelta | str | None = None,
    at: datetime | None = None,
    blocked_by: Sequence[str] = (),
    priority: int | None = None,
    id: str | None = None,  # noqa: A002 - as above
) -> Continuation:
    """What a handler returns to hand over to the next job of its chain.

    Args:
        successor: The processor or its type.
        input: Its input.
        after: A delay before it is due.
        at: The time it is due.
        blocked_by: Ids of the chains that must complete first.
        priority: Its priority; None: that of the job before it.
        id: An id of the caller's own, a UUID.
    """
    return Continuation(type_name_of(successor), input, Schedule.of(after, at), tuple(blocked_by), priority, id)


def reschedule(*, after: timedelta | str | None = None, at: datetime | None = None) -> NoReturn:
    """End this attempt and run the job again later: no error, no backoff, no attempt charged.

    What the handler wrote in the completing transaction is rolled back.
    """
    raise Rescheduled(Schedule.of(after, at))


def fail(why: str) -> NoReturn:
    """Give up for good: the job is `failed` at once, however many attempts it had left, and waits for a person.

    What the handler wrote in the completing transaction is rolled back. Within an ``except`` block, the error that is
    handled there is kept too.

    Args:
        why: What a person is told.
    """
    raise GivenUp(why)
