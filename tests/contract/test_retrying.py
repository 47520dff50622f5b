"""Giving failed jobs another round by hand."""

from __future__ import annotations

import pytest
from support import InThread, wait_until_blocked
from working import claim, completed, run, settle, with_outcome

from jobctl import NewChain, Status
from jobctl.errors import AlreadySettledError, NotFailedError, NotFoundError
from jobctl.ids import new_id
from jobctl.storage.records import WORK, Retry


def fail_all(store, type_name="a", *, times=1):
    """Have all ready jobs of a type fail so often; the last time for good."""
    for number in range(times):
        rows = claim(store, type_name)
        last = number == times - 1
        settle(store, *(with_outcome(row, Retry(f"error {row.attempt}", None if last else 0.0)) for row in rows))


def test_another_round(client, store):
    """A retried job is due now with its attempts counted anew, and the errors of all rounds stay."""
    chain = client.start("a")
    fail_all(store, times=2)
    before = client.get(chain.id)
    assert (before.status, before.attempt) == (Status.FAILED, 2)
    (job,) = client.retry([chain.id])
    assert (job.status, job.attempt, job.last_error) == (Status.READY, 0, "error 2")
    (row,) = claim(store, "a")
    assert row.attempt == 1
    settle(store, with_outcome(row, Retry("error of round 2", None)))
    assert [(each.attempt, each.error) for each in client.show(chain.id).errors] == [
        (1, "error 1"),
        (2, "error 2"),
        (1, "error of round 2"),
    ]
    client.retry([chain.id])
    run(store, chain.id, '"at last"')
    assert client.get(chain.id).output == "at last"


def test_order_given(client, store):
    """Retried jobs come back in the order given, and are claimed in it; a later job is named by its chain or itself."""
    chains = [each.id for each in client.start_many(NewChain("a") for _ in range(3))]
    with client.settle(chains[0]) as current:
        later = current.continue_with("a")
    fail_all(store)
    jobs = client.retry([chains[2], later.id, chains[0], chains[1]])
    assert [each.chain_id for each in jobs] == [chains[2], chains[0], chains[1]]
    assert [each.chain_id for each in claim(store, "a")] == [chains[2], chains[0], chains[1]]


def test_all_or_none(client, store):
    """With one that has not failed none is retried, and the error says what it is."""
    failed = client.start("a")
    fail_all(store)
    ready, scheduled = client.start("ready"), client.start("a", after="1h")
    blocked = client.start("a", blocked_by=[ready.id])
    running, completed_ = client.start("running"), client.start("done")
    claim(store, "running")
    run(store, completed_.id)
    moved_on = client.start("a", after="1h")
    with client.settle(moved_on.id) as current:
        second = current.continue_with("b")
        current.continue_with("c")
    for id_, error, about in (
        (new_id(), NotFoundError, "there is no chain or job"),
        (ready.id, NotFailedError, "of 'ready' is ready: only failed jobs can be retried"),
        (scheduled.id, NotFailedError, "is scheduled"),
        (blocked.id, NotFailedError, "is blocked"),
        (running.id, NotFailedError, "is running"),
        (completed_.id, AlreadySettledError, "is completed"),
        (second.id, AlreadySettledError, "is at 'c'"),
    ):
        with pytest.raises(error, match=about):
            client.retry([failed.id, id_])
    assert client.get(failed.id).status is Status.FAILED
    assert client.show(failed.id).history == ()
    assert client.retry([]) == []


def test_it_is_kept(client, store):
    """Who retried it, why, and what that changed is in the history."""
    chain = client.start("a")
    fail_all(store, times=3)
    client.retry([chain.id], actor="ann", note="the disk is replaced")
    (act,) = client.show(chain.id).history
    assert (act.action, act.actor, act.note, act.job_id) == ("retry", "ann", "the disk is replaced", chain.id)
    assert act.details["type"] == "a"
    assert (act.details["before"]["status"], act.details["before"]["attempt"]) == ("failed", 3)
    assert (act.details["after"]["status"], act.details["after"]["attempt"]) == ("ready", 0)


def test_in_the_callers_transaction(client, store):
    """A retry is undone with the caller's transaction."""
    chain = client.start("a")
    fail_all(store)
    with pytest.raises(ZeroDivisionError), store.transaction() as conn:
        client.retry([chain.id], conn=conn)
        raise ZeroDivisionError
    assert client.get(chain.id).status is Status.FAILED


def test_workers_hear_of_it(client, store):
    """Idle workers are told of retried jobs."""
    chain = client.start("a")
    fail_all(store)
    watch = store.watch(WORK)
    try:
        watch.wait(0)
        client.retry([chain.id])
        assert watch.wait(10)[WORK] in ({"a"}, {""})
    finally:
        watch.close()


def test_two_persons(postgres_url, open_client):
    """Of two who retry at once one gets the round, and the other is told that the job has not failed."""
    one, other = open_client(postgres_url), open_client(postgres_url)
    chain = one.start("a")
    fail_all(one.store)
    with one.store.transaction() as conn:
        one.retry([chain.id], conn=conn)
        waiting = InThread(lambda: other.retry([chain.id]))
        wait_until_blocked(postgres_url)
    assert isinstance(waiting.error(), NotFailedError)
    assert len(one.show(chain.id).history) == 1


def test_against_settling_by_hand(postgres_url, open_client):
    """A retry that waits while a person completes the failed job is told that it is settled."""
    one, other = open_client(postgres_url), open_client(postgres_url)
    chain = one.start("a")
    fail_all(one.store)
    with one.store.transaction() as conn:
        with one.settle(chain.id, conn=conn) as current:
            current.complete()
        waiting = InThread(lambda: other.retry([chain.id]))
        wait_until_blocked(postgres_url)
    assert isinstance(waiting.error(), AlreadySettledError)
    assert one.get(chain.id).status is Status.COMPLETED


def test_straggler_of_the_round_before(client, store):
    """An attempt of an earlier round, which is not held any more, cannot settle the job of the new one."""
    chain = client.start("a")
    (old,) = claim(store, "a", seconds=-1.0)
    with store.transaction() as conn:
        assert [each.id for each in store.reap(conn, [])] == [chain.id]
    fail_all(store)
    client.retry([chain.id])
    (new,) = claim(store, "a")
    assert new.attempt == old.attempt == 1
    assert settle(store, completed(old)).won == frozenset()
    assert settle(store, completed(new)).won == {chain.id}
