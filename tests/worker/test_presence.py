"""A worker's signs of life, and that they never hurt the work."""

from __future__ import annotations

import threading

import pytest
import sqlalchemy as sa
from support import eventually
from worker.workshop import Workshop, make

from jobctl import Status, __version__
from jobctl.errors import DatabaseUnavailableError
from jobctl.events import Told
from jobctl.reports import WorkerReport, WorkerState
from jobctl.storage import presence
from jobctl.storage.spelling import later, now
from jobctl.storage.tables import worker as worker_table

OFTEN = 0.1
"""The shortest time between two signs of life."""


def listed(shop: Workshop, **wanted: object) -> WorkerReport:
    """The one worker on the list, once it is as wanted."""

    def look() -> WorkerReport | None:
        found = shop.client.workers()
        assert len(found) <= 1
        fits = found and all(getattr(found[0], name) == value for name, value in wanted.items())
        return found[0] if fits else None

    found = eventually(look, what=f"a worker with {wanted}; listed: {shop.client.workers()}")
    assert found is not None
    return found


def age(shop: Workshop, seconds: float, **values: object) -> None:
    """As if the workers had not been heard of for so long."""
    with shop.store.transaction() as conn:
        conn.execute(sa.update(worker_table).values(seen_at=later(now(), sa.literal(-seconds)), **values))


def test_a_worker_registers(shop: Workshop):
    """A worker that starts is on the list with what it is, and one that ends is not any more."""
    working = shop.work(make("plain", "new", aliases=["old"]), concurrency=3, name="w9")
    found = listed(shop)
    assert (found.id, found.name, found.types) == (working.worker.id, "w9", ("new", "old"))
    assert (found.concurrency, found.running, found.state, found.version) == (3, 0, WorkerState.ALIVE, __version__)
    assert found.host
    assert found.pid
    assert found.busy_since is None
    assert found.started_at <= found.seen_at
    working.stop()
    assert shop.client.workers() == []


def test_slots_in_use(shop: Workshop):
    """A sign of life says how many slots are in use, and since when all are; the jobs are named."""
    gate = shop.gate()
    first = shop.start()
    shop.work(make("plain", hooks={"between": gate}), concurrency=2, beat=OFTEN)
    gate.reached()
    assert listed(shop, running=1).busy_since is None
    second = shop.start()
    gate.reached()
    found = listed(shop, running=2)
    assert found.busy_since is not None
    assert found.busy_since <= found.seen_at
    assert {job.id for job in found.jobs} == {first, second}
    before = found.busy_since
    seen = found.seen_at
    later_on = eventually(lambda: next((each for each in shop.client.workers() if each.seen_at > seen), None))
    assert abs((later_on.busy_since - before).total_seconds()) < 0.2
    gate.open()
    assert listed(shop, running=0).busy_since is None


def test_a_stopping_worker_says_so_at_once(shop: Workshop):
    """A worker that finishes what runs is listed as stopping, however rarely it gives a sign of life."""
    gate = shop.gate()
    shop.start()
    working = shop.work(make("plain", hooks={"between": gate}), beat=3600.0)
    gate.reached()
    working.ask_to_stop()
    assert not listed(shop, state=WorkerState.STOPPING).takes("step")
    gate.open()
    working.ended()
    assert shop.client.workers() == []


def test_a_dead_worker_is_listed_with_its_jobs(shop: Workshop):
    """A worker that is not heard of for three beats is dead, and what it holds is named; a new one of its name is not."""
    gate = shop.gate()
    chain = shop.start()
    shop.work(make("plain", hooks={"between": gate}), beat=3600.0)
    gate.reached()
    age(shop, 3 * 3600.0 - 60)
    listed(shop, state=WorkerState.ALIVE)
    age(shop, 3 * 3600.0 + 1, stopping=1)
    found = listed(shop, state=WorkerState.DEAD)
    assert [job.id for job in found.jobs] == [chain]
    assert not found.takes("step")
    shop.work(make("plain", "other"), store=shop.another_store())
    again = eventually(lambda: [each for each in shop.client.workers() if each.state is WorkerState.ALIVE])
    assert (again[0].name, again[0].jobs) == (found.name, ())


def test_a_dead_worker_is_forgotten_after_a_day(shop: Workshop):
    """Others take a worker off the list that was not heard of for a day, and none that was."""
    shop.work(make("plain"), beat=3600.0)
    dead = listed(shop)
    age(shop, presence.FORGET_SECONDS - 60)
    shop.run(make("plain"), store=shop.another_store())
    assert [each.id for each in shop.client.workers()] == [dead.id]
    age(shop, presence.FORGET_SECONDS + 1)
    shop.run(make("plain"), store=shop.another_store())
    assert shop.client.workers() == []


def test_a_forgotten_worker_comes_back(shop: Workshop):
    """A worker that was taken off the list, by mistake or while its machine slept, is on it again with the next sign."""
    shop.work(make("plain"), beat=OFTEN)
    found = listed(shop)
    presence.leave(shop.store, found.id)
    again = listed(shop, id=found.id)
    assert abs((again.started_at - found.started_at).total_seconds()) < 0.2


@pytest.mark.parametrize("error", [DatabaseUnavailableError("away"), RuntimeError("a defect")], ids=["away", "defect"])
def test_errors_are_survived(shop: Workshop, monkeypatch: pytest.MonkeyPatch, error: Exception):
    """A sign of life that cannot be given is left out: the work goes on, nothing is told, and the next one is given."""
    failing = True
    tried = threading.Event()
    give = presence.beat

    def beat(store, sign) -> None:
        if failing:
            tried.set()
            raise error
        give(store, sign)

    monkeypatch.setattr(presence, "beat", beat)
    working = shop.work(make("plain"), beat=OFTEN)
    assert tried.wait(20)
    chain = shop.start()
    working.until(Told.JOB_COMPLETED, chain)
    assert shop.client.workers() == []
    failing = False
    listed(shop, state=WorkerState.ALIVE)
    assert not {Told.DATABASE_LOST, Told.WORKER_STOPPED} & {each.told for each in working.events}


def test_a_sign_that_hangs_stops_nobody(shop: Workshop, monkeypatch: pytest.MonkeyPatch):
    """While a sign of life does not come through, jobs are worked, and the worker ends soon when told to."""
    hanging = shop.gate()
    monkeypatch.setattr(presence, "beat", lambda *_: hanging.arrive("beat"))
    working = shop.work(make("plain"), beat=OFTEN)
    hanging.reached()
    chain = shop.start()
    working.until(Told.JOB_COMPLETED, chain)
    working.stop(within=10)
    assert shop.client.get(chain).status is Status.COMPLETED
    hanging.open()
    working.worker._presence._thread.join(20)  # before the store is closed under it


def test_an_older_worker_is_not_mistaken(shop: Workshop):
    """A job is named at the worker that had started when it was claimed, though another of its name came later."""
    gate = shop.gate()
    chain = shop.start()
    first = shop.work(make("plain", hooks={"between": gate}), beat=3600.0)
    gate.reached()
    eventually(shop.client.workers)  # when it started is known no better than when it could write that down
    shop.work(make("plain"), store=shop.another_store())
    found = eventually(lambda: (both := shop.client.workers()) and len(both) == 2 and both)
    assert {each.id: [job.id for job in each.jobs] for each in found}[first.worker.id] == [chain]
