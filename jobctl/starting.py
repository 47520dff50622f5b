"""Starting chains: from what a caller writes to jobs, and those whose key is taken."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, overload

from sqlalchemy import Connection

from jobctl.asking import Key, NewChain, Slot, check_priority
from jobctl.errors import DuplicateKeyError, UsageError
from jobctl.ids import new_id, require_id, unique_ids
from jobctl.model import Chain, Schedule
from jobctl.naming import check_type_name, type_name_of
from jobctl.registry import Registry
from jobctl.storage.decoding import chain_of
from jobctl.storage.parameters import started_row
from jobctl.storage.records import Inserted, JobRow, NewJob
from jobctl.storage.store import Store

if TYPE_CHECKING:
    from jobctl.answers import Continuation


def first_job(processors: Registry, chain: NewChain, draw: Callable[[], str] = new_id) -> NewJob:
    """The first job of a chain that is to be started.

    Args:
        processors: They know what input a type takes.
        chain: The chain.
        draw: Makes its id, unless it has one.

    Raises:
        UsageError: An argument is not acceptable.
        InvalidDataError: The input or the type is not.
    """
    name = type_name_of(chain.type_name)
    check_type_name(name, UsageError)
    chain_id = draw() if chain.id is None else require_id(chain.id)
    key = Key(chain.key) if isinstance(chain.key, str) else chain.key
    return NewJob(  # by place: made for each of many that are started together, and to name the fields takes longer
        chain_id,
        chain_id,
        0,
        name,
        name,
        processors.encode_input(name, chain.input, starts_chain=True),
        check_priority(chain.priority),
        Schedule.of(chain.after, chain.at),
        unique_ids(chain.blocked_by),
        replace(key, exclude=unique_ids(key.exclude)) if isinstance(key, Key) else key,
        id_given=chain.id is not None,
    )


def successor_of(before: JobRow, asked: Continuation, input: str) -> NewJob:  # noqa: A002 - the field's name everywhere
    """The next job of a chain.

    Args:
        before: The job that is settled by it.
        asked: What it is to be.
        input: Its input, encoded.

    Raises:
        UsageError: An argument is not acceptable.
    """
    return NewJob(
        id=new_id() if asked.id is None else require_id(asked.id),
        chain_id=before.chain_id,
        chain_index=before.chain_index + 1,
        chain_type=before.chain_type,
        type_name=asked.type_name,
        input=input,
        priority=before.priority if asked.priority is None else check_priority(asked.priority),
        schedule=asked.schedule,
        blocked_by=unique_ids(asked.blocked_by),
        id_given=asked.id is not None,
    )


def is_unrelated(chain: NewChain) -> bool:
    """Whether it waits for no chain, and no other can stand for it."""
    return not chain.blocked_by and chain.key is None


class Started(Sequence[Chain]):
    """Chains that were started together, each made when it is first read.

    To make them all takes a quarter of what it takes to start them, and who starts many seldom reads what he knows.
    It equals a list of the same chains.
    """

    def __init__(self, started: Iterable[Chain | tuple[NewJob, Inserted]]) -> None:
        self._started = list(started)

    def __len__(self) -> int:
        return len(self._started)

    @overload
    def __getitem__(self, place: int) -> Chain: ...

    @overload
    def __getitem__(self, place: slice) -> Sequence[Chain]: ...

    def __getitem__(self, place: int | slice) -> Chain | Sequence[Chain]:
        if isinstance(place, slice):
            return Started(self._started[place])
        found = self._started[place]
        if not isinstance(found, Chain):
            found = self._started[place] = chain_of(started_row(*found))
        return found

    def __eq__(self, other: object) -> bool:
        return list(self) == list(other) if isinstance(other, list | Started) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # as a list has none

    def __repr__(self) -> str:
        return repr(list(self))


def start_unrelated(store: Store, conn: Connection, jobs: Iterable[NewJob]) -> Sequence[Chain]:
    """Start unrelated chains, with new ids, by these jobs, which may be made while others are sent."""
    with closing(store.starting(conn, jobs)) as started:
        return Started(started)


def start_jobs(store: Store, conn: Connection, processors: Registry, jobs: Sequence[NewJob]) -> Sequence[Chain]:
    """Start chains with these jobs, except those for which another stands; returns the chains in the same order.

    Raises:
        DuplicateKeyError: One shall not have another in its place.
        NotFoundError: A blocker does not exist.
        DuplicateIdError: An id is taken.
        InvalidDataError: A blocker is not of a type that the processor declares.
    """
    jobs = _with_keys_of_slots(conn, jobs)
    for job in jobs:
        check_blockers(conn, processors, job, together=jobs)
    if all(job.key is None for job in jobs):
        return Started(store.start(conn, jobs))
    from jobctl.storage import keys, reading

    same = keys.same(store, conn, jobs)
    _refuse_same(jobs, same)
    started = Started(store.start(conn, [job for place, job in enumerate(jobs) if place not in same]))
    chains = {chain.id: chain for chain in started}
    before = reading.chains(conn, set(same.values()) - chains.keys()) if same else {}
    found = chains | {id_: chain_of(row) for id_, row in before.items()}
    return Started(
        [
            replace(found[same[place]], deduplicated=True) if place in same else chains[job.id]
            for place, job in enumerate(jobs)
        ]
    )


def _with_keys_of_slots(conn: Connection, jobs: Sequence[NewJob]) -> Sequence[NewJob]:
    """The jobs, those whose key is a slot with the key of the present one."""
    if not any(isinstance(job.key, Slot) for job in jobs):
        return jobs
    from jobctl.storage import reading

    now = reading.clock(conn)
    return [job._replace(key=job.key.key(now, job.input)) if isinstance(job.key, Slot) else job for job in jobs]


def check_blockers(conn: Connection, processors: Registry, job: NewJob, *, together: Sequence[NewJob] = ()) -> None:
    """Refuse blockers of types other than the job's processor declares; those that do not exist are refused later.

    Some may be started together with it.

    Raises:
        InvalidDataError: One is of another type.
    """
    known = processors.get(job.type_name)
    if job.blocked_by and known is not None and known.blockers is not None:
        from jobctl.storage import reading

        found = reading.chains(conn, job.blocked_by)
        types = {each.type_name for each in found.values()}
        types.update(each.type_name for each in together if each.id in job.blocked_by)
        processors.check_blockers(job.type_name, sorted(types))


def _refuse_same(jobs: Iterable[NewJob], same: dict[int, str]) -> None:
    for place, job in enumerate(jobs):
        if isinstance(job.key, Key) and job.key.conflict == "fail" and place in same:
            raise DuplicateKeyError(
                f"the key '{job.key.text}' of '{job.type_name}' is taken by the chain {same[place]}",
                id=same[place],
                key=job.key.text,
            )
