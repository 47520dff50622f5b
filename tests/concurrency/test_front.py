"""Claims that go on where the last one ended: nothing is missed, and an old snapshot does not slow them down."""

from __future__ import annotations

import time

import psycopg
import pytest
from plans import recorded, touched
from support import eventually
from worker.workshop import SOON
from working import completed, held

from jobctl import Client, Job, NewChain, Worker, WorkerOptions, processor
from jobctl.ids import new_id
from jobctl.registry import Registry
from jobctl.storage import front as module
from jobctl.storage.front import Front

TYPES = {"a": 60.0, "b": 60.0, "c": 60.0}


@pytest.fixture(autouse=True)
def cheap(monkeypatch):
    """No look from the beginning has taken long, however slow the machine, unless a test says otherwise."""
    monkeypatch.setattr(module, "DEAR_SECONDS", 1e9)


def claim_on(store, front, limit):
    with store.transaction() as conn:
        return store.claim(conn, TYPES, limit, worker="w", lease=new_id(), front=front)


def test_every_job_once_in_order(client, store):
    """Claim by claim all jobs come, each once; of each priority the earliest due first."""
    client.start_many([NewChain("ab"[place % 2], priority=place % 3) for place in range(60)])
    front, found = Front(), []
    while rows := claim_on(store, front, 7):
        found += rows
    assert len({row.id for row in found}) == len(found) == 60
    assert [row.priority for row in found] == [2] * 20 + [1] * 20 + [0] * 20


def test_what_lies_before_is_not_missed(client, store):
    """A job that was given back, and one of another type or priority, come with the claim that lacks something."""
    client.start_many([NewChain("a") for _ in range(6)])
    front = Front()
    first, *_ = claim_on(store, front, 2)
    with store.transaction() as conn:
        store.release(conn, [held(first)])
    other, urgent = client.start("b"), client.start("a", priority=9)
    rows = [row for _ in range(3) for row in claim_on(store, front, 5)]
    assert len(rows) == 7
    assert {first.id, other.id, urgent.id} <= {row.id for row in rows}


def test_what_lies_before_comes_soon(client, store, monkeypatch):
    """While every claim gets all that it wants, a look from the beginning finds what lies before."""
    monkeypatch.setattr(module, "LOOK_SECONDS", 1e9)
    client.start_many([NewChain("a") for _ in range(50)])
    front = Front()
    claim_on(store, front, 2)
    urgent = client.start("a", priority=9)
    if store.dialect == "postgresql":  # elsewhere each claim is one from the beginning
        assert urgent.id not in {row.id for row in claim_on(store, front, 2)}
    for seconds in ("LOOK_SECONDS", "LOOK_SHARE"):
        monkeypatch.setattr(module, seconds, 1e-9 if seconds == "LOOK_SECONDS" else 1e9)
    claim_on(store, front, 60)  # it lacks something: the next one looks from the beginning
    client.start_many([NewChain("a") for _ in range(50)])
    later = client.start("a", priority=8)
    assert later.id in {row.id for row in claim_on(store, front, 2)}


@pytest.fixture
def dear(monkeypatch):
    """Each look from the beginning has taken so long that claims need not make another for a minute."""
    monkeypatch.setattr(module, "DEAR_SECONDS", -1.0)
    monkeypatch.setattr(module, "LOOK_SHARE", 1e-9)


@pytest.mark.usefixtures("dear")
def test_lacking_where_looks_take_long(postgres_url, monkeypatch):
    """Where looks take long, a claim that goes on is left with the few that it finds; one that finds none looks."""
    with Client(postgres_url) as client:
        store, front = client.store, Front(60.0)
        client.start_many([NewChain("a") for _ in range(5)])
        first, *_ = claim_on(store, front, 3)
        with store.transaction() as conn:
            store.release(conn, [held(first)])
        other = client.start("b")
        assert len(claim_on(store, front, 10)) == 2
        assert 59.0 < front.rest <= 60.0
        assert {row.id for row in claim_on(store, front, 10)} == {first.id, other.id}
        before, last = client.start("c"), client.start("b")
        assert [row.id for row in claim_on(store, front, 10)] == [last.id]
        monkeypatch.setattr(front, "_dear_until", 0.0)
        later = client.start("a")
        assert [row.id for row in claim_on(store, front, 10)] == [later.id]
        assert [row.id for row in claim_on(store, front, 10)] == [before.id]


@pytest.mark.parametrize("dear", [False, True])
def test_busy(postgres_url, monkeypatch, dear):
    """Where looks take long, a claim that finds nothing looks once no handler runs: what ends shall not wait for it."""
    monkeypatch.setattr(module, "DEAR_SECONDS", -1.0 if dear else 1e9)
    monkeypatch.setattr(module, "LOOK_SHARE", 1e-9)
    with Client(postgres_url) as client:
        store, front = client.store, Front(60.0)
        client.start_many([NewChain("a") for _ in range(3)])
        first, *_ = claim_on(store, front, 3)
        with store.transaction() as conn:
            store.release(conn, [held(first)])
        front.busy = True
        found = claim_on(store, front, 3)
        assert (found == [], front.unlooked) == (dear, dear)
        front.busy = False
        found += claim_on(store, front, 3)
        assert ([row.id for row in found], front.unlooked) == ([first.id], False)


@pytest.mark.usefixtures("dear")
@pytest.mark.parametrize("idle", [True, False])
def test_a_look_waits_until_nothing_runs(postgres_url, monkeypatch, idle):
    """Where looks take long what a claim lacks is looked for once no handler runs, and at the latest after a while."""
    with Client(postgres_url) as client:
        store, front = client.store, Front(60.0)
        front.busy = True
        client.start_many([NewChain("a") for _ in range(5)])
        assert len(claim_on(store, front, 3)) == 3
        monkeypatch.setattr(front, "_dear_until", 0.0)
        other = client.start("b", priority=5)
        for expected in (2, 1, 1):
            assert [row.type_name for row in claim_on(store, front, 3)] == ["a"] * expected
            assert front.unlooked
            client.start("a")
        if idle:
            front.busy = False
            assert len(claim_on(store, front, 3)) == 1
        else:
            assert front._put_off_until - time.monotonic() > 50.0
            monkeypatch.setattr(front, "_put_off_until", 0.0)
            assert len(claim_on(store, front, 3)) == 1  # after which it begins anew
        assert [row.id for row in claim_on(store, front, 3)] == [other.id]
        assert not front.unlooked


def test_a_pause(postgres_url, monkeypatch):
    """Where looks take long a claim goes on as before after one that found nothing because all is paused."""
    monkeypatch.setattr(module, "DEAR_SECONDS", -1.0)
    monkeypatch.setattr(module, "LOOK_SHARE", 1e-9)
    with Client(postgres_url) as client:
        store, front = client.store, Front(60.0)
        client.start_many([NewChain("a") for _ in range(5)])
        claim_on(store, front, 3)
        client.pause(types=["a"])
        monkeypatch.setattr(module, "DEAR_SECONDS", 1e9)  # no time is needed to see that
        assert claim_on(store, front, 3) == []
        client.resume(types=["a"])
        with recorded(store) as found:
            assert len(claim_on(store, front, 3)) == 2
        assert not any("RECURSIVE" in each.text for each in found)


def noting(done):
    """A processor of the type b that notes that it ran."""

    @processor("b")
    def note(job: Job):
        done.append(job.type_name)

    return note


@pytest.mark.usefixtures("dear")
def test_a_look_that_was_put_off(postgres_url):
    """What a busy worker has not looked for it looks for as soon as no handler runs, not when it polls."""
    done = []
    with Client(postgres_url) as client:

        @processor("a")
        def start_other(job: Job):
            if not done:
                client.start("b", priority=5)
                eventually(lambda: worker._times.front.unlooked)
            done.append(job.type_name)

        client.start("a")
        worker = Worker(
            client.store, Registry([start_other, noting(done)]), WorkerOptions(max_jobs=2, concurrency=2, poll=60.0)
        )
        begin = time.monotonic()
        worker.run()
        assert done == ["a", "b"]
        assert time.monotonic() - begin < SOON


@pytest.mark.usefixtures("dear")
def test_nothing_is_left_where_looks_take_long(postgres_url):
    """A worker that is to stop once nothing is left takes what is of another type and priority, too."""
    done = []
    with Client(postgres_url) as client:

        @processor("a")
        def start_other(job: Job):
            done.append(job.type_name)
            client.start("b", priority=5)

        client.start_many([NewChain("a") for _ in range(3)])
        options = WorkerOptions(drain=True, concurrency=2, poll=60.0)
        Worker(client.store, Registry([start_other, noting(done)]), options).run()
        assert sorted(done) == ["a"] * 3 + ["b"] * 3


@pytest.mark.parametrize("dear", [False, True])
def test_looks_that_take_long(postgres_url, monkeypatch, dear):
    """Where a look from the beginning takes long a worker does not look for what is due next, and takes it all the same."""
    monkeypatch.setattr(module, "DEAR_SECONDS", -1.0 if dear else 1e9)
    done = []

    @processor("a")
    def note(job: Job):
        done.append(job.input)

    with Client(postgres_url) as client:
        client.start_many([NewChain("a", "now") for _ in range(20)])
        client.start("a", "soon", after="400ms")
        with recorded(client.store) as found:
            Worker(client.store, Registry([note]), WorkerOptions(max_jobs=21, poll=60.0)).run()
    asked = [each for each in found if "min(jobctl_current.leased_until)" in each.text]
    asked = [each for each in asked if each.parameters["types"] != "[]"]  # others are after leases
    assert done == ["now"] * 20 + ["soon"]
    assert dear is not bool(asked)


def test_an_old_snapshot(postgres_url, monkeypatch):
    """While an old snapshot is open, a claim that goes on touches no more pages, however many were claimed before."""
    monkeypatch.setattr(module, "LOOK_SECONDS", 1e9)
    with Client(postgres_url) as client, psycopg.connect(postgres_url) as old:
        store = client.store
        client.start_many([NewChain("a") for _ in range(4000)])
        old.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        old.execute("SELECT count(*) FROM jobctl_current")
        front, pages = Front(), []
        for _ in range(2):
            for _ in range(15):
                rows = claim_on(store, front, 100)
                with store.transaction() as conn:
                    assert len(store.settle(conn, [completed(row) for row in rows]).won) == 100
            with recorded(store) as found:
                claim_on(store, front, 1)
            with recorded(store) as anew:
                claim_on(store, Front(), 1)
            pages.append((touched(postgres_url, found[-1]), touched(postgres_url, anew[-1])))
    (soon, soon_anew), (late, late_anew) = pages
    assert late <= soon * 1.5
    assert late_anew > soon_anew + 20  # who begins anew walks over them: the snapshot does hold
    assert late * 2 < late_anew


@pytest.mark.parametrize("act", ["renew", "release"])
def test_what_is_held_beside_an_old_snapshot(postgres_url, act):
    """To renew leases, or give jobs back, touches no more pages, however many have run."""
    with Client(postgres_url) as client, psycopg.connect(postgres_url) as old:
        store, front, pages = client.store, Front(), []
        client.start_many([NewChain("a") for _ in range(4000)])
        old.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        old.execute("SELECT count(*) FROM jobctl_current")
        for _ in range(2):
            for _ in range(15):
                rows = claim_on(store, front, 100)
                with store.transaction() as conn:
                    assert len(store.settle(conn, [completed(row) for row in rows]).won) == 100
            (row,) = claim_on(store, front, 1)
            with store.work() as conn, recorded(store) as found:
                assert getattr(store, act)(conn, [held(row)], *([TYPES] if act == "renew" else [])) == {row.id}
                conn.rollback()
            found = [each for each in found if "jobctl_current" in each.text]
            pages.append(max(touched(postgres_url, each, "seqscan", "bitmapscan") for each in found))
        assert max(pages) < 50
