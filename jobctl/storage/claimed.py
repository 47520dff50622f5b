"""Claimed jobs, from the rows of a claim: made for each job that is worked, so that what it takes counts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from jobctl.storage.decoding import Instants
from jobctl.storage.records import JobRow


def claimed(found: Iterable[tuple[Any, ...]], *, worker: str, lease: str) -> list[JobRow]:
    """The jobs of a claim, from rows in the order of CLAIMED, the first to be run first: RETURNING has no order."""
    instants = Instants()
    jobs = [
        JobRow(  # by place: to name the fields takes longer
            id_,
            chain_id,
            index,
            chain_type,
            type_name,
            "running",
            priority,
            attempt,
            blocker_count,
            instants[created],
            instants[due],
            lease,
            worker,
            instants[until],
            None,
            None,
            given,
            None,
            error,
        )
        for (
            id_,
            chain_id,
            index,
            chain_type,
            type_name,
            priority,
            attempt,
            blocker_count,
            created,
            due,
            until,
            given,
            error,
        ) in found
    ]
    jobs.sort(key=lambda each: (-each.priority, each.scheduled_at, each.id))
    return jobs
