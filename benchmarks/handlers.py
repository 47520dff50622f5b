"""The processors that workers are measured with."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from jobctl import Attempt, Continuation, Job, continue_with, processor

EFFECT = sa.table("effect", sa.column("job_id"))
INSERT = sa.insert(EFFECT).values(job_id=sa.bindparam("job_id"))


@processor("plain")
def plain(job: Job[Any]) -> None:
    """Do nothing."""


@processor("async")
async def async_(job: Job[Any]) -> None:
    """Do nothing, on the event loop."""


@processor("atomic")
def atomic(job: Job[Any], conn: Connection) -> None:
    """Write a row of the user's own in the completing transaction."""
    conn.execute(INSERT, {"job_id": job.id})


@processor("staged")
def staged(job: Job[Any], attempt: Attempt) -> None:
    """The same in a staged attempt."""
    with attempt.complete() as conn:
        conn.execute(INSERT, {"job_id": job.id})


@processor("async-staged")
async def async_staged(job: Job[Any], attempt: Attempt) -> None:
    """The same on the event loop."""
    async with attempt.complete() as conn:
        await conn.execute(INSERT, {"job_id": job.id})


@processor("sleep")
def sleep(job: Job[Any]) -> None:
    """Wait for something, on a thread."""
    time.sleep(0.01)


@processor("async-sleep")
async def async_sleep(job: Job[Any]) -> None:
    """Wait for something, on the event loop."""
    await asyncio.sleep(0.01)


@processor("step-1")
def step_1(job: Job[Any]) -> Continuation:
    """The first of three."""
    return continue_with("step-2", job.input)


@processor("step-2", entry=False)
def step_2(job: Job[Any]) -> Continuation:
    """The second of three."""
    return continue_with("step-3", job.input)


@processor("step-3", entry=False)
def step_3(job: Job[Any]) -> None:
    """The last of three."""


@processor("stamp")
def stamp(job: Job[Any]) -> float:
    """Tell when it began."""
    return time.time()
