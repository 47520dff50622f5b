"""Workers while types and chains are paused."""

from __future__ import annotations

import time

import pytest
from worker.workshop import MODES, SOON, Workshop, make

from jobctl import Status, continue_with
from jobctl.events import Told


@pytest.mark.parametrize("what", ["chain", "type", "all"])
def test_idle_worker_hears_of_the_end(shop: Workshop, what: str):
    """A worker leaves what is paused alone, and begins with it as soon as it is resumed."""
    chain = shop.start()
    target = {"chain": {"ids": [chain]}, "type": {"types": ["step"]}, "all": {"everything": True}}[what]
    shop.client.pause(**target)
    working = shop.work(make("plain"), make("plain", "other"))
    if what != "all":
        working.until(Told.JOB_COMPLETED, shop.start("other"))
    assert working.told(Told.JOB_STARTED, chain) == []
    before = time.monotonic()
    shop.client.resume(**target)
    working.until(Told.JOB_COMPLETED, chain)
    assert time.monotonic() - before < SOON


@pytest.mark.parametrize("mode", [each for each in MODES if each != "atomic"])  # that one holds an SQLite file
def test_what_runs_goes_on(shop: Workshop, mode: str):
    """A handler that runs while its type and all else is paused ends as always; its successor waits."""
    gate = shop.gate()
    chain = shop.start()
    step = make(mode, hooks={"between": gate}, answer=lambda _: continue_with("next"))
    working = shop.work(step, make("plain", "next"))
    gate.reached()
    shop.client.pause(types=["step"], everything=True)
    gate.open()
    working.until(Told.JOB_CONTINUED, chain)
    shop.client.resume(types=["step"])
    assert shop.client.get(chain).status is Status.READY
    shop.client.resume(everything=True)
    working.until(Told.JOB_COMPLETED)
    assert shop.client.get(chain).status is Status.COMPLETED


def test_draining_worker_ends(shop: Workshop):
    """A draining worker does not wait for what is paused."""
    chain = shop.start()
    shop.client.pause([chain])
    assert [each.told for each in shop.run(make("plain"))] == [Told.WORKER_STARTED, Told.WORKER_STOPPED]
