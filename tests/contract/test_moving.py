"""Triggering and rescheduling by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from support import InThread, wait_until_blocked
from working import claim

from jobctl import NewChain, Status
from jobctl.errors import AlreadySettledError, NotFoundError, NotWaitingError, UsageError
from jobctl.ids import new_id
from jobctl.storage.records import WORK


def test_triggered_jobs_run_in_the_order_given(client, store):
    """Scheduled jobs are ready at once, come back in the order given, and are claimed in it."""
    chains = client.start_many([NewChain("a", number, after="1h") for number in range(4)])
    order = [chains[each].id for each in (2, 0, 3, 1)]
    jobs = client.trigger(order)
    assert [each.id for each in jobs] == order
    assert {each.status for each in jobs} == {Status.READY}
    assert [each.id for each in claim(store, "a")] == order


def test_ready_job_keeps_its_turn(client, store):
    """A job that is ready already is not put behind those that became ready after it."""
    first = client.start("a")
    second = client.start("a")
    (job,) = client.trigger([first.id])
    assert job.scheduled_at == first.scheduled_at
    assert [each.id for each in claim(store, "a")] == [first.id, second.id]


def test_successor_can_be_named(client):
    """A later job is triggered by its chain's id or its own, and once if by both."""
    chain = client.start("a")
    with client.settle(chain.id) as current:
        successor = current.continue_with("b", after="1h")
    (job,) = client.trigger([chain.id, successor.id])
    assert (job.id, job.status) == (successor.id, Status.READY)


@pytest.mark.parametrize("call", ["trigger", "reschedule"])
def test_all_or_none(client, store, call):
    """With one that cannot be moved, none is: missing, blocked, running, closed, or settled before."""
    fine = client.start("fine", after="1h")
    blocked = client.start("a", blocked_by=[fine.id])
    running = client.start("running")
    claim(store, "running")
    closed = client.start("a")
    with client.settle(closed.id) as current:
        current.complete()
    moved_on = client.start("a")
    with client.settle(moved_on.id) as current:
        second = current.continue_with("b")
        current.continue_with("c")
    arguments = {} if call == "trigger" else {"after": "2h"}
    for id_, error, about in (
        (new_id(), NotFoundError, "there is no chain or job"),
        (blocked.id, NotWaitingError, "is blocked"),
        (running.id, NotWaitingError, "is running"),
        (closed.id, AlreadySettledError, "is completed: it is closed"),
        (second.id, AlreadySettledError, "is at 'c'"),
    ):
        with pytest.raises(error, match=about):
            getattr(client, call)([fine.id, id_], **arguments)
    assert client.get(fine.id) == fine
    assert client.show(fine.id).history == ()


def test_nothing_is_nothing(client):
    """No ids move nothing."""
    assert client.trigger([]) == []
    assert client.reschedule([], after="1h") == []


def test_reschedule_to_a_delay_and_a_time(client):
    """A job moves to a delay from now or to an instant; the past means now."""
    chain = client.start("a", after="5h")
    (job,) = client.reschedule([chain.id], after="1h")
    assert timedelta(minutes=59) < job.scheduled_at - chain.created_at < timedelta(minutes=61)
    instant = datetime(2099, 1, 1, tzinfo=UTC)
    (job,) = client.reschedule([chain.id], at=instant)
    assert (job.scheduled_at, job.status) == (instant, Status.SCHEDULED)
    (job,) = client.reschedule([chain.id], at=datetime(1999, 1, 1, tzinfo=UTC))
    assert (job.scheduled_at >= chain.created_at, job.status) == (True, Status.READY)


def test_priority_of_a_waiting_job(client, store):
    """The priority alone changes without the time; a job of a higher one is claimed first."""
    first, second = client.start("a"), client.start("a")
    (job,) = client.reschedule([second.id], priority=5)
    assert (job.priority, job.scheduled_at) == (5, second.scheduled_at)
    assert [each.id for each in claim(store, "a")] == [second.id, first.id]


@pytest.mark.parametrize("arguments", [{}, {"priority": 1001}, {"after": "1h", "at": datetime(2099, 1, 1, tzinfo=UTC)}])
def test_wrong_reschedule(client, arguments):
    """A reschedule to nothing, to a priority out of range, or to two times is refused."""
    chain = client.start("a")
    with pytest.raises(UsageError):
        client.reschedule([chain.id], **arguments)


def iso(instant):
    return instant.isoformat().replace("+00:00", "Z")


def test_history(client):
    """Who moved a job, why and from when to when is kept."""
    chain = client.start("a", after="1h")
    (triggered,) = client.trigger([chain.id], actor="ann", note="now please")
    client.reschedule([chain.id], priority=3, actor="bob")
    first, second = client.show(chain.id).history
    assert (first.action, first.actor, first.note) == ("trigger", "ann", "now please")
    assert first.details == {
        "type": "a",
        "before": {"status": "scheduled", "due": iso(chain.scheduled_at)},
        "after": {"status": "ready", "due": iso(triggered.scheduled_at)},
    }
    assert (second.action, second.actor, second.note) == ("reschedule", "bob", None)
    assert second.details == {
        "type": "a",
        "before": {"status": "ready", "priority": 0},
        "after": {"status": "ready", "priority": 3},
    }


def test_in_the_callers_transaction(client):
    """A move is undone with the caller's transaction."""
    chain = client.start("a", after="1h")
    with pytest.raises(ZeroDivisionError), client.store.transaction() as conn:
        assert client.trigger([chain.id], conn=conn)[0].status is Status.READY
        raise ZeroDivisionError
    assert client.get(chain.id) == chain


def test_workers_hear_of_it(client):
    """Idle workers are told of triggered jobs."""
    chain = client.start("a", after="1h")
    watch = client.store.watch(WORK)
    try:
        watch.wait(0)
        client.trigger([chain.id])
        assert watch.wait(10)[WORK] in ({"a"}, {""})
    finally:
        watch.close()


def test_trigger_meets_a_claim(client, postgres_url, open_client):
    """A trigger that waits while a worker claims the job finds it running, and says so."""
    one, other = open_client(postgres_url), open_client(postgres_url)
    chain = one.start("a")
    with one.store.transaction() as conn:
        assert one.store.claim(conn, {"a": 60.0}, 1, worker="w", lease=new_id())
        waiting = InThread(lambda: other.trigger([chain.id]))
        wait_until_blocked(postgres_url)
    assert isinstance(waiting.error(), NotWaitingError)
