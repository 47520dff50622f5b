"""Pausing types, chains, and all there are."""

from __future__ import annotations

import pytest
from support import InThread, wait_until_blocked
from working import claim, completed, continued, run, settle, with_outcome

from jobctl import ListFilter, NewChain, Status
from jobctl.errors import AlreadySettledError, NotFoundError, UsageError
from jobctl.ids import new_id
from jobctl.model import Paused
from jobctl.storage.records import WORK, Retry


def claimed(store, *types):
    """The chains of which something is claimed; it is given back."""
    rows = claim(store, *types)
    with store.transaction() as conn:
        store.release(conn, [completed(row).held for row in rows])
    return {row.chain_id for row in rows}


def next_due(store, *types):
    with store.transaction(read_only=True) as conn:
        return store.next_due(conn, dict.fromkeys(types, 60.0)).job


def test_type(client, store):
    """Nothing of a paused type is claimed or seen to be due, and all else is, until it is resumed."""
    a, b = client.start("a"), client.start("b")
    (paused,) = client.pause(types=["a"], actor="ann", note="the bank is down")
    assert (paused.what, paused.name, paused.actor, paused.note) == (Paused.TYPE, "a", "ann", "the bank is down")
    assert claimed(store, "a", "b") == {b.id}
    assert next_due(store, "a") is None
    assert (client.get(a.id).paused, client.get_job(a.id).paused) == (Paused.TYPE, Paused.TYPE)
    assert client.get(a.id).status is Status.READY
    assert client.get(b.id).paused is None
    assert client.resume(types=["a"]) == [paused]
    assert claimed(store, "a", "b") == {a.id, b.id}
    assert client.get(a.id).paused is None


def test_everything(client, store):
    """While all is paused nothing is claimed, whatever its type; a type's own pause outlives it."""
    a, b = client.start("a"), client.start("b")
    client.pause(types=["a"], everything=True)
    assert claimed(store, "a", "b") == set()
    assert (client.get(a.id).paused, client.get(b.id).paused) == (Paused.TYPE, Paused.ALL)
    (ended,) = client.resume(everything=True)
    assert (ended.what, ended.name) == (Paused.ALL, None)
    assert claimed(store, "a", "b") == {b.id}


def test_chain(client, store):
    """Nothing of a paused chain is claimed, by whatever job it is named, and others of its type are."""
    chain, other = client.start("a"), client.start("a")
    with client.settle(chain.id) as current:
        successor = current.continue_with("a")
    (paused,) = client.pause([successor.id], actor="ann", note="ask me")
    assert (paused.what, paused.name, paused.actor, paused.note) == (Paused.CHAIN, chain.id, "ann", "ask me")
    assert claimed(store, "a") == {other.id}
    assert client.get(chain.id).paused is Paused.CHAIN
    assert [each.paused for each in client.show(chain.id).jobs] == [None, Paused.CHAIN]
    assert client.resume([chain.id]) == [paused]
    assert claimed(store, "a") == {other.id, chain.id}


def test_what_runs_goes_on(client, store):
    """A running attempt goes on and settles; its successor, its next attempt and its release are not claimed."""
    chains = [each.id for each in client.start_many(NewChain("a") for _ in range(4))]
    goes_on, fails, released, ends = claim(store, "a")
    client.pause(chains, types=["next"])
    assert settle(store, continued(goes_on, "next")).won == {goes_on.id}
    settle(store, with_outcome(fails, Retry("no", 0.0)))
    with store.transaction() as conn:
        assert store.release(conn, [completed(released).held]) == {released.id}
    assert settle(store, completed(ends, "1")).won == {ends.id}
    client.resume(types=["next"])
    assert claimed(store, "a", "next") == set()
    assert client.get(ends.chain_id).paused is None
    client.resume(chains[:3])
    assert claimed(store, "a", "next") == set(chains[:3])


def test_unblocked_and_retried_stay_paused(client, store):
    """A paused chain that is freed, retried or triggered stays paused."""
    awaited, failed, later = client.start("x"), client.start("f"), client.start("a", after="1h")
    blocked = client.start("a", blocked_by=[awaited.id])
    settle(store, with_outcome(claim(store, "f")[0], Retry("no", None)))
    client.pause([blocked.id, failed.id, later.id])
    run(store, awaited.id)
    client.retry([failed.id])
    client.trigger([later.id])
    assert claimed(store, "a", "f") == set()
    assert {client.get(each.id).paused for each in (blocked, failed, later)} == {Paused.CHAIN}


def test_by_hand_it_can_be_settled(client):
    """What is paused can be settled by hand."""
    chain = client.start("a")
    client.pause([chain.id], everything=True)
    with client.settle(chain.id) as current:
        current.complete(1)
    assert (client.get(chain.id).status, client.get(chain.id).paused) == (Status.COMPLETED, None)


def test_twice_is_once(client):
    """What is paused already stays as it is, and so does what is not; neither is in the history again."""
    chain = client.start("a")
    first = client.pause([chain.id], types=["a"], everything=True, actor="ann")
    assert client.pause([chain.id], types=["a"], everything=True, actor="bob") == first
    assert len(client.resume([chain.id], types=["a"], everything=True)) == 3
    assert client.resume([chain.id], types=["a"], everything=True) == []
    assert [each.action for each in client.history(newest_first=False).items] == ["pause"] * 3 + ["resume"] * 3
    assert [each.action for each in client.show(chain.id).history] == ["pause", "resume"]


def test_it_is_kept(client):
    """Who paused and resumed a type, and why, is in the history, which has no chain for it."""
    client.pause(types=["a"], actor="ann", note="down")
    client.resume(everything=True, types=["a"], actor="bob")
    resumed, paused = client.history().items
    assert (paused.chain_id, paused.job_id, paused.actor, paused.note) == (None, None, "ann", "down")
    assert paused.details == {"type": "a", "before": {"paused": False}, "after": {"paused": True}}
    assert resumed.details == {"type": "a", "before": {"paused": True}, "after": {"paused": False}}
    assert (resumed.action, resumed.actor) == ("resume", "bob")


def test_all_or_none(client, store):
    """With a chain that is missing or closed nothing is paused; so with a name that no type has, and with nothing."""
    chain, closed = client.start("a"), client.start("a")
    client.cancel([closed.id])
    for call in (client.pause, client.resume):
        for id_, error in ((new_id(), NotFoundError), (closed.id, AlreadySettledError), ("x", UsageError)):
            with pytest.raises(error):
                call([chain.id, id_], types=["b"])
        for types in ([], [""], ["a b"]):
            with pytest.raises(UsageError):
                call(types=types)
    assert client.pauses().items == ()
    assert claimed(store, "a") == {chain.id}


def test_lists_show_it(client):
    """Lists of chains and of jobs tell what is paused."""
    chain, other, waits = client.start("a"), client.start("b"), client.start("c")
    client.pause([chain.id], types=["b"])
    assert [each.paused for each in client.list_chains(ListFilter(newest_first=False)).items] == [
        Paused.CHAIN,
        Paused.TYPE,
        None,
    ]
    client.pause(everything=True)
    found = {each.id: each.paused for each in client.list_jobs().items}
    assert found == {chain.id: Paused.CHAIN, other.id: Paused.TYPE, waits.id: Paused.ALL}


def test_pauses(client):
    """What is paused is listed with who did it: all, types by name, then chains page by page."""
    chains = [each.id for each in client.start_many(NewChain("a") for _ in range(5))]
    client.pause(chains, actor="ann", note="n")
    client.pause(types=["z", "b"], everything=True, actor="bob")
    page = client.pauses(limit=3)
    assert [(each.what, each.name, each.actor) for each in page.items] == [
        (Paused.ALL, None, "bob"),
        (Paused.TYPE, "b", "bob"),
        (Paused.TYPE, "z", "bob"),
        *((Paused.CHAIN, each, "ann") for each in chains[:3]),
    ]
    rest = client.pauses(limit=3, cursor=page.cursor)
    assert [(each.name, each.note) for each in rest.items] == [(each, "n") for each in chains[3:]]
    assert rest.cursor is None
    assert client.pauses(limit=5).cursor is None


def test_in_the_callers_transaction(client, store):
    """A pause is undone with the caller's transaction."""
    chain = client.start("a")
    with pytest.raises(ZeroDivisionError), store.transaction() as conn:
        client.pause([chain.id], types=["a"], conn=conn)
        assert len(client.pauses(conn=conn).items) == 2
        raise ZeroDivisionError
    assert client.pauses().items == ()
    assert claimed(store, "a") == {chain.id}


@pytest.mark.parametrize("what", [{"types": ["a"]}, {"everything": True}, "chain"])
def test_workers_hear_of_the_end(client, store, what):
    """Idle workers are told when something is resumed."""
    chain = client.start("a")
    target = {"ids": [chain.id]} if what == "chain" else what
    client.pause(**target)
    watch = store.watch(WORK)
    try:
        watch.wait(0)
        client.resume(**target)
        assert watch.wait(10)[WORK] in ({"a"}, {""})
    finally:
        watch.close()


# --- at the same time ------------------------------------------------------------------------------------------------


def test_claim_before_a_chains_pause(postgres_url, open_client):
    """A pause of a chain waits for the claim of it that is under way, and what was claimed goes on."""
    one, other = open_client(postgres_url), open_client(postgres_url)
    chain = one.start("a")
    with one.store.transaction() as conn:
        (row,) = one.store.claim(conn, {"a": 60.0}, 1, worker="w", lease=new_id())
        pausing = InThread(lambda: other.pause([chain.id]))
        wait_until_blocked(postgres_url)
    assert len(pausing.result()) == 1
    settle(one.store, continued(row, "a"))
    assert claimed(one.store, "a") == set()


def test_claim_during_a_chains_pause(postgres_url, open_client):
    """A claim passes over a chain that is being paused, and over one that is paused when it comes to it."""
    one, other = open_client(postgres_url), open_client(postgres_url)
    chain, free = one.start("a"), one.start("a")
    with one.store.transaction() as conn:
        one.pause([chain.id], conn=conn)
        assert {row.chain_id for row in claim(other.store, "a")} == {free.id}
    assert claimed(other.store, "a") == set()


@pytest.mark.parametrize("failing", [False, True])  # together they are settled in another way
def test_settling_meets_a_chains_pause(postgres_url, open_client, failing):
    """A worker that settles while the chain is being paused waits for that, and what follows is paused."""
    one, other = open_client(postgres_url), open_client(postgres_url)
    chains = [one.start("a").id for _ in range(3 if failing else 2)]
    goes_on, ends, *fails = claim(one.store, "a")
    with one.store.transaction() as conn:
        one.pause(chains, conn=conn)
        failed = [with_outcome(each, Retry("no", 0.0)) for each in fails]
        settling = InThread(lambda: settle(other.store, continued(goes_on, "b"), completed(ends), *failed))
        wait_until_blocked(postgres_url)
    assert settling.result().won == set(chains)
    assert claimed(one.store, "a", "b") == set()
    assert [one.get(each).paused for each in chains] == [Paused.CHAIN, None, Paused.CHAIN][: len(chains)]
    assert [one.get(each).job_type for each in chains] == ["b", "a", "a"][: len(chains)]


def test_claim_before_a_types_pause(postgres_url, open_client):
    """A pause of a type returns only when a claim that began before has ended: afterwards nothing begins."""
    one, other = open_client(postgres_url), open_client(postgres_url)
    one.start("a")
    with one.store.transaction() as conn:
        assert one.store.claim(conn, {"a": 60.0}, 1, worker="w", lease=new_id())
        pausing = InThread(lambda: other.pause(types=["a"]))
        while not one.pauses().items:  # it is committed already
            assert pausing.running
        assert claim(one.store, "a") == []
        assert pausing.running
    assert len(pausing.result()) == 1


def test_two_persons(postgres_url, open_client):
    """Of two who pause a type at once, one does, and the other finds it done; a resume waits for them."""
    one, other = open_client(postgres_url), open_client(postgres_url)
    with one.store.transaction() as conn:
        one.pause(types=["a"], actor="ann", conn=conn)
        second = InThread(lambda: other.pause(types=["a"], actor="bob"))
        wait_until_blocked(postgres_url)
    assert [each.actor for each in second.result()] == ["ann"]
    with one.store.transaction() as conn:
        one.pause(types=["b"], conn=conn)
        ending = InThread(lambda: other.resume(types=["b"]))
        wait_until_blocked(postgres_url)
    assert len(ending.result()) == 1
    assert [each.name for each in one.pauses().items] == ["a"]
