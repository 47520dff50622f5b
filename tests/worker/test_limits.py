"""How much a worker takes on: concurrency, types, a number of attempts, and only what it can begin soon."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest
import sqlalchemy as sa
from support import eventually
from worker.workshop import SOON, TRANSACTIONAL, Workshop, make

from jobctl import Backoff, Job, Status, pool, processor, timetable
from jobctl.errors import UsageError
from jobctl.events import Told
from jobctl.storage.records import JobRow


class Counter:
    """How many handlers run at once, and how many did at the most."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self.now = 0
        self.most = 0

    def __enter__(self) -> None:
        with self._guard:
            self.now += 1
            self.most = max(self.most, self.now)

    def __exit__(self, *_: object) -> None:
        with self._guard:
            self.now -= 1


def test_concurrency(shop: Workshop):
    """As many handlers run at once as the worker may run, and never more."""
    counter = Counter()
    gate = threading.Barrier(3, timeout=20)

    @processor("step")
    def step(job: Job) -> None:
        with counter:
            gate.wait()  # passes only when three are here at once

    shop.start_many(12)
    shop.run(step, concurrency=3)
    assert counter.most == 3


def test_concurrency_of_coroutines(shop: Workshop):
    """The same for coroutines."""
    counter = Counter()

    @processor("step")
    async def step(job: Job) -> None:
        with counter:
            for _ in range(200):
                if counter.most >= 3:
                    break
                await asyncio.sleep(0.01)

    shop.start_many(12)
    shop.run(step, concurrency=3)
    assert counter.most == 3


def test_functions_and_coroutines_share_the_concurrency(shop: Workshop):
    """A worker with both kinds of handlers runs no more of them together than it may."""
    counter = Counter()

    @processor("step")
    def step(job: Job) -> None:
        with counter:
            time.sleep(0.002)

    @processor("other")
    async def other(job: Job) -> None:
        with counter:
            await asyncio.sleep(0.002)

    shop.start_many(20, "step")
    shop.start_many(20, "other")
    events = shop.run(step, other, concurrency=2)
    assert len([each for each in events if each.told is Told.JOB_COMPLETED]) == 40
    assert 1 <= counter.most <= 2


def test_max_jobs(shop: Workshop):
    """A worker ends after so many attempts, and takes no job that it does not begin."""
    chains = shop.start_many(5)
    events = shop.run(make("plain"), drain=False, max_jobs=3)
    assert len([each for each in events if each.told is Told.JOB_COMPLETED]) == 3
    statuses = [shop.client.get(each).status for each in chains]
    assert sorted(statuses) == [Status.COMPLETED] * 3 + [Status.READY] * 2
    assert [shop.client.get_job(each).attempt for each in chains].count(0) == 2


def test_max_jobs_counts_attempts(shop: Workshop):
    """An attempt that fails counts."""

    @processor("step", backoff=Backoff(initial=0.0))
    def fail(job: Job) -> None:
        raise ValueError("no")

    chain = shop.start()
    events = shop.run(fail, drain=False, max_jobs=3)
    assert len([each for each in events if each.told is Told.JOB_RETRIED]) == 3
    assert shop.client.get(chain).attempt == 3


def test_drain(shop: Workshop):
    """A draining worker does what becomes ready by its own doing too, and leaves what is scheduled."""
    chain = shop.start("step")
    waiting = shop.start("next", blocked_by=[chain])
    later = shop.start("step", after="1h")
    shop.run(make("plain"), make("plain", "next"))
    assert shop.client.get(waiting).status is Status.COMPLETED
    assert shop.client.get(later).status is Status.SCHEDULED


def test_drain_waits_for_what_is_locked(postgres_shop: Workshop, monkeypatch: pytest.MonkeyPatch):
    """A draining worker does not end while somebody has a ready job locked, nor ask for it again and again."""
    monkeypatch.setattr(timetable, "AGAIN_SECONDS", 60.0)
    chain, store = postgres_shop.start(), postgres_shop.another_store()
    claims, claim_alone = [], store.claim_alone

    def count(*args: Any, **kwargs: Any) -> list[JobRow]:
        claims.append(args)
        return claim_alone(*args, **kwargs)

    store.claim_alone = count  # type: ignore[method-assign]
    with postgres_shop.store.transaction() as conn:
        postgres_shop.store.lock(conn, [chain])
        working = postgres_shop.work(make("plain"), store=store, drain=True)
        for _ in range(10):
            assert working.worker.answers(SOON)
        assert working.running
    assert len(claims) <= 2
    postgres_shop.start()
    assert {each.job_id for each in working.ended() if each.told is Told.JOB_COMPLETED} >= {chain}


def test_types(shop: Workshop):
    """Only jobs of the types asked for are taken."""
    wanted, other = shop.start("step"), shop.start("other")
    shop.run(make("plain"), make("plain", "other"), types=["step"])
    assert shop.client.get(wanted).status is Status.COMPLETED
    assert shop.client.get(other).status is Status.READY


@pytest.mark.parametrize(("types", "said"), [(["missing"], "no processor handles 'missing'"), ([], "no type to work")])
def test_wrong_types(shop: Workshop, types: list[str], said: str):
    """A type that no processor handles is refused at once."""
    with pytest.raises(UsageError, match=said):
        shop.run(make("plain"), types=types)


def test_a_slow_handler_hoards_nothing(shop: Workshop):
    """Jobs that a worker claimed when it was quick, and cannot begin now, go to one that has a free hand."""
    gate = shop.gate()
    first = shop.work(make("plain", hooks={"between": gate}), concurrency=1, set_up=hasten)
    chains = shop.start_many(10)
    gate.reached()
    second = shop.work(make("plain"), name="w2", store=shop.another_store())
    second.until(Told.JOB_COMPLETED, times=9)
    gate.open()
    first.until(Told.JOB_COMPLETED)
    assert [each.attempt for each in map(shop.client.get, chains)] == [1] * 10


def hasten(worker) -> None:
    """Have a worker believe that its handlers are quick."""
    worker._pool.pace.per_second = 400.0


def test_what_is_claimed_after_a_rest(shop: Workshop, monkeypatch: pytest.MonkeyPatch):
    """What a worker claims ahead after a rest counts as waiting from then on, not from when something ended before it."""
    monkeypatch.setattr(pool, "STALE_SECONDS", 60.0)
    gate = shop.gate()
    working = shop.work(make("plain", hooks={"between": gate}), concurrency=2)
    pace = working.worker._pool.pace
    pace.per_second, pace.last_end = 1000.0, time.monotonic() - 100
    chains = shop.start_many(20)
    gate.reached(2)
    eventually(lambda: len(working.worker._pool.running) == len(chains))
    assert working.worker.answers(20)
    gate.open()
    for each in chains:
        working.until(Told.JOB_COMPLETED, each)
    assert working.told(Told.JOB_RELEASED) == []


def test_nothing_is_left_behind(shop: Workshop):
    """The threads of a worker end with it."""
    before = {each.name for each in threading.enumerate()}
    shop.start_many(5)
    shop.start("other")
    shop.run(make("plain"), make("async_staged", "other"), concurrency=3)
    eventually(lambda: {each.name for each in threading.enumerate() if each.name.startswith("jobctl")} <= before)


@pytest.mark.parametrize("mode", TRANSACTIONAL)
def test_transactions_at_once(postgres_shop: Workshop, monkeypatch: pytest.MonkeyPatch, mode: str):
    """However many handlers run, so many of them have a transaction open; the others wait for their turn."""
    monkeypatch.setattr(pool, "MOST_TRANSACTIONS", 2)
    gate = postgres_shop.gate()
    chains = postgres_shop.start_many(6)
    started = postgres_shop.work(make(mode, hooks={"complete": gate}), concurrency=6)
    started.until(Told.JOB_STARTED, times=6)
    gate.reached(2)
    with postgres_shop.store.transaction() as conn:
        query = sa.text(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE :state"
        )
        assert conn.scalar(query, {"state": "idle in transaction%"}) == 2
    assert len(gate.arrived) == 2
    gate.open()
    started.until(Told.JOB_COMPLETED, times=6)
    assert {postgres_shop.client.get(each).status for each in chains} == {Status.COMPLETED}
