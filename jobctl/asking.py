"""What callers ask for: chains to be started and lists. Frozen values, no I/O."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Generic, Literal, TypeVar

from jobctl.errors import UsageError
from jobctl.model import Schedule, Status

Item = TypeVar("Item")

PRIORITIES = range(-1000, 1001)

KEY_SCOPES = ("incomplete", "any")
KEY_CONFLICTS = ("return", "fail")
MAX_KEY_LENGTH = 500

MAX_SLOT_SECONDS = 365 * 86_400
SLOT_EARLY_SECONDS = 30.0
"""Half of the minute at whose beginning cron starts things: as far as can be from there."""

CARRIED: Final[Any] = object()
"""In place of the input of a chain that is started again: that of the job with which it is."""


def check_priority(priority: int) -> int:
    """The priority, if it is one.

    Raises:
        UsageError: It is out of range.
    """
    if priority not in PRIORITIES:
        raise UsageError(f"a priority of {priority} is out of range: -1000 to 1000")
    return priority


def check_limit(limit: int) -> None:
    """Refuse a number of rows that no page has.

    Raises:
        UsageError: It is out of range.
    """
    if not 1 <= limit <= 1000:
        raise UsageError(f"a limit of {limit} is out of range: 1 to 1000")


@dataclass(frozen=True, slots=True)
class Key:
    """Names the work of a chain, so that it is not started twice. Keys of different types have nothing in common.

    Attributes:
        text: The key, 1 to 500 characters.
        scope: ``incomplete``: a chain with the key that is still open stands for the new one; ``any``: a closed one
            does so too.
        window: Only a chain that was started so long ago, or later, stands for the new one.
        exclude: Chains that do not count. A recurring job that starts its successor excludes itself.
        conflict: ``return``: the chain that stands for the new one is the result; ``fail``: it is an error.
    """

    text: str
    scope: Literal["incomplete", "any"] = "incomplete"
    window: timedelta | str | None = None
    exclude: Sequence[str] = ()
    conflict: Literal["return", "fail"] = "return"

    def __post_init__(self) -> None:
        if not 0 < len(self.text) <= MAX_KEY_LENGTH or "\x00" in self.text:
            raise UsageError(f"{self.text[:50]!r} is not a key: 1 to {MAX_KEY_LENGTH} characters, without NUL")
        for name, value, allowed in (
            ("scope", self.scope, KEY_SCOPES),
            ("conflict", self.conflict, KEY_CONFLICTS),
        ):
            if value not in allowed:
                raise UsageError(f"a key's {name} is {' or '.join(allowed)}, not {value!r}")
        seconds = self.window_seconds
        if seconds is not None and seconds <= 0:
            raise UsageError(f"a key's window of {seconds:g} seconds is none: it must be longer")

    @property
    def window_seconds(self) -> float | None:
        """The window in seconds."""
        return Schedule.of(self.window).after_seconds


@dataclass(frozen=True, slots=True)
class Slot:
    """A key made of a chain's input and the slot of time in which it is started, by the database's clock.

    However many hosts start the same work in one slot, there is one chain, closed or not. Slots of an hour are those
    of UTC. They begin half a minute early: clocks that differ by seconds agree about what cron starts at a full minute.

    Attributes:
        length: How long a slot is.
        conflict: As of a Key.
    """

    length: timedelta | str
    conflict: Literal["return", "fail"] = "return"

    def __post_init__(self) -> None:
        if not 1 <= self.seconds <= MAX_SLOT_SECONDS:
            raise UsageError(f"a slot of {self.seconds:g} seconds is out of range: 1s to 365d")

    @property
    def seconds(self) -> float:
        """The length in seconds."""
        return Schedule.of(self.length).after_seconds or 0.0

    def key(self, now: datetime, input_: str) -> Key:
        """The key.

        Args:
            now: The time at the database's clock.
            input_: The chain's input, as JSON.
        """
        early = min(SLOT_EARLY_SECONDS, self.seconds / 2)
        began = (now.timestamp() + early) // self.seconds * self.seconds
        same = json.dumps(json.loads(input_), sort_keys=True, separators=(",", ":"))
        digest = hashlib.sha256(same.encode()).hexdigest()[:32]
        start = datetime.fromtimestamp(began, UTC).replace(tzinfo=None).isoformat()
        return Key(f"{start}Z+{self.seconds:.12g}s/{digest}", scope="any", conflict=self.conflict)


@dataclass(frozen=True, slots=True)
class NewChain:
    """A chain to be started: what ``Client.start`` takes, as one value.

    Attributes:
        type_name: The type of its first job, or the processor.
        input: That job's input.
        after: A delay before it is due.
        at: The time it is due; in the past means now.
        blocked_by: Ids of the chains that must complete first; of several started together, earlier ones too.
        priority: Higher goes first, -1000 to 1000.
        id: An id of the caller's own, a UUID.
        key: Names the work: a text, a Key when more is to be said, or a Slot.
    """

    type_name: Any
    input: Any = None
    after: timedelta | str | None = None
    at: datetime | None = None
    blocked_by: Sequence[str] = ()
    priority: int = 0
    id: str | None = None
    key: Key | Slot | str | None = None


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """Some rows of a list, and where the next ones begin.

    Attributes:
        items: The rows.
        cursor: Opaque; give it back for the rows that follow. None when there are none.
    """

    items: tuple[Item, ...]
    cursor: str | None = None


@dataclass(frozen=True, slots=True)
class ListFilter:
    """Which chains or jobs a list shows; what is None does not restrict.

    Attributes:
        type_name: The chain's type in a list of chains, the job's in a list of jobs.
        chain_type: The chain's type.
        statuses: Any of these.
        since: Created at or after this instant.
        until: Created before this instant.
        chain_id: Jobs of this chain; as a chain, this one.
        job_id: This job; as a chain, the one that it belongs to.
        roots_only: No chain that a job of another waits or waited for, and no job of one.
        newest_first: The order, by the time of creation.
        limit: How many rows a page has, from 1 to 1000.
        cursor: Where the page before ended.
    """

    type_name: str | None = None
    chain_type: str | None = None
    statuses: Sequence[Status] = ()
    since: datetime | None = None
    until: datetime | None = None
    chain_id: str | None = None
    job_id: str | None = None
    roots_only: bool = False
    newest_first: bool = True
    limit: int = 50
    cursor: str | None = None

    def __post_init__(self) -> None:
        check_limit(self.limit)
        for name, value in (("since", self.since), ("until", self.until)):
            if value is not None and value.tzinfo is None:
                raise UsageError(f"{name} has no zone: use an aware datetime")
