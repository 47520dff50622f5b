"""What becomes of a job whose handler returns: completed, continued, rescheduled."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from worker.workshop import MODES, TRANSACTIONAL, Workshop, last_place, make, the_end

from jobctl import Job, Status, continue_with, pool, reschedule
from jobctl.events import Told


def test_completing(shop: Workshop, mode: str):
    """A returned value is the chain's output, settled by the worker's name at the first attempt, with the effect."""
    chain = shop.start("step", {"n": [1, None, "ü"]})
    events = shop.run(make(mode), name="anna")

    found = shop.client.show(chain)
    assert (found.chain.status, found.chain.output) == (Status.COMPLETED, {"n": [1, None, "ü"]})
    assert found.chain.closed_at is not None
    (job,) = found.jobs
    assert (job.completed_by, job.attempt, job.last_error, job.worker, job.leased_until) == (
        "anna",
        1,
        None,
        None,
        None,
    )
    assert shop.effects(chain) == (["worker"] if mode in TRANSACTIONAL else [])
    assert found.errors == ()
    (event,) = [each for each in events if each.told is Told.JOB_COMPLETED]
    assert (event.job_id, event.chain_id, event.type_name, event.attempt) == (chain, chain, "step", 1)
    assert event.seconds is not None


def test_null_is_an_output(shop: Workshop, mode: str):
    """A handler that returns nothing completes its chain with the output null."""
    chain = shop.start()
    shop.run(make(mode, answer=lambda _: None))
    found = shop.client.get(chain)
    assert (found.status, found.output) == (Status.COMPLETED, None)


def test_continuing(shop: Workshop, mode: str):
    """A continuation hands over to a successor in the same chain, which the same worker then runs."""
    seen: list[tuple[Any, ...]] = []

    def hand_over(job: Job[Any]) -> Any:
        seen.append((job.type_name, job.chain_id, job.chain_type, job.chain_index, job.attempt))
        return continue_with("step", job.input - 1) if job.input else "end"

    chain = shop.start("step", 2)
    events = shop.run(make(mode, answer=hand_over))

    found = shop.client.show(chain)
    assert (found.chain.status, found.chain.output, found.chain.length) == (Status.COMPLETED, "end", 3)
    assert [(each.status, each.input, each.completed_by) for each in found.jobs] == [
        (Status.CONTINUED, 2, "w1"),
        (Status.CONTINUED, 1, "w1"),
        (Status.COMPLETED, 0, "w1"),
    ]
    assert seen == [("step", chain, "step", index, 1) for index in range(3)]
    assert len(shop.effects()) == (3 if mode in TRANSACTIONAL else 0)
    assert [each.detail for each in events if each.told is Told.JOB_CONTINUED] == ["step", "step"]


def test_continuing_later(shop: Workshop, mode: str):
    """A continuation may be due later: the successor waits for its time, and the effect is committed already."""
    chain = shop.start()
    shop.run(make(mode, answer=lambda _: continue_with("next", {"a": 1}, after="1h")))
    found = shop.client.get(chain)
    assert (found.status, found.job_type, found.attempt) == (Status.SCHEDULED, "next", 0)
    assert 3500 < shop.delay(found.job_id) <= 3600
    assert shop.effects(chain) == (["worker"] if mode in TRANSACTIONAL else [])


def test_continuing_behind_blockers(shop: Workshop, mode: str):
    """A continuation may wait for chains; once they complete, it runs and sees them in the order given."""
    first, second = shop.start("other", 1), shop.start("other", 2)
    chain = shop.start()
    seen: list[list[Any]] = []

    def look(job: Job[Any]) -> None:
        seen.append([(each.id, each.status, each.output) for each in job.blockers])

    step = make(mode, answer=lambda _: continue_with("last", blocked_by=[second, first]))
    shop.run(step)
    assert shop.client.get(chain).status is Status.BLOCKED
    shop.run(make("plain", "other", answer=lambda job: job.input * 10), make(mode, "last", answer=look))
    assert seen == [[(second, Status.COMPLETED, 20), (first, Status.COMPLETED, 10)]]
    assert shop.client.get(chain).status is Status.COMPLETED


def test_from_worker_to_worker(shop: Workshop):
    """A chain goes from worker to worker, each of which has one of its types, and each job says who settled it."""
    chain = shop.start("one", 1)
    for name, successor in (("one", "two"), ("two", "three"), ("three", None)):

        def answer(job: Job[Any], successor: str | None = successor) -> Any:
            return continue_with(successor, job.input * 2) if successor else job.input

        shop.run(make("plain", name, answer=answer), name=f"{name}-worker")
    found = shop.client.show(chain)
    assert found.chain.output == 4
    assert [each.completed_by for each in found.jobs] == ["one-worker", "two-worker", "three-worker"]


def test_what_a_handler_sees(shop: Workshop, mode: str):
    """A handler is given its job: who holds it, the number of the attempt, and the error of the one before."""
    seen: list[Job[Any]] = []

    def fail_once(job: Job[Any]) -> str:
        seen.append(job)
        if job.attempt == 1:
            raise ValueError("the first time")
        return "done"

    chain = shop.start("step", {"a": 1}, priority=7)
    step = make(mode, answer=fail_once)
    shop.run(step)
    shop.make_due(chain)
    shop.run(step)
    before, after = seen
    assert (before.id, before.input, before.priority, before.status) == (chain, {"a": 1}, 7, Status.RUNNING)
    assert (before.worker, before.attempt, before.last_error, before.blockers) == ("w1", 1, None, ())
    assert before.leased_until is not None
    assert after.attempt == 2
    assert "ValueError: the first time" in str(after.last_error)
    assert shop.client.get(chain).last_error is None


# --- reschedule ------------------------------------------------------------------------------------------------------


def test_reschedule(shop: Workshop, mode: str):
    """Reschedule makes the job due exactly then, charges no attempt, records no error and undoes the SQL."""
    at = datetime(2040, 5, 17, 12, 30, 15, 250_000, tzinfo=UTC)
    later: list[dict[str, Any]] = [{"after": timedelta(minutes=90)}, {"at": at}]

    def postpone(_conn: Any, _job: Job[Any]) -> None:
        if later:
            reschedule(**later.pop(0))

    step = make(mode, hooks={last_place(mode): postpone})
    chain = shop.start()
    events = shop.run(step)
    found = shop.client.show(chain)
    assert (found.chain.status, found.chain.attempt, found.chain.last_error) == (Status.SCHEDULED, 0, None)
    assert found.errors == ()
    assert 5390 < shop.delay(chain) <= 5400
    assert the_end(events) == [Told.JOB_RESCHEDULED]

    shop.make_due(chain)
    shop.run(step)
    assert shop.client.get(chain).scheduled_at == at
    assert shop.effects() == []

    shop.make_due(chain)
    shop.run(step)
    found = shop.client.show(chain)
    assert (found.chain.status, found.chain.attempt) == (Status.COMPLETED, 1)
    assert shop.effects() == (["worker"] if mode in TRANSACTIONAL else [])


def test_reschedule_is_no_exception(shop: Workshop):
    """A handler's `except Exception` does not catch reschedule."""

    def answer(_job: Job[Any]) -> str:
        try:
            reschedule(after="2h")
        except Exception:  # noqa: BLE001 - what it is about
            return "caught"

    chain = shop.start()
    shop.run(make("plain", answer=answer))
    assert shop.client.get(chain).status is Status.SCHEDULED
    assert 7190 < shop.delay(chain) <= 7200


def test_reschedule_to_the_past(shop: Workshop, mode: str):
    """Rescheduled to a time in the past, a job is due now and is run again at once."""
    attempts: list[int] = []

    def once(_conn: Any, job: Job[Any]) -> None:
        attempts.append(job.attempt)
        if len(attempts) == 1:
            reschedule(at=datetime(2001, 1, 1, tzinfo=UTC))

    chain = shop.start()
    shop.run(make(mode, hooks={last_place(mode): once}))
    assert attempts == [1, 1]
    assert shop.client.get(chain).status is Status.COMPLETED


@pytest.mark.parametrize("count", [1, 250])
def test_many_at_once(shop: Workshop, count: int):
    """However many jobs of all modes there are, a draining worker does each once and ends."""
    processors = [make(mode, mode) for mode in MODES]
    chains = [shop.start(MODES[number % len(MODES)], number) for number in range(count)]
    shop.run(*processors)
    for number, chain in enumerate(chains):
        found = shop.client.get(chain)
        assert (found.status, found.output, found.attempt) == (Status.COMPLETED, number, 1)
    assert len(shop.effects()) == sum(MODES[number % len(MODES)] in TRANSACTIONAL for number in range(count))


def test_what_is_told_of_a_handler(shop: Workshop, mode: str, monkeypatch: pytest.MonkeyPatch):
    """Of a handler that takes long it is told that it runs, of a quick one only how it ended."""
    gate = shop.gate()
    with monkeypatch.context() as patch:
        patch.setattr(pool, "QUIET_SECONDS", 60.0)
        quick = shop.start()
        assert [each.told for each in shop.run(make(mode)) if each.job_id == quick] == [Told.JOB_COMPLETED]

    slow = shop.start()
    working = shop.work(make(mode, hooks={last_place(mode): gate}))
    working.until(Told.JOB_STARTED, slow)
    gate.open()
    working.until(Told.JOB_COMPLETED, slow)
