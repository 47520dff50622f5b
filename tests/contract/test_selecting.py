"""Acting on many chains: which match, which do so still when their turn comes, and trying it without a trace."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from support import InThread, wait_until_blocked
from working import run

from jobctl import ListFilter, NewChain, Status
from jobctl.ids import batches, new_id
from jobctl.storage.records import WORK

LATER = ListFilter(type_name="a", statuses=(Status.SCHEDULED,))


def started(client, number, type_name="a", after="1h"):
    """Chains, in the order of a list with the oldest first."""
    ids = [each.id for each in client.start_many(NewChain(type_name, after=after) for _ in range(number))]
    return sorted(ids)


def statuses(client, ids):
    return [client.get(each).status for each in ids]


# --- which -----------------------------------------------------------------------------------------------------------


def test_select_walks_all(client, monkeypatch):
    """All that match are found, each once and in the order of a list, however few a statement reads."""
    monkeypatch.setattr("jobctl.selecting.WALKED_AT_ONCE", 3)
    wanted, _ = started(client, 7), started(client, 2, "b")
    assert list(client.select(replace(LATER, newest_first=False))) == wanted
    assert list(client.select(LATER)) == wanted[::-1]
    assert list(client.select(LATER, limit=3)) == wanted[:3:-1]
    assert list(client.select(LATER, limit=4)) == wanted[:2:-1]
    assert list(client.select(replace(LATER, type_name="c"))) == []


def test_select_has_no_page(client):
    """The limit and the cursor of a list's page do not restrict what is selected."""
    wanted = started(client, 3)
    page = client.list_chains(replace(LATER, limit=1))
    assert len(list(client.select(replace(LATER, limit=1, cursor=page.cursor)))) == len(wanted)


def test_matching(client, store):
    """Of some chains those are told that a list would show, in the order given; missing ones are none."""
    one, two, three = started(client, 3)
    client.trigger([two])
    run(store, two)
    assert client.matching([three, two, new_id(), one], LATER) == [three, one]
    assert client.matching([], LATER) == []
    assert client.matching([one, two], ListFilter(statuses=(Status.COMPLETED,))) == [two]


def test_batches():
    """Ids fall into as few batches as it takes, in their order, none of which is much smaller than the others."""
    ids = [str(number) for number in range(501)]
    found = list(batches(ids, 500))
    assert [len(each) for each in found] == [250, 251]
    assert [each for one in found for each in one] == ids
    assert list(batches([], 500)) == []
    assert [len(each) for each in batches(ids, 501)] == [501]


# --- what has moved on -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("act", ["trigger", "reschedule", "delete"])
def test_within_passes_over_what_moved_on(client, store, act):
    """What left the filter since it was selected is passed over, and is not changed; the rest is done."""
    ids = started(client, 3)
    selected = list(client.select(replace(LATER, newest_first=False)))
    client.trigger([ids[1]])
    run(store, ids[1])
    how = {"after": timedelta(0)} if act == "reschedule" else {}
    done = getattr(client, act)([*selected, new_id()], within=LATER, **how)
    assert [getattr(each, "id", each) for each in done] == [ids[0], ids[2]]
    assert client.get(ids[1]).status is Status.COMPLETED
    assert getattr(client, act)([ids[1]], within=LATER, **how) == []


def test_within_looks_after_the_lock(postgres_url, open_client):
    """A chain that leaves the filter while its lock is waited for is passed over: what is looked at is newer."""
    client, other = open_client(postgres_url), open_client(postgres_url)
    (chain,) = started(client, 1)
    with client.store.transaction() as conn:
        client.trigger([chain], conn=conn)
        waiting = InThread(lambda: other.reschedule([chain], after="2h", within=LATER))
        wait_until_blocked(postgres_url)
    assert waiting.result() == []
    assert client.get(chain).status is Status.READY


def test_keep_awaited(client, store):
    """What an open chain waits for stays, and what that which stays waits for; the rest goes."""
    bottom = client.start("a")
    middle = client.start("a", blocked_by=[bottom.id])
    top = client.start("b", blocked_by=[middle.id])
    free = client.start("a")
    ids = [free.id, middle.id, bottom.id]
    assert client.delete(ids, keep_awaited=True) == [free.id]
    assert statuses(client, [top.id, middle.id, bottom.id]) == [Status.BLOCKED, Status.BLOCKED, Status.READY]
    assert client.delete([top.id, *ids], keep_awaited=True) == [top.id, middle.id, bottom.id]


# --- trying it -------------------------------------------------------------------------------------------------------


def test_dry_run_leaves_nothing(client, store):
    """A dry run's calls see what they did, and nothing of it is kept: no chain, no move, no act, no notification."""
    (chain,) = started(client, 1)
    called = []
    watch = store.watch(WORK)
    watch.wait(0)
    before = client.show(chain)
    with store.transaction() as conn:
        client.get(chain, conn=conn)
    while watch.wait(0.05):  # until it is quiet
        pass
    with client.dry_run() as conn:
        new = client.start("a", conn=conn)
        assert [each.status for each in client.trigger([chain], conn=conn)] == [Status.READY]
        assert client.get(new.id, conn=conn).status is Status.READY
        client.after_commit(conn, lambda: called.append(1))
        assert sorted(client.delete([chain, new.id], conn=conn)) == sorted([chain, new.id])
    assert client.show(chain) == before
    assert list(client.select(ListFilter())) == [chain]
    assert (called, watch.wait(0.05)) == ([], {})
    watch.close()


def test_dry_run_of_what_is_refused(client):
    """An error leaves a dry run as it leaves a transaction, and the client can go on."""
    (chain,) = started(client, 1)
    with pytest.raises(ZeroDivisionError), client.dry_run() as conn:
        client.delete([chain], conn=conn)
        raise ZeroDivisionError
    assert client.delete([chain]) == [chain]
