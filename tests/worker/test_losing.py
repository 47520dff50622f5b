"""Attempts that lose their job: they learn it while they run, and nothing of theirs is written."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
from support import InThread, eventually, wait_until_blocked
from worker.bench import INSERT, MODES, SOON, STAGED, Bench, Gate, make

from jobctl import Attempt, Job, LostReason, Processor, Status, Worker, continue_with, processor
from jobctl.errors import AlreadySettledError, AttemptLostError
from jobctl.events import Event, Told


def settle_by_hand(bench: Bench, chain: str) -> None:
    with bench.client.settle(chain, actor="eve") as current:
        current.complete("by hand")


WAYS = [
    (settle_by_hand, LostReason.ALREADY_COMPLETED),
    (Bench.steal, LostReason.TAKEN_BY_ANOTHER_WORKER),
    (Bench.give_back, LostReason.TAKEN_BY_ANOTHER_WORKER),
    (Bench.cancel, LostReason.CANCELLED),
    (Bench.delete, LostReason.NOT_FOUND),
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
    bench: Bench,
    handler: Callable[[list[Any]], Processor[Any, Any]],
    lose: Callable[[Bench, str], None],
    reason: LostReason,
):
    """A handler learns that and why its job is not its any more; it writes nothing, and no error is recorded."""
    seen: list[Any] = []
    chain = bench.start()
    # a person's act is told at once; what nobody tells is noticed at the next renewal
    working = bench.work(handler(seen), lease=30.0 if lose is settle_by_hand else 0.3, max_jobs=1)
    eventually(lambda: seen)
    before = time.monotonic()
    lose(bench, chain)
    event = working.until(Told.JOB_LOST)
    assert time.monotonic() - before < SOON
    assert (event.job_id, event.detail, event.attempt) == (chain, str(reason), 1)
    working.ended()
    assert seen == ["waits", reason]
    assert bench.effects() == ["prepared"]
    assert bench.errors(chain) == []
    assert [each.told for each in working.events if each.job_id] == [Told.JOB_STARTED, Told.JOB_LOST]


@pytest.mark.parametrize("mode", LOSABLE)
def test_the_winner_stays(bench: Bench, mode: str):
    """What a person settled while a handler runs stays as it is, and what the handler would have written is not."""
    gate = bench.gate()
    chain = bench.start()
    step = make(mode, hooks={"between": gate}, answer=lambda _: continue_with("next"))
    working = bench.work(step, max_jobs=1)
    gate.reached()
    settle_by_hand(bench, chain)
    gate.open()
    assert working.until(Told.JOB_LOST).detail == "already_completed"
    found = bench.client.show(chain)
    assert (found.chain.status, found.chain.output, found.chain.length) == (Status.COMPLETED, "by hand", 1)
    assert (found.jobs[0].completed_by, found.jobs[0].attempt) == (None, 1)
    assert found.errors == ()
    assert [(each.action, each.actor) for each in found.history] == [("complete", "eve")]
    assert bench.effects() == []


def test_a_person_waits_for_the_completing_transaction(postgres_bench: Bench, postgres_url: str, transactional: str):
    """Whoever settles by hand while the completing transaction is open waits for it, and then has lost."""
    gate = postgres_bench.gate()
    chain = postgres_bench.start("step", "the worker's")
    postgres_bench.work(make(transactional, hooks={"complete": gate}))
    gate.reached()
    person = InThread(lambda: settle_by_hand(postgres_bench, chain))
    wait_until_blocked(postgres_url)
    gate.open()
    with pytest.raises(AlreadySettledError):
        person.result()
    assert postgres_bench.client.get(chain).output == "the worker's"
    assert postgres_bench.effects() == ["worker"]


@pytest.mark.parametrize("mode", LOSABLE)
def test_errors_after_the_loss(bench: Bench, mode: str):
    """What a handler raises after its job was lost is nobody's business any more."""
    gate = bench.gate()
    chain = bench.start()

    def fail(conn: Any, job: Job[Any]) -> None:
        gate(conn, job)
        raise ValueError("too late")

    working = bench.work(make(mode, hooks={"between": fail}, max_attempts=1), max_jobs=1)
    gate.reached()
    settle_by_hand(bench, chain)
    gate.open()
    working.until(Told.JOB_LOST)
    working.ended()
    found = bench.client.show(chain)
    assert (found.chain.output, found.chain.last_error, found.errors) == ("by hand", None, ())


def test_lost_before_completing(bench: Bench):
    """A handler that did not look before learns its loss when it enters complete, with the reason."""
    seen: list[Any] = []

    @processor("step")
    def step(job: Job, attempt: Attempt) -> str:
        bench.steal(job.id)
        assert attempt.lost is None
        try:
            with attempt.complete():
                seen.append("entered")
        except AttemptLostError as error:
            seen.append(error.reason)
        assert attempt.lost is LostReason.TAKEN_BY_ANOTHER_WORKER
        return "the loser's"

    chain = bench.start()
    events = bench.run(step, max_jobs=1)
    assert seen == [LostReason.TAKEN_BY_ANOTHER_WORKER]
    assert [each.detail for each in events if each.told is Told.JOB_LOST] == ["taken_by_another_worker"]
    assert bench.client.get(chain).status is Status.RUNNING
    assert bench.client.get_job(chain).worker == "thief"


# --- fencing ---------------------------------------------------------------------------------------------------------


def straggling(mode: str, first: Gate, second: Gate, **options: Any) -> Processor[Any, Any]:
    """A handler whose first attempt waits at one gate and whose second at another."""

    def wait(_conn: Any, job: Job[Any]) -> None:
        (first if job.attempt == 1 else second).arrive(job.id)

    def answer(job: Job[Any]) -> Any:
        return continue_with("next", "the straggler's") if job.attempt == 1 else "the second's"

    return make(mode, hooks={"between": wait}, answer=answer, **options)


def lapse(bench: Bench, chain: str) -> None:
    """As if the lease had run out and another worker had reaped it; the attempt counts."""
    bench.give_back(chain)


@pytest.mark.parametrize("mode", LOSABLE)
@pytest.mark.parametrize("straggler_ends", ["before", "after"])
def test_fencing(bench: Bench, mode: str, straggler_ends: str):
    """An attempt whose lease went to another worker can never settle the job, neither before nor after that worker."""
    first, second = bench.gate(), bench.gate()
    chain = bench.start()
    w1 = bench.work(straggling(mode, first, second), name="w1", max_jobs=1)
    first.reached()
    lapse(bench, chain)
    w2 = bench.work(straggling(mode, first, second), name="w2", store=bench.another_store(), max_jobs=1)
    second.reached()

    if straggler_ends == "before":
        first.open()
        w1.until(Told.JOB_LOST)
        assert bench.client.get_job(chain).worker == "w2"
        second.open()
        w2.until(Told.JOB_COMPLETED)
    else:
        second.open()
        w2.until(Told.JOB_COMPLETED)
        first.open()
        w1.until(Told.JOB_LOST)
    found = bench.client.show(chain)
    assert (found.chain.status, found.chain.output, found.chain.length) == (Status.COMPLETED, "the second's", 1)
    assert (found.jobs[0].completed_by, found.jobs[0].attempt) == ("w2", 2)
    assert len(bench.effects()) == (1 if mode in STAGED else 0)


def test_fencing_within_a_worker(bench: Bench):
    """The same when one worker has both attempts, and both end before it looks."""
    first, second, plug = bench.gate(), bench.gate(), bench.gate()
    chain = bench.start()

    def hold_at_plug(worker: Worker) -> None:
        tell = worker._tell

        def tell_and_wait(event: Event) -> None:
            tell(event)
            if event.type_name == "plug" and event.told is Told.JOB_COMPLETED:
                plug.arrive(str(event.job_id))

        worker._tell = tell_and_wait

    step = straggling("plain", first, second)
    working = bench.work(step, make("plain", "plug"), make("plain", "poke"), set_up=hold_at_plug)
    first.reached()
    lapse(bench, chain)
    bench.start("poke")
    second.reached()
    bench.start("plug")
    plug.reached()
    first.open()
    second.open()
    eventually(lambda: working.worker._inbox.qsize() >= 2)
    plug.open()
    lost = working.until(Told.JOB_LOST, chain)
    completed = working.until(Told.JOB_COMPLETED, chain)
    assert (lost.attempt, lost.detail, completed.attempt) == (1, "taken_by_another_worker", 2)
    found = bench.client.show(chain)
    assert (found.chain.output, found.chain.length, found.jobs[0].attempt) == ("the second's", 1, 2)


def test_a_worker_tells_its_own_straggler(bench: Bench):
    """A worker that claims a job anew whose earlier attempt it still runs tells that attempt that it lost."""
    seen: list[LostReason | None] = []
    second = bench.gate()

    @processor("step")
    def step(job: Job, attempt: Attempt) -> str:
        if job.attempt == 1:
            seen.append(None)
            seen.append(attempt.wait(20))
        else:
            second.arrive(job.id)
        return f"attempt {job.attempt}"

    chain = bench.start()
    working = bench.work(step, make("plain", "poke"))
    eventually(lambda: seen)
    lapse(bench, chain)
    bench.start("poke")
    working.until(Told.JOB_LOST, chain)
    second.reached().open()
    working.until(Told.JOB_COMPLETED, chain)
    assert seen == [None, LostReason.TAKEN_BY_ANOTHER_WORKER]
    assert bench.client.get(chain).output == "attempt 2"
