"""Large batches, which are settled beside the worker's loop: as if it did so itself, while it goes on."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from support import eventually
from worker.workshop import Working, Workshop, make, the_end

from jobctl import Job, Status, Worker, WorkerOptions, continue_with, settler
from jobctl.events import Event, Told
from jobctl.ids import new_id
from jobctl.registry import Registry

NUMBER = 40


@pytest.fixture(autouse=True)
def every_batch_is_large(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(settler, "MANY", 1)


def settlers() -> list[threading.Thread]:
    """The threads on which batches are settled."""
    return [each for each in threading.enumerate() if each.name == "jobctl-settler"]


@contextmanager
def batch_waits(shop: Workshop) -> Iterator[tuple[str, Working]]:
    """A chain that has ended, and its worker, while the batch that it is in waits for somebody's lock."""
    gate = shop.gate()
    chain = shop.start("step")
    working = shop.work(make("plain", hooks={"between": gate}), make("plain", "other"), concurrency=2)
    gate.reached()
    with shop.another_store().transaction() as conn:
        shop.store.lock(conn, [chain])
        gate.open()
        eventually(settlers, what="the batch is being settled")
        yield chain, working


def test_goes_on_meanwhile(postgres_shop: Workshop):
    """While a batch waits for somebody's lock, other jobs are claimed and run; at the end all is settled."""
    shop = postgres_shop
    with batch_waits(shop) as (first, working):
        ran = [shop.start("other") for _ in range(3)]
        working.worker.answers(20.0)
        eventually(lambda: shop.client.get(ran[-1]).status is Status.RUNNING, what="another was claimed meanwhile")
        assert working.told(Told.JOB_COMPLETED) == []
    for each in (first, *ran):
        working.until(Told.JOB_COMPLETED, each)
        assert shop.client.get(each).status is Status.COMPLETED
    working.stop()
    assert settlers() == []


def test_claims_no_more_than_it_settles(postgres_shop: Workshop, monkeypatch: pytest.MonkeyPatch):
    """While nothing can be settled, no more is claimed once enough has ended; afterwards all is done, each job once."""
    shop = postgres_shop
    monkeypatch.setattr(settler, "MOST_UNSETTLED", 20)
    with batch_waits(shop) as (first, working):
        others = shop.start_many(400, "other")
        claimed = "SELECT count(*) FROM jobctl_current WHERE status = 'running'"

        def held() -> int:
            with shop.store.transaction() as asking:
                return int(asking.exec_driver_sql(claimed).scalar_one())

        eventually(lambda: held() >= 20, what="enough has ended")
        for _ in range(50):  # it goes around, and claims nothing more
            assert working.worker.answers(20.0)
        assert held() <= 60
    events = [working.until(Told.JOB_COMPLETED, each) for each in (first, *others)]
    assert {each.attempt for each in events} == {1}


def test_stops_only_afterwards(postgres_shop: Workshop):
    """A worker that is told to stop waits for the batch that is being settled, and gives nothing of it back."""
    shop = postgres_shop
    with batch_waits(shop) as (chain, working):
        working.ask_to_stop()
        working.until(Told.WORKER_STOPPING)
        assert working.running
    events = working.ended()
    assert the_end(events, chain) == [Told.JOB_COMPLETED]
    assert (shop.client.get(chain).status, shop.client.get(chain).attempt) == (Status.COMPLETED, 1)


def test_what_cannot_be_kept(shop: Workshop):
    """Of a batch in which one outcome cannot be written, that attempt fails, and the others are what they are."""

    def answer(job: Job) -> object:
        return continue_with("step", 1, blocked_by=[new_id()]) if job.input == 0 else job.input

    bad, *good = shop.start_many(NUMBER)
    events = shop.run(make("plain", answer=answer, max_attempts=1), concurrency=NUMBER)
    assert shop.client.get(bad).status is Status.FAILED
    assert "cannot be kept" in (shop.client.get_job(bad).last_error or "")
    assert [shop.client.get(each).output for each in good] == list(range(1, NUMBER))
    assert sorted(the_end(events)) == sorted([Told.JOB_FAILED, *[Told.JOB_COMPLETED] * len(good)])


def test_what_is_lost(shop: Workshop):
    """Of a batch in which some were settled by hand meanwhile, those are lost, and the others are written."""
    gate = shop.gate()
    chains = shop.start_many(4)
    working = shop.work(make("plain", hooks={"between": gate}), concurrency=4)
    gate.reached(4)
    for each in chains[:2]:
        with shop.store.transaction() as conn, shop.client.settle(each, conn=conn) as held:
            held.complete("by hand")
    gate.open()
    for each, told in zip(chains, [Told.JOB_LOST] * 2 + [Told.JOB_COMPLETED] * 2, strict=True):
        working.until(told, each)
    assert [shop.client.get(each).output for each in chains] == ["by hand", "by hand", 2, 3]


def test_chains_go_on(shop: Workshop):
    """What a batch continues with is claimed as soon as it is written, and a draining worker does all of it."""
    chains = shop.start_many(NUMBER)
    shop.run(
        make("plain", answer=lambda job: continue_with("second", job.input)),
        make("plain", "second", answer=lambda job: continue_with("third", job.input)),
        make("plain", "third"),
    )
    assert [shop.client.get(each).output for each in chains] == list(range(NUMBER))


def test_who_is_told_fails(postgres_shop: Workshop):
    """An error of who is told of a batch ends the worker with that error, as it does where the loop itself tells."""

    def tell(event: Event) -> None:
        if event.told is Told.JOB_COMPLETED:
            assert threading.current_thread() in settlers()
            raise OSError("nobody hears")

    chain = postgres_shop.start("step")
    worker = Worker(postgres_shop.store, Registry([make("plain")]), WorkerOptions(drain=True), tell)
    with pytest.raises(OSError, match="nobody hears"):
        worker.run()
    assert postgres_shop.client.get(chain).status is Status.COMPLETED
    assert settlers() == []
