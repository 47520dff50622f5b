"""Why a chain's current job does not run: the fact, and the sentence that tells it. Frozen values, no I/O."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from jobctl.model import Status

MOST_NAMED = 5
"""How many chains or workers a sentence names; the value has all of them."""


class Reason(StrEnum):
    """What a chain's current job waits for."""

    SCHEDULED = "scheduled"  # its time has not come
    BLOCKED = "blocked"  # for other chains
    PAUSED = "paused"  # for a person who resumes the chain, its type, or all
    NO_WORKER = "no_worker"  # no live worker takes its type
    BUSY = "busy"  # all live workers that take its type are busy
    READY = "ready"  # for nothing: a worker is about to take it
    RUNNING = "running"  # a worker that lives has it
    SILENT = "silent"  # a worker that is not heard of any more has it, until its lease runs out
    FAILED = "failed"  # its attempts are used up; for a person who retries or settles it
    COMPLETED = "completed"  # for nothing: the chain is over
    CANCELLED = "cancelled"  # likewise
    DELETED = "deleted"  # the chain is gone, and its history tells by whom


@dataclass(frozen=True, slots=True)
class Why:
    """What a chain's current job waits for, and what would move it. Times are aware datetimes in UTC.

    Attributes:
        id: The chain or job that was asked about.
        chain_id: Its chain.
        job_id: The chain's current, which is its last job.
        type_name: The type of that job.
        status: Where it stands; None once the chain is deleted.
        reason: What it waits for.
        at: When this was so, by the database's clock.
        since: Since when it is paused, ready or failed, all workers are busy, or the worker has it; or when it was
            closed.
        until: When it is due, or when its lease runs out.
        seen_at: When the worker that has it was last heard of; None: it is not on the list of workers.
        by: The worker that has or closed it, or the person who paused or closed it; None when that is not known.
        by_hand: Whether ``by`` is a person.
        note: That person's reason, in their words.
        paused: What is paused: ``chain``, ``type`` or ``all``.
        attempt: How many attempts it has had in this round.
        error: What the last attempt failed with, if it failed.
        waits_for: The chains it waits for that have not completed, in the order given, at most a hundred.
        blockers: The first of these, and what they wait for themselves.
        workers: The live workers that take its type, by name.
        others: The live workers, if none does.
        similar: Types with similar names that live workers take, if none takes this one.
        remedy: The command that would move it, if there is one.
    """

    id: str
    chain_id: str
    job_id: str
    type_name: str
    status: Status | None
    reason: Reason
    at: datetime
    since: datetime | None = None
    until: datetime | None = None
    seen_at: datetime | None = None
    by: str | None = None
    by_hand: bool = False
    note: str | None = None
    paused: str | None = None
    attempt: int = 0
    error: str | None = None
    waits_for: tuple[str, ...] = ()
    blockers: tuple[Why, ...] = ()
    workers: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    similar: tuple[str, ...] = ()
    remedy: str | None = None

    def __str__(self) -> str:
        """The sentence, with times in ISO 8601."""
        return sentence(self)


def iso(instant: datetime) -> str:
    """A time in UTC, to the second."""
    return f"at {instant.astimezone(UTC).replace(microsecond=0, tzinfo=None).isoformat()}Z"


When = Callable[[datetime], str]


def sentence(why: Why, when: When = iso) -> str:
    """What a job waits for and what would move it, in one sentence.

    Args:
        why: The fact.
        when: Says an instant as an adverb: ``at 2026-01-31T12:00:00Z``, ``2h ago``.
    """
    what = f"'{why.type_name}' {why.chain_id}"
    if why.reason is Reason.DELETED:
        what = f"the chain {why.chain_id}"
    elif why.id not in {why.chain_id, why.job_id}:
        what = f"the job {why.id} is settled; its chain {why.chain_id} is at '{why.type_name}', which"
    elif why.job_id != why.chain_id:
        what = f"'{why.type_name}' {why.job_id} of the chain {why.chain_id}"
    moved_by = _moved_by(why)
    return f"{what} {_SAID[why.reason](why, when)}{'' if moved_by is None else f'; {moved_by}'}"


_DOES = {
    Reason.SCHEDULED: "runs it now",
    Reason.BLOCKED: "lets it wait no longer",
    Reason.PAUSED: "lets it go on",
    Reason.FAILED: "gives it another round",
}


def _moved_by(why: Why) -> str | None:
    """The command that would move it, and how."""
    return f"'{why.remedy}' {_DOES[why.reason]}" if why.remedy is not None else None


def _scheduled(why: Why, when: When) -> str:
    again = ""
    if why.error is not None:
        again = f" again, after attempt {why.attempt} failed with {_short(why.error)}"
    nobody = "" if why.workers else f", though no live worker takes '{why.type_name}'"
    return f"is due {when(why.until or why.at)}{again}{nobody}"


def _blocked(why: Why, when: When) -> str:
    count = len(why.waits_for)
    named = [_blocker(each, when) for each in why.blockers] or list(why.waits_for[:MOST_NAMED])
    more = f"; and {count - len(named)} more" if count > len(named) else ""
    return f"waits for {_chains(count)}: {'; '.join(named)}{more}"


def _blocker(why: Why, when: When) -> str:
    moved_by = _moved_by(why)
    hint = "" if moved_by is None else f" ({moved_by})"
    return f"'{why.type_name}' {why.chain_id}, which {_SAID[why.reason](why, when)}{hint}"


def _chains(count: int) -> str:
    return "a chain" if count == 1 else f"{count} chains"


def _paused(why: Why, when: When) -> str:
    which = {"chain": "the chain", "type": f"the type '{why.type_name}'", "all": "everything"}[why.paused or "all"]
    due = f", and due {when(why.until)}" if why.until is not None else ""
    return f"is not claimed: {which} was paused {when(why.since or why.at)}{_by(why)}{due}"


def _no_worker(why: Why, _: When) -> str:
    if why.similar:
        names = _listed(tuple(f"'{each}'" for each in why.similar))
        hint = f"; what they take is {names}: was the type renamed without an alias?"
    elif why.others:
        hint = f"; those that live take other types: {_listed(why.others)}"
    else:
        hint = ", and no worker lives at all"
    return f"is ready, but no live worker takes '{why.type_name}'{hint}"


def _busy(why: Why, when: When) -> str:
    count = len(why.workers)
    those = "the one worker that takes it is" if count == 1 else f"all {count} workers that take it are"
    return f"is ready, but {those} busy, the last slot taken {when(why.since or why.at)}: {_listed(why.workers)}"


def _ready(why: Why, when: When) -> str:
    return f"is ready, due {when(why.since or why.at)}, and about to be taken by {_listed(why.workers)}"


def _running(why: Why, when: When) -> str:
    return (
        f"is running: {why.by} began attempt {why.attempt} {when(why.since or why.at)}, was heard of "
        f"{when(why.seen_at or why.at)}, and its lease, unless renewed, runs out {when(why.until or why.at)}"
    )


def _silent(why: Why, when: When) -> str:
    heard = (
        f"was last heard of {when(why.seen_at)}" if why.seen_at is not None else "is on the list of workers no longer"
    )
    held = f"is held by {why.by}, which began attempt {why.attempt} {when(why.since or why.at)} and {heard}"
    free = why.until or why.at
    if free > why.at:
        return f"{held}; its lease runs out {when(free)}, and then another worker may take it"
    next_ = "the next worker that looks gives it back" if why.others else "but no worker lives to give it back"
    return f"{held}; its lease ran out {when(free)}, {next_}"


def _failed(why: Why, when: When) -> str:
    failed = "" if why.since is None else f" {when(why.since)}"
    tries = "attempt" if why.attempt == 1 else "attempts"
    return f"failed{failed} after {why.attempt} {tries} with {_short(why.error or 'no error')}"


def _closed(why: Why, when: When) -> str:
    return f"was {why.reason.value} {when(why.since or why.at)}{_by(why)}"


def _by(why: Why) -> str:
    if why.by is None:
        return " by hand" if why.by_hand else ""
    note = f" ({why.note})" if why.note else ""
    return f" by {why.by}{note}" if why.by_hand else f" by worker {why.by}"


def _listed(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return f"{', '.join(names[:MOST_NAMED])}{more}"


def _short(error: str) -> str:
    """The last line of an error, which says what it was."""
    return error.rstrip().rpartition("\n")[2].strip()


_SAID: dict[Reason, Callable[[Why, When], str]] = {
    Reason.SCHEDULED: _scheduled,
    Reason.BLOCKED: _blocked,
    Reason.PAUSED: _paused,
    Reason.NO_WORKER: _no_worker,
    Reason.BUSY: _busy,
    Reason.READY: _ready,
    Reason.RUNNING: _running,
    Reason.SILENT: _silent,
    Reason.FAILED: _failed,
    Reason.COMPLETED: _closed,
    Reason.CANCELLED: _closed,
    Reason.DELETED: _closed,
}
