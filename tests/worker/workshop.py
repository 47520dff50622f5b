"""Helpers of the worker's tests: handlers of every mode, and a worker beside the test."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Self

import sqlalchemy as sa
from support import InThread, eventually
from working import claim

from jobctl import Client, Job, Processor, Worker, WorkerOptions, processor
from jobctl.events import Event, Told
from jobctl.registry import Registry
from jobctl.storage.spelling import now
from jobctl.storage.store import Store
from jobctl.storage.tables import current, settled
from jobctl.storage.tables import error as error_table
from jobctl.storage.tables import job as job_table

MODES = ("plain", "atomic", "staged", "async_plain", "async_staged")
TRANSACTIONAL = ("atomic", "staged", "async_staged")
STAGED = ("staged", "async_staged")
BLOCKING = ("plain", "atomic", "staged")

EFFECT = sa.table("effect", sa.column("job_id"), sa.column("note"))
INSERT = sa.insert(EFFECT).values(job_id=sa.bindparam("job"), note=sa.bindparam("why"))

SOON = 5.0
"""Seconds within which a worker that polls once a minute must notice what it was told."""

Hook = Callable[[Any, Job[Any]], object]
AnyProcessor = Processor[Any, Any]


def the_end(events: Iterable[Event], chain: str | None = None) -> list[Told]:
    """What was told of a chain's jobs, or of all, except that they ran for a while: so they do on a busy machine."""
    return [
        each.told
        for each in events
        if each.job_id and chain in (None, each.chain_id) and each.told is not Told.JOB_STARTED
    ]


def nothing(_conn: Any, _job: Job[Any]) -> None:
    """A hook that does nothing."""


def answer_input(job: Job[Any]) -> Any:
    return job.input


def make(
    mode: str,
    name: str = "step",
    *,
    answer: Callable[[Job[Any]], Any] = answer_input,
    hooks: Mapping[str, Hook] | None = None,
    **options: Any,
) -> AnyProcessor:
    """A processor of that mode, which writes an effect in its completing transaction if it has one.

    Hooks run at "prepare", "between", "complete" and "after", as far as the mode has that place, with the
    connection (None between and after the phases) and the job.
    """
    at = dict.fromkeys(("prepare", "between", "complete", "after"), nothing) | dict(hooks or {})

    def plain(job: Job) -> Any:
        at["between"](None, job)
        return answer(job)

    def atomic(job: Job, conn: sa.Connection) -> Any:
        conn.execute(INSERT, {"job": job.id, "why": "worker"})
        at["complete"](conn, job)
        return answer(job)

    def staged(job: Job, attempt: Any) -> Any:
        with attempt.prepare() as conn:
            at["prepare"](conn, job)
        at["between"](None, job)
        with attempt.complete() as conn:
            conn.execute(INSERT, {"job": job.id, "why": "worker"})
            at["complete"](conn, job)
        at["after"](None, job)
        return answer(job)

    async def async_plain(job: Job) -> Any:
        at["between"](None, job)
        return answer(job)

    async def async_staged(job: Job, attempt: Any) -> Any:
        async with attempt.prepare() as conn:
            await conn.run(at["prepare"], job)
        at["between"](None, job)
        async with attempt.complete() as conn:
            await conn.execute(INSERT, {"job": job.id, "why": "worker"})
            await conn.run(at["complete"], job)
        at["after"](None, job)
        return answer(job)

    handlers = (plain, atomic, staged, async_plain, async_staged)
    return processor(name, **options)(dict(zip(MODES, handlers, strict=True))[mode])


def last_place(mode: str) -> str:
    """The place of the hook that runs in the completing transaction, or where a plain handler works."""
    return "complete" if mode in TRANSACTIONAL else "between"


class Gate:
    """Where a handler waits until the test lets it go on; says how many arrived."""

    def __init__(self) -> None:
        self._count = threading.Semaphore(0)
        self._open = threading.Event()
        self.arrived: list[str] = []

    def __call__(self, _conn: Any, job: Job[Any]) -> None:
        self.arrive(job.id)

    def arrive(self, who: str) -> None:
        """Wait here until the gate is open."""
        self.arrived.append(who)
        self._count.release()
        self._open.wait(60)

    def reached(self, times: int = 1) -> Self:
        """Wait until so many more handlers stand here."""
        for _ in range(times):
            assert self._count.acquire(timeout=20), "no handler came to the gate"
        return self

    def open(self) -> None:
        self._open.set()


class Working:
    """A worker on a thread of its own, and what it told."""

    def __init__(
        self, store: Store, registry: Registry, options: WorkerOptions, set_up: Callable[[Worker], object]
    ) -> None:
        self.events: list[Event] = []
        self.worker = Worker(store, registry, options, self.events.append)
        set_up(self.worker)
        self._thread = InThread(self.worker.run)

    def told(self, told: Told, job_id: str | None = None) -> list[Event]:
        return [each for each in list(self.events) if each.told is told and job_id in {None, each.job_id}]

    def until(self, told: Told, job_id: str | None = None, *, times: int = 1, within: float = 20.0) -> Event:
        """Wait until it told so; returns the last such event."""

        def enough() -> list[Event]:
            assert self.running or len(self.told(told, job_id)) >= times, f"the worker ended: {self.events}"
            found = self.told(told, job_id)
            return found if len(found) >= times else []

        return eventually(enough, within=within, what=f"{told} {job_id or ''} in {self.events}")[-1]

    @property
    def running(self) -> bool:
        return self._thread.running

    def ask_to_stop(self) -> None:
        self.worker.stop()

    def stop(self, within: float = 20.0) -> list[Event]:
        """Stop it, wait until it has, and return what it told."""
        self.worker.stop()
        return self.ended(within)

    def ended(self, within: float = 20.0) -> list[Event]:
        """Wait until it ends by itself."""
        self._thread.result(within)
        return self.events

    def end(self) -> None:
        """At the end of a test, whatever became of it."""
        if self.running:
            self.worker.stop()
            self.worker.stop()
        self._thread.result()


class Workshop:
    """A database with a table of the user's own, and workers on it."""

    def __init__(self, store: Store, opened: Callable[[], Store]) -> None:
        self.store = store
        self.client = Client(store)
        self._opened = opened
        self._working: list[Working] = []
        self._gates: list[Gate] = []
        with store.transaction() as conn:
            conn.execute(sa.text("CREATE TABLE effect (job_id text NOT NULL, note text)"))

    @property
    def postgres(self) -> bool:
        return self.store.dialect == "postgresql"

    def start(self, type_name: str = "step", input: Any = None, **options: Any) -> str:  # noqa: A002 - as in the client
        return self.client.start(type_name, input, **options).id

    def run(self, *processors: AnyProcessor, store: Store | None = None, **options: Any) -> list[Event]:
        """Have a worker do all that is ready, on the test's own thread; returns what it told."""
        events: list[Event] = []
        options = {"name": "w1", "drain": True, "poll": 60.0} | options
        Worker(store or self.store, Registry(processors), WorkerOptions(**options), events.append).run()
        return events

    def start_many(self, count: int, type_name: str = "step") -> list[str]:
        return [self.start(type_name, number) for number in range(count)]

    def work(
        self,
        *processors: AnyProcessor,
        store: Store | None = None,
        set_up: Callable[[Worker], object] = lambda _: None,
        **options: Any,
    ) -> Working:
        """Have a worker work beside the test until the test ends; it looks by itself once a minute only."""
        options = {"name": "w1", "poll": 60.0} | options
        working = Working(store or self.store, Registry(processors), WorkerOptions(**options), set_up)
        self._working.append(working)
        working.until(Told.WORKER_STARTED)
        return working

    def another_store(self) -> Store:
        """The database as another process would have it."""
        return self._opened()

    def gate(self) -> Gate:
        """A gate that is open at the latest when the test ends."""
        self._gates.append(Gate())
        return self._gates[-1]

    def end(self) -> None:
        for gate in self._gates:
            gate.open()
        for working in self._working:
            working.end()

    # --- the database behind everybody's back --------------------------------------------------------------------

    def change(self, job_id: str, **values: Any) -> None:
        """Change a job by SQL, which tells nobody."""
        with self.store.transaction() as conn:
            changed = conn.execute(sa.update(current).where(current.c.job_id == job_id).values(**values))
            assert changed.rowcount == 1

    def make_due(self, job_id: str) -> None:
        """As if the time until the job is due had passed."""
        self.change(job_id, scheduled_at=now())

    def claim(self, type_name: str = "step", *, worker: str = "dead", seconds: float = 60.0) -> list[str]:
        """Take jobs as a worker that is not heard of again; returns their ids."""
        return [row.id for row in claim(self.store, type_name, worker=worker, seconds=seconds)]

    def clock(self) -> float:
        """The database's time."""
        with self.store.transaction(read_only=True) as conn:
            return float(conn.scalar(sa.select(sa.type_coerce(now(), current.c.scheduled_at.type))).timestamp())

    def expire(self, job_id: str) -> None:
        """As if nobody had renewed the lease in time."""
        self.change(job_id, leased_until=current.c.scheduled_at)

    def steal(self, job_id: str, worker: str = "thief") -> None:
        """Give the lease to another worker, as a claim after it ran out does."""
        other = "01890000-0000-7000-8000-000000000000"
        self.change(job_id, lease=other, worker=worker, attempt=current.c.attempt + 1)

    def give_back(self, job_id: str) -> None:
        """Make a running job ready, as a worker that reaped it does."""
        self.change(job_id, status="pending", lease=None, worker=None, leased_until=None)

    def cancel(self, job_id: str) -> None:
        """As a person who cancels its chain does."""
        taken = [current.c[name] for name in ("chain_id", "chain_index", "priority", "attempt", "scheduled_at")]
        columns = [*(each.name for each in taken), "status", "completed_at"]
        cancelled = sa.select(*taken, sa.literal("cancelled"), now()).where(current.c.job_id == job_id)
        with self.store.transaction() as conn:
            conn.execute(sa.insert(settled).from_select(columns, cancelled))
            assert conn.execute(sa.delete(current).where(current.c.job_id == job_id)).rowcount == 1

    def delete(self, job_id: str) -> None:
        with self.store.transaction() as conn:
            assert conn.execute(sa.delete(current).where(current.c.job_id == job_id)).rowcount == 1
            assert conn.execute(sa.delete(job_table).where(job_table.c.id == job_id)).rowcount == 1

    def effects(self, job_id: str | None = None) -> list[str]:
        """The notes of the effects that are committed."""
        statement = sa.select(EFFECT.c.note).order_by(EFFECT.c.note)
        if job_id is not None:
            statement = statement.where(EFFECT.c.job_id == job_id)
        with self.store.transaction(read_only=True) as conn:
            return list(conn.scalars(statement))

    def errors(self, job_id: str) -> list[tuple[int, str, str]]:
        """The history of a job's errors: attempt, worker, text."""
        columns = (error_table.c.attempt, error_table.c.worker, error_table.c.error)
        statement = sa.select(*columns).where(error_table.c.job_id == job_id).order_by(error_table.c.id)
        with self.store.transaction(read_only=True) as conn:
            return [tuple(row) for row in conn.execute(statement)]

    def lease_end(self, job_id: str) -> float:
        leased_until = self.client.get_job(job_id).leased_until
        assert leased_until is not None
        return leased_until.timestamp()

    def delay(self, job_id: str) -> float:
        """Seconds until a job is due, by the database's clock."""
        with self.store.transaction(read_only=True) as conn:
            due, clock = conn.execute(
                sa.select(current.c.scheduled_at, sa.type_coerce(now(), current.c.scheduled_at.type)).where(
                    current.c.job_id == job_id
                )
            ).one()
        return float((due - clock).total_seconds())
