"""Handlers and calls as users write them: mypy --strict has nothing to say about any."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, assert_type

from sqlalchemy import Connection, text

from jobctl import (
    Attempt,
    Backoff,
    Chain,
    ChainDetail,
    Client,
    Continuation,
    Defaults,
    Job,
    ListFilter,
    LostReason,
    Page,
    Processor,
    Status,
    Worker,
    WorkerOptions,
    continue_with,
    fail,
    processor,
    reschedule,
)
from jobctl.model import Act, Pause
from jobctl.registry import Registry, load_modules

DEFAULTS = Defaults(lease="1m", backoff=Backoff(1, 2, 3), max_attempts=3)


@dataclass
class Card:
    token: str
    cents: int


@processor("plain", entry=True, continues=("atomic", "staged"), lease=30, backoff=Backoff(), max_attempts=2)
def plain(job: Job[Card]) -> Continuation | dict[str, int]:
    assert_type(job.input, Card)
    if job.attempt > 1:
        return {"cents": job.input.cents}
    return continue_with("atomic", job.input, after="1h", blocked_by=[each.id for each in job.blockers])


@processor("atomic")
def atomic(job: Job[dict[str, Any]], conn: Connection) -> Continuation:
    conn.execute(text("SELECT 1"))
    return continue_with(staged, job.input["card"])


@processor("staged", blockers=[plain, "other"])
def staged(job: Job[Card], attempt: Attempt) -> dict[str, str]:
    with attempt.prepare() as conn:
        assert_type(conn, Connection)
    if attempt.wait(1.0) is LostReason.CANCELLED:
        attempt.raise_if_lost()
    with attempt.complete() as conn:
        conn.execute(text("SELECT 1"))
    return {"token": job.input.token}


@processor("later")
def later(job: Job[int | None]) -> str:
    if job.input is None:
        reschedule(after="10m")
    if job.input < 0:
        fail("too small")
    return str(job.input + 1)


@processor("async-plain")
async def async_plain(job: Job[Any]) -> Continuation:
    return continue_with(async_staged)


@processor("async-staged")
async def async_staged(job: Job[Any], attempt: Attempt) -> int:
    async with attempt.prepare() as conn:
        rows = await conn.execute(text("SELECT 1"))
    async with attempt.complete() as conn:
        await conn.scalar(text("SELECT 1"))
    return len(rows)


assert_type(plain, Processor[Any, Any])


def settle(client: Client, chain_id: str, approved: bool) -> Job[Any]:
    with client.settle(chain_id, expect=staged, force=True, actor="ada", note="fine") as current:
        assert_type(current.job, Job[Any])
        if approved:
            return current.continue_with(later, 1, after="1s")
        current.complete({"rejected": True})
        return current.job


def use(conn: Connection) -> None:
    with Client("sqlite:///jobs.db", processors=load_modules(["mymod"])) as client:
        chain = client.start(plain, {"token": "t", "cents": 1}, after="1h", priority=1, conn=conn)
        assert_type(chain, Chain)
        assert_type(client.show(chain.id), ChainDetail)
        assert_type(client.wait([chain.id], timeout="1m"), dict[str, Chain])
        assert_type(client.list_chains(ListFilter(statuses=(Status.READY,))), Page[Chain])
        assert_type(client.list_jobs(conn=conn), Page[Job[Any]])
        assert_type(client.retry([chain.id], actor="ann", note="n", conn=conn), list[Job[Any]])
        assert_type(client.cancel([chain.id], reason="r", cascade=True), list[Chain])
        assert_type(client.restart(chain.id, from_job=chain.job_id, input=None, after="1h"), Chain)
        assert_type(client.pause([chain.id], types=["a"], everything=True), list[Pause])
        assert_type(client.resume(types=["a"]), list[Pause])
        assert_type(client.history(chain.id, limit=3), Page[Act])
        assert_type(client.pauses(cursor=None), Page[Pause])
        Worker(client.store, Registry([plain, atomic]), WorkerOptions(drain=True), print).run()
