"""What a worker tells while it works: values for a log, a screen or a test."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Told(StrEnum):
    """What happened."""

    WORKER_STARTED = "worker_started"
    WORKER_STOPPING = "worker_stopping"
    WORKER_STOPPED = "worker_stopped"
    DATABASE_LOST = "database_lost"
    DATABASE_BACK = "database_back"
    JOB_STARTED = "job_started"  # and runs for a while already; of a quick one only its end is told
    JOB_COMPLETED = "job_completed"  # the chain is over
    JOB_CONTINUED = "job_continued"  # detail: the successor's type
    JOB_SETTLED = "job_settled"  # by the command that its handler ran: the worker had nothing to write
    JOB_RESCHEDULED = "job_rescheduled"  # by its handler
    JOB_RETRIED = "job_retried"  # detail: the error; another attempt follows
    JOB_FAILED = "job_failed"  # detail: the error; it waits for a person
    JOB_LOST = "job_lost"  # detail: the reason; nothing was written
    JOB_RELEASED = "job_released"  # given back without an attempt
    JOB_REAPED = "job_reaped"  # detail: the worker whose lease ran out
    HOOK_FAILED = "hook_failed"  # detail: what went wrong with the command that was to be told of a failed job


class Event(NamedTuple):
    """Something that happened in a worker.

    Attributes:
        told: What.
        worker: The worker's name.
        job_id: Which job, if one.
        chain_id: Its chain.
        type_name: Its type.
        attempt: The number of the attempt.
        seconds: How long the attempt ran, or until the next one for a retry's delay.
        detail: What else there is to say, as one line or, for an error, its traceback.
    """

    told: Told
    worker: str
    job_id: str | None = None
    chain_id: str | None = None
    type_name: str | None = None
    attempt: int | None = None
    seconds: float | None = None
    detail: str | None = None
