"""Attempts that lose their job: they learn it while they run, and nothing of theirs is written."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
from support import InThread, eventually, wait_until_blocked
from worker.workshop import INSERT, MODES, SOON, STAGED, Gate, Workshop, make, the_end

from jobctl import Attempt, Job, LostReason, Processor, Status, Worker, continue_with, processor
from jobctl.errors import AlreadySettledError, AttemptLostError
from jobctl.events import Event, Told


def settle_by_hand(shop: Workshop, chain: str) -> None:
    with shop.client.settle(chain, actor="eve") as current:
        current.complete("by hand")


def cancel_by_hand(shop: Workshop, chain: str) -> None:
    shop.client.cancel([chain], reason="not wanted")


TOLD = {settle_by_hand, cancel_by_hand}
"""What a worker is told of at once; what nobody tells is noticed at the next renewal."""

WAYS = [
    (settle_by_hand, LostReason.ALREADY_COMPLETED),
    (Workshop.steal, LostReason.TAKEN_BY_ANOTHER_WORKER),
    (Workshop.give_back, LostReason.TAKEN_BY_ANOTHER_WORKER),
    (cancel_by_hand, LostReason.CANCELLED),
    (Workshop.cancel, LostReason.CANCELLED),
    (Workshop.delete, LostReason.NOT_FOUND),
]

LOSABLE = [mode for mode in MODES if mode != "atomic"]
"""The transaction of an atomic handler holds the job: nobody can take it from under its hands."""


def waits_for_loss(seen: list[Any]) -> Processor[Any, Any]:
    """A staged handler that notices its loss, and tries to complete all the same."""

    @processor("step")
    def step(job: Job, attempt: Attempt) -> str:
        with attempt.prepare() as conn:
            conn.execute(INSERT, {"job": job.id, "why": "prepared"})
        seen.append("waits")
        seen.append(attempt.wait(20))
        assert attempt.lost is seen[-1]
        with pytest.raises(AttemptLostError):
            attempt.raise_if_lost()
        with attempt.complete() as conn:  # raises
            conn.execute(INSERT, {"job": job.id, "why": "lost"})
        return "the loser's"

    return step


def is_cancelled(seen: list[Any]) -> Processor[Any, Any]:
    """A coroutine that is cancelled by its loss, and cleans up."""

    @processor("step")
    async def step(job: Job, attempt: Attempt) -> str:
        async with attempt.prepare() as conn:
            await conn.execute(INSERT, {"job": job.id, "why": "prepared"})
        try:
            seen.append("waits")
            await asyncio.sleep(20)
        except asyncio.CancelledError:
            await asyncio.sleep(0.05)  # cleaning up may take its time
            seen.append(attempt.lost)
            raise
        return "the loser's"

    return step


@pytest.mark.parametrize(("lose", "reason"), WAYS)
@pytest.mark.parametrize("handler", [waits_for_loss, is_cancelled])
def test_a_staged_handler_notices(
    shop: Workshop,
    handler: Callable[[list[Any]], Processor[Any, Any]],
    lose: Callable[[Workshop, str], None],
    reason: LostReason,
):
    """A handler learns that and why its job is not its any more; it writes nothing, and no error is recorded."""
    seen: list[Any] = []
    chain = shop.start()
    working = shop.work(handler(seen), lease=30.0 if lose in TOLD else 0.3, max_jobs=1)
    eventually(lambda: seen)
    before = time.monotonic()
    lose(shop, chain)
    event = working.until(Told.JOB_LOST)
    assert time.monotonic() - before < SOON
    assert (event.job_id, event.detail, event.attempt) == (chain, str(reason), 1)
    working.ended()
    assert seen == ["waits", reason]
    assert shop.effects() == ["prepared"]
    assert shop.errors(chain) == []
    assert the_end(working.events) == [Told.JOB_LOST]


@pytest.mark.parametrize("mode", LOSABLE)
def test_the_winner_stays(shop: Workshop, mode: str):
    """What a person settled while a handler runs stays as it is, and what the handler would have written is not."""
    gate = shop.gate()
    chain = shop.start()
    step = make(mode, hooks={"between": gate}, answer=lambda _: continue_with("next"))
    working = shop.work(step, max_jobs=1)
    gate.reached()
    settle_by_hand(shop, chain)
    gate.open()
    assert working.until(Told.JOB_LOST).detail == "already_completed"
    found = shop.client.show(chain)
    assert (found.chain.status, found.chain.output, found.chain.length) == (Status.COMPLETED, "by hand", 1)
    assert (found.jobs[0].completed_by, found.jobs[0].attempt) == (None, 1)
    assert found.errors == ()
    assert [(each.action, each.actor) for each in found.history] == [("complete", "eve")]
    assert shop.effects() == []


def test_a_person_waits_for_the_completing_transaction(postgres_shop: Workshop, postgres_url: str, transactional: str):
    """Whoever settles by hand while the completing transaction is open waits for it, and then has lost."""
    gate = postgres_shop.gate()
    chain = postgres_shop.start("step", "the worker's")
    postgres_shop.work(make(transactional, hooks={"complete": gate}))
    gate.reached()
    person = InThread(lambda: settle_by_hand(postgres_shop, chain))
    wait_until_blocked(postgres_url)
    gate.open()
    with pytest.raises(AlreadySettledError):
        person.result()
    assert postgres_shop.client.get(chain).output == "the worker's"
    assert postgres_shop.effects() == ["worker"]


@pytest.mark.parametrize("mode", LOSABLE)
def test_errors_after_the_loss(shop: Workshop, mode: str):
    """What a handler raises after its job was lost is nobody's business any more."""
    gate = shop.gate()
    chain = shop.start()

    def fail(conn: Any, job: Job[Any]) -> None:
        gate(conn, job)
        raise ValueError("too late")

    working = shop.work(make(mode, hooks={"between": fail}, max_attempts=1), max_jobs=1)
    gate.reached()
    settle_by_hand(shop, chain)
    gate.open()
    working.until(Told.JOB_LOST)
    working.ended()
    found = shop.client.show(chain)
    assert (found.chain.output, found.chain.last_error, found.errors) == ("by hand", None, ())


def test_lost_before_completing(shop: Workshop):
    """A handler that did not look before learns its loss when it enters complete, with the reason."""
    seen: list[Any] = []

    @processor("step")
    def step(job: Job, attempt: Attempt) -> str:
        shop.steal(job.id)
        assert attempt.lost is None
        try:
            with attempt.complete():
                seen.append("entered")
        except AttemptLostError as error:
            seen.append(error.reason)
        assert attempt.lost is LostReason.TAKEN_BY_ANOTHER_WORKER
        return "the loser's"

    chain = shop.start()
    events = shop.run(step, max_jobs=1)
    assert seen == [LostReason.TAKEN_BY_ANOTHER_WORKER]
    assert [each.detail for each in events if each.told is Told.JOB_LOST] == ["taken_by_another_worker"]
    assert shop.client.get(chain).status is Status.RUNNING
    assert shop.client.get_job(chain).worker == "thief"


# --- fencing ---------------------------------------------------------------------------------------------------------


def straggling(mode: str, first: Gate, second: Gate, **options: Any) -> Processor[Any, Any]:
    """A handler whose first attempt waits at one gate and whose second at another."""

    def wait(_conn: Any, job: Job[Any]) -> None:
        (first if job.attempt == 1 else second).arrive(job.id)

    def answer(job: Job[Any]) -> Any:
        return continue_with("next", "the straggler's") if job.attempt == 1 else "the second's"

    return make(mode, hooks={"between": wait}, answer=answer, **options)


def lapse(shop: Workshop, chain: str) -> None:
    """As if the lease had run out and another worker had reaped it; the attempt counts."""
    shop.give_back(chain)


@pytest.mark.parametrize("mode", LOSABLE)
@pytest.mark.parametrize("straggler_ends", ["before", "after"])
def test_fencing(shop: Workshop, mode: str, straggler_ends: str):
    """An attempt whose lease went to another worker can never settle the job, neither before nor after that worker."""
    first, second = shop.gate(), shop.gate()
    chain = shop.start()
    w1 = shop.work(straggling(mode, first, second), name="w1", max_jobs=1)
    first.reached()
    lapse(shop, chain)
    w2 = shop.work(straggling(mode, first, second), name="w2", store=shop.another_store(), max_jobs=1)
    second.reached()

    if straggler_ends == "before":
        first.open()
        w1.until(Told.JOB_LOST)
        assert shop.client.get_job(chain).worker == "w2"
        second.open()
        w2.until(Told.JOB_COMPLETED)
    else:
        second.open()
        w2.until(Told.JOB_COMPLETED)
        first.open()
        w1.until(Told.JOB_LOST)
    found = shop.client.show(chain)
    assert (found.chain.status, found.chain.output, found.chain.length) == (Status.COMPLETED, "the second's", 1)
    assert (found.jobs[0].completed_by, found.jobs[0].attempt) == ("w2", 2)
    assert len(shop.effects()) == (1 if mode in STAGED else 0)


def test_fencing_within_a_worker(shop: Workshop):
    """The same when one worker has both attempts, and both end before it looks."""
    first, second, plug = shop.gate(), shop.gate(), shop.gate()
    chain = shop.start()

    def hold_at_plug(worker: Worker) -> None:
        tell = worker._tell

        def tell_and_wait(event: Event) -> None:
            tell(event)
            if event.type_name == "plug" and event.told is Told.JOB_COMPLETED:
                plug.arrive(str(event.job_id))

        worker._tell = tell_and_wait

    step = straggling("plain", first, second)
    working = shop.work(step, make("plain", "plug"), make("plain", "poke"), set_up=hold_at_plug)
    first.reached()
    lapse(shop, chain)
    shop.start("poke")
    second.reached()
    shop.start("plug")
    plug.reached()
    first.open()
    second.open()
    eventually(lambda: working.worker._inbox.qsize() >= 2)
    plug.open()
    lost = working.until(Told.JOB_LOST, chain)
    completed = working.until(Told.JOB_COMPLETED, chain)
    assert (lost.attempt, lost.detail, completed.attempt) == (1, "taken_by_another_worker", 2)
    found = shop.client.show(chain)
    assert (found.chain.output, found.chain.length, found.jobs[0].attempt) == ("the second's", 1, 2)


def test_a_worker_tells_its_own_straggler(shop: Workshop):
    """A worker that claims a job anew whose earlier attempt it still runs tells that attempt that it lost."""
    seen: list[LostReason | None] = []
    second = shop.gate()

    @processor("step")
    def step(job: Job, attempt: Attempt) -> str:
        if job.attempt == 1:
            seen.append(None)
            seen.append(attempt.wait(20))
        else:
            second.arrive(job.id)
        return f"attempt {job.attempt}"

    chain = shop.start()
    working = shop.work(step, make("plain", "poke"))
    eventually(lambda: seen)
    lapse(shop, chain)
    shop.start("poke")
    working.until(Told.JOB_LOST, chain)
    second.reached().open()
    working.until(Told.JOB_COMPLETED, chain)
    assert seen == [None, LostReason.TAKEN_BY_ANOTHER_WORKER]
    assert shop.client.get(chain).output == "attempt 2"
