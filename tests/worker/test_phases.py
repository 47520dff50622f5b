"""The phases of staged handlers: their order, and what may be done again."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from worker.workshop import EFFECT, INSERT, Workshop

from jobctl import Attempt, Job, Status, processor


def prepare_after_complete(_job: Job[Any], attempt: Attempt) -> None:
    with attempt.complete():
        pass
    with attempt.prepare():
        pass


def complete_twice(_job: Job[Any], attempt: Attempt) -> None:
    for _ in range(2):
        with attempt.complete():
            pass


def prepare_twice(_job: Job[Any], attempt: Attempt) -> None:
    for _ in range(2):
        with attempt.prepare():
            pass


def prepare_within_prepare(_job: Job[Any], attempt: Attempt) -> None:
    with attempt.prepare(), attempt.prepare():
        pass


def complete_within_prepare(_job: Job[Any], attempt: Attempt) -> None:
    with attempt.prepare(), attempt.complete():
        pass


def complete_within_complete(_job: Job[Any], attempt: Attempt) -> None:
    with attempt.complete(), attempt.complete():
        pass


@pytest.mark.parametrize(
    ("handler", "text"),
    [
        (prepare_after_complete, "the handler of 'step' called prepare() after complete"),
        (complete_twice, "the handler of 'step' called complete() after complete"),
        (prepare_twice, "the handler of 'step' called prepare() after prepare"),
        (prepare_within_prepare, "the handler of 'step' called prepare() in prepare"),
        (complete_within_prepare, "the handler of 'step' called complete() in prepare"),
        (complete_within_complete, "the handler of 'step' called complete() in complete"),
    ],
)
def test_wrong_calls(shop: Workshop, handler: Any, text: str):
    """Phases out of their order are an error that says which, and the attempt failed."""
    chain = shop.start()
    shop.run(processor("step")(handler))
    found = shop.client.get(chain)
    assert (found.status, found.attempt) == (Status.SCHEDULED, 1)
    assert str(found.last_error).endswith(text)


def test_wrong_calls_in_coroutines(shop: Workshop):
    """The same in a coroutine function."""

    @processor("step")
    async def step(job: Job, attempt: Attempt) -> None:
        async with attempt.complete():
            pass
        async with attempt.complete():
            pass

    chain = shop.start()
    shop.run(step)
    assert str(shop.client.get(chain).last_error).endswith("called complete() after complete")


def test_completing_again(shop: Workshop):
    """A handler that catches the error of its complete block may complete again; only the second try is kept."""

    @processor("step")
    def step(job: Job, attempt: Attempt) -> str:
        with pytest.raises(ZeroDivisionError), attempt.complete() as conn:
            conn.execute(INSERT, {"job": job.id, "why": "first"})
            raise ZeroDivisionError
        with attempt.complete() as conn:
            conn.execute(INSERT, {"job": job.id, "why": "second"})
        return "done"

    chain = shop.start()
    shop.run(step)
    found = shop.client.get(chain)
    assert (found.status, found.output, found.attempt) == (Status.COMPLETED, "done", 1)
    assert shop.effects() == ["second"]


def test_completing_again_in_a_coroutine(shop: Workshop):
    """The same in a coroutine function, and after SQL that failed."""

    @processor("step")
    async def step(job: Job, attempt: Attempt) -> str:
        with pytest.raises(sa.exc.DBAPIError):
            async with attempt.complete() as conn:
                await conn.execute(INSERT, {"job": job.id, "why": "first"})
                await conn.execute(sa.text("SELECT nothing FROM nowhere"))
        async with attempt.complete() as conn:
            await conn.execute(INSERT, {"job": job.id, "why": "second"})
            assert await conn.scalar(sa.select(sa.func.count()).select_from(EFFECT)) == 1
            assert [tuple(row) for row in await conn.execute(sa.select(EFFECT.c.note))] == [("second",)]
        return "done"

    chain = shop.start()
    shop.run(step)
    assert shop.client.get(chain).output == "done"
    assert shop.effects() == ["second"]


def test_prepare_is_kept(shop: Workshop):
    """What prepare wrote is committed when its block ends, whatever comes after it."""

    @processor("step")
    def step(job: Job, attempt: Attempt) -> None:
        with attempt.prepare() as conn:
            conn.execute(INSERT, {"job": job.id, "why": "prepared"})
        assert shop.effects() == ["prepared"]
        raise ValueError

    chain = shop.start()
    shop.run(step)
    assert shop.client.get(chain).attempt == 1
    assert shop.effects() == ["prepared"]


def test_without_phases(shop: Workshop):
    """A staged handler that opens no transaction is settled as a plain one is."""

    @processor("step")
    def step(job: Job, attempt: Attempt) -> str:
        assert attempt.lost is None
        return "done"

    @processor("async-step")
    async def async_step(job: Job, attempt: Attempt) -> str:
        return "done"

    chains = [shop.start("step"), shop.start("async-step")]
    shop.run(step, async_step)
    assert [shop.client.get(each).output for each in chains] == ["done", "done"]


def test_nothing_is_open_between_phases(shop: Workshop):
    """Between the phases no transaction is open: others can write, a person can settle another chain."""
    other = shop.start("other")

    @processor("step")
    def step(job: Job, attempt: Attempt) -> str:
        with attempt.prepare() as conn:
            conn.execute(sa.select(EFFECT.c.note))
        with shop.client.settle(other) as current:
            current.complete()
        with attempt.complete() as conn:
            conn.execute(INSERT, {"job": job.id, "why": "worker"})
        return "done"

    chain = shop.start()
    shop.run(step)
    assert shop.client.get(chain).output == "done"
    assert shop.client.get(other).status is Status.COMPLETED
