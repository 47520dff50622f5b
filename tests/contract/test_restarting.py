"""Restarting: a new chain from a job of an old one."""

from __future__ import annotations

from datetime import timedelta

import pytest
from working import claim, completed, run, settle

from jobctl import Client, Job, Status, processor
from jobctl.errors import InvalidDataError, NotFoundError, UsageError
from jobctl.ids import new_id
from jobctl.registry import Registry


@pytest.fixture
def old(client):
    """A chain of two jobs that was completed by hand, with the later job."""
    awaited = client.start("x")
    chain = client.start("a", {"n": 1.0, "a": 2}, priority=3, key="k", blocked_by=[awaited.id])
    with client.settle(chain.id, force=True) as current:
        later = current.continue_with("b", [1, 2], priority=-1)
        current.complete("done")
    return chain, later


def test_from_the_first_job(client, store, old):
    """The new chain has the type, input and priority of the old one's first job; it waits for nothing, without a key."""
    chain, _ = old
    new = client.restart(chain.id)
    assert new.id != chain.id
    assert (new.type_name, new.input, new.priority, new.key) == ("a", {"n": 1.0, "a": 2}, 3, None)
    assert (new.status, new.length) == (Status.READY, 1)
    (row,) = claim(store, "a")
    assert (row.id, row.input, row.chain_type) == (new.id, '{"n":1.0,"a":2}', "a")
    settle(store, completed(row))
    assert client.get(chain.id).output == "done"


def test_from_a_later_job(client, old):
    """With a job named, the new chain begins with its type and input; another input, delay or time may be given."""
    chain, later = old
    new = client.restart(chain.id, from_job=later.id)
    assert (new.type_name, new.input, new.priority, new.job_type) == ("b", [1, 2], -1, "b")
    other = client.restart(chain.id, from_job=later.id, input=None, after="1h")
    assert (other.input, other.status) == (None, Status.SCHEDULED)
    assert timedelta(minutes=59) < other.scheduled_at - other.created_at < timedelta(minutes=61)


def test_from_an_open_chain(client):
    """An open chain can be restarted too, and goes on."""
    chain = client.start("a", 1)
    assert client.restart(chain.id).input == 1
    assert client.get(chain.id) == chain


def test_history_links_both(client, old):
    """The history of each chain names the other, and says from which job and whether with another input."""
    chain, later = old
    new = client.restart(chain.id, from_job=later.id, actor="ann", note="again")
    act = client.show(chain.id).history[-1]
    assert (act.action, act.actor, act.note, act.job_id) == ("restart", "ann", "again", later.id)
    assert act.details == {"type": "b", "input": "carried", "restarted_as": new.id}
    (act,) = client.show(new.id).history
    assert (act.action, act.actor, act.job_id) == ("restart", "ann", new.id)
    assert act.details == {"type": "b", "input": "carried", "restarted_from": chain.id, "from_job": later.id}
    client.restart(chain.id, input=2)
    assert client.show(chain.id).history[-1].details["input"] == "given"


def test_refused(client, old):
    """A missing chain or job is not found; a job is no chain, and must be one of the chain's."""
    chain, later = old
    other = client.start("c")
    for arguments, error, about in (
        ((new_id(), None), NotFoundError, "there is no chain"),
        ((chain.id, new_id()), NotFoundError, "there is no job"),
        ((later.id, None), UsageError, f"is a later job of the chain {chain.id}"),
        ((chain.id, other.id), UsageError, f"none of the chain {chain.id}"),
    ):
        with pytest.raises(error, match=about):
            client.restart(arguments[0], from_job=arguments[1])
    assert len(client.list_chains().items) == 3


def test_checked_by_the_processor(client, store, old):
    """With processors the input must fit; a chain may be restarted with a type that none starts with by itself."""

    @processor("a")
    def a(job: Job[dict[str, float]]) -> None: ...

    @processor("b", entry=False)
    def b(job: Job[list[int]]) -> None: ...

    chain, later = old
    checked = Client(store, processors=Registry([a, b]))
    assert checked.restart(chain.id, from_job=later.id).type_name == "b"
    with pytest.raises(InvalidDataError, match="the input of 'b'"):
        checked.restart(chain.id, from_job=later.id, input="text")
    with pytest.raises(InvalidDataError, match="no processor handles 'a'"):
        Client(store, processors=Registry([b])).restart(chain.id)
    assert len(client.show(chain.id).history) == 3


def test_in_the_callers_transaction(client, store):
    """A restart is undone with the caller's transaction."""
    chain = client.start("a")
    run(store, chain.id)
    with pytest.raises(ZeroDivisionError), store.transaction() as conn:
        client.restart(chain.id, conn=conn)
        raise ZeroDivisionError
    assert len(client.list_chains().items) == 1
    assert client.history().items == ()
