"""Keys: the same work is not started twice."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from sqlalchemy import text
from support import InThread, wait_until_blocked

from jobctl import Client, Key, NewChain, Status
from jobctl.asking import ListFilter
from jobctl.errors import DuplicateKeyError, UsageError
from jobctl.ids import new_id


def finish(client, chain):
    """Complete a chain by hand."""
    with client.settle(chain.id) as current:
        current.complete("done")


def started(client):
    """The ids of all chains, oldest first."""
    return [each.id for each in client.list_chains(ListFilter(newest_first=False)).items]


def test_open_chain_stands_for_the_new_one(client):
    """While a chain of the type with the key is open, a start gives that chain, as it is now, and starts nothing."""
    first = client.start("report", {"n": 1}, key="may", priority=3)
    again = client.start("report", {"n": 2}, key="may", priority=9, after="1h")
    assert (first.deduplicated, again.deduplicated) == (False, True)
    assert (again.id, again.input, again.priority, again.status) == (first.id, {"n": 1}, 3, Status.READY)
    assert again.key == first.key == "may"
    assert started(client) == [first.id]


def test_key_belongs_to_a_type(client):
    """The same key of another type, another key of the type, and no key have nothing to do with it."""
    chains = [
        client.start("report", key="may"),
        client.start("invoice", key="may"),
        client.start("report", key="June"),
        client.start("report", key="may "),
        client.start("report"),
        client.start("report"),
    ]
    assert not any(each.deduplicated for each in chains)
    assert len(started(client)) == 6


def test_type_is_the_chains(client):
    """A chain that went on to another type keeps its key for the type that it began with."""
    first = client.start("report", key="may")
    with client.settle(first.id) as current:
        current.continue_with("send")
    assert client.start("report", key="may").id == first.id
    assert client.start("send", key="may").id != first.id


def test_closed_chain_counts_with_scope_any(client):
    """Once it has closed, a chain stands for a new one with the scope any alone."""
    first = client.start("report", key="may")
    finish(client, first)
    once = client.start("report", key=Key("may", scope="any"))
    assert (once.id, once.status, once.output, once.deduplicated) == (first.id, Status.COMPLETED, "done", True)
    second = client.start("report", key="may")
    assert second.id != first.id
    assert client.start("report", key=Key("may", scope="any")).id == second.id


@pytest.mark.parametrize("scope", ["incomplete", "any"])
def test_window(client, store, scope):
    """A chain that was started before the window does not count; the edge is the database's clock."""
    first = client.start("report", key="may")
    assert client.start("report", key=Key("may", scope=scope, window="1h")).id == first.id
    with store.transaction() as conn:
        past = "created_at - 3600001" if store.dialect == "sqlite" else "created_at - interval '3600001 ms'"
        conn.execute(text(f"UPDATE jobctl_job SET created_at = {past}"))  # noqa: S608 - two constants
    assert client.start("report", key=Key("may", scope=scope, window=timedelta(hours=2))).id == first.id
    second = client.start("report", key=Key("may", scope=scope, window="1h"))
    assert second.id != first.id


@pytest.mark.parametrize("scope", ["incomplete", "any"])
def test_excluded_chains_do_not_count(client, scope):
    """A recurring job starts its successor from its own completing transaction, excluding itself."""
    first = client.start("nightly", key="the one")
    with client.store.transaction() as conn, client.settle(first.id, conn=conn) as current:
        successor = client.start("nightly", key=Key("the one", scope, exclude=[first.id.upper()]), conn=conn)
        current.complete(None)
    assert successor.id != first.id
    assert successor.deduplicated is False
    assert client.start("nightly", key=Key("the one", scope, exclude=[first.id])).id == successor.id


def test_inside_one_batch(client):
    """Of several with one key in a batch the first is started and stands for the others, in the order given."""
    before = client.start("report", key="old")
    chains = client.start_many(
        [
            NewChain("report", 1, key="new"),
            NewChain("report", 2),
            NewChain("report", 3, key="old"),
            NewChain("report", 4, key="new"),
            NewChain("invoice", 5, key="new"),
            NewChain("report", 6, key=Key("new", scope="any", window="1m")),
        ]
    )
    assert [each.input for each in chains] == [1, 2, None, 1, 5, 1]
    assert [each.deduplicated for each in chains] == [False, False, True, True, False, True]
    assert chains[2].id == before.id
    assert len(started(client)) == 4


def test_conflict_can_be_an_error(client):
    """With conflict fail a taken key is refused, saying by which chain, and the whole batch with it."""
    first = client.start("report", key="may")
    with pytest.raises(DuplicateKeyError, match=f"the key 'may' of 'report' is taken by the chain {first.id}") as error:
        client.start_many([NewChain("report"), NewChain("report", key=Key("may", conflict="fail"))])
    assert error.value.details == {"id": first.id, "key": "may"}
    assert error.value.exit_code == 4
    assert started(client) == [first.id]
    assert client.start("report", key=Key("June", conflict="fail")).deduplicated is False


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Key(""),
        lambda: Key("x" * 501),
        lambda: Key("a\x00b"),
        lambda: Key("a", scope="all"),
        lambda: Key("a", conflict="ask"),
        lambda: Key("a", window="0s"),
        lambda: Key("a", window="soon"),
    ],
)
def test_wrong_key(wrong):
    """A key that is none, or is described wrongly, is refused."""
    with pytest.raises(UsageError):
        wrong()


def test_rolled_back_start_leaves_the_key_free(client):
    """A key is taken with the transaction that started its chain, and free again when that is rolled back."""
    with pytest.raises(ZeroDivisionError), client.store.transaction() as conn:
        client.start("report", key="may", conn=conn)
        raise ZeroDivisionError
    assert client.start("report", key="may").deduplicated is False


def test_start_waits_for_the_other(client, postgres_url, open_client):
    """A start waits for another with the key that is not committed yet, and then finds its chain."""
    one, other = open_client(postgres_url), open_client(postgres_url)
    with one.store.transaction() as conn:
        first = one.start("report", key="may", conn=conn)
        unrelated = other.start("report", key="June")
        waiting = InThread(lambda: other.start("report", key="may"))
        wait_until_blocked(postgres_url)
    assert waiting.result().id == first.id
    assert unrelated.deduplicated is False


def test_many_at_once(database_url, open_client):
    """Concurrent starts with one key give one chain."""
    together = threading.Barrier(8)
    clients = [open_client(database_url) for _ in range(8)]

    def start(client: Client):
        together.wait()
        return [client.start("report", key=f"key {each}") for each in range(10)]

    results = [each.result() for each in [InThread(lambda client=client: start(client)) for client in clients]]
    for number in range(10):
        chains = [each[number] for each in results]
        assert len({each.id for each in chains}) == 1
        assert sum(not each.deduplicated for each in chains) == 1


def test_key_does_not_hide_a_taken_id(client):
    """An id of the caller's own is not looked at when another chain stands for the new one."""
    first = client.start("report", key="may")
    assert client.start("report", key="may", id=new_id()).id == first.id
    assert started(client) == [first.id]
