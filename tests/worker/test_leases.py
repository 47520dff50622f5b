"""Leases: renewed while a handler runs, reaped when nobody renews."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest
from support import eventually
from worker.workshop import SOON, Workshop, make

from jobctl import Attempt, Job, ListFilter, Status, Worker, processor
from jobctl.events import Told


@pytest.mark.parametrize("mode", ["plain", "staged"])
def test_renewing(shop: Workshop, mode: str):
    """A lease moves on while a handler runs longer than it holds: no other worker takes the job."""
    gate = shop.gate()
    chain = shop.start("step", "in")
    working = shop.work(make(mode, hooks={"between": gate}), lease=1.0)
    gate.reached()
    other = shop.work(make(mode), name="w2", store=shop.another_store(), lease=1.0, poll=0.1)
    first = shop.lease_end(chain)
    eventually(lambda: shop.lease_end(chain) > first + 1.1)  # longer than the first one held
    gate.open()
    working.until(Told.JOB_COMPLETED)
    found = shop.client.show(chain)
    assert (found.jobs[0].completed_by, found.jobs[0].attempt, found.errors) == ("w1", 1, ())
    assert [each for each in other.events if each.job_id] == []


@pytest.mark.parametrize("mode", ["async_plain", "async_staged"])
def test_renewing_for_coroutines(shop: Workshop, mode: str):
    """The same for a coroutine that awaits."""
    go_on = threading.Event()
    chain = shop.start()

    @processor("step")
    async def plain(job: Job) -> None:
        while not go_on.is_set():  # noqa: ASYNC110 - the event is the test's, not the loop's
            await asyncio.sleep(0.01)

    @processor("step")
    async def staged(job: Job, attempt: Attempt) -> None:
        async with attempt.prepare():
            pass
        await plain(job)
        async with attempt.complete():
            pass

    working = shop.work(plain if mode == "async_plain" else staged, lease=0.4)
    working.until(Told.JOB_STARTED)
    first = shop.lease_end(chain)
    eventually(lambda: shop.lease_end(chain) > first + 0.5)
    go_on.set()
    working.until(Told.JOB_COMPLETED)
    assert shop.client.get_job(chain).attempt == 1


def test_an_open_completing_transaction(shop: Workshop, transactional: str):
    """While a completing transaction holds the job its lease may run out: nobody can take it, and it completes."""
    gate = shop.gate()
    chain = shop.start("step", "in")
    working = shop.work(make(transactional, hooks={"complete": gate}), lease=0.3)
    gate.reached()
    job = shop.client.get_job(chain)
    assert job.leased_until is not None
    other = shop.work(make("plain"), name="w2", store=shop.another_store(), poll=0.05) if shop.postgres else None
    eventually(lambda: shop.clock() > job.leased_until.timestamp() + 0.1)  # type: ignore[union-attr]
    gate.open()
    working.until(Told.JOB_COMPLETED)
    found = shop.client.show(chain)
    assert (found.jobs[0].completed_by, found.jobs[0].attempt, found.errors) == ("w1", 1, ())
    assert shop.effects() == ["worker"]
    assert other is None or [each for each in other.events if each.job_id] == []


def test_a_lease_for_each_type(shop: Workshop):
    """A processor's own lease goes before the worker's."""
    gate = shop.gate()
    own = shop.start("own")
    other = shop.start("other")
    shop.work(
        make("plain", "own", lease="2h", hooks={"between": gate}), make("plain", "other", hooks={"between": gate})
    )
    gate.reached(2)
    seconds = {}
    for each in (own, other):
        job = shop.client.get_job(each)
        assert job.leased_until is not None
        seconds[each] = (job.leased_until - job.scheduled_at).total_seconds()
    assert 7200 <= seconds[own] < 7200 + SOON
    assert 30 <= seconds[other] < 30 + SOON


def test_reaping(shop: Workshop):
    """The job of a worker that is not heard of any more runs again, and its history says why."""
    chain = shop.start("step", "in")
    assert shop.claim(worker="dead") == [chain]
    assert [each.told for each in shop.run(make("plain")) if each.job_id] == []
    shop.expire(chain)
    events = shop.run(make("plain"))
    (reaped,) = [each for each in events if each.told is Told.JOB_REAPED]
    assert (reaped.job_id, reaped.detail, reaped.attempt, reaped.type_name) == (chain, "dead", 1, "step")
    found = shop.client.show(chain)
    assert (found.chain.status, found.chain.output, found.jobs[0].attempt) == (Status.COMPLETED, "in", 2)
    (error,) = found.errors
    assert (error.attempt, error.worker) == (1, "dead")
    assert error.error == "the lease ran out: nothing was heard of worker dead"


def test_reaping_in_time(shop: Workshop):
    """An idle worker reaps a lease when it runs out, however seldom it polls."""
    chain = shop.start()
    shop.claim(seconds=0.5)
    working = shop.work(make("plain"))
    working.until(Told.JOB_COMPLETED, chain, within=SOON)


def test_reaping_other_types(shop: Workshop):
    """A worker reaps jobs of types that it does not work: their worker may have been the only one."""
    chain = shop.start("step")
    shop.claim()
    shop.expire(chain)
    shop.run(make("plain", "other"))
    found = shop.client.get(chain)
    assert (found.status, found.attempt) == (Status.READY, 1)


def test_its_own_lease(shop: Workshop):
    """A worker whose own lease ran out does not take the job from itself; it may complete it."""
    gate = shop.gate()

    def never_renew(worker: Worker) -> None:
        worker._keeper._renew = lambda: None  # type: ignore[method-assign]

    chain = shop.start("step", "in")
    working = shop.work(make("plain", hooks={"between": gate}), make("plain", "other"), set_up=never_renew, poll=0.05)
    gate.reached()
    shop.expire(chain)
    looks: list[float] = []
    reap = working.worker._store.reap

    def count(*args: Any, **kwargs: Any) -> Any:
        looks.append(time.monotonic())
        return reap(*args, **kwargs)

    working.worker._store.reap = count  # type: ignore[method-assign]
    eventually(lambda: len(looks) >= 3)
    assert shop.client.get(chain).status is Status.RUNNING
    gate.open()
    working.until(Told.JOB_COMPLETED, chain)
    assert shop.errors(chain) == []
    assert shop.client.get_job(chain).attempt == 1


def test_a_lapsed_lease_that_nobody_took(shop: Workshop):
    """A lease that ran out while nobody took the job is extended at the next renewal."""
    gate = shop.gate()
    chain = shop.start()
    working = shop.work(make("staged", hooks={"between": gate}), lease=0.4)
    gate.reached()
    shop.expire(chain)
    eventually(lambda: shop.lease_end(chain) > shop.clock())
    gate.open()
    working.until(Told.JOB_COMPLETED, chain)
    assert shop.errors(chain) == []


def test_many_leases(shop: Workshop):
    """All that a worker holds is renewed at once, those that are waiting to begin too."""
    gate = shop.gate()
    chains = shop.start_many(20)

    def expect_many(worker: Worker) -> None:
        worker._pool.pace.per_second = 400.0

    working = shop.work(make("plain", hooks={"between": gate}), concurrency=1, lease=0.4, set_up=expect_many)
    gate.reached()
    held = shop.client.list_jobs(ListFilter(statuses=(Status.RUNNING,))).items
    ends = {each.id: each.leased_until.timestamp() for each in held if each.leased_until is not None}
    assert ends

    def moved() -> bool:
        jobs = [shop.client.get_job(each) for each in ends]
        return all(job.leased_until is None or job.leased_until.timestamp() > ends[job.id] for job in jobs)

    eventually(moved)
    gate.open()
    working.until(Told.JOB_COMPLETED, times=20)
    assert {shop.client.get_job(each).attempt for each in chains} == {1}


def test_a_renewal_that_fails_unexpectedly(shop: Workshop, caplog: pytest.LogCaptureFixture):
    """After an error that nobody foresaw leases are renewed on, and it is logged."""
    gate = shop.gate()
    chain = shop.start()
    failures = iter([RuntimeError("what is that?")])

    def fail_once(worker: Worker) -> None:
        renew = worker._store.renew

        def renew_or_fail(*args: Any) -> Any:
            for error in failures:
                raise error
            return renew(*args)

        worker._store.renew = renew_or_fail  # type: ignore[method-assign]

    working = shop.work(make("plain", hooks={"between": gate}), set_up=fail_once, lease=0.6, store=shop.another_store())
    gate.reached()
    first = shop.lease_end(chain)
    eventually(lambda: shop.lease_end(chain) > first + 0.6)
    gate.open()
    assert working.until(Told.JOB_COMPLETED, chain).attempt == 1
    assert "leases could not be renewed" in caplog.text
    assert "what is that?" in caplog.text


def test_a_renewal_that_gets_no_answer(postgres_shop: Workshop):
    """While a renewal gets no answer, attempts whose leases have run out meanwhile are told."""
    told, answered = threading.Event(), threading.Event()
    chain = postgres_shop.start()

    @processor("step")
    def wait(job: Job, attempt: Attempt) -> None:
        eventually(lambda: attempt.lost, within=SOON)
        told.set()

    def hang(worker: Worker) -> None:
        renew = worker._store.renew

        def renew_later(*args: Any) -> Any:
            answered.wait(20)
            return renew(*args)

        worker._store.renew = renew_later  # type: ignore[method-assign]

    working = postgres_shop.work(wait, set_up=hang, lease=0.6, store=postgres_shop.another_store())
    assert told.wait(SOON)
    answered.set()
    working.until(Told.JOB_LOST, chain)
