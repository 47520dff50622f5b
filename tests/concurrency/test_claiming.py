"""Many who claim at once: each job goes to one of them, and nobody waits."""

from __future__ import annotations

import threading
from itertools import chain as chained

from support import InThread
from working import claim

from jobctl.ids import new_id
from jobctl.storage.open import open_store
from jobctl.storage.records import NewJob

JOBS = 400
THREADS = 8

CLAIM_ALL = """
import sys
from jobctl.ids import new_id
from jobctl.storage.open import open_store

store = open_store(sys.argv[1])
left = True
while left:
    with store.transaction() as conn:
        rows = store.claim(conn, {"a": 600.0}, 7, worker="w", lease=new_id())
        left = store.next_due(conn, {"a": 600.0}).job is not None
    for row in rows:
        print(row.id)
"""


def make_jobs(store, count=JOBS):
    ids = [new_id() for _ in range(count)]
    jobs = [NewJob(each, each, 0, "a", "a", "null", priority=index % 3) for index, each in enumerate(ids)]
    with store.transaction() as conn:
        store.start(conn, jobs)
    return ids


def test_threads_claim_each_job_once(store, database_url):
    """Eight threads that claim as fast as they can get every job, each once."""
    ids = make_jobs(store)
    together = threading.Barrier(THREADS)
    taken = threading.Lock()
    left = len(ids)

    def work(mine):
        nonlocal left
        found = []
        together.wait()
        while left > 0:
            rows = claim(mine, "a", limit=7)
            with taken:
                left -= len(rows)
            found += [row.id for row in rows]
        return found

    stores = [open_store(database_url) for _ in range(THREADS)]
    running = [InThread(lambda mine=mine: work(mine)) for mine in stores]
    found = list(chained.from_iterable(each.result() for each in running))
    for each in stores:
        each.close()
    assert sorted(found) == ids


def test_threads_share_a_store(store):
    """The threads of one process share one store, as a worker's do."""
    ids = make_jobs(store, 100)
    together = threading.Barrier(4)

    def work():
        together.wait()
        found = []
        while rows := claim(store, "a", limit=3):
            found += [row.id for row in rows]
        return found

    running = [InThread(work) for _ in range(4)]
    found = list(chained.from_iterable(each.result() for each in running))
    found += [row.id for row in claim(store, "a")]
    assert sorted(found) == ids


def test_processes_claim_each_job_once(store, database_url, spawn):
    """The same with four processes."""
    ids = make_jobs(store, 200)
    running = [spawn("-c", CLAIM_ALL, database_url, python=True) for _ in range(4)]
    found = []
    for each in running:
        done = each.wait()
        assert done.code == 0, done.err
        found += done.lines
    assert sorted(found) == ids


def test_claim_does_not_wait_for_another(postgres_url):
    """While one claim is not committed yet, another takes what comes next, at once."""
    store = open_store(postgres_url)
    ids = make_jobs(store, 60)
    with store.transaction() as conn:
        mine = store.claim(conn, {"a": 60.0}, 10, worker="w-1", lease=new_id())
        other = InThread(lambda: claim(store, "a", limit=10)).result(within=5)
        third = InThread(lambda: claim(store, "a", limit=1)).result(within=5)
    best = [each for index, each in enumerate(ids) if index % 3 == 2]
    assert {row.id for row in [*mine, *other]} == set(best)
    # others' locks in front may hide some of what follows from a small claim, but never give a job to two
    assert not {row.id for row in third} & {row.id for row in [*mine, *other]}
    store.close()


def test_claim_that_is_rolled_back_leaves_the_jobs(store):
    """What was claimed in a transaction that fails can be claimed again, as the same attempt."""
    make_jobs(store, 3)
    with store.engine.connect() as conn:
        transaction = conn.begin()
        assert len(store.claim(conn, {"a": 60.0}, 10, worker="w-1", lease=new_id())) == 3
        transaction.rollback()
    assert [row.attempt for row in claim(store, "a")] == [1, 1, 1]
