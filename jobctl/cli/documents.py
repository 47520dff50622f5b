"""The JSON documents. Their field names are a contract, written down in docs/json.md."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

from jobctl.asking import Page
from jobctl.cli import hiding
from jobctl.model import Act, AttemptError, Chain, ChainDetail, Job, Pause

Item = TypeVar("Item")


def to_json(document: Any) -> str:
    """A document as JSON on one line, readable in any language."""
    return json.dumps(document, ensure_ascii=False)


def iso(value: datetime) -> str:
    """A time in UTC, with as many digits of the fraction as it has."""
    text, point, fraction = value.astimezone(UTC).replace(tzinfo=None).isoformat().partition(".")
    return f"{text}{point}{fraction.rstrip('0')}Z"


def chain_document(chain: Chain) -> dict[str, Any]:
    """A chain."""
    return {
        "id": chain.id,
        "type": chain.type_name,
        "status": chain.status.value,
        "input": hiding.input_of(chain),
        "output": hiding.output_of(chain),
        "created_at": iso(chain.created_at),
        "closed_at": _iso_or_null(chain.closed_at),
        "job_id": chain.job_id,
        "job_type": chain.job_type,
        "scheduled_at": iso(chain.scheduled_at),
        "attempt": chain.attempt,
        "last_error": hiding.error_of(chain, chain.last_error),
        "priority": chain.priority,
        "length": chain.length,
        "key": chain.key,
        "paused": None if chain.paused is None else chain.paused.value,
    }


def started_document(chain: Chain, *, dry_run: bool) -> dict[str, Any]:
    """A chain that a start made or found."""
    return {**chain_document(chain), "deduplicated": chain.deduplicated, "dry_run": dry_run}


def job_document(job: Job[Any]) -> dict[str, Any]:
    """A job."""
    return {
        "id": job.id,
        "chain_id": job.chain_id,
        "chain_type": job.chain_type,
        "chain_index": job.chain_index,
        "type": job.type_name,
        "status": job.status.value,
        "priority": job.priority,
        "input": hiding.input_of(job),
        "output": hiding.output_of(job),
        "created_at": iso(job.created_at),
        "scheduled_at": iso(job.scheduled_at),
        "attempt": job.attempt,
        "worker": job.worker,
        "leased_until": _iso_or_null(job.leased_until),
        "last_error": hiding.error_of(job, job.last_error),
        "completed_at": _iso_or_null(job.completed_at),
        "completed_by": job.completed_by,
        "blockers": list(job.blocker_ids),
        "paused": None if job.paused is None else job.paused.value,
    }


def detail_document(detail: ChainDetail) -> dict[str, Any]:
    """A chain with all that is known of it."""
    jobs = {each.id: each for each in detail.jobs}
    return {
        "chain": chain_document(detail.chain),
        "jobs": [job_document(each) for each in detail.jobs],
        "blockers": [chain_document(each) for each in detail.blockers.values()],
        "dependents": [job_document(each) for each in detail.dependents],
        "errors": [_error_document(each, jobs[each.job_id]) for each in detail.errors],
        "history": [act_document(each) for each in detail.history],
    }


def handled_document(job: Job[Any]) -> dict[str, Any]:
    """A job as the command that handles it gets it: from who works with an input nothing of it is hidden."""
    return {**job_document(job), "input": job.input}


def failed_document(detail: ChainDetail, job: Job[Any]) -> dict[str, Any]:
    """A job that has failed, with what its attempts failed with: what a failure hook gets."""
    errors = [_error_document(each, job) for each in detail.errors if each.job_id == job.id]
    return {**job_document(job), "errors": errors}


def outcome_document(chain: Chain) -> dict[str, Any]:
    """How a chain ended."""
    return {"id": chain.id, "type": chain.type_name, "status": chain.status.value, "output": hiding.output_of(chain)}


def page_document(page: Page[Item], document: Callable[[Item], dict[str, Any]]) -> dict[str, Any]:
    """A page of a list."""
    return {"items": [document(each) for each in page.items], "cursor": page.cursor}


def _error_document(error: AttemptError, job: Job[Any]) -> dict[str, Any]:
    return {
        "job_id": error.job_id,
        "attempt": error.attempt,
        "at": iso(error.at),
        "worker": error.worker,
        "error": hiding.error_of(job, error.error),
    }


def act_document(act: Act) -> dict[str, Any]:
    """Something done by hand."""
    return {
        "chain_id": act.chain_id,
        "job_id": act.job_id,
        "at": iso(act.at),
        "action": act.action,
        "actor": act.actor,
        "origin": act.origin,
        "note": act.note,
        "details": act.details,
    }


def pause_document(pause: Pause) -> dict[str, Any]:
    """Something that is paused."""
    return {
        "what": pause.what.value,
        "name": pause.name,
        "at": iso(pause.at),
        "actor": pause.actor,
        "note": pause.note,
    }


def _iso_or_null(value: datetime | None) -> str | None:
    return None if value is None else iso(value)
