"""``trigger``, ``reschedule`` and ``delete``: what is done by hand to chains without settling them."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from jobctl.cli import completing, parse
from jobctl.cli.command import command
from jobctl.cli.documents import iso, job_document
from jobctl.cli.options import Actor, After, At, Ids, Json, Note
from jobctl.cli.render import plain
from jobctl.cli.run import Run
from jobctl.errors import UsageError
from jobctl.model import Job


@command(
    "trigger",
    section="Work",
    examples=(("jobctl trigger $id", "does not wait for its time any longer"),),
    changes=True,
)
def trigger(run: Run, ids: Ids, actor: Actor = None, note: Note = None, json: Json = False) -> None:
    """Have scheduled jobs run now, in the order given.

    All of them or none. The jobs' ids are printed. One that is running, blocked or closed is exit code 4, a missing one
    3.
    """
    with run.client() as client:
        jobs = client.trigger(ids, actor=actor, note=note)
    _show(run, jobs, json=json)
    for each in jobs:
        run.say(f"triggered {plain(each.type_name)} {each.id}")


@command(
    "reschedule",
    section="Work",
    examples=(
        ("jobctl reschedule $id --after 2h", ""),
        ("jobctl reschedule $id --at 2030-01-31T17:00 --priority 10", ""),
    ),
    changes=True,
)
def reschedule(
    run: Run,
    ids: Ids,
    after: After = None,
    at: At = None,
    priority: Annotated[
        str | None, typer.Option("--priority", metavar="N", help="Higher goes first, -1000 to 1000; else as it is.")
    ] = None,
    actor: Actor = None,
    note: Note = None,
    json: Json = False,
) -> None:
    """Move waiting jobs to another time or priority.

    All of them are moved or none. The jobs' ids are printed. One that is running, blocked or closed is exit code 4, a
    missing one 3.
    """
    due = parse.schedule(after, at, run.say)
    number = None if priority is None else parse.whole("--priority", priority)
    if after is None and at is None and number is None:
        raise UsageError("say to what: give --after, --at or --priority")
    with run.client() as client:
        jobs = client.reschedule(ids, priority=number, actor=actor, note=note, **due)
    _show(run, jobs, json=json)
    for each in jobs:
        run.say(f"moved {plain(each.type_name)} {each.id}: due {iso(each.scheduled_at)}, priority {each.priority}")


@command(
    "delete",
    section="Work",
    examples=(
        ("jobctl delete $id", ""),
        ("jobctl delete $id --cascade --note 'started by mistake'", "with what it waits for"),
    ),
    changes=True,
)
def delete(
    run: Run,
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="The chains.", autocompletion=completing.chains)],
    cascade: Annotated[
        bool, typer.Option("--cascade", help="With all chains that they wait for, and that those do.")
    ] = False,
    actor: Actor = None,
    note: Note = None,
    json: Json = False,
) -> None:
    """Delete chains with all that belongs to them.

    Their ids are printed. A chain that an open one waits for is exit code 4, unless both go. Of several ids, missing
    ones are passed over. A worker that is on a deleted job is told.
    """
    with run.client() as client:
        deleted = client.delete(ids, cascade=cascade, actor=actor, note=note)
    if json:
        run.json({"deleted": deleted})
    else:
        for each in deleted:
            run.out(each)
    run.say(f"deleted {len(deleted)} chain{'' if len(deleted) == 1 else 's'}")


def _show(run: Run, jobs: list[Job[Any]], *, json: bool) -> None:
    if json:
        run.json({"items": [job_document(each) for each in jobs]})
        return
    for each in jobs:
        run.out(each.id)
