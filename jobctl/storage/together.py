"""Jobs that are inserted together: which other chains they wait for, and ids that clash."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from jobctl.errors import DuplicateIdError
from jobctl.storage.records import NewJob


def refuse_taken(taken: Iterable[str]) -> None:
    """Refuse jobs that were not inserted, because there are others with these ids.

    Raises:
        DuplicateIdError: So it is.
    """
    for each in taken:
        raise DuplicateIdError(f"the id {each} is taken", id=each)


def blockers_of(jobs: Sequence[NewJob]) -> set[str]:
    """The chains that these jobs wait for, without those that earlier ones of the jobs begin."""
    found: set[str] = set()
    if not any(job.blocked_by for job in jobs):
        return found
    before: set[str] = set()
    for job in jobs:
        found.update(each for each in job.blocked_by if each not in before)
        before.add(job.id)
    return found


def refuse_twice(jobs: Sequence[NewJob]) -> None:
    """Refuse jobs of which two have one id, and successors that have the id of their chain.

    Raises:
        DuplicateIdError: There are such.
    """
    found = {job.chain_id for job in jobs if job.chain_index > 0}
    for job in jobs:
        if job.id in found:
            raise DuplicateIdError(f"the id {job.id} is taken", id=job.id)
        found.add(job.id)
