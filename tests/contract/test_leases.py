"""Leases: renewing, giving back, and what happens when they run out."""

from __future__ import annotations

from datetime import timedelta

from support import eventually
from working import claim, completed, held, settle

from jobctl import Status
from jobctl.ids import new_id


def renew(store, rows, seconds):
    with store.transaction() as conn:
        return store.renew(conn, [held(row) for row in rows], seconds)


def reap(store, own=(), **limits):
    with store.transaction() as conn:
        return store.reap(conn, own, **limits)


def test_renewing_extends(client, store):
    """A renewed lease runs for the seconds of its type from now on."""
    client.start("a")
    client.start("b")
    rows = claim(store, "a", "b", seconds=5)
    assert renew(store, rows, {"a": 100.0, "b": 1000.0}) == {row.id for row in rows}
    until = {row.type_name: client.get_job(row.id).leased_until for row in rows}
    assert abs(until["b"] - until["a"] - timedelta(seconds=900)) <= timedelta(milliseconds=1)
    assert until["a"] > rows[0].leased_until + timedelta(seconds=60)


def test_renewing_tells_what_is_lost(client, store):
    """Of the leases to be renewed, those that are held no more are left out and not touched."""
    chains = [client.start("a") for _ in range(5)]
    rows = {row.id: row for row in claim(store, "a")}
    kept, settled, released, other, gone = (rows[chain.id] for chain in chains)
    settle(store, completed(settled))
    with store.transaction() as conn:
        store.release(conn, [held(released)])
    wrong = other._replace(lease=new_id())
    missing = gone._replace(id=new_id())
    before = client.get_job(other.id).leased_until
    assert renew(store, [kept, settled, released, wrong, missing], {"a": 600.0}) == {kept.id}
    assert client.get_job(other.id).leased_until == before
    assert client.get_job(settled.id).status is Status.COMPLETED


def test_renewing_nothing(store):
    """Renewing no leases is nothing."""
    assert renew(store, [], {}) == set()


def test_release_undoes_the_claim(client, store):
    """A released job is as if it had never been claimed: no attempt is counted, and it can be claimed at once."""
    chain = client.start("a")
    before = client.get_job(chain.id)
    (row,) = claim(store, "a")
    with store.transaction() as conn:
        store.release(conn, [held(row)])
    assert client.get_job(chain.id) == before
    assert client.show(chain.id).errors == ()
    assert claim(store, "a")[0].attempt == 1


def test_release_of_what_is_lost(client, store):
    """Releasing what another holds by now changes nothing."""
    client.start("a")
    (row,) = claim(store, "a")
    with store.transaction() as conn:
        store.release(conn, [held(row)._replace(lease=new_id())])
    assert client.get_job(row.id).status is Status.RUNNING


def test_expired_lease_is_reaped(client, store):
    """A job whose lease ran out is given back, ready, with an error that names the worker, and the attempt counts."""
    chain = client.start("a")
    claim(store, "a", seconds=0.05, worker="gone-1")
    (reaped,) = eventually(lambda: reap(store))
    assert (reaped.id, reaped.chain_id, reaped.type_name) == (chain.id, chain.id, "a")
    assert (reaped.attempt, reaped.worker) == (1, "gone-1")
    detail = client.show(chain.id)
    assert (detail.chain.status, detail.chain.attempt) == (Status.READY, 1)
    assert detail.chain.last_error == "the lease ran out: nothing was heard of worker gone-1"
    (error,) = detail.errors
    assert (error.attempt, error.worker, error.error) == (1, "gone-1", detail.chain.last_error)
    assert claim(store, "a")[0].attempt == 2


def test_running_lease_is_not_reaped(client, store):
    """A lease that runs is left alone, and so is the caller's own whose renewal is late."""
    client.start("a")
    client.start("b")
    (own,) = claim(store, "a", seconds=0.01)
    claim(store, "b", seconds=60)
    eventually(lambda: store_due(store).lease < 0)
    assert reap(store, [own.lease]) == []
    assert reap(store, [own.lease, new_id()]) == []
    assert [each.id for each in reap(store, [new_id()])] == [own.id]
    assert reap(store) == []


def store_due(store, *types):
    with store.transaction(read_only=True) as conn:
        return store.next_due(conn, dict.fromkeys(types, 60.0))


def test_reaping_has_a_limit(client, store):
    """No more than the limit are given back at once, those that ran out first."""
    for _ in range(3):
        client.start("a")
    rows = claim(store, "a", limit=1, seconds=0.01)
    rows += claim(store, "a", seconds=0.02)
    eventually(lambda: store_due(store).lease < -0.02)
    assert [each.id for each in reap(store, limit=1)] == [rows[0].id]
    eventually(lambda: store_due(store).lease < 0)
    assert {each.id for each in reap(store, limit=10)} == {rows[1].id, rows[2].id}


def test_reaped_job_cannot_be_settled(client, store):
    """The worker whose lease ran out and was reaped settles nothing any more."""
    chain = client.start("a")
    (row,) = claim(store, "a", seconds=0.01)
    eventually(lambda: reap(store))
    assert settle(store, completed(row)).won == frozenset()
    assert renew(store, [row], {"a": 60.0}) == set()
    assert client.get(chain.id).status is Status.READY


def test_late_worker_may_settle_what_nobody_took(client, store):
    """A lease that ran out but was not reaped is still held: late is not lost."""
    client.start("a")
    (row,) = claim(store, "a", seconds=0.01)
    eventually(lambda: store_due(store).lease < 0)
    assert renew(store, [row], {"a": 60.0}) == {row.id}
    assert settle(store, completed(row)).won == {row.id}


def test_next_due_of_nothing(store):
    """With no jobs nothing is in sight."""
    assert store_due(store, "a")[:2] == (None, None)
    assert store_due(store)[:2] == (None, None)


def test_next_due_is_the_earliest_of_the_types(client, store):
    """What is due next is the earliest of the types asked for, over all priorities, in seconds from now."""
    client.start("a", after="1h")
    client.start("a", after="10m", priority=-3)
    client.start("a", after="30m", priority=7)
    client.start("b", after="5m")
    assert 590 < store_due(store, "a").job <= 600
    assert 290 < store_due(store, "a", "b").job <= 300
    assert store_due(store, "c").job is None
    client.start("a")
    assert store_due(store, "a", "b").job <= 0


def test_next_due_ignores_what_cannot_be_claimed(client, store):
    """Blocked, running and closed jobs are not due."""
    first = client.start("x")
    client.start("a", blocked_by=[first.id])
    claim(store, "x", seconds=60)
    due = store_due(store, "a", "x")
    assert due.job is None
    assert 50 < due.lease <= 60


def test_next_due_has_the_next_lease_of_any_type(client, store):
    """The next lease to run out is told for all types, as any worker reaps for all."""
    client.start("a")
    client.start("b")
    claim(store, leases={"a": 100.0, "b": 10.0})
    assert 5 < store_due(store, "other").lease <= 10


def test_states(client, store):
    """The states of jobs are their stored statuses and leases; unknown ones are left out."""
    waiting, running, missing = client.start("a"), client.start("b"), new_id()
    (row,) = claim(store, "b")
    with store.transaction(read_only=True) as conn:
        found = store.states(conn, [waiting.id, running.id, missing])
    assert found == {waiting.id: ("pending", None), running.id: ("running", row.lease)}
