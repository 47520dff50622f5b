"""From rows to the values of the model."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from jobctl.codecs import decode_json
from jobctl.model import Act, AttemptError, Chain, ChainDetail, Job, LostReason, Paused, Status
from jobctl.storage.records import ChainRow, Held, JobRow

if TYPE_CHECKING:
    from jobctl.storage.reading import Detail


_STATUS = {each.value: each for each in Status}


class Instants(dict[float, datetime]):
    """Instants by their seconds since 1970, each made once: jobs that were started together share them."""

    def __missing__(self, seconds: float) -> datetime:
        made = self[seconds] = instant_of(seconds)
        return made


def chain_of(row: ChainRow) -> Chain:
    """The chain that a row stands for."""
    return Chain(  # by place: made for each of many that are started together, and to name the fields takes longer
        row.id,
        row.type_name,
        _STATUS[row.status],
        decode_json(row.input),
        None if row.output is None else decode_json(row.output),
        row.created_at,
        row.completed_at,
        row.job_id,
        row.job_type,
        row.scheduled_at,
        row.attempt,
        row.last_error,
        row.priority,
        row.tail_index + 1,
        row.key,
        paused=_paused(row),
    )


def job_of(row: JobRow, waits: Mapping[str, tuple[str, ...]]) -> Job[Any]:
    """The job that a row stands for, with its blockers' ids by job, and plain JSON values."""
    return Job(
        id=row.id,
        chain_id=row.chain_id,
        chain_type=row.chain_type,
        chain_index=row.chain_index,
        type_name=row.type_name,
        status=Status(row.status),
        priority=row.priority,
        input=decode_json(row.input),
        output=None if row.output is None else decode_json(row.output),
        created_at=row.created_at,
        scheduled_at=row.scheduled_at,
        attempt=row.attempt,
        worker=row.worker,
        leased_until=row.leased_until,
        last_error=row.last_error,
        completed_at=row.completed_at,
        completed_by=row.completed_by,
        blocker_ids=waits.get(row.id, ()),
        paused=_paused(row),
    )


def instant_of(seconds: float) -> datetime:
    """The instant so many seconds after the beginning of 1970."""
    return datetime.fromtimestamp(seconds, UTC)


def _paused(row: JobRow | ChainRow) -> Paused | None:
    return None if row.paused is None else Paused(row.paused)


def lost_reason(state: tuple[str, str | None] | None) -> LostReason:
    """Why a job is not held any more, told by its stored status and lease; None: it does not exist."""
    if state is None:
        return LostReason.NOT_FOUND
    status, _ = state
    if status == Status.CANCELLED:
        return LostReason.CANCELLED
    if status in {Status.COMPLETED, Status.CONTINUED}:
        return LostReason.ALREADY_COMPLETED
    return LostReason.TAKEN_BY_ANOTHER_WORKER


def held_of(row: JobRow) -> Held:
    """A claimed job, as whoever settles it must show it."""
    return Held(row.id, row.chain_id, row.type_name, row.lease, row.worker, row.attempt)


def detail_of(found: Detail) -> ChainDetail:
    """All that is known of a chain."""
    return ChainDetail(
        chain=chain_of(found.chain),
        jobs=tuple(job_of(row, found.blocker_ids) for row in found.jobs),
        blockers={id_: chain_of(row) for id_, row in found.blockers.items()},
        dependents=tuple(job_of(row, found.blocker_ids) for row in found.dependents),
        errors=tuple(AttemptError(*row) for row in found.errors),
        history=tuple(act_of(row) for row in found.acts),
    )


def act_of(row: tuple[Any, ...]) -> Act:
    """Something done by hand, from a row of the history."""
    _, *facts, details = row
    return Act(*facts, details=decode_json(details))  # type: ignore[misc]
