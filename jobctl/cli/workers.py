"""``workers``: who works, and who is not heard of any more."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jobctl.cli.command import command
from jobctl.cli.documents import iso
from jobctl.cli.options import Json, JsonLines
from jobctl.cli.render import Column, plain, relative, write_list
from jobctl.cli.run import Run
from jobctl.errors import UsageError

if TYPE_CHECKING:
    from jobctl.reports import HeldJob, WorkerReport

STYLES = {"alive": "green", "stopping": "yellow", "dead": "bold red"}

MOST_NAMED = 5
"""How many jobs of a dead worker a person is told of; --json has all."""


def _busy(each: WorkerReport, now: datetime) -> str | None:
    return None if each.busy_since is None else relative(each.busy_since, now)


COLUMNS: Sequence[Column[WorkerReport]] = (
    Column("name", lambda each: each.name, lambda each, _: each.name, flexible=True),
    Column(
        "state",
        lambda each: each.state.value,
        lambda each, _: each.state.value,
        style=lambda each: STYLES[each.state.value],
    ),
    Column("host", lambda each: each.host, lambda each, _: each.host, flexible=True),
    Column("pid", lambda each: str(each.pid), lambda each, _: str(each.pid)),
    Column(
        "slots",
        lambda each: f"{each.running}/{each.concurrency}",
        lambda each, _: f"{each.running}/{each.concurrency}",
    ),
    Column("types", lambda each: ",".join(each.types), lambda each, _: ", ".join(each.types), flexible=True),
    Column("version", lambda each: each.version, lambda each, _: each.version, width=96),
    Column("seen", lambda each: iso(each.seen_at), lambda each, now: relative(each.seen_at, now)),
    Column("started", lambda each: iso(each.started_at), lambda each, now: relative(each.started_at, now), width=112),
    Column("busy", lambda each: None if each.busy_since is None else iso(each.busy_since), _busy, width=104),
    Column("jobs", lambda each: ",".join(job.id for job in each.jobs) or None, lambda *_: None, width=1),
)


@command(
    "workers",
    section="Look",
    examples=(
        ("jobctl workers", ""),
        ("jobctl workers --type await-approval --json", ""),
    ),
)
def workers(
    run: Run,
    type_name: Annotated[str | None, typer.Option("--type", metavar="TYPE", help="Only those that take it.")] = None,
    json: Json = False,
    jsonl: JsonLines = False,
) -> None:
    """List the workers, dead ones too.

    A worker that stops is listed no longer, one that died for a day. One that was not heard of for three beats is dead,
    and the jobs that it holds are named: others take them when its leases run out.

    Off a terminal: a line per worker with name, state, host, process, slots in use, types, version, last sign of life,
    start, since when it is busy, and the jobs that it holds, separated by tabs, - for nothing, times in UTC.
    """
    if json and jsonl:
        raise UsageError("--json and --jsonl exclude each other: give one of them")
    with run.client() as client:
        found = [each for each in client.workers() if type_name is None or type_name in each.types]
    if json:
        run.json({"items": [worker_document(each) for each in found]})
    elif jsonl:
        for each in found:
            run.json(worker_document(each))
    else:
        write_list(run, COLUMNS, found)
    if run.talks_to_person:
        _say(run, found)


def _say(run: Run, found: Sequence[WorkerReport]) -> None:
    if not found:
        run.say("no worker is there")
    now = datetime.now(UTC)
    for each in found:
        if each.state == "dead" and each.jobs:
            named = ", ".join(f"{plain(job.type_name)} {job.id}" for job in each.jobs[:MOST_NAMED])
            more = f" and {len(each.jobs) - MOST_NAMED} more" if len(each.jobs) > MOST_NAMED else ""
            last = max(job.leased_until for job in each.jobs)
            free = f"free {relative(last, now)}" if last > now else "to be taken by others now"
            run.say(f"{plain(each.name)} is dead and holds {named}{more}, {free}")


def worker_document(each: WorkerReport) -> dict[str, Any]:
    """A worker."""
    return {
        "id": each.id,
        "name": each.name,
        "host": each.host,
        "pid": each.pid,
        "version": each.version,
        "types": list(each.types),
        "concurrency": each.concurrency,
        "running": each.running,
        "state": each.state.value,
        "busy_since": None if each.busy_since is None else iso(each.busy_since),
        "started_at": iso(each.started_at),
        "seen_at": iso(each.seen_at),
        "jobs": [_held_document(job) for job in each.jobs],
    }


def _held_document(job: HeldJob) -> dict[str, Any]:
    return {
        "id": job.id,
        "chain_id": job.chain_id,
        "type": job.type_name,
        "claimed_at": iso(job.claimed_at),
        "leased_until": iso(job.leased_until),
    }
