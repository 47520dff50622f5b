"""Rows of JSON, as the parameters of statements take them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from jobctl.asking import Key
from jobctl.model import NOW, Schedule
from jobctl.storage.records import (
    ChainRow,
    Complete,
    Continue,
    Held,
    Inserted,
    Locked,
    NewAct,
    NewJob,
    Outcome,
    Postpone,
    Retry,
    Settlement,
)

JsonRow = dict[str, Any]


def id_rows(ids: Iterable[str]) -> str:
    """The parameter of a statement over ids, which are UUIDs and need no escaping."""
    unique = sorted(set(ids))
    return '[{"id":"' + '"},{"id":"'.join(unique) + '"}]' if unique else "[]"


def type_rows(types: Mapping[str, float]) -> str:
    """The parameter of a statement over types and the seconds of their leases."""
    return json.dumps([{"type_name": name, "lease_seconds": seconds} for name, seconds in types.items()])


def held_rows(held: Iterable[Held], seconds: Mapping[str, float]) -> str:
    """The parameter of a statement over held jobs."""
    return json.dumps(
        [
            {"chain_id": each.chain_id, "lease": each.lease, "lease_seconds": seconds.get(each.type_name)}
            for each in held
        ]
    )


def first_job_rows(jobs: Iterable[NewJob]) -> str:
    """The parameter of a statement over first jobs of chains."""
    return json.dumps([first_job_row(job) for job in jobs])


def first_job_row(job: NewJob) -> JsonRow:
    """The first job of a chain, without what is as it is of most."""
    row: JsonRow = {"id": job.id, "type_name": job.type_name, "input": job.input}
    if job.status != "pending":
        row["status"] = job.status
    if job.priority:
        row["priority"] = job.priority
    if job.blocked_by:
        row["blocker_count"] = len(job.blocked_by)
    if job.schedule is not NOW:
        row |= schedule_row(job.schedule)
    if isinstance(job.key, Key):
        row["dedup_key"] = job.key.text
    return row


def first_job_parameters(job: NewJob) -> dict[str, str | None]:
    """The parameters of a statement over one first job: what each has by itself, and the rest as JSON."""
    row = first_job_row(job)
    always = {name: row[name] for name in ("id", "type_name", "input")}
    rest = {name: value for name, value in row.items() if name not in always}
    return always | {"rest": json.dumps(rest) if rest else None}


def next_job_row(job: NewJob) -> JsonRow:
    """A successor to be inserted."""
    return {
        "id": job.id,
        "chain_id": job.chain_id,
        "chain_index": job.chain_index,
        "chain_type": job.chain_type,
        "type_name": job.type_name,
        "status": job.status,
        "priority": job.priority,
        "blocker_count": len(job.blocked_by),
        **schedule_row(job.schedule),
        "input": job.input,
    }


def key_row(place: int, job: NewJob, key: Key) -> JsonRow:
    """The key of a first job, which has this place among others."""
    return {"place": place, "type_name": job.type_name, "dedup_key": key.text, "seconds": key.window_seconds}


def started_row(job: NewJob, made: Inserted) -> ChainRow:
    """The chain that was started with a job, without reading it again."""
    created_at = made.created_at
    scheduled_at = made.due.get(job.id, created_at)
    shown = "blocked" if job.status == "blocked" else "scheduled" if scheduled_at > created_at else "ready"
    key = job.key.text if isinstance(job.key, Key) else None
    return ChainRow(  # by place: to name the fields takes longer
        job.id,
        job.type_name,
        shown,
        job.input,
        None,
        created_at,
        None,
        job.id,
        job.type_name,
        scheduled_at,
        0,
        None,
        job.priority,
        key,
        0,
    )


def schedule_row(schedule: Schedule) -> JsonRow:
    """A delay or an instant, in seconds."""
    at = None if schedule.at is None else schedule.at.timestamp()
    return {"after_seconds": schedule.after_seconds, "at_seconds": at}


def result_row(settlement: Settlement) -> JsonRow:
    """What came of a job that was completed or continued."""
    held, outcome = settlement.held, settlement.outcome
    row: JsonRow = {"chain_id": held.chain_id, "worker": held.worker, "status": "continued"}
    return {**row, "status": "completed", "output": outcome.output} if isinstance(outcome, Complete) else row


def end_row(settlement: Settlement) -> JsonRow:
    """What came of a job that was completed or continued, and the job that follows."""
    held, outcome = settlement.held, settlement.outcome
    row: JsonRow = {"chain_id": held.chain_id, "lease": held.lease, "worker": held.worker}
    if isinstance(outcome, Complete):
        row["status"], row["output"] = "completed", outcome.output
    elif isinstance(outcome, Continue):
        job = outcome.successor
        row |= {
            "status": "continued",
            "id": job.id,
            "chain_type": job.chain_type,
            "type_name": job.type_name,
            "priority": job.priority,
            "input": job.input,
            **schedule_row(job.schedule),
        }
    return row


def cancelled_row(chain_id: str) -> JsonRow:
    """What comes of the current job of a chain that is cancelled."""
    return {"chain_id": chain_id, "worker": None, "status": "cancelled"}


def move_row(outcome: Outcome, before: Locked, successor: JsonRow | None) -> JsonRow:
    """What a chain is to do next: a successor, or its current job again."""
    if successor is not None:
        return {**successor, "job_id": successor["id"], "attempt": 0, "input": None}
    again: JsonRow = {
        "chain_id": before.chain_id,
        "job_id": before.job_id,
        "chain_index": before.chain_index,
        "type_name": before.type_name,
        "status": "pending",
        "priority": before.priority,
        "attempt": before.attempt,
    }
    match outcome:
        case Retry(error, None):
            again |= {"status": "failed", "error": error}
        case Retry(error, delay):
            again |= {"error": error, "after_seconds": delay}
        case Postpone(schedule):
            again |= {"attempt": before.attempt - 1, **schedule_row(schedule)}
    return again


def act_row(act: NewAct) -> JsonRow:
    """Something done by hand."""
    return act._asdict()


def failure_row(held: Held, text: str) -> JsonRow:
    """An attempt that failed, for the history."""
    return {"job_id": held.id, "attempt": held.attempt, "worker": held.worker, "error": text}
