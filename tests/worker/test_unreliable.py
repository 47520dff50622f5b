"""Every operation passes while one in ten database calls fails: nothing lost, nothing twice, workers go on."""

from __future__ import annotations

import pytest
from support import InThread
from unreliable import Unreliable, persistent
from worker.workshop import MODES, TRANSACTIONAL, Workshop, make

from jobctl import Client, Key, ListFilter, NewChain, Status, continue_with, handling, worker
from jobctl.errors import ConflictError, NotFoundError
from jobctl.ids import new_id
from jobctl.model import Schedule
from jobctl.storage.open import open_store

RATE = 0.1

CHAINS = 10

ALL = ListFilter(limit=1000)


@pytest.fixture
def unreliable(store):
    """The store, whose calls begin to fail once ``on`` is set."""
    return Unreliable(store, RATE, seed=7)


@pytest.fixture
def reliable(database_url):
    """A client of the same database that always gets through."""
    with Client(open_store(database_url)) as client:
        yield client


def test_starting(client, unreliable, reliable):
    """A start that is repeated with its own id until it is through or known to be there gives one chain."""
    wanted = [new_id() for _ in range(50)]
    unreliable.on = True

    def start(id_):
        try:
            return client.start("a", id=id_).id
        except ConflictError:  # the call before came through after all
            return id_

    assert [persistent(lambda id_=id_: start(id_)) for id_ in wanted] == wanted
    keyed = {persistent(lambda: client.start("b", key="the one").id) for _ in range(20)}
    batch = persistent(lambda: client.start_many(NewChain("c", key=Key(str(number))) for number in range(20)))
    unreliable.on = False
    assert unreliable.broken > 5
    assert len(keyed) == 1
    found = {each.id for each in reliable.list_chains(ALL).items}
    assert found == {*wanted, *keyed, *(each.id for each in batch)}


def test_settling_moving_deleting_looking(client, unreliable, reliable):
    """What is done by hand is done once or refused as done, and what is read is right."""
    ids = [reliable.start("a", after="1h").id for _ in range(30)]
    unreliable.on = True
    for id_ in ids:
        persistent(lambda id_=id_: client.reschedule([id_], priority=3))
        persistent(lambda id_=id_: client.trigger([id_]))

        def settle(id_=id_):
            with client.settle(id_) as current:
                if current.job.type_name == "a":
                    current.continue_with("b")

        persistent(settle)
        shown = persistent(lambda id_=id_: client.show(id_))
        assert [each.type_name for each in shown.jobs] == ["a", "b"]
    for id_ in ids[:10]:

        def delete(id_=id_):
            try:
                return client.delete([id_])
            except NotFoundError:
                return [id_]

        assert persistent(delete) == [id_]
    unreliable.on = False
    assert unreliable.broken > 20
    left = reliable.list_chains(ALL).items
    assert {each.id for each in left} == set(ids[10:])
    assert {each.length for each in left} == {2}


@pytest.mark.parametrize("mode", MODES)
def test_working(shop: Workshop, reliable, mode, monkeypatch):
    """Chains of two steps with a blocker each are all worked, each step once."""
    monkeypatch.setattr(worker, "RETRY_SECONDS", (0.01,))
    monkeypatch.setattr(handling, "SOON", Schedule.of("10ms"))
    broken = Unreliable(shop.store, RATE, seed=11)
    first = make(mode, "first", answer=lambda job: continue_with("second", job.input))
    second = make(mode, "second")
    chains = {}
    for number in range(CHAINS):
        awaited = reliable.start("second", number)
        chains[reliable.start("first", number, blocked_by=[awaited.id]).id] = number
    working = shop.work(first, second, poll=0.05, lease=1.0, shutdown_timeout=2.0)
    broken.on = True
    try:
        done = reliable.wait(chains, timeout="20s")
    finally:
        broken.on = False
        working.stop()
    assert broken.broken > 5
    assert {id_: chain.output for id_, chain in done.items()} == chains
    assert {chain.status for chain in done.values()} == {Status.COMPLETED}
    assert {chain.length for chain in done.values()} == {2}
    jobs = [job for id_ in chains for job in reliable.show(id_).jobs]
    assert {job.last_error for job in jobs} == {None}
    if mode in TRANSACTIONAL:
        assert sorted(shop.effects()) == ["worker"] * CHAINS * 3
        assert len({job.id for job in jobs}) == 2 * CHAINS


def test_waiting(client, unreliable, reliable):
    """Who waits gets the outcome, however often the look fails."""
    chain = reliable.start("a")
    unreliable.on = True
    waiting = InThread(lambda: persistent(lambda: client.wait([chain.id], timeout="30s")))
    with reliable.settle(chain.id) as current:
        current.complete("done")
    assert waiting.result()[chain.id].output == "done"
