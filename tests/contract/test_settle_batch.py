"""Settling what a worker holds: every outcome, many at once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from working import claim, completed, continued, held, settle, with_outcome

from jobctl import Status
from jobctl.errors import NotFoundError, UsageError
from jobctl.ids import new_id
from jobctl.model import Schedule
from jobctl.storage import reading
from jobctl.storage.records import Complete, NewJob, Postpone, Retry


def test_complete(client, store):
    """A completed job closes its chain with its output, names the worker and gives up the lease."""
    chain = client.start("a")
    (row,) = claim(store, "a", worker="w-1")
    settled = settle(store, completed(row, '{"ok": true}'))
    assert settled.won == {chain.id}
    assert settled.work == frozenset()
    job = client.get_job(chain.id)
    assert (job.status, job.output, job.completed_by, job.attempt) == (Status.COMPLETED, {"ok": True}, "w-1", 1)
    assert (job.worker, job.leased_until, job.last_error) == (None, None, None)
    after = client.get(chain.id)
    assert (after.status, after.output, after.closed_at) == (Status.COMPLETED, {"ok": True}, job.completed_at)
    assert job.completed_at >= job.created_at


def test_null_is_an_output(client, store):
    """JSON null is an output like any other."""
    chain = client.start("a")
    (row,) = claim(store, "a")
    settle(store, completed(row, "null"))
    assert client.get(chain.id).status is Status.COMPLETED
    assert client.get(chain.id).output is None
    with store.transaction(read_only=True) as conn:
        assert reading.jobs(conn, [chain.id])[chain.id].output == "null"


def test_continue(client, store):
    """A continued job hands over: its successor is the chain's current job, ready, of the same priority."""
    chain = client.start("a", {"n": 1}, priority=7)
    (row,) = claim(store, "a", worker="w-1")
    settlement = continued(row, "b", input='{"n": 2}')
    settled = settle(store, settlement)
    assert settled.won == {chain.id}
    assert settled.work == {"b"}
    successor = settlement.outcome.successor.id
    after = client.get(chain.id)
    assert (after.status, after.job_id, after.job_type, after.length) == (Status.READY, successor, "b", 2)
    assert (after.type_name, after.input, after.output, after.priority) == ("a", {"n": 1}, None, 7)
    first, second = client.show(chain.id).jobs
    assert (first.status, first.completed_by, first.output) == (Status.CONTINUED, "w-1", None)
    assert first.completed_at is not None
    assert (second.chain_id, second.chain_index, second.chain_type) == (chain.id, 1, "a")
    assert (second.input, second.priority, second.attempt) == ({"n": 2}, 7, 0)


def test_continue_later(client, store):
    """A successor may be due later."""
    chain = client.start("a")
    (row,) = claim(store, "a")
    settle(store, continued(row, "b", schedule=Schedule(after=timedelta(hours=1))))
    after = client.get(chain.id)
    assert after.status is Status.SCHEDULED
    first, second = client.show(chain.id).jobs
    assert abs(second.scheduled_at - first.completed_at - timedelta(hours=1)) < timedelta(seconds=5)


def test_continue_with_blockers(client, store):
    """A successor may wait for other chains, and is freed by them."""
    blocker = client.start("x")
    chain = client.start("a")
    (row,) = claim(store, "a")
    settle(store, continued(row, "b", blocked_by=(blocker.id,)))
    assert client.get(chain.id).status is Status.BLOCKED
    (row,) = claim(store, "x")
    settle(store, completed(row))
    assert client.get(chain.id).status is Status.READY


def test_continue_waiting_for_a_chain_of_the_same_batch(client, store):
    """A successor whose blocker completes in the same batch is ready afterwards."""
    blocker = client.start("a")
    chain = client.start("a")
    rows = {row.id: row for row in claim(store, "a")}
    settle(store, continued(rows[chain.id], "b", blocked_by=(blocker.id,)), completed(rows[blocker.id]))
    assert client.get(chain.id).status is Status.READY


def test_continue_with_a_missing_blocker_changes_nothing(client, store):
    """A successor whose blocker does not exist fails the whole batch, and the jobs stay held."""
    client.start("a")
    client.start("a")
    one, two = claim(store, "a")
    with pytest.raises(NotFoundError):
        settle(store, completed(one), continued(two, "b", blocked_by=(new_id(),)))
    assert {job.status for job in client.list_jobs().items} == {Status.RUNNING}


def test_successor_cannot_wait_for_its_own_chain(client, store):
    """A successor that would wait for its own chain, for ever, is refused, and the job stays held."""
    chain = client.start("a")
    (row,) = claim(store, "a")
    with pytest.raises(UsageError, match=f"the chain {chain.id} cannot wait for itself"):
        settle(store, continued(row, "b", blocked_by=(chain.id,)))
    assert client.get(chain.id).status is Status.RUNNING


def test_retry_with_delay(client, store):
    """A failed attempt is due again after its delay, keeps its number and its error, and is in the history."""
    chain = client.start("a")
    (row,) = claim(store, "a", worker="w-1")
    settled = settle(store, with_outcome(row, Retry("Traceback …\nboom", 30.0)))
    assert settled.won == {chain.id}
    assert settled.work == {"a"}
    after = client.get(chain.id)
    assert (after.status, after.attempt, after.last_error) == (Status.SCHEDULED, 1, "Traceback …\nboom")
    assert timedelta(seconds=20) < after.scheduled_at - datetime.now(UTC) < timedelta(seconds=40)
    (error,) = client.show(chain.id).errors
    assert (error.job_id, error.attempt, error.worker, error.error) == (chain.id, 1, "w-1", "Traceback …\nboom")
    assert error.at.tzinfo is UTC
    job = client.get_job(chain.id)
    assert (job.worker, job.leased_until, job.completed_at) == (None, None, None)


def test_retry_at_once(client, store):
    """A retry without waiting can be claimed at once, as the next attempt."""
    chain = client.start("a")
    (row,) = claim(store, "a")
    settle(store, with_outcome(row, Retry("boom", 0.0)))
    (again,) = claim(store, "a")
    assert (again.id, again.attempt, again.last_error) == (chain.id, 2, "boom")


def test_retry_without_delay_has_failed(client, store):
    """An attempt that was the last leaves a failed job, which is not closed and is not claimed."""
    chain = client.start("a")
    (row,) = claim(store, "a")
    settled = settle(store, with_outcome(row, Retry("boom", None)))
    assert settled.won == {chain.id}
    after = client.get(chain.id)
    assert (after.status, after.last_error, after.closed_at) == (Status.FAILED, "boom", None)
    assert not after.status.closed
    assert claim(store, "a") == []


def test_history_has_every_error(client, store):
    """Each failed attempt is in the history, the oldest first; a success afterwards clears the job's own error."""
    chain = client.start("a")
    for number in (1, 2, 3):
        (row,) = claim(store, "a", worker=f"w-{number}")
        settle(store, with_outcome(row, Retry(f"error {number}", 0.0)))
    (row,) = claim(store, "a")
    settle(store, completed(row))
    detail = client.show(chain.id)
    found = [(error.attempt, error.worker, error.error) for error in detail.errors]
    assert found == [(1, "w-1", "error 1"), (2, "w-2", "error 2"), (3, "w-3", "error 3")]
    assert (detail.chain.last_error, detail.chain.attempt) == (None, 4)


def test_postpone_charges_nothing(client, store):
    """A postponed attempt is due at its new time, does not count, and is no error."""
    chain = client.start("a")
    (row,) = claim(store, "a")
    instant = datetime(2099, 1, 1, tzinfo=UTC)
    settled = settle(store, with_outcome(row, Postpone(Schedule(at=instant))))
    assert settled.won == {chain.id}
    assert settled.work == {"a"}
    after = client.get(chain.id)
    assert (after.status, after.attempt, after.scheduled_at) == (Status.SCHEDULED, 0, instant)
    assert (after.last_error, client.show(chain.id).errors) == (None, ())


def test_postpone_to_the_past_means_now(client, store):
    """A postponed attempt whose time has passed can be claimed at once, with the same number."""
    client.start("a")
    (row,) = claim(store, "a")
    settle(store, with_outcome(row, Postpone(Schedule(at=datetime(1999, 1, 1, tzinfo=UTC)))))
    (again,) = claim(store, "a")
    assert again.attempt == 1


@pytest.mark.parametrize(
    "outcome",
    [Complete('"lost"'), Retry("lost", 5.0), Retry("lost", None), Postpone(Schedule(after=timedelta(hours=1)))],
    ids=["complete", "retry", "fail", "postpone"],
)
@pytest.mark.parametrize("how", ["wrong lease", "released", "taken", "settled"])
def test_lost_lease_leaves_the_row_alone(client, store, outcome, how):
    """What is not held any more is not settled: nothing of the row or the history changes."""
    chain = client.start("a")
    (row,) = claim(store, "a")
    lost = held(row)
    if how == "wrong lease":
        lost = lost._replace(lease=new_id())
    elif how == "settled":
        settle(store, completed(row, '"won"'))
    else:
        with store.transaction() as conn:
            store.release(conn, [lost])
        if how == "taken":
            claim(store, "a", worker="w-2")
    before = client.show(chain.id)
    settled = settle(store, with_outcome(row._replace(lease=lost.lease), outcome))
    assert (settled.won, settled.work) == (frozenset(), frozenset())
    assert client.show(chain.id) == before


def test_lost_lease_makes_no_successor(client, store):
    """Who lost the job does not hand over: there is never a second successor."""
    chain = client.start("a")
    (row,) = claim(store, "a")
    assert settle(store, continued(row, "b")).won
    before = client.show(chain.id)
    assert settle(store, continued(row, "c")).won == frozenset()
    assert client.show(chain.id) == before
    assert before.chain.length == 2


def test_lost_lease_frees_nobody(client, store):
    """A completion that is lost does not unblock who waits for the chain."""
    chain = client.start("a")
    waiting = client.start("w", blocked_by=[chain.id])
    (row,) = claim(store, "a")
    settle(store, with_outcome(row, Retry("boom", 60.0)))
    assert settle(store, completed(row)).won == frozenset()
    assert client.get(waiting.id).status is Status.BLOCKED


def test_batch_of_all_outcomes(client, store):
    """One batch settles jobs in every way at once, and says which were lost."""
    chains = [client.start("a", index) for index in range(6)]
    waiting = client.start("w", blocked_by=[chains[0].id])
    rows = {row.id: row for row in claim(store, "a")}
    one, two, three, four, five, six = (rows[chain.id] for chain in chains)
    settled = settle(
        store,
        completed(one, "1"),
        continued(two, "b"),
        with_outcome(three, Retry("three", 60.0)),
        with_outcome(four, Retry("four", None)),
        with_outcome(five, Postpone(Schedule(after=timedelta(hours=1)))),
        completed(six._replace(lease=new_id())),
    )
    assert settled.won == {chain.id for chain in chains[:5]}
    assert settled.work == {"a", "b", "w"}
    statuses = [client.get(chain.id).status.value for chain in chains]
    assert statuses == ["completed", "ready", "scheduled", "failed", "scheduled", "running"]
    assert client.get(waiting.id).status is Status.READY


def test_large_batch(client, store):
    """A batch of a thousand is settled whole, each with its own output."""
    ids = [new_id() for _ in range(1000)]
    with store.transaction() as conn:
        store.start(conn, [NewJob(each, each, 0, "a", "a", "null") for each in ids])
    rows = claim(store, "a", limit=1000)
    assert [row.id for row in rows] == ids
    assert settle(store, *(completed(row, f'"{row.id}"') for row in rows)).won == set(ids)
    assert client.get(ids[500]).output == ids[500]


def test_empty_batch(store):
    """Settling nothing does nothing."""
    assert settle(store).won == frozenset()


@pytest.mark.parametrize("text", ['it\'s "x" \\ :1 %s', "日本\n🎉", "x" * 20_000, ""])
def test_error_comes_back_as_it_was(client, store, text):
    """The text of an error is data, whatever characters it has."""
    chain = client.start("a")
    (row,) = claim(store, "a", worker="wörker's")
    settle(store, with_outcome(row, Retry(text, 1.0)))
    detail = client.show(chain.id)
    assert (detail.errors[0].error, detail.chain.last_error) == (text, text)
    assert detail.errors[0].worker == "wörker's"
