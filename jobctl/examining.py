"""Examining a database: what is not as it should be, and what to do. A check costs the same at any backlog."""

from __future__ import annotations

import difflib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from sqlalchemy import Connection

from jobctl.reports import Finding, Health, Limits, WorkerReport, WorkerState
from jobctl.storage import lanes, obstacles, upkeep
from jobctl.storage.lanes import Front
from jobctl.storage.store import Store
from jobctl.wording import size, span
from jobctl.workforce import workers

MOST_NAMED = 20
"""How many findings of one kind are told."""

MOST_COUNTED = 1000
"""Up to how many jobs are counted."""

ALWAYS = ("connection", "schema")
"""What is checked before anything else can be: what they find is raised, not told."""


@dataclass(frozen=True, slots=True)
class Demands:
    """What must hold for a service to be taken for healthy.

    Attributes:
        workers: Types that a live worker must take.
        host: Those workers must be on this host; None: anywhere.
        max_age: For how many seconds the oldest ready job may have been so; None: for however long.
    """

    workers: Sequence[str] = ()
    host: str | None = None
    max_age: float | None = None

    @property
    def checks(self) -> tuple[str, ...]:
        """The checks that find out; none when nothing is demanded."""
        return (*(["require-worker"] if self.workers else []), *([] if self.max_age is None else ["max-age"]))


def examine(store: Store, conn: Connection, demands: Demands, limits: Limits) -> Health:
    """See ``Client.doctor``."""
    examined = _Examined(store, conn, demands, limits)
    names = demands.checks or tuple(name for name, (dialect, _) in CHECKS.items() if dialect in {None, store.dialect})
    every: dict[str, _Check] = {name: check for name, (_, check) in CHECKS.items()} | DEMANDED
    findings = [each for name in names for each in every[name](examined)]
    return Health(store.label, examined.at, (*ALWAYS, *names), tuple(findings))


class _Examined:
    """The database, and what several checks need to know of it."""

    def __init__(self, store: Store, conn: Connection, demands: Demands, limits: Limits) -> None:
        self.conn = conn
        self.demands = demands
        self.limits = limits
        before = time.time()
        self.at = obstacles.clock(conn)
        after = time.time()
        self.ahead = self.at.timestamp() - (before + after) / 2
        self.unsure = (after - before) / 2

    @cached_property
    def workers(self) -> list[WorkerReport]:
        """The workers that claim jobs."""
        return [each for each in workers(self.conn) if each.state is WorkerState.ALIVE]

    @cached_property
    def fronts(self) -> list[Front]:
        """Of each type that is not paused, the job that has been ready longest."""
        return lanes.fronts(self.conn, self.at)


_Check = Callable[[_Examined], Iterator[Finding]]


# --- what is demanded ------------------------------------------------------------------------------------------------


def _worker(examined: _Examined) -> Iterator[Finding]:
    host = examined.demands.host
    there = [each for each in examined.workers if host in {None, each.host}]
    for name in examined.demands.workers:
        if not any(name in each.types for each in there):
            where = "" if host is None else f" on {host}"
            yield Finding("require-worker", name, f"no live worker{where} takes '{name}'", _start_one(name, there))


def _age(examined: _Examined) -> Iterator[Finding]:
    most = examined.demands.max_age
    assert most is not None  # noqa: S101 - else it is not checked
    yield from _older(examined.fronts, most, "max-age")


def _older(fronts: Sequence[Front], most: float, check: str) -> Iterator[Finding]:
    for each in [front for front in fronts if front.seconds > most][:MOST_NAMED]:
        yield Finding(
            check,
            each.type_name,
            f"a job of '{each.type_name}' has been ready for {span(each.seconds)}, longer than {span(most)}",
            f"see 'jobctl why {each.chain_id}'; add workers or slots (--concurrency) if all are busy",
        )


def _start_one(name: str, there: Sequence[WorkerReport]) -> str:
    taken = {each for worker in there for each in worker.types}
    close = difflib.get_close_matches(name, taken, n=1)
    alias = f"; or name it among the aliases of '{close[0]}', if that is its new name" if close else ""
    return f"start a worker whose processors handle '{name}'{alias}"


# --- jobs ------------------------------------------------------------------------------------------------------------


def _clock(examined: _Examined) -> Iterator[Finding]:
    if abs(examined.ahead) - examined.unsure > examined.limits.clock:
        way = "ahead of" if examined.ahead > 0 else "behind"
        yield Finding(
            "clock",
            None,
            f"the database's clock is {span(examined.ahead)} {way} this host's",
            "let both be set by NTP: jobs go by the database's clock, --since and --at by this host's",
        )


def _leases(examined: _Examined) -> Iterator[Finding]:
    found = lanes.lapsed(examined.conn, examined.limits.lapsed, MOST_COUNTED)
    if found:
        first = found[0]
        count = f"{MOST_COUNTED} or more jobs have" if len(found) == MOST_COUNTED else f"{len(found)} jobs have"
        count = "a job has" if len(found) == 1 else count
        ago = span((examined.at - first.leased_until).total_seconds())
        yield Finding(
            "leases",
            first.type_name,
            f"{count} a lease that ran out and that nobody gave back, the first of worker {first.worker} {ago} ago",
            "start a worker, of whatever types: each gives back what it finds; if one runs, look at its log",
        )


def _unattended(examined: _Examined) -> Iterator[Finding]:
    waiting = [each for each in examined.fronts if not _taken(examined, each)]
    for each in waiting[:MOST_NAMED]:
        yield Finding(
            "unattended",
            each.type_name,
            f"jobs of '{each.type_name}' are ready, the oldest for {span(each.seconds)}, and no live worker takes them",
            _start_one(each.type_name, examined.workers),
        )


def _ready(examined: _Examined) -> Iterator[Finding]:
    attended = [each for each in examined.fronts if _taken(examined, each)]
    yield from _older(attended, examined.limits.ready, "ready")


def _taken(examined: _Examined, front: Front) -> bool:
    return any(front.type_name in each.types for each in examined.workers)


# --- the history -----------------------------------------------------------------------------------------------------


def _outgrown(examined: _Examined, taken: int) -> Iterator[Finding]:
    """The history, if it takes much and reaches far back."""
    if taken <= examined.limits.size:
        return
    oldest = upkeep.oldest_closed(examined.conn)
    if oldest is not None and (age := (examined.at - oldest).total_seconds()) > examined.limits.history:
        yield Finding(
            "history",
            None,
            f"jobctl's tables take {size(taken)}, with closed chains from {span(age)} ago: nothing prunes them in time",
            "run 'jobctl prune' regularly, from cron or a timer, or have it keep less",
        )


# --- PostgreSQL ------------------------------------------------------------------------------------------------------


def _postgres_history(examined: _Examined) -> Iterator[Finding]:
    yield from _outgrown(examined, sum(each.size for each in upkeep.tables(examined.conn)))


def _bloat(examined: _Examined) -> Iterator[Finding]:
    limits = examined.limits
    if not upkeep.vacuums_itself(examined.conn):
        yield Finding("bloat", None, "autovacuum is off: dead rows are never cleared away", "set autovacuum = on")
    for each in upkeep.tables(examined.conn):
        if each.dead > limits.dead_rows and each.dead > each.live:
            yield Finding(
                "bloat",
                each.name,
                f"{each.name} has about {each.dead} dead rows and {each.live} live ones: claims pass over them",
                "look for transactions that are open for long, which keep them; then run 'jobctl vacuum'",
            )


def _transactions(examined: _Examined) -> Iterator[Finding]:
    for each in upkeep.transactions(examined.conn, examined.limits.transaction):
        what = f"the prepared transaction '{each.name}'" if each.prepared else f"a transaction of process {each.name}"
        end = f"ROLLBACK PREPARED '{each.name}'" if each.prepared else f"SELECT pg_terminate_backend({each.name})"
        yield Finding(
            "transactions",
            each.name,
            f"{what} ({each.who}) has been open for {span(each.seconds)}: dead rows are kept as long as it is",
            f"end it where it was begun, or with {end}",
        )


# --- SQLite ----------------------------------------------------------------------------------------------------------


def _files(examined: _Examined) -> Iterator[Finding]:
    state = upkeep.file_state(examined.conn)
    for path in state.locked:
        yield Finding(
            "files",
            str(path),
            f"this user may not write {path}",
            "give it to the user that workers and commands run as",
        )
    for path in state.open_to_all:
        yield Finding("files", str(path), f"anybody may write {path}", f"run: chmod o-w '{path}'")


def _journal(examined: _Examined) -> Iterator[Finding]:
    state = upkeep.file_state(examined.conn)
    yield from journal_findings(state, examined.limits)


def journal_findings(state: upkeep.FileState, limits: Limits) -> Iterator[Finding]:
    """What is wrong with the journal of an SQLite file."""
    if state.journal != "wal":
        yield Finding(
            "journal",
            str(state.path),
            f"the journal mode is {state.journal}, not wal: readers and writers wait for each other",
            "keep the file on a local disk: write-ahead logs need shared memory",
        )
    if state.wal > limits.size:
        yield Finding(
            "journal",
            f"{state.path}-wal",
            f"the write-ahead log takes {size(state.wal)}: something has been reading for long, or it was never cut",
            "end what reads for long, then run 'jobctl vacuum'",
        )


def _room(examined: _Examined) -> Iterator[Finding]:
    state = upkeep.file_state(examined.conn)
    if state.free > examined.limits.size and state.free > state.size // 2:
        yield Finding(
            "room",
            str(state.path),
            f"{size(state.free)} of the {size(state.size)} that the file takes hold nothing",
            "run 'jobctl vacuum'",
        )


def _sqlite_history(examined: _Examined) -> Iterator[Finding]:
    state = upkeep.file_state(examined.conn)
    yield from _outgrown(examined, state.size - state.free)


def _history(examined: _Examined) -> Iterator[Finding]:
    return (_postgres_history if examined.conn.dialect.name == "postgresql" else _sqlite_history)(examined)


CHECKS: dict[str, tuple[str | None, _Check]] = {
    "clock": ("postgresql", _clock),
    "leases": (None, _leases),
    "unattended": (None, _unattended),
    "ready": (None, _ready),
    "history": (None, _history),
    "bloat": ("postgresql", _bloat),
    "transactions": ("postgresql", _transactions),
    "files": ("sqlite", _files),
    "journal": ("sqlite", _journal),
    "room": ("sqlite", _room),
}
"""The checks in their order, each with the kind of database that it is for."""

DEMANDED: dict[str, _Check] = {"require-worker": _worker, "max-age": _age}
