"""Claiming one job by its id: that one and no other, or the reason why not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sqlalchemy as sa
from support import InThread, wait_until_blocked
from working import claim, completed, continued, settle

from jobctl import Client, Status
from jobctl.acts import Hand
from jobctl.claiming import OneJob
from jobctl.errors import (
    AlreadySettledError,
    BlockedError,
    GuardError,
    JobctlError,
    NotFoundError,
    NotReadyError,
)
from jobctl.ids import new_id
from jobctl.storage.records import JobRow, Retry, Settlement
from jobctl.storage.spelling import now
from jobctl.storage.store import Store
from jobctl.storage.tables import current, pause

TYPES = {"step": 60.0}


def claim_one(store: Store, id_: str, *, now: Hand | None = None, types=TYPES) -> list[JobRow]:
    with store.transaction() as conn:
        return OneJob(store, id_, now=now)(conn, types, 1, worker="me", lease=new_id())


def test_takes_that_one(client: Client, store: Store):
    """It takes the job that was named, before others that are more urgent, as a claim does."""
    first, wanted = client.start("step", 1, priority=5).id, client.start("step", {"n": 2}).id
    (row,) = claim_one(store, wanted)
    assert (row.id, row.input, row.attempt, row.worker, row.status) == (wanted, '{"n":2}', 1, "me", "running")
    job = client.get_job(wanted)
    assert (job.status, job.attempt, job.worker) == (Status.RUNNING, 1, "me")
    assert job.leased_until == row.leased_until
    assert 50 < (job.leased_until - job.scheduled_at).total_seconds() < 120
    assert client.get_job(first).status is Status.READY
    assert settle(store, completed(row, "7")).won == {wanted}
    assert client.get(wanted).output == 7


def test_current_job_of_a_chain(client: Client, store: Store):
    """A chain's id means its current job; the id of a job before is a conflict."""
    chain = client.start("a").id
    (row,) = claim(store, "a")
    settle(store, continued(row, "step"))
    successor = client.get(chain).job_id
    with pytest.raises(AlreadySettledError, match="closed"):
        settled = client.start("a").id
        settle(store, completed(claim(store, "a")[0]))
        claim_one(store, settled)
    for each in (chain, successor):
        (row,) = claim_one(store, each)
        assert row.id == successor
        with store.transaction() as conn:
            store.release(conn, [_held(row)])
    assert client.get_job(successor).attempt == 0


def _held(row: JobRow):
    return completed(row).held


def _state(store: Store, id_: str):
    with store.transaction(read_only=True) as conn:
        return conn.execute(sa.select(current).where(current.c.chain_id == id_)).mappings().one_or_none()


def _scheduled(client: Client, store: Store) -> str:
    return client.start("step", after="1h").id


def _running(client: Client, store: Store) -> str:
    chain = client.start("step").id
    claim(store, "step", worker="other")
    return chain


def _failed(client: Client, store: Store) -> str:
    chain = client.start("step").id
    settle(store, Settlement(_held(claim(store, "step")[0]), Retry("no", None)))
    return chain


def _paused(client: Client, store: Store) -> str:
    chain = client.start("step").id
    with store.transaction() as conn:
        conn.execute(sa.update(current).where(current.c.chain_id == chain).values(paused_at=now()))
    return chain


def _pausing(type_name: str) -> Callable[[Client, Store], str]:
    def pause_it(client: Client, store: Store) -> str:
        with store.transaction() as conn:
            conn.execute(sa.insert(pause).values(type_name=type_name, at=now(), actor="me"))
        return client.start("step").id

    return pause_it


def _blocked(client: Client, store: Store) -> str:
    return client.start("step", blocked_by=[client.start("a").id]).id


def _another_type(client: Client, store: Store) -> str:
    return client.start("a").id


@pytest.mark.parametrize(
    ("make", "error", "said"),
    [
        (_scheduled, NotReadyError, "is not due before .*: --now runs it all the same"),
        (_running, NotReadyError, r"is running: the worker other has it until .*, unless it renews its lease"),
        (_failed, NotReadyError, "is failed: retry it first"),
        (_paused, NotReadyError, "is paused, or its type is: resume it first"),
        (_pausing("step"), NotReadyError, "is paused"),
        (_pausing(""), NotReadyError, "is paused"),
        (_blocked, BlockedError, "still waits for 0"),
        (_another_type, GuardError, "is at 'a' now, which this worker does not take"),
    ],
)
def test_cannot_be_taken(client: Client, store: Store, make, error: type[JobctlError], said: str):
    """A job that cannot be worked now is left as it is, and the reason is told."""
    chain = make(client, store)
    before = _state(store, chain)
    with pytest.raises(error, match=said):
        claim_one(store, chain)
    assert _state(store, chain) == before


def test_another_types_pause(client: Client, store: Store):
    """The pause of another type is none of this one's."""
    _pausing("other")(client, store)
    chain = client.start("step").id
    assert [row.id for row in claim_one(store, chain)] == [chain]


def test_missing(store: Store):
    """What does not exist is not found."""
    with pytest.raises(NotFoundError):
        claim_one(store, new_id())


def test_now(client: Client, store: Store):
    """A scheduled job is triggered by who asks for it now, which the history keeps, and taken in the same moment."""
    chain = _scheduled(client, store)
    assert [row.id for row in claim_one(store, chain, now=Hand("ann", "looking into it"))] == [chain]
    detail = client.show(chain)
    assert detail.chain.status is Status.RUNNING
    assert [(act.action, act.actor, act.note) for act in detail.history] == [("trigger", "ann", "looking into it")]


def test_now_is_undone_with_the_claim(client: Client, store: Store):
    """Nobody has triggered a job whose claim did not come about."""
    chain = _scheduled(client, store)
    before = _state(store, chain)
    with pytest.raises(RuntimeError), store.transaction() as conn:
        OneJob(store, chain, now=Hand("ann"))(conn, TYPES, 1, worker="me", lease=new_id())
        raise RuntimeError
    assert _state(store, chain) == before
    assert client.show(chain).history == ()


def test_two_at_once(postgres_url: str, open_client: Callable[[str], Client]):
    """Of two who want the same job at the same moment one gets it, and the other is told who has it."""
    client = open_client(postgres_url)
    chain = client.start("step").id
    with client.store.transaction() as conn:
        (row,) = OneJob(client.store, chain)(conn, TYPES, 1, worker="first", lease=new_id())
        second = InThread(lambda: claim_one(open_client(postgres_url).store, chain))
        wait_until_blocked(postgres_url)
    assert row.id == chain
    error = second.error()
    assert isinstance(error, NotReadyError)
    assert "the worker first has it" in str(error)
