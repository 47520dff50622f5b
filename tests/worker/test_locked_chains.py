"""Somebody has a chain locked for as long as a transaction of his lasts: the worker goes on with all else."""

from __future__ import annotations

import pytest
from support import eventually
from worker.workshop import SOON, Workshop, make

from jobctl import Status
from jobctl.events import Told

TYPES = ("step", "next", "report")


@pytest.fixture
def working(postgres_shop: Workshop):
    """Starts a worker, whose handler of a chain of the type "step" waits at a gate; gives both and the gate."""
    gate = postgres_shop.gate()
    handlers = make("plain", hooks={"between": gate}), make("plain", "next"), make("plain", "report")
    chain = postgres_shop.start()
    made = postgres_shop.work(*handlers, store=postgres_shop.another_store(), concurrency=3, shutdown_timeout=1.0)
    gate.reached()
    return made, chain, gate


def test_a_chain_that_others_wait_for(postgres_shop: Workshop, working):
    """While a start that waits for a chain is not committed, other jobs are done; then that chain is settled."""
    made, chain, gate = working
    with postgres_shop.store.transaction() as conn:
        waiting = postgres_shop.client.start("report", blocked_by=[chain], conn=conn).id
        gate.open()
        for _ in range(3):
            made.until(Told.JOB_COMPLETED, postgres_shop.start("next"), within=SOON)
        assert made.told(Told.JOB_COMPLETED, chain) == []
        assert made.told(Told.DATABASE_LOST) == []
    made.until(Told.JOB_COMPLETED, chain, within=SOON)
    made.until(Told.JOB_COMPLETED, waiting, within=SOON)


def test_a_chain_that_waits(postgres_shop: Workshop, working):
    """While somebody has a waiting chain locked, other jobs are done; what it waits for is settled afterwards."""
    made, chain, gate = working
    waiting = postgres_shop.start("report", blocked_by=[chain])
    with postgres_shop.store.transaction() as conn:
        postgres_shop.store.lock(conn, [waiting])
        gate.open()
        for _ in range(3):
            made.until(Told.JOB_COMPLETED, postgres_shop.start("next"), within=SOON)
        assert made.told(Told.JOB_COMPLETED, chain) == []
    made.until(Told.JOB_COMPLETED, waiting, within=SOON)


def test_several_that_wait_for_one(postgres_shop: Workshop, working):
    """Of several that ended, those that are free are settled, however many are locked."""
    made, chain, gate = working
    others = [postgres_shop.start() for _ in range(2)]
    gate.reached(2)
    with postgres_shop.store.transaction() as conn:
        postgres_shop.store.lock(conn, [chain, others[0]])
        gate.open()
        made.until(Told.JOB_COMPLETED, others[1], within=SOON)
        assert made.told(Told.JOB_COMPLETED, chain) == []
    made.until(Told.JOB_COMPLETED, chain, within=SOON)
    made.until(Told.JOB_COMPLETED, others[0], within=SOON)
    assert len(made.told(Told.JOB_COMPLETED)) == 3


@pytest.mark.parametrize("stops", [1, 2])
def test_stopping(postgres_shop: Workshop, working, stops: int):
    """A worker that is told to stop ends in the time that it has, and leaves to its lease what is locked."""
    made, chain, gate = working
    with postgres_shop.store.transaction() as conn:
        postgres_shop.store.lock(conn, [chain])
        gate.open()
        eventually(lambda: made.worker._settler)
        for _ in range(stops):
            made.worker.stop()
        made.ended(within=SOON * 2)
    assert postgres_shop.client.get(chain).status is Status.RUNNING


def test_settled_by_hand(postgres_shop: Workshop, working):
    """What whoever has locked a chain settles by hand is lost to the worker, as ever."""
    made, chain, gate = working
    with postgres_shop.client.settle(chain) as current:
        gate.open()
        made.until(Told.JOB_COMPLETED, postgres_shop.start("next"), within=SOON)
        current.complete("by hand")
    made.until(Told.JOB_LOST, chain, within=SOON)
    assert postgres_shop.client.get(chain).output == "by hand"
