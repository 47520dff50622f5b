"""A worker that is told to stop: what runs may end, the rest is given back at once, and nobody is charged."""

from __future__ import annotations

import threading
import time

import pytest
from worker.workshop import Workshop, make

from jobctl import Job, LostReason, Status, processor
from jobctl.events import Told


def expect_many(worker) -> None:
    """Have a worker claim more than it can begin."""
    worker._pool.pace.per_second = 400.0


def test_what_runs_may_end(shop: Workshop, mode: str):
    """A handler that runs when the worker is told to stop ends as ever."""
    gate = shop.gate()
    hook = "between" if mode in {"plain", "async_plain"} else "complete"
    chain = shop.start("step", "in")
    working = shop.work(make(mode, hooks={hook: gate}))
    gate.reached()
    working.ask_to_stop()
    working.until(Told.WORKER_STOPPING)
    gate.open()
    working.ended()
    found = shop.client.get(chain)
    assert (found.status, found.output, found.attempt) == (Status.COMPLETED, "in", 1)


def test_what_waits_is_given_back(shop: Workshop):
    """Jobs that are claimed and have not begun are given back at once, as if they had never been claimed."""
    gate = shop.gate()
    chains = shop.start_many(5)
    working = shop.work(make("plain", hooks={"between": gate}), concurrency=1, set_up=expect_many)
    gate.reached()
    working.ask_to_stop()
    working.until(Told.JOB_RELEASED, times=4)
    found = [shop.client.get_job(each) for each in chains]
    assert sorted((job.status.value, job.attempt) for job in found) == [("ready", 0)] * 4 + [("running", 1)]
    gate.open()
    working.ended()
    assert [shop.client.get(each).status for each in chains].count(Status.COMPLETED) == 1


def stopped_midway(shop: Workshop, mode: str, place: str, stops: int) -> None:
    gate = shop.gate()
    chain = shop.start("step", "in")
    working = shop.work(make(mode, hooks={place: gate}), shutdown_timeout=0.1 if stops == 1 else 60.0)
    gate.reached()
    for _ in range(stops):
        working.ask_to_stop()
    working.ended(within=10)
    found = shop.client.show(chain)
    gate.open()
    assert (found.chain.status, found.chain.attempt, found.errors) == (Status.READY, 0, ())
    assert shop.effects() == []
    assert [each.told for each in working.events][-1] is Told.WORKER_STOPPED


@pytest.mark.parametrize("stops", [1, 2])
@pytest.mark.parametrize("mode", ["plain", "staged", "async_plain", "async_staged"])
def test_what_does_not_end_is_given_back(shop: Workshop, mode: str, stops: int):
    """After the shutdown timeout, or a second stop, a handler that still runs is lost, and its job given back."""
    stopped_midway(shop, mode, "between", stops)


@pytest.mark.parametrize("stops", [1, 2])
def test_an_open_transaction_is_cut_off(postgres_shop: Workshop, transactional: str, stops: int):
    """The same for a handler in its completing transaction, which is cut off with its connection.

    On SQLite, whose connections belong to their threads, the job comes back with its lease.
    """
    stopped_midway(postgres_shop, transactional, "complete", stops)


def test_a_handler_is_told(shop: Workshop):
    """A handler that outlives the shutdown timeout is told that its job is not its any more."""
    seen: list[LostReason | None] = []
    began = threading.Event()

    @processor("step")
    def staged(job: Job, attempt) -> None:
        began.set()
        seen.append(attempt.wait(20))

    shop.start()
    working = shop.work(staged, shutdown_timeout=0.1)
    assert began.wait(20)
    working.stop()
    deadline = time.monotonic() + 5
    while not seen and time.monotonic() < deadline:
        time.sleep(0.01)
    assert seen == [LostReason.ERROR]


def test_stopping_an_idle_worker(shop: Workshop):
    """An idle worker ends at once, and a worker may be stopped before it has begun."""
    working = shop.work(make("plain"))
    assert [each.told for each in working.stop(within=5)] == [
        Told.WORKER_STARTED,
        Told.WORKER_STOPPING,
        Told.WORKER_STOPPED,
    ]
