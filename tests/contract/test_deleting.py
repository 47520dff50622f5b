"""Deleting chains."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import text
from support import InThread, wait_until_blocked
from working import claim, completed, run, settle, with_outcome

from jobctl.errors import ConflictError, JobctlError, NotFoundError, ReferencedError
from jobctl.ids import new_id
from jobctl.storage.records import LOST, Retry

TABLES = ("jobctl_job", "jobctl_current", "jobctl_settled", "jobctl_blocker", "jobctl_error")


def left(client):
    """How many rows the tables have."""
    with client.store.transaction() as conn:
        return {each: conn.scalar(text(f"SELECT count(*) FROM {each}")) for each in TABLES}  # noqa: S608 - constants


def exists(client, *chains):
    """Which of these chains there are."""
    return [each.id for each in client.list_chains().items if each.id in {chain.id for chain in chains}]


def test_all_that_belongs_to_it_goes(client, store):
    """A chain goes with its jobs, what came of them, its blockers' edges and its errors; its history stays."""
    blocker = client.start("a")
    chain = client.start("b", blocked_by=[blocker.id])
    run(store, blocker.id)
    (row,) = claim(store, "b")
    settle(store, with_outcome(row, Retry("broken", 0.0)))
    with client.settle(chain.id) as current:
        current.continue_with("c")
    assert client.delete([chain.id], actor="ann", note="wrong") == [chain.id]
    assert client.delete([blocker.id]) == [blocker.id]
    assert set(left(client).values()) == {0}
    with store.transaction() as conn:
        acts = conn.execute(text("SELECT action, actor, note FROM jobctl_act ORDER BY id")).all()
    assert [each[0] for each in acts] == ["continue", "delete", "delete"]
    assert tuple(acts[1])[1:] == ("ann", "wrong")


def test_missing(client):
    """A missing chain is an error alone, and passed over among several; a later job is no chain."""
    chain = client.start("a")
    with client.settle(chain.id) as current:
        successor = current.continue_with("b")
    for id_ in (new_id(), successor.id):
        with pytest.raises(NotFoundError, match=f"there is no chain {id_}"):
            client.delete([id_])
    assert client.delete([new_id(), new_id()]) == []
    assert client.delete([]) == []
    assert client.delete([new_id(), chain.id, chain.id]) == [chain.id]


def test_awaited_chain_is_refused(client):
    """A chain that an open one waits for is refused with who waits, and nothing is deleted, unless both go."""
    awaited, other = client.start("a"), client.start("a")
    one = client.start("b", blocked_by=[awaited.id])
    two = client.start("b", blocked_by=[awaited.id])
    with pytest.raises(ReferencedError, match=f"{awaited.id} is waited for by {one.id}") as refused:
        client.delete([awaited.id, other.id])
    assert refused.value.details == {"id": awaited.id, "waiting": sorted([one.id, two.id])}
    with pytest.raises(ReferencedError):
        client.delete([awaited.id, one.id])
    assert len(exists(client, awaited, other, one, two)) == 4
    assert client.delete([two.id, awaited.id, one.id]) == [two.id, awaited.id, one.id]
    assert exists(client, awaited, other, one, two) == [other.id]


def test_handler_still_needs_the_outputs(client, store):
    """A completed chain whose output an open one is yet to be given is refused; once that is settled it can go."""
    awaited = client.start("a")
    one = client.start("b", blocked_by=[awaited.id])
    run(store, awaited.id)
    with pytest.raises(ReferencedError):
        client.delete([awaited.id])
    run(store, one.id)
    assert client.delete([awaited.id]) == [awaited.id]
    assert client.show(one.id).jobs[0].blocker_ids == ()


def test_cascade(client):
    """With cascade all goes that the chain waits for, through several floors and diamonds, and nothing else."""
    bottom = client.start("a")
    left_, right = (client.start("b", blocked_by=[bottom.id]) for _ in range(2))
    top = client.start("c", blocked_by=[left_.id, right.id])
    unrelated = client.start("a")
    assert set(client.delete([top.id], cascade=True)) == {bottom.id, left_.id, right.id, top.id}
    assert exists(client, bottom, left_, right, top, unrelated) == [unrelated.id]


def test_cascade_is_refused_from_outside(client):
    """A cascade that would take what another chain waits for is refused as a whole."""
    bottom = client.start("a")
    top = client.start("b", blocked_by=[bottom.id])
    outside = client.start("c", blocked_by=[bottom.id])
    with pytest.raises(ReferencedError, match=outside.id):
        client.delete([top.id], cascade=True)
    assert len(exists(client, bottom, top, outside)) == 3
    assert set(client.delete([top.id, outside.id], cascade=True)) == {bottom.id, top.id, outside.id}


def test_worker_on_it(client, store):
    """A worker on a deleted job is told, and what it did is not written."""
    chain = client.start("a")
    (row,) = claim(store, "a")
    watch = store.watch(LOST)
    try:
        watch.wait(0)
        client.delete([chain.id])
        assert watch.wait(10)[LOST] in ({row.id}, {""})
    finally:
        watch.close()
    assert settle(store, completed(row)).won == frozenset()
    assert set(left(client).values()) == {0}


def test_who_waits_learns_it(client):
    """Whoever waits for a chain that is deleted gets an error."""
    chain = client.start("a")
    waiting = InThread(lambda: client.wait([chain.id], timeout="20s"))
    client.delete([chain.id])
    assert isinstance(waiting.error(), NotFoundError)


def test_in_the_callers_transaction(client):
    """A deletion is undone with the caller's transaction."""
    chain = client.start("a")
    with pytest.raises(ZeroDivisionError), client.store.transaction() as conn:
        client.delete([chain.id], conn=conn)
        raise ZeroDivisionError
    assert client.get(chain.id) == chain
    assert client.show(chain.id).history == ()


def test_start_meets_a_deletion(postgres_url, open_client):
    """A start that waits for a chain which is deleted at that moment, closed or open, is refused and starts nothing."""
    one, other = open_client(postgres_url), open_client(postgres_url)
    for close in (True, False):
        chain = one.start("a")
        if close:
            run(one.store, chain.id)
        with one.store.transaction() as conn:
            one.delete([chain.id], conn=conn)
            starting = InThread(lambda chain=chain: other.start("b", blocked_by=[chain.id]))
            wait_until_blocked(postgres_url)
        assert isinstance(starting.error(), ConflictError | NotFoundError)
        assert one.list_chains().items == ()


def test_deletion_meets_a_start(postgres_url, open_client):
    """A deletion waits for a start that begins to wait for the chain, closed or open, and is then refused."""
    one, other = open_client(postgres_url), open_client(postgres_url)
    for close in (True, False):
        chain = one.start("a")
        if close:
            run(one.store, chain.id)
        with one.store.transaction() as conn:
            waits = one.start("b", blocked_by=[chain.id], conn=conn)
            deleting = InThread(lambda chain=chain: other.delete([chain.id]))
            wait_until_blocked(postgres_url)
        error = deleting.error()
        assert isinstance(error, ReferencedError)
        assert error.waiting == [waits.id]


def test_concurrent_deletions(database_url, open_client):
    """Deletions of the same chains in different orders end without a deadlock, each chain deleted once."""
    client = open_client(database_url)
    bottom = [client.start("a").id for _ in range(10)]
    top = [client.start("b", blocked_by=bottom).id for _ in range(10)]
    together = threading.Barrier(4)
    clients = [open_client(database_url) for _ in range(4)]

    def delete(number):
        together.wait()
        ids = top + bottom if number % 2 else (top + bottom)[::-1]
        return clients[number].delete(ids, cascade=number > 1)

    deleted = []
    for each in [InThread(lambda number=number: delete(number)) for number in range(4)]:
        error = each.error()
        assert not isinstance(error, JobctlError), error
        deleted += each.result()
    assert sorted(deleted) == sorted(top + bottom)
    assert set(left(client).values()) == {0}
