"""Looking at one chain or job."""

from __future__ import annotations

import pytest
from support import eventually
from working import claim, continued, run, settle, with_outcome

from jobctl import Status
from jobctl.errors import NotFoundError, UsageError
from jobctl.ids import new_id
from jobctl.storage.records import Retry


def test_show_is_all_that_is_known(client, store):
    """Show has the chain, its jobs in order, what they wait for, who waits for it, the errors and the acts."""
    blocker = client.start("x")
    late = client.start("y")
    chain = client.start("a", {"n": 1}, blocked_by=[blocker.id])
    dependents = [client.start("w", blocked_by=[late.id, chain.id]), client.start("v", blocked_by=[chain.id])]
    run(store, blocker.id)
    (row,) = claim(store, "a")
    settle(store, with_outcome(row, Retry("boom", 0.0)))
    (row,) = claim(store, "a")
    settle(store, continued(row, "b", blocked_by=(late.id,)))
    with client.settle(chain.id, force=True) as current:
        current.continue_with("c")
    detail = client.show(chain.id)
    assert detail.chain == client.get(chain.id)
    assert [(job.type_name, job.chain_index) for job in detail.jobs] == [("a", 0), ("b", 1), ("c", 2)]
    assert list(detail.jobs) == [client.get_job(job.id) for job in detail.jobs]
    assert [job.blocker_ids for job in detail.jobs] == [(blocker.id,), (late.id,), ()]
    assert detail.blockers == {blocker.id: client.get(blocker.id), late.id: client.get(late.id)}
    assert list(detail.dependents) == [client.get_job(each.id) for each in dependents]
    assert [job.blocker_ids for job in detail.dependents] == [(late.id, chain.id), (chain.id,)]
    assert [error.error for error in detail.errors] == ["boom"]
    assert [act.action for act in detail.history] == ["continue"]


def test_show_of_little(client):
    """Of a new chain there is nothing but its job."""
    chain = client.start("a")
    detail = client.show(chain.id)
    assert [job.id for job in detail.jobs] == [chain.id]
    assert (detail.blockers, detail.dependents, detail.errors, detail.history) == ({}, (), (), ())


def test_show_by_any_of_its_jobs(client):
    """A chain is shown by the id of any of its jobs."""
    chain = client.start("a")
    with client.settle(chain.id) as current:
        second = current.continue_with("b")
    assert client.show(second.id) == client.show(chain.id)


def test_get_is_for_chains_and_get_job_for_jobs(client):
    """A later job's id is a job's, not a chain's."""
    chain = client.start("a")
    with client.settle(chain.id) as current:
        second = current.continue_with("b")
    assert client.get_job(chain.id).status is Status.CONTINUED
    assert client.get_job(second.id).chain_id == chain.id
    with pytest.raises(NotFoundError, match=f"there is no chain {second.id}"):
        client.get(second.id)


def test_unknown_id(client):
    """An unknown id is not found, and what is no id is an error of the call."""
    missing = new_id()
    for call, what in ((client.get, "chain"), (client.get_job, "job"), (client.show, "chain or job")):
        with pytest.raises(NotFoundError, match=f"there is no {what} {missing}") as no:
            call(missing)
        assert no.value.id == missing
        with pytest.raises(UsageError, match="'nonsense' is not an id"):
            call("nonsense")


def test_scheduled_becomes_ready_by_itself(client):
    """A job whose time has come shows as ready without anybody touching it."""
    chain = client.start("a", after="100ms")
    assert chain.status is Status.SCHEDULED
    eventually(lambda: client.get(chain.id).status is Status.READY)
    assert client.get_job(chain.id).status is Status.READY
    assert client.list_chains().items[0].status is Status.READY
