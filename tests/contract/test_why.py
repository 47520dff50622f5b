"""Why a job does not run: the fact, and a sentence that names what would move it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from staff import hire
from working import claim, completed, continued, run, settle, with_outcome

from jobctl import Status
from jobctl.errors import NotFoundError
from jobctl.ids import new_id
from jobctl.reasons import Reason, sentence
from jobctl.storage.records import Retry
from jobctl.storage.spelling import later, now
from jobctl.storage.tables import act, current, pause, settled


def change(store, chain_id, **values):
    with store.transaction() as conn:
        assert conn.execute(sa.update(current).where(current.c.chain_id == chain_id).values(**values)).rowcount == 1


def paused(store, type_name, note=None):
    with store.transaction() as conn:
        conn.execute(sa.insert(pause).values(type_name=type_name, at=now(), actor="ann", note=note))


def cancelled(store, chain_id):
    """As a person who cancels the chain does."""
    taken = [current.c[name] for name in ("chain_id", "chain_index", "priority", "attempt", "scheduled_at")]
    values = sa.select(*taken, sa.literal("cancelled"), now()).where(current.c.chain_id == chain_id)
    with store.transaction() as conn:
        conn.execute(sa.insert(settled).from_select([*(each.name for each in taken), "status", "completed_at"], values))
        conn.execute(sa.delete(current).where(current.c.chain_id == chain_id))
        conn.execute(acted(chain_id, "cancel", "bob", "no longer needed"))


def acted(chain_id, action, actor, note):
    return sa.insert(act).values(
        chain_id=chain_id, at=now(), action=action, actor=actor, origin="h", note=note, details="{}"
    )


def soon(instant, seconds):
    """The instant is so many seconds from now, about."""
    return abs((instant - datetime.now(UTC)).total_seconds() - seconds) < 30


# --- what has not begun ----------------------------------------------------------------------------------------------


def test_scheduled(client, store):
    """A job whose time has not come is due then, unless triggered; if nobody would take it, that is said too."""
    chain = client.start("step", after="2h")
    found = client.why(chain.id)
    assert (found.reason, found.status, found.until) == (Reason.SCHEDULED, Status.SCHEDULED, chain.scheduled_at)
    assert found.remedy == f"jobctl trigger {chain.id}"
    due = chain.scheduled_at.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert str(found) == (
        f"'step' {chain.id} is due at {due}, though no live worker takes 'step'; "
        f"'jobctl trigger {chain.id}' runs it now"
    )
    hire(store, "step")
    assert "though" not in str(client.why(chain.id))


def test_scheduled_after_an_error(client, store):
    """A job that waits for its next attempt is due then, and what the last one failed with is said."""
    chain = client.start("step")
    settle(store, with_outcome(claim(store, "step")[0], Retry("Traceback\nValueError: boom", 600.0)))
    found = client.why(chain.id)
    assert (found.reason, found.attempt, found.error) == (Reason.SCHEDULED, 1, "Traceback\nValueError: boom")
    assert soon(found.until, 600)
    assert " again, after attempt 1 failed with ValueError: boom" in str(found)


def test_blocked(client, store):
    """A job that waits for chains names those that have not completed, with why each of them has not."""
    done, due, dead = client.start("a"), client.start("b", after="1h"), client.start("c")
    run(store, done.id)
    chain = client.start("step", blocked_by=[done.id, due.id, dead.id])
    found = client.why(chain.id)
    assert (found.reason, found.waits_for) == (Reason.BLOCKED, (due.id, dead.id))
    assert [(each.chain_id, each.reason) for each in found.blockers] == [
        (due.id, Reason.SCHEDULED),
        (dead.id, Reason.NO_WORKER),
    ]
    assert f"'step' {chain.id} waits for 2 chains: 'b' {due.id}, which is due at " in str(found)
    assert f"; 'c' {dead.id}, which is ready, but no live worker takes 'c'" in str(found)
    assert found.remedy is None


def test_blocked_by_what_is_blocked(client):
    """What a chain that is waited for waits for itself is named, and no further."""
    first = client.start("a", after="1h")
    second = client.start("b", blocked_by=[first.id])
    third = client.start("c", blocked_by=[second.id])
    found = client.why(third.id)
    assert [(each.waits_for, each.blockers) for each in found.blockers] == [((first.id,), ())]
    assert f"'b' {second.id}, which waits for a chain: {first.id}" in str(found)


def test_blocked_for_ever(client, store):
    """A cancelled chain never completes: only a person can let a job go on that waits for it."""
    gone = client.start("a")
    chain = client.start("step", blocked_by=[gone.id])
    cancelled(store, gone.id)
    found = client.why(chain.id)
    assert found.blockers[0].reason is Reason.CANCELLED
    assert "which was cancelled at " in str(found)
    assert str(found).endswith(
        f" by bob (no longer needed); 'jobctl complete {chain.id} --force' lets it wait no longer"
    )


def test_blocked_by_many(client):
    """Of many chains a few are explained and the rest counted."""
    many = [client.start("a").id for _ in range(8)]
    found = client.why(client.start("step", blocked_by=many).id)
    assert found.waits_for == tuple(many)
    assert len(found.blockers) == 5
    assert str(found).endswith("; and 3 more")


def test_paused(client, store):
    """What is paused waits for a person; the closest pause is named first, and who made it."""
    hire(store, "step")
    chain = client.start("step", after="1h")
    paused(store, "", "the bank is down")
    found = client.why(chain.id)
    assert (found.reason, found.paused, found.by, found.note) == (Reason.PAUSED, "all", "ann", "the bank is down")
    assert found.until == chain.scheduled_at
    assert soon(found.since, 0)
    assert " is not claimed: everything was paused at " in str(found)
    assert " by ann (the bank is down), and due at " in str(found)
    assert str(found).endswith("; 'jobctl resume --all' lets it go on")
    paused(store, "step")
    found = client.why(chain.id)
    assert (found.paused, found.remedy) == ("type", "jobctl resume --type step")
    change(store, chain.id, paused_at=now())
    with store.transaction() as conn:
        conn.execute(acted(chain.id, "pause", "bob", None))
        conn.execute(acted(chain.id, "trigger", "eve", None))
    found = client.why(chain.id)
    assert (found.paused, found.by, found.remedy) == ("chain", "bob", f"jobctl resume {chain.id}")


def test_no_worker(client, store):
    """A ready job that no live worker takes names those that live, and what a renamed type may be called now."""
    chain = client.start("send-mail")
    found = client.why(chain.id)
    assert (found.reason, found.others, found.similar) == (Reason.NO_WORKER, (), ())
    assert found.since == chain.scheduled_at
    assert str(found).endswith("is ready, but no live worker takes 'send-mail', and no worker lives at all")
    hire(store, "order", name="w1")
    assert str(client.why(chain.id)).endswith("; those that live take other types: w1")
    hire(store, "send-mails", name="w2")
    found = client.why(chain.id)
    assert (found.others, found.similar) == (("w1", "w2"), ("send-mails",))
    assert str(found).endswith("; what they take is 'send-mails': was the type renamed without an alias?")


@pytest.mark.parametrize("values", [{"seen": 16.0}, {"stopping": 1}, {"seen": 11.0, "beat_seconds": 3.0}])
def test_workers_that_do_not_count(client, store, values):
    """A worker that was not heard of for three beats takes nothing, nor does one that stops."""
    hire(store, "step", **values)
    assert client.why(client.start("step").id).reason is Reason.NO_WORKER


def test_busy(client, store):
    """A ready job waits for a slot when all workers that take its type are busy, since the last one was taken."""
    chain = client.start("step")
    hire(store, "step", name="w1", running=2, busy_seconds=600.0)
    hire(store, "other", name="w2")
    found = client.why(chain.id)
    assert (found.reason, found.workers) == (Reason.BUSY, ("w1",))
    assert "is ready, but the one worker that takes it is busy, the last slot taken at " in str(found)
    hire(store, "step", name="w3", running=2, busy_seconds=60.0)
    found = client.why(chain.id)
    assert (found.reason, found.workers) == (Reason.BUSY, ("w1", "w3"))
    assert soon(found.since, -60)
    assert "but all 2 workers that take it are busy" in str(found)
    hire(store, "step", name="w4", running=1)
    assert client.why(chain.id).reason is Reason.READY


def test_ready(client, store):
    """A ready job that a worker may take is about to be."""
    hire(store, "step")
    chain = client.start("step")
    found = client.why(chain.id)
    assert (found.reason, found.workers, found.since) == (Reason.READY, ("w1",), chain.scheduled_at)
    assert str(found).endswith("and about to be taken by w1")
    assert found.remedy is None


# --- what has begun --------------------------------------------------------------------------------------------------


def test_running(client, store):
    """A job that a live worker has is running: since when, when the worker was heard of, and how long its lease is."""
    hire(store, "step", name="w1", seen=2.0)
    chain = client.start("step")
    claim(store, "step", worker="w1", seconds=60.0)
    found = client.why(chain.id)
    assert (found.reason, found.by, found.by_hand, found.attempt) == (Reason.RUNNING, "w1", False, 1)
    assert soon(found.since, 0)
    assert soon(found.until, 60)
    assert timedelta(seconds=2) <= found.at - found.seen_at < timedelta(seconds=20)
    assert "is running: w1 began attempt 1 at " in str(found)


def test_silent(client, store):
    """A job whose worker is not heard of is free when its lease runs out, unless nobody is there to give it back."""
    hire(store, "step", name="dead", seen=60.0)
    chain = client.start("step")
    claim(store, "step", worker="dead", seconds=60.0)
    found = client.why(chain.id)
    assert (found.reason, found.by, found.others) == (Reason.SILENT, "dead", ())
    assert soon(found.seen_at, -60)
    assert "is held by dead, which began attempt 1 at " in str(found)
    assert "; its lease runs out at " in str(found)
    change(store, chain.id, leased_until=later(now(), sa.literal(-5.0)))
    assert str(client.why(chain.id)).endswith(", but no worker lives to give it back")
    hire(store, "other", name="w2")
    assert str(client.why(chain.id)).endswith(", the next worker that looks gives it back")


def test_held_by_nobody_known(client, store):
    """The worker may not be on the list any more."""
    chain = client.start("step")
    claim(store, "step", worker="gone")
    found = client.why(chain.id)
    assert (found.reason, found.seen_at) == (Reason.SILENT, None)
    assert " and is on the list of workers no longer; " in str(found)


def test_a_restarted_worker_is_another(client, store):
    """A worker that started after the claim under the same name does not have the job."""
    chain = client.start("step")
    claim(store, "step", worker="w1")
    hire(store, "step", name="w1", seen=60.0, started_seconds=600.0)
    hire(store, "step", name="w1", started_seconds=-1.0)
    assert client.why(chain.id).reason is Reason.SILENT


def test_failed(client, store):
    """A failed job waits for a person, after so many attempts and with this error."""
    chain = client.start("step")
    settle(store, with_outcome(claim(store, "step")[0], Retry("Traceback\nValueError: boom", None)))
    found = client.why(chain.id)
    assert (found.reason, found.attempt, found.remedy) == (Reason.FAILED, 1, f"jobctl retry {chain.id}")
    assert soon(found.since, 0)
    assert str(found).startswith(f"'step' {chain.id} failed at ")
    assert str(found).endswith(
        f" after 1 attempt with ValueError: boom; 'jobctl retry {chain.id}' gives it another round"
    )


# --- what is over ----------------------------------------------------------------------------------------------------


def test_completed(client, store):
    """A closed chain waits for nothing: who closed it and when, a worker or a person with a note."""
    one, other = client.start("a"), client.start("b")
    run(store, one.id)
    found = client.why(one.id)
    assert (found.reason, found.by, found.by_hand, found.workers) == (Reason.COMPLETED, "worker-1", False, ())
    assert found.since == client.get(one.id).closed_at
    assert str(found).endswith(" by worker worker-1")
    with client.settle(other.id, actor="ann", note="paid in cash") as current_job:
        current_job.complete(1)
    found = client.why(other.id)
    assert (found.reason, found.by, found.by_hand, found.note) == (Reason.COMPLETED, "ann", True, "paid in cash")
    assert str(found).endswith(" by ann (paid in cash)")


def test_cancelled(client, store):
    """A cancelled chain names who cancelled it."""
    chain = client.start("a")
    cancelled(store, chain.id)
    found = client.why(chain.id)
    assert (found.reason, found.by, found.note) == (Reason.CANCELLED, "bob", "no longer needed")


def test_deleted(client):
    """A chain that was deleted by hand is known to have been; one that never was is not found."""
    chain = client.start("a")
    client.delete([chain.id], actor="ann", note="by mistake")
    found = client.why(chain.id)
    assert (found.reason, found.status, found.by, found.note) == (Reason.DELETED, None, "ann", "by mistake")
    assert str(found).startswith(f"the chain {chain.id} was deleted at ")
    with pytest.raises(NotFoundError, match="there is no chain or job"):
        client.why(new_id())


# --- the rest --------------------------------------------------------------------------------------------------------


def test_any_job_of_the_chain(client, store):
    """Asked about a job that is settled, the answer is about the chain's current one, and says so."""
    chain = client.start("a")
    (row,) = claim(store, "a")
    settle(store, continued(row, "b"))
    (row,) = claim(store, "b")
    settle(store, continued(row, "c"))
    last = client.get(chain.id).job_id
    for id_, beginning in (
        (chain.id, f"'c' {last} of the chain {chain.id} is ready"),
        (last, f"'c' {last} of the chain {chain.id} is ready"),
        (row.id, f"the job {row.id} is settled; its chain {chain.id} is at 'c', which is ready"),
    ):
        found = client.why(id_)
        assert (found.id, found.chain_id, found.job_id) == (id_, chain.id, last)
        assert str(found).startswith(beginning)


def test_times_may_be_said_otherwise(client):
    """A caller may say instants in its own way."""
    found = client.why(client.start("a", after="2h").id)
    assert "is due tomorrow," in sentence(found, lambda _: "tomorrow")


def test_in_the_callers_transaction(client, store):
    """What the caller's transaction has not committed counts."""
    with store.transaction() as conn:
        chain = client.start("a", conn=conn)
        assert client.why(chain.id, conn=conn).reason is Reason.NO_WORKER
        (row,) = claim_on(store, conn)
        store.settle(conn, [completed(row)])
        assert client.why(chain.id, conn=conn).reason is Reason.COMPLETED


def claim_on(store, conn):
    return store.claim(conn, {"a": 60.0}, 1, worker="w", lease=new_id())
