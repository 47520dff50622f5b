"""A job that waits for chains is freed, whatever runs into each other.

Each test holds one transaction at its most awkward point, waits until the other one is seen waiting for it, and
only then lets the first one go on.
"""

from __future__ import annotations

import pytest
from support import InThread, wait_until_blocked
from working import claim, completed, continued

from jobctl import Status
from jobctl.ids import new_id
from jobctl.model import NOW
from jobctl.storage.open import open_store
from jobctl.storage.records import NewJob


@pytest.fixture
def client(postgres_url, open_client):
    return open_client(postgres_url)


@pytest.fixture
def first(postgres_url):
    """The store whose transaction is held."""
    store = open_store(postgres_url)
    yield store
    store.close()


@pytest.fixture
def second(postgres_url):
    """The store of somebody else, who runs into it."""
    store = open_store(postgres_url)
    yield store
    store.close()


def pid_of(conn):
    return conn.connection.driver_connection.info.backend_pid


def in_transaction(store, call):
    """Start a call in a transaction and a thread of its own."""

    def work():
        with store.transaction() as conn:
            return call(conn)

    return InThread(work)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_two_blockers_completing_at_once_unblock(client, first, second, postgres_url, order):
    """Of two chains that complete at once, the later one sees the earlier one and frees the job that waits for both."""
    blockers = [client.start("a"), client.start("a")]
    waiting = client.start("w", blocked_by=[each.id for each in blockers])
    rows = {row.id: row for row in claim(first, "a")}
    one, two = (rows[blockers[index].id] for index in order)
    with first.transaction() as conn:
        assert first.settle(conn, [completed(one)]).work == frozenset()
        later = in_transaction(second, lambda conn: second.settle(conn, [completed(two)]))
        wait_until_blocked(postgres_url, by=pid_of(conn))
    assert later.result().work == {"w"}
    assert client.get(waiting.id).status is Status.READY


def test_blocker_rolled_back_does_not_unblock(client, first, second, postgres_url):
    """When the earlier of two completions is rolled back the job stays blocked, until that chain completes after all."""
    blockers = [client.start("a"), client.start("a")]
    waiting = client.start("w", blocked_by=[each.id for each in blockers])
    one, two = claim(first, "a")
    with first.engine.connect() as conn:
        transaction = conn.begin()
        first.settle(conn, [completed(one)])
        later = in_transaction(second, lambda conn: second.settle(conn, [completed(two)]))
        wait_until_blocked(postgres_url, by=pid_of(conn))
        transaction.rollback()
    assert later.result().work == frozenset()
    assert client.get(waiting.id).status is Status.BLOCKED
    with first.transaction() as conn:
        assert first.settle(conn, [completed(one)]).work == {"w"}
    assert client.get(waiting.id).status is Status.READY


def test_person_and_worker_completing_at_once_unblock(client, first, second, postgres_url):
    """The same when one of the two is a person."""
    blockers = [client.start("a"), client.start("b")]
    waiting = client.start("w", blocked_by=[each.id for each in blockers])
    (row,) = claim(first, "a")
    with client.store.transaction() as conn:
        with client.settle(blockers[1].id, conn=conn) as current:
            current.complete()
        later = in_transaction(second, lambda conn: second.settle(conn, [completed(row)]))
        wait_until_blocked(postgres_url, by=pid_of(conn))
    assert later.result().work == {"w"}
    assert client.get(waiting.id).status is Status.READY


def test_many_waiting_for_many(client, first, second, postgres_url):
    """Batches that complete many blockers at once free all jobs that wait for some of both."""
    blockers = [client.start("a") for _ in range(6)]
    ids = [each.id for each in blockers]
    waiting = [client.start("w", blocked_by=[ids[index], ids[5 - index]]) for index in range(6)]
    rows = {row.id: row for row in claim(first, "a")}
    with first.transaction() as conn:
        first.settle(conn, [completed(rows[each]) for each in ids[:3]])
        later = in_transaction(second, lambda conn: second.settle(conn, [completed(rows[each]) for each in ids[:2:-1]]))
        wait_until_blocked(postgres_url, by=pid_of(conn))
    later.result()
    assert {client.get(each.id).status for each in waiting} == {Status.READY}


def start(store, conn, job_id, blocker_id):
    store.start(conn, [NewJob(job_id, job_id, 0, "w", "w", "null", 0, NOW, (blocker_id,))])


def test_blocker_added_while_it_completes(client, first, second, postgres_url):
    """A chain that starts waiting for one that is being completed waits for that transaction, and is ready."""
    blocker = client.start("a")
    waiting = new_id()
    (row,) = claim(first, "a")
    with first.transaction() as conn:
        first.settle(conn, [completed(row)])
        starting = in_transaction(second, lambda conn: start(second, conn, waiting, blocker.id))
        wait_until_blocked(postgres_url, by=pid_of(conn))
    starting.result()
    assert client.get(waiting).status is Status.READY


def test_blocker_completed_while_it_is_added(client, first, second, postgres_url):
    """A completion that meets a chain just starting to wait for it waits for that transaction, and frees it."""
    blocker = client.start("a")
    waiting = new_id()
    (row,) = claim(first, "a")
    with first.transaction() as conn:
        start(first, conn, waiting, blocker.id)
        completing = in_transaction(second, lambda conn: second.settle(conn, [completed(row)]))
        wait_until_blocked(postgres_url, by=pid_of(conn))
    assert completing.result().work == {"w"}
    assert client.get(waiting).status is Status.READY


def test_blocker_added_while_it_hands_over(client, first, second, postgres_url):
    """A chain that starts waiting for one that is handing over waits for the successor, not for the finished job."""
    blocker = client.start("a")
    waiting = new_id()
    (row,) = claim(first, "a")
    with first.transaction() as conn:
        first.settle(conn, [continued(row, "b")])
        starting = in_transaction(second, lambda conn: start(second, conn, waiting, blocker.id))
        wait_until_blocked(postgres_url, by=pid_of(conn))
    starting.result()
    assert client.get(waiting).status is Status.BLOCKED
    (row,) = claim(first, "b")
    with first.transaction() as conn:
        assert first.settle(conn, [completed(row)]).work == {"w"}
    assert client.get(waiting).status is Status.READY


def test_blocker_added_by_a_continuation_while_it_completes(client, first, second, postgres_url):
    """A successor that is to wait for a chain just being completed is ready."""
    blocker, chain = client.start("a"), client.start("b")
    (row,) = claim(first, "a")
    (other,) = claim(first, "b")
    with first.transaction() as conn:
        first.settle(conn, [completed(row)])
        handing_over = in_transaction(
            second, lambda conn: second.settle(conn, [continued(other, "c", blocked_by=(blocker.id,))])
        )
        wait_until_blocked(postgres_url, by=pid_of(conn))
    handing_over.result()
    assert client.get(chain.id).status is Status.READY


def test_waiting_job_settled_by_force_while_its_blocker_completes(client, first, second, postgres_url):
    """A blocked job that a person settles by force while its blocker completes stays settled."""
    blocker = client.start("a")
    waiting = client.start("w", blocked_by=[blocker.id])
    (row,) = claim(first, "a")
    with client.store.transaction() as conn:
        with client.settle(waiting.id, force=True, conn=conn) as current:
            current.complete("by hand")
        completing = in_transaction(second, lambda conn: second.settle(conn, [completed(row)]))
        wait_until_blocked(postgres_url, by=pid_of(conn))
    assert completing.result().work == frozenset()
    assert client.get(waiting.id).output == "by hand"


def test_who_starts_waiting_does_not_hold_up_who_frees(client, first, second):
    """A start behind a blocked chain and the completion that frees this chain do not wait for each other."""
    blocker = client.start("a")
    freed = client.start("w", blocked_by=[blocker.id])
    waiting = new_id()
    (row,) = claim(first, "a")
    with first.transaction() as conn:
        start(first, conn, waiting, freed.id)
        assert in_transaction(second, lambda conn: second.settle(conn, [completed(row)])).result().work == {"w"}
        start(first, conn, new_id(), blocker.id)
    assert [client.get(each).status for each in (freed.id, waiting)] == [Status.READY, Status.BLOCKED]
