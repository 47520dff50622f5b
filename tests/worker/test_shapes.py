"""The shapes that chains and what they wait for can have, worked to their ends."""

from __future__ import annotations

import random
from typing import Any

import pytest
import sqlalchemy as sa
from support import eventually
from worker.workshop import MODES, Workshop, last_place, make

from jobctl import Chain, Job, NewChain, Status, continue_with, processor
from jobctl.errors import NotFoundError
from jobctl.events import Told
from jobctl.ids import new_id


def completed(shop: Workshop, *chains: str) -> list[Any]:
    """The outputs of chains, which are all completed."""
    found = [shop.client.get(each) for each in chains]
    assert {each.status for each in found} == {Status.COMPLETED}
    return [each.output for each in found]


# --- chains ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_branches_loops_and_going_back(shop: Workshop, mode: str):
    """A chain may branch, repeat a step and go back to an earlier one; every job knows the type of its chain."""
    seen: list[tuple[str, str, int]] = []

    def look(job: Job[Any]) -> None:
        seen.append((job.type_name, job.chain_type, job.chain_index))

    def choose(job: Job[Any]) -> Any:
        look(job)
        return continue_with("left" if job.input["n"] % 2 else "right", job.input)

    def repeat(job: Job[Any]) -> Any:
        look(job)
        if job.input["n"] < 5:
            return continue_with("left", {"n": job.input["n"] + 2})
        return continue_with("choose", {"n": 10})

    def end(job: Job[Any]) -> Any:
        look(job)
        return job.input["n"]

    handlers = [
        make(mode, name, answer=answer) for name, answer in (("choose", choose), ("left", repeat), ("right", end))
    ]
    chain = shop.start("choose", {"n": 1})
    shop.run(*handlers)
    assert completed(shop, chain) == [10]
    steps = ["choose", "left", "left", "left", "choose", "right"]
    assert seen == [(name, "choose", index) for index, name in enumerate(steps)]
    assert [(job.type_name, job.chain_type) for job in shop.client.show(chain).jobs] == [
        (each, "choose") for each in steps
    ]


def test_chains_started_by_a_handler(shop: Workshop):
    """A chain that a handler starts in its transaction is there with its outcome, and has nothing else to do with it."""
    started: list[str] = []

    @processor("parent", max_attempts=1)
    def parent(job: Job[Any], conn: sa.Connection) -> None:
        started.append(shop.client.start("child", job.input, conn=conn).id)
        if job.input == "fails":
            raise ValueError("no luck")

    @processor("child", max_attempts=1)
    def child(job: Job[Any]) -> None:
        raise ValueError("no luck either")

    good, bad = shop.start("parent", "works"), shop.start("parent", "fails")
    shop.run(parent, child, concurrency=1)
    assert [shop.client.get(each).status for each in (good, bad)] == [Status.COMPLETED, Status.FAILED]
    found = shop.client.show(started[0])
    assert (found.chain.status, found.chain.type_name, found.blockers, found.dependents) == (
        Status.FAILED,
        "child",
        {},
        (),
    )
    shop.client.delete([good])
    assert shop.client.get(started[0]).input == "works"
    assert len(started) == 2
    with pytest.raises(NotFoundError):
        shop.client.get(started[1])


# --- blockers --------------------------------------------------------------------------------------------------------


def gather(mode: str, name: str = "gather") -> Any:
    """A processor whose output is what its blockers gave, in order, and its own input."""

    def answer(job: Job[Any]) -> Any:
        assert {each.status for each in job.blockers} <= {Status.COMPLETED}
        assert tuple(each.id for each in job.blockers) == job.blocker_ids
        return [*(each.output for each in job.blockers), job.input]

    return make(mode, name, answer=answer)


@pytest.mark.parametrize("mode", MODES)
def test_fan_out_and_in(shop: Workshop, mode: str):
    """A handler may start many chains and continue with a job that waits for all; it has their outputs in order."""

    def fan_out(job: Job[Any]) -> Any:
        parts = shop.client.start_many(NewChain("part", number) for number in job.input)
        return continue_with("gather", "all", blocked_by=[each.id for each in reversed(parts)])

    chain = shop.start("fan-out", list(range(20)))
    shop.run(make("plain", "fan-out", answer=fan_out), make(mode, "part"), gather(mode))
    assert completed(shop, chain) == [[*reversed(range(20)), "all"]]


def test_waiting_for_the_chain_that_starts_it(shop: Workshop, transactional: str):
    """A handler may start a chain, in its own transaction, that waits for the chain of its job; that goes on at the end."""
    waiting = []

    def start_waiting(conn: sa.Connection, job: Job[Any]) -> None:
        waiting.append(shop.client.start("gather", "after", blocked_by=[job.chain_id], conn=conn).id)

    first = make(transactional, answer=lambda _: "before", hooks={last_place(transactional): start_waiting})
    shop.start()
    shop.run(first, gather("plain"))
    assert completed(shop, *waiting) == [["before", "after"]]


@pytest.mark.parametrize("mode", ["plain", "async_plain"])
def test_diamonds_and_shared_blockers(shop: Workshop, mode: str):
    """Several chains may wait for one, and one for several that wait for the same; started in one batch or after."""
    a, b, c, d = (new_id() for _ in range(4))
    shop.client.start_many(
        [
            NewChain("gather", "a", id=a),
            NewChain("gather", "b", id=b, blocked_by=[a]),
            NewChain("gather", "c", id=c, blocked_by=[a]),
            NewChain("gather", "d", id=d, blocked_by=[c, b, a]),
        ]
    )
    assert [shop.client.get(each).status for each in (a, b, c, d)] == [Status.READY, *[Status.BLOCKED] * 3]
    shop.run(gather(mode))
    assert completed(shop, d) == [[[["a"], "c"], [["a"], "b"], ["a"], "d"]]
    late = shop.start("gather", "late", blocked_by=[a, d])
    assert shop.client.get(late).status is Status.READY
    shop.run(gather(mode))
    assert completed(shop, late) == [[["a"], completed(shop, d)[0], "late"]]


def test_a_long_row(shop: Workshop):
    """Each chain of a long row waits for the one before it; they are done in order, by a worker that is never idle."""
    ids = [new_id() for _ in range(100)]
    shop.client.start_many(
        NewChain("step", number, id=id_, blocked_by=ids[number - 1 : number] if number else ())
        for number, id_ in enumerate(ids)
    )
    events = shop.run(make("plain"))
    assert [each.job_id for each in events if each.told is Told.JOB_COMPLETED] == ids


def test_any_shape_with_several_workers(shop: Workshop):
    """Whatever waits for whatever: each chain is done once, after all that it waits for, by whoever is free."""
    made = random.Random(5)
    ids = [new_id() for _ in range(120)]
    chains = [
        NewChain("gather", number, id=id_, blocked_by=made.sample(ids[:number], min(number, made.randrange(5))))
        for number, id_ in enumerate(ids)
    ]
    for first in range(0, len(chains), 10):
        shop.client.start_many(chains[first : first + 10])
        if first == 20:  # from here on, what is waited for may complete at the same moment
            several = [
                shop.work(
                    gather("plain"), gather("async_plain", "never"), name=name, store=shop.another_store(), poll=1.0
                )
                for name in ("w1", "w2", "w3")
            ]
    found: dict[str, Chain] = shop.client.wait(ids, timeout="30s")
    for new in chains:
        assert found[str(new.id)].output == [*(found[each].output for each in new.blocked_by), new.input]

    def done() -> list[str]:
        return sorted(str(each.job_id) for working in several for each in working.told(Told.JOB_COMPLETED))

    eventually(lambda: len(done()) >= len(ids), what="the workers have told of all")
    assert done() == sorted(ids)
