"""An idle worker that looks by itself once a minute begins at once when there is something to do."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection
from support import eventually
from worker.workshop import SOON, Workshop, last_place, make
from working import claim, completed, held, settle

from jobctl import Status, Worker, pool, timetable
from jobctl.claims import Claimed, Claims
from jobctl.errors import DatabaseUnavailableError
from jobctl.events import Told
from jobctl.storage import front, reading
from jobctl.storage.front import LOOK_SHARE
from jobctl.storage.records import JobRow
from jobctl.storage.spelling import later, now
from jobctl.storage.store import Store


def idle_worker(shop: Workshop):
    """A worker that has looked and found nothing, on a store of its own."""
    working = shop.work(make("plain"), make("plain", "next"), store=shop.another_store())
    first = shop.start()
    working.until(Told.JOB_COMPLETED, first)
    return working


def test_a_chain_that_is_started(shop: Workshop):
    """A chain that somebody else starts begins at once."""
    working = idle_worker(shop)
    working.until(Told.JOB_COMPLETED, shop.start(), within=SOON)


def test_a_chain_that_is_continued_by_hand(shop: Workshop):
    """The next job of a chain that a person continues begins at once."""
    chain = shop.start("other")
    working = idle_worker(shop)
    with shop.client.settle(chain) as current:
        job = current.continue_with("next")
    working.until(Told.JOB_COMPLETED, job.id, within=SOON)


def test_a_job_that_is_unblocked(shop: Workshop):
    """A job begins at once when the chain that it waits for has completed elsewhere."""
    blocker = shop.start("other")
    waiting = shop.start("step", blocked_by=[blocker])
    working = idle_worker(shop)
    (row,) = claim(shop.store, "other")
    settle(shop.store, completed(row))
    working.until(Told.JOB_COMPLETED, waiting, within=SOON)


def test_a_job_that_is_given_back(shop: Workshop):
    """A job that another worker gives back begins at once."""
    working = idle_worker(shop)
    chain = shop.start("next-but-one")
    rows = claim(shop.store, "next-but-one")
    other = shop.work(make("plain", "next-but-one"), name="w2", store=shop.another_store())
    with shop.store.transaction() as conn:
        shop.store.release(conn, [held(each) for each in rows])
    other.until(Told.JOB_COMPLETED, chain, within=SOON)
    assert working.told(Told.JOB_COMPLETED, chain) == []


def test_a_job_that_becomes_due(shop: Workshop):
    """A scheduled job begins when it is due, not before, and not at the next look only."""
    working = idle_worker(shop)
    chain = shop.start("step", after="300ms")
    event = working.until(Told.JOB_COMPLETED, chain, within=SOON)
    job = shop.client.get_job(chain)
    assert event.attempt == 1
    assert job.completed_at is not None
    assert job.completed_at >= job.scheduled_at


@pytest.mark.parametrize("slow", [False, True])
def test_what_is_due_next_is_asked_after_a_claim(shop: Workshop, monkeypatch: pytest.MonkeyPatch, *, slow: bool):
    """What is in sight is asked when the claimed job is settled, or while its handler runs on: not only at the next look."""
    gate = shop.gate()
    if slow:
        monkeypatch.setattr(pool, "QUIET_SECONDS", 60.0)  # nothing else has the loop go around
    else:
        monkeypatch.setattr(timetable, "ASK_SECONDS", 60.0)
        gate.open()
    unseen = shop.start("next", after="1h")
    handlers = make("plain", hooks={"between": gate}), make("plain", "next")
    working = shop.work(*handlers, store=shop.another_store(), concurrency=2)
    working.until(Told.JOB_COMPLETED, shop.start("next"))
    shop.change(unseen, scheduled_at=later(now(), sa.literal_column("0.3")))
    claimed = shop.start()
    working.until(Told.JOB_COMPLETED, unseen, within=SOON)
    gate.open()
    working.until(Told.JOB_COMPLETED, claimed, within=SOON)


def test_what_is_told_while_there_is_no_room(shop: Workshop):
    """Work that a worker is told of while it has no room for it begins once it has, whatever is settled in between."""
    gate = shop.gate()
    working = shop.work(make("plain", hooks={"between": gate}), make("plain", "next"), store=shop.another_store())
    running = shop.start()
    gate.reached()
    assert working.worker.answers(SOON)
    eventually(lambda: not working.worker._times.unasked)  # and nothing else was in sight
    room = working.worker._pool.room
    working.worker._pool.room = lambda: 0  # type: ignore[method-assign]
    waiting = shop.start("next")
    eventually(lambda: working.worker._times.told)
    gate.open()
    working.until(Told.JOB_COMPLETED, running)
    working.worker._pool.room = room  # type: ignore[method-assign]
    assert working.worker.answers(SOON)
    working.until(Told.JOB_COMPLETED, waiting, within=SOON)


def test_what_waits_while_leases_are_looked_for(postgres_shop: Workshop, monkeypatch: pytest.MonkeyPatch):
    """Where looks take long, one for leases, while there is no room for what waits, puts off nothing."""
    monkeypatch.setattr(front, "DEAR_SECONDS", -1.0)
    monkeypatch.setattr(front, "LOOK_SHARE", 1e-9)
    gate = postgres_shop.gate()
    first, second = postgres_shop.start(), postgres_shop.start()
    working = postgres_shop.work(
        make("plain", hooks={"between": gate}), store=postgres_shop.another_store(), concurrency=1
    )
    gate.reached()
    assert working.worker.answers(SOON)
    working.worker._pool.room = lambda: 0  # type: ignore[method-assign]
    lapses = working.worker._times.lapses
    looks, reap = [], lapses.reap
    lapses.reap = lambda *args: looks.append(args) or reap(*args)  # type: ignore[method-assign]
    working.worker._times.reap_at = 0.0
    assert working.worker.answers(SOON)
    eventually(lambda: looks)
    gate.open()
    working.until(Told.JOB_COMPLETED, first)
    del working.worker._pool.room  # type: ignore[attr-defined]
    assert working.worker.answers(SOON)
    working.until(Told.JOB_COMPLETED, second, within=SOON)


class DeafWatch:
    """A connection that cannot listen, as behind a pooler of transactions."""

    def wait(self, seconds: float) -> Mapping[str, set[str]] | None:
        return {}

    def close(self) -> None:
        """Nothing to close."""


def test_polling(shop: Workshop, monkeypatch: pytest.MonkeyPatch):
    """Where nobody can be told of work, it is found by looking."""
    store = shop.another_store()
    monkeypatch.setattr(type(store), "watch", lambda *_: DeafWatch())
    working = shop.work(make("plain"), store=store, poll=0.1)
    working.until(Told.JOB_COMPLETED, shop.start(), within=SOON)


def test_idle_costs_nothing(shop: Workshop):
    """An idle worker does not ask the database again and again."""
    store = shop.another_store()
    looks = []
    for name in ("claim", "claim_alone") if shop.postgres else ("claim",):  # elsewhere the one calls the other
        call = getattr(store, name)

        def count(*args, call=call, **kwargs):
            looks.append(args)
            return call(*args, **kwargs)

        setattr(store, name, count)
    working = shop.work(make("plain"), store=store)
    working.until(Told.JOB_COMPLETED, shop.start())
    before = len(looks)
    working.until(Told.JOB_COMPLETED, shop.start())
    assert 1 <= before <= 10
    assert len(looks) - before <= 5


def test_a_claim_that_fails_is_made_again(shop: Workshop):
    """A database that is away for a moment while a worker claims is asked again, and the worker says so."""
    store: Store = shop.another_store()
    claim_ = store.claim
    failures = iter([True, True])

    def fail(*args, **kwargs):
        if next(failures, False):
            raise DatabaseUnavailableError(f"the database {store.label} is not available")
        return claim_(*args, **kwargs)

    def set_up(_: Worker) -> None:
        store.claim = fail  # type: ignore[method-assign]

    chain = shop.start()
    working = shop.work(make("plain"), store=store, set_up=set_up)
    working.until(Told.JOB_COMPLETED, chain, within=SOON)
    told = [each.told for each in working.events]
    assert told.index(Told.DATABASE_LOST) < told.index(Told.DATABASE_BACK) < told.index(Told.JOB_COMPLETED)
    assert told.count(Told.DATABASE_LOST) == 1


def test_a_claim_whose_blockers_cannot_be_read(shop: Workshop, monkeypatch: pytest.MonkeyPatch):
    """A job that was claimed just before the database went away is not left to its lease: it runs once that is back."""
    working = shop.work(make("plain"), make("plain", "next", answer=lambda job: [each.output for each in job.blockers]))
    first = shop.start("step", 1)
    working.until(Told.JOB_COMPLETED, first)  # the first claim goes with a look for leases that ran out
    failures = iter([True, True])
    read = reading.blockers

    def fail(conn: Connection, rows: Sequence[JobRow]):
        if rows and next(failures, False):
            raise DatabaseUnavailableError("the database is not available")
        return read(conn, rows)

    monkeypatch.setattr(reading, "blockers", fail)
    chain = shop.start("next", 2, blocked_by=[first])
    working.until(Told.JOB_COMPLETED, chain, within=SOON)
    found = shop.client.get(chain)
    assert (found.output, found.attempt) == ([shop.client.get(first).output], 1)
    told = [each.told for each in working.events]
    assert told.count(Told.DATABASE_LOST) == told.count(Told.DATABASE_BACK) == 1


def test_a_claim_whose_blockers_cannot_be_read_on_a_busy_worker(shop: Workshop, monkeypatch: pytest.MonkeyPatch):
    """The same where the worker never again claims without something to settle: it does not wait for such a moment."""
    gate = shop.gate()
    handlers = make("plain"), make("plain", "slow", hooks={"between": gate}), make("plain", "next")
    working = shop.work(*handlers, concurrency=2)
    first = shop.start("step", 1)
    working.until(Told.JOB_COMPLETED, first)
    slow = shop.start("slow")
    gate.reached()
    failures = iter([True])
    alone, read = Claims.alone, reading.blockers

    def fail(conn: Connection, rows: Sequence[JobRow]):
        if rows and next(failures, False):
            raise DatabaseUnavailableError("the database is not available")
        return read(conn, rows)

    def once(claims: Claims, most: int) -> Claimed:
        return Claimed() if working.told(Told.DATABASE_LOST) else alone(claims, most)

    monkeypatch.setattr(reading, "blockers", fail)
    monkeypatch.setattr(Claims, "alone", once)
    chain = shop.start("next", 2, blocked_by=[first])
    working.until(Told.DATABASE_LOST)
    gate.open()
    working.until(Told.JOB_COMPLETED, slow)
    working.until(Told.JOB_COMPLETED, chain, within=SOON)
    assert shop.client.get(chain).attempt == 1


def test_stopped_before_blockers_are_read(shop: Workshop, monkeypatch: pytest.MonkeyPatch):
    """A worker that stops gives back what it has claimed and could not hand over."""
    working = shop.work(make("plain"), make("plain", "next"))
    first = shop.start("step", 1)
    working.until(Told.JOB_COMPLETED, first)
    read = reading.blockers

    def fail(conn: Connection, rows: Sequence[JobRow]):
        if rows:
            raise DatabaseUnavailableError("the database is not available")
        return read(conn, rows)

    monkeypatch.setattr(reading, "blockers", fail)
    chain = shop.start("next", 2, blocked_by=[first])
    working.until(Told.DATABASE_LOST)
    working.stop()
    found = shop.client.get(chain)
    assert (found.status, found.attempt) == (Status.READY, 0)


def test_looking_for_leases_takes_a_share_of_the_time(shop: Workshop, monkeypatch: pytest.MonkeyPatch):
    """The longer it takes to look for leases that ran out, as it does beside an old snapshot, the later the next look."""
    looks: list[tuple[float, float]] = []
    reap = shop.store.reap

    def slow(*arguments, **named):
        begin = time.monotonic()
        time.sleep(0.03)
        found = reap(*arguments, **named)
        looks.append((begin, time.monotonic()))
        return found

    monkeypatch.setattr(shop.store, "reap", slow)
    shop.work(make("plain"), poll=0.05)
    eventually(lambda: len(looks) == 3)
    _, (begin, end), (next_, _) = looks  # after the first one, of all leases, a short one may follow at once
    assert next_ - end >= (end - begin) / LOOK_SHARE


@pytest.mark.parametrize("concurrency", [1, 2])
def test_looking_while_a_handler_writes(shop: Workshop, transactional: str, concurrency: int):
    """A worker that hears of work while a handler's transaction is open goes around, and waits for nobody's lock.

    So it does where all its hands are full, and it looks for leases that ran out only.
    """
    gate = shop.gate()
    chain = shop.start()
    working = shop.work(
        make(transactional, hooks={last_place(transactional): gate}), concurrency=concurrency, poll=0.05
    )
    gate.reached()
    for _ in range(3):
        working.worker._hear_of_work()
        assert working.worker.answers(5.0)
        time.sleep(0.06)
    gate.open()
    working.until(Told.JOB_COMPLETED, chain)
    assert working.told(Told.DATABASE_LOST) == []


def test_a_lease_that_ran_out_is_seen_while_others_write(sqlite_shop: Workshop, monkeypatch: pytest.MonkeyPatch):
    """However often a worker with a free hand hears of commits, it gives back a job whose lease has run out."""
    shop = sqlite_shop
    monkeypatch.setattr(timetable, "AGAIN_SECONDS", 60.0)  # it hears of them more often
    gate = shop.gate()
    shop.start()
    working = shop.work(make("plain", hooks={"between": gate}), concurrency=2)
    gate.reached()
    lost = shop.start("lost")
    assert claim(shop.store, "lost", seconds=0.0)
    over = threading.Event()

    def hear() -> None:
        while not over.wait(0.002):
            working.worker._hear_of_work()

    hearing = threading.Thread(target=hear)
    hearing.start()
    try:
        working.until(Told.JOB_REAPED, lost, within=SOON)
    finally:
        over.set()
        hearing.join()
