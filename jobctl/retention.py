"""How long what is over is kept. Frozen values, no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta

from jobctl.errors import UsageError
from jobctl.model import Schedule

NEVER = "never"
"""In place of a length of time: it is never deleted."""


@dataclass(frozen=True, slots=True)
class Retention:
    """How long chains are kept, counted from their end: a timedelta, a text like ``30d``, or ``never``.

    None: it is not said here. What is said nowhere is kept.

    Attributes:
        completed: Those that ended with an output.
        cancelled: Those that were cancelled.
        failed: Those that have failed and wait for a person, counted from their last error.
    """

    completed: timedelta | str | None = None
    cancelled: timedelta | str | None = None
    failed: timedelta | str | None = None

    def __post_init__(self) -> None:
        for status in STATUSES:
            self.seconds(status)  # refuses what cannot be read

    def seconds(self, status: str) -> float | None:
        """After how many seconds chains with this status may go; None: never, or not said."""
        kept = getattr(self, status)
        if kept is None or kept == NEVER:
            return None
        seconds = Schedule.of(kept).after_seconds
        if seconds is not None and seconds < 0:
            raise UsageError(f"{status}: to keep a chain for {seconds:g} seconds is to delete it before its end")
        return seconds

    def over(self, other: Retention) -> Retention:
        """This one, completed by another where it says nothing."""
        said = {each: getattr(self, each) for each in STATUSES}
        return Retention(**{each: getattr(other, each) if kept is None else kept for each, kept in said.items()})


STATUSES = tuple(each.name for each in fields(Retention))
"""The statuses of chains that can be pruned."""


@dataclass(frozen=True, slots=True)
class RetentionPolicy:
    """What is to be pruned.

    Attributes:
        general: How long chains are kept.
        types: The same for some types; where it says nothing, the general one holds.
        history: How long the history of acts by hand on chains that are gone is kept; None: for ever.
    """

    general: Retention = Retention()
    types: Mapping[str, Retention] = field(default_factory=dict)
    history: timedelta | str | None = None

    def of(self, type_name: str) -> Retention:
        """What holds for a type."""
        own = self.types.get(type_name)
        return self.general if own is None else own.over(self.general)

    @property
    def history_seconds(self) -> float | None:
        """After how many seconds acts may go."""
        return None if self.history in {None, NEVER} else Schedule.of(self.history).after_seconds

    @property
    def lets_nothing_go(self) -> bool:
        """Whether everything is kept."""
        return self.history_seconds is None and not any(self.may_delete(each) for each in STATUSES)

    def may_delete(self, status: str) -> bool:
        """Whether chains with this status are deleted at all, of whichever type."""
        return any(each.seconds(status) is not None for each in (self.general, *self.types.values()))
