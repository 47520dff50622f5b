"""Cancelling chains by hand."""

from __future__ import annotations

import threading

import pytest
from support import InThread, wait_until_blocked
from working import claim, completed, continued, run, settle, with_outcome

from jobctl import LostReason, NewChain, Status
from jobctl.errors import AlreadySettledError, LockTimeoutError, NotFoundError, ReferencedError
from jobctl.ids import new_id
from jobctl.storage.decoding import lost_reason
from jobctl.storage.records import LOST, Retry


def statuses(client, *chains):
    return [client.get(getattr(each, "id", each)).status for each in chains]


def test_whatever_its_status(client, store):
    """A chain is closed as cancelled wherever it stands, without an output, and nothing of it is claimed again."""
    scheduled, ready, running, failed = (
        client.start(name, after=after) for name, after in (("s", "1h"), ("r", None), ("w", None), ("f", None))
    )
    blocked = client.start("b", blocked_by=[scheduled.id])
    claim(store, "w")
    settle(store, with_outcome(claim(store, "f")[0], Retry("no", None)))
    chains = [blocked, scheduled, ready, running, failed]
    cancelled = client.cancel([each.id for each in chains])
    assert [each.id for each in cancelled] == [each.id for each in chains]
    assert statuses(client, *chains) == [Status.CANCELLED] * 5
    assert all(each.closed_at is not None and each.output is None for each in cancelled)
    assert claim(store, "b", "s", "r", "w", "f") == []
    assert all(client.get_job(each.id).completed_by is None for each in chains)


def test_a_later_job(client):
    """A chain is named by itself or by its current job; its earlier jobs stay continued."""
    chain = client.start("a")
    with client.settle(chain.id) as current:
        successor = current.continue_with("b")
    (cancelled,) = client.cancel([successor.id, chain.id])
    assert (cancelled.id, cancelled.job_id, cancelled.status) == (chain.id, successor.id, Status.CANCELLED)
    assert [each.status for each in client.show(chain.id).jobs] == [Status.CONTINUED, Status.CANCELLED]


def test_all_or_none(client):
    """With one that is missing or closed, none is cancelled, and the error says what it is."""
    fine, done, gone = (client.start("a") for _ in range(3))
    with client.settle(done.id) as current:
        second = current.continue_with("b")
        current.complete()
    client.cancel([gone.id])
    for id_, error, about in (
        (new_id(), NotFoundError, "there is no chain or job"),
        (done.id, AlreadySettledError, "is completed: it is closed"),
        (second.id, AlreadySettledError, "is completed: it is closed"),
        (gone.id, AlreadySettledError, "is cancelled: it is closed"),
    ):
        with pytest.raises(error, match=about):
            client.cancel([fine.id, id_])
    assert statuses(client, fine) == [Status.READY]
    assert client.show(fine.id).history == ()
    assert client.cancel([]) == []


def test_awaited_chain_is_refused(client):
    """A chain that open ones wait for is refused, naming them, unless they are cancelled too."""
    awaited = client.start("a")
    one, two = (client.start("b", blocked_by=[awaited.id]) for _ in range(2))
    with pytest.raises(ReferencedError, match=f"{awaited.id} is waited for by {one.id}, {two.id}: cancel them") as no:
        client.cancel([awaited.id])
    assert no.value.details == {"id": awaited.id, "waiting": [one.id, two.id]}
    with pytest.raises(ReferencedError) as no:
        client.cancel([awaited.id, two.id])
    assert no.value.waiting == [one.id]
    assert statuses(client, awaited, one, two) == [Status.READY, Status.BLOCKED, Status.BLOCKED]
    client.cancel([one.id, awaited.id, two.id])
    assert statuses(client, awaited, one, two) == [Status.CANCELLED] * 3


def test_who_has_ceased_to_wait_does_not_matter(client, store):
    """A chain that waited and is closed, or has gone on, does not keep another from being cancelled."""
    awaited = client.start("a")
    closed, gone_on = (client.start("b", blocked_by=[awaited.id]) for _ in range(2))
    with client.settle(closed.id, force=True) as current:
        current.complete()
    with client.settle(gone_on.id, force=True) as current:
        current.continue_with("c")
    client.cancel([awaited.id])
    assert statuses(client, closed, gone_on) == [Status.COMPLETED, Status.READY]


def test_cascade(client, store):
    """With cascade what waits for the chain is cancelled too, over several floors and diamonds, and nothing else."""
    below = client.start("below")
    bottom = client.start("a", blocked_by=[below.id])
    left, right = (client.start("b", blocked_by=[bottom.id]) for _ in range(2))
    top = client.start("c", blocked_by=[left.id, right.id])
    other = client.start("d", blocked_by=[below.id])
    cancelled = client.cancel([bottom.id], cascade=True, reason="not wanted", actor="ann")
    assert cancelled[0].id == bottom.id
    assert {each.id for each in cancelled} == {bottom.id, left.id, right.id, top.id}
    assert statuses(client, below, other) == [Status.READY, Status.BLOCKED]
    run(store, below.id)
    assert statuses(client, other, bottom, top) == [Status.READY, Status.CANCELLED, Status.CANCELLED]
    (act,) = client.show(top.id).history
    assert (act.actor, act.details["reason"], act.details["cascade"]) == ("ann", "not wanted", True)
    assert "cascade" not in client.show(bottom.id).history[0].details


def test_nothing_can_wait_for_it(client, store):
    """A chain or a continuation that would wait for a cancelled chain is refused: it would wait for ever."""
    cancelled = client.start("a")
    client.cancel([cancelled.id])
    with pytest.raises(AlreadySettledError, match=f"{cancelled.id} is cancelled: nothing can wait for it"):
        client.start("b", blocked_by=[cancelled.id])
    chain = client.start("b")
    (row,) = claim(store, "b")
    with pytest.raises(AlreadySettledError):
        settle(store, continued(row, "c", blocked_by=(cancelled.id,)))
    assert statuses(client, chain) == [Status.RUNNING]


def test_reason_and_note(client):
    """The reason is kept with what changed; it is the note too, unless there is one."""
    one, two, three = (client.start("a", after="1h") for _ in range(3))
    client.cancel([one.id], reason="withdrawn", actor="ann")
    client.cancel([two.id], reason="withdrawn", note="she called")
    client.cancel([three.id])
    changed = {"type": "a", "before": {"status": "scheduled"}, "after": {"status": "cancelled"}}
    acts = [client.show(each.id).history[0] for each in (one, two, three)]
    assert [(each.action, each.note) for each in acts] == [
        ("cancel", "withdrawn"),
        ("cancel", "she called"),
        ("cancel", None),
    ]
    assert [each.details for each in acts] == [changed | {"reason": "withdrawn"}] * 2 + [changed]


def test_running_attempt_is_told(client, store):
    """A worker that is on it is told, learns why, and what it did is not written."""
    chain = client.start("a")
    (row,) = claim(store, "a")
    watch = store.watch(LOST)
    try:
        watch.wait(0)
        client.cancel([chain.id])
        assert watch.wait(10)[LOST] in ({row.id}, {""})
    finally:
        watch.close()
    with store.transaction() as conn:
        assert lost_reason(store.states(conn, [row.id])[row.id]) is LostReason.CANCELLED
    assert settle(store, completed(row)).won == frozenset()
    assert statuses(client, chain) == [Status.CANCELLED]


def test_who_waits_learns_it(client):
    """Whoever waits for a chain's end gets it."""
    chain = client.start("a")
    waiting = InThread(lambda: client.wait([chain.id], timeout="20s"))
    client.cancel([chain.id])
    assert waiting.result()[chain.id].status is Status.CANCELLED


def test_key_is_free_again(client):
    """A cancelled chain does not stand for a new one with its key."""
    chain = client.start("a", key="k")
    client.cancel([chain.id])
    assert not client.start("a", key="k").deduplicated


def test_in_the_callers_transaction(client):
    """A cancellation is undone with the caller's transaction."""
    chain = client.start("a")
    with pytest.raises(ZeroDivisionError), client.store.transaction() as conn:
        client.cancel([chain.id], conn=conn)
        raise ZeroDivisionError
    assert client.get(chain.id) == chain


# --- at the same time ------------------------------------------------------------------------------------------------


def test_worker_settles_first(postgres_url, open_client):
    """A cancellation that waits while a worker completes the chain is told that it is closed; what waited is free."""
    one, other = open_client(postgres_url), open_client(postgres_url)
    for cascade in (False, True):
        chain = one.start("a")
        waits = one.start("b", blocked_by=[chain.id])
        (row,) = claim(one.store, "a")
        with one.store.transaction() as conn:
            one.store.settle(conn, [completed(row)])
            ids = [chain.id] if cascade else [chain.id, waits.id]
            waiting = InThread(lambda ids=ids, cascade=cascade: other.cancel(ids, cascade=cascade))
            wait_until_blocked(postgres_url)
        assert isinstance(waiting.error(), AlreadySettledError)
        assert statuses(one, chain, waits) == [Status.COMPLETED, Status.READY]


def test_worker_settles_second(postgres_url, open_client):
    """A worker that settles while the chain is being cancelled waits, loses, and frees nothing."""
    one, other = open_client(postgres_url), open_client(postgres_url)
    chain = one.start("a")
    waits = one.start("b", blocked_by=[chain.id])
    (row,) = claim(one.store, "a")
    with one.store.transaction() as conn:
        one.cancel([chain.id], cascade=True, conn=conn)
        waiting = InThread(lambda: settle(other.store, completed(row)))
        wait_until_blocked(postgres_url)
    assert waiting.result().won == frozenset()
    assert statuses(one, chain, waits) == [Status.CANCELLED] * 2


def test_worker_hands_over_first(postgres_url, open_client):
    """A cancellation that waits while a worker hands over cancels the successor; of a job that is past, it says so."""
    one, other = open_client(postgres_url), open_client(postgres_url)
    chain = one.start("a")
    (row,) = claim(one.store, "a")
    with one.store.transaction() as conn:
        one.store.settle(conn, [continued(row, "b")])
        waiting = InThread(lambda: other.cancel([chain.id]))
        wait_until_blocked(postgres_url)
    (cancelled,) = waiting.result()
    assert (cancelled.status, cancelled.job_type, cancelled.length) == (Status.CANCELLED, "b", 2)


def test_start_meets_a_cancellation(postgres_url, open_client):
    """A start that is to wait for a chain being cancelled waits for that, and is refused."""
    one, other = open_client(postgres_url), open_client(postgres_url)
    chain = one.start("a")
    with one.store.transaction() as conn:
        one.cancel([chain.id], conn=conn)
        starting = InThread(lambda: other.start("b", blocked_by=[chain.id]))
        wait_until_blocked(postgres_url)
    assert isinstance(starting.error(), AlreadySettledError)


@pytest.mark.parametrize("cascade", [False, True])
def test_cancellation_meets_a_start(postgres_url, open_client, cascade):
    """A cancellation waits for a start that begins to wait for the chain: then it is refused, or takes it along."""
    one, other = open_client(postgres_url), open_client(postgres_url)
    chain = one.start("a")
    with one.store.transaction() as conn:
        waits = one.start("b", blocked_by=[chain.id], conn=conn)
        cancelling = InThread(lambda: other.cancel([chain.id], cascade=cascade))
        wait_until_blocked(postgres_url)
    if cascade:
        assert [each.id for each in cancelling.result()] == [chain.id, waits.id]
    else:
        error = cancelling.error()
        assert isinstance(error, ReferencedError)
        assert error.waiting == [waits.id]


def test_who_is_freed_meanwhile_stays(postgres_url, open_client):
    """A cascade that waits while a person settles what is between by force does not take what does not wait any more."""
    one, other = open_client(postgres_url), open_client(postgres_url)
    chain = one.start("a")
    between = one.start("b", blocked_by=[chain.id])
    top = one.start("c", blocked_by=[between.id])
    with one.store.transaction() as conn:
        with one.settle(between.id, force=True, conn=conn) as current:
            current.complete()
        cancelling = InThread(lambda: other.cancel([chain.id], cascade=True))
        wait_until_blocked(postgres_url)
    assert [each.id for each in cancelling.result()] == [chain.id]
    assert statuses(one, between, top) == [Status.COMPLETED, Status.READY]


@pytest.mark.parametrize(
    "call",
    [
        lambda client, awaited, _: client.cancel([awaited], cascade=True),
        lambda client, awaited, waits: client.cancel([waits, awaited]),
        lambda client, awaited, waits: client.pause([waits, awaited]),
        lambda client, awaited, waits: client.delete([waits, awaited]),
    ],
    ids=["cascade", "cancel", "pause", "delete"],
)
def test_unblocking_does_not_deadlock(postgres_url, open_client, call):
    """Who locks several chains takes what waits after what it waits for, whatever their ids, as a completion does."""
    one, other = open_client(postgres_url), open_client(postgres_url)
    chain = one.start("w")  # is older than what it will wait for
    awaited = one.start("a")
    settle(one.store, continued(claim(one.store, "w")[0], "x", blocked_by=(awaited.id,)))
    (row,) = claim(one.store, "a")
    with one.store.transaction() as conn:
        one.store.lock(conn, [awaited.id])
        calling = InThread(lambda: call(other, awaited.id, chain.id))
        wait_until_blocked(postgres_url)
        assert one.store.settle(conn, [completed(row)]).work == {"x"}  # takes what waits, which nobody has locked
    assert not isinstance(calling.error(), LockTimeoutError)


def test_many_at_once(database_url, open_client):
    """Cancellations of the same chains in different orders, among workers that complete them, close each once."""
    client = open_client(database_url)
    bottom = [each.id for each in client.start_many(NewChain("a") for _ in range(20))]
    top = [client.start("b", blocked_by=bottom[number : number + 2]).id for number in range(0, 20, 2)]
    together = threading.Barrier(4)
    clients = [open_client(database_url) for _ in range(4)]

    def cancel(number):
        together.wait()
        done = 0
        for id_ in bottom if number else bottom[::-1]:
            try:
                done += len(clients[number].cancel([id_], cascade=True))
            except AlreadySettledError:
                pass
            except LockTimeoutError as error:
                pytest.fail(f"a deadlock: {error}")
        return done

    def work():
        together.wait()
        done = 0
        while rows := claim(clients[3].store, "a", "b", limit=2):
            done += len(settle(clients[3].store, *map(completed, rows)).won)
        return done

    running = [InThread(lambda number=number: cancel(number)) for number in range(3)] + [InThread(work)]
    assert sum(each.result() for each in running) == len(bottom) + len(top)
    assert {each.status for each in client.list_chains().items} <= {Status.CANCELLED, Status.COMPLETED}
    with client.store.transaction(read_only=True) as conn:
        assert conn.exec_driver_sql("SELECT count(*) FROM jobctl_current").scalar() == 0
