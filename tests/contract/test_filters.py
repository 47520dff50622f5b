"""Lists by chain type, job and roots; what is asked for with a type; priorities and ids of continuations."""

from __future__ import annotations

import pytest
from support import eventually
from working import claim

from jobctl import ListFilter, Status, continue_with, processor
from jobctl.errors import DuplicateIdError, GuardError, UsageError
from jobctl.ids import new_id
from jobctl.options import WorkerOptions
from jobctl.registry import Registry
from jobctl.worker import Worker


@pytest.fixture
def family(client):
    """A chain of two jobs that waits for another."""
    blocker = client.start("fetch")
    chain = client.start("report", blocked_by=[blocker.id])
    with client.settle(chain.id, force=True) as current:
        current.continue_with("send")
    return blocker.id, chain.id, client.get(chain.id).job_id


def ids(page):
    return [each.id for each in page.items]


def test_lists_by_job(client, family):
    """A list of jobs shows the one job; a list of chains the chain that it belongs to."""
    _, chain, second = family
    assert ids(client.list_jobs(ListFilter(job_id=second))) == [second]
    assert ids(client.list_chains(ListFilter(job_id=second.upper()))) == [chain]
    assert ids(client.list_chains(ListFilter(job_id=new_id()))) == []
    with pytest.raises(UsageError):
        client.list_jobs(ListFilter(job_id="nonsense"))


def test_lists_by_chain_type(client, family):
    """Jobs are found by the type of their chain, whatever their own is."""
    _, chain, second = family
    found = client.list_jobs(ListFilter(chain_type="report", newest_first=False))
    assert ids(found) == [chain, second]
    assert ids(client.list_jobs(ListFilter(chain_type="report", type_name="send"))) == [second]
    assert ids(client.list_jobs(ListFilter(chain_type="send"))) == []
    assert ids(client.list_chains(ListFilter(chain_type="report"))) == [chain]


def test_roots_only(client, family):
    """Without chains that others wait or waited for, and without their jobs."""
    blocker, chain, second = family
    assert set(ids(client.list_chains())) == {blocker, chain}
    assert ids(client.list_chains(ListFilter(roots_only=True))) == [chain]
    assert set(ids(client.list_jobs(ListFilter(roots_only=True)))) == {chain, second}


def test_type_asked_for(client, family):
    """A chain or job of another type than asked for is an error that names both."""
    _, chain, second = family
    assert client.get(chain, type_name="report").id == chain

    @processor("send")
    def send(job):
        return job.input

    assert client.get_job(second, type_name=send).id == second
    with pytest.raises(GuardError, match=f"{chain} is of the type 'report', not 'send'") as refused:
        client.get(chain, type_name="send")
    assert refused.value.details == {"chain_id": chain, "expected": "send", "current": "report"}
    with pytest.raises(GuardError):
        client.get_job(second, type_name="report")


def test_continuation_by_hand(client, store):
    """A continuation inherits the priority unless told otherwise, and takes a caller's id."""
    chain = client.start("a", priority=5)
    wanted = new_id()
    with client.settle(chain.id) as current:
        assert current.continue_with("b").priority == 5
        assert current.continue_with("c", priority=-1, id=wanted.upper()).id == wanted
        with pytest.raises(UsageError):
            current.continue_with("d", priority=2000)
        with pytest.raises(DuplicateIdError):
            current.continue_with("d", id=chain.id)
    assert [each.priority for each in client.show(chain.id).jobs] == [5, 5, -1]
    assert claim(store, "c")[0].priority == -1


def test_continuation_by_handler(client, store):
    """The same for a handler's continuation; an id that is taken fails the attempt, and nothing else."""
    wanted = new_id()
    taken = client.start("other").id

    @processor("a")
    def first(job):
        return continue_with("b", priority=7, id=job.input)

    @processor("b")
    def second(job):
        return job.priority

    fine = client.start("a", wanted)
    refused = client.start("a", taken)
    Worker(store, Registry([first, second]), WorkerOptions(drain=True)).run()
    assert client.get(fine.id).output == 7
    assert client.get(fine.id).job_id == wanted
    chain = eventually(lambda: client.get(refused.id))
    assert (chain.status, chain.attempt) == (Status.SCHEDULED, 1)
    assert f"the id {taken} is taken" in chain.last_error
