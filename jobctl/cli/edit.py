"""``trigger``, ``reschedule`` and ``delete``: what is done by hand to chains without settling them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jobctl.cli import parse
from jobctl.cli.command import command
from jobctl.cli.documents import iso
from jobctl.cli.options import After, At, By, Json
from jobctl.cli.render import plain
from jobctl.cli.run import Run
from jobctl.cli.selection import Deed, Which, carry_out, on_jobs
from jobctl.errors import UsageError
from jobctl.model import Job, Status

if TYPE_CHECKING:
    from jobctl.client import Client

TRIGGER = on_jobs(
    "trigger",
    "triggered",
    (Status.SCHEDULED, Status.READY),
    lambda job: f"triggered {plain(job.type_name)} {job.id}",
)

RESCHEDULE = on_jobs(
    "reschedule",
    "moved",
    (Status.SCHEDULED, Status.READY),
    lambda job: f"moved {plain(job.type_name)} {job.id}: due {iso(job.scheduled_at)}, priority {job.priority}",
)

DELETE: Deed[str] = Deed(
    "delete",
    "deleted",
    "chain",
    (),
    str,
    str,
    "deleted",
    str,
    awaited_stay=True,
)


@command(
    "trigger",
    section="Work",
    examples=(
        ("jobctl trigger $id", "does not wait for its time any longer"),
        ("jobctl trigger --type resize --status scheduled --dry-run", "which would be due now"),
        ("jobctl list --type resize --status scheduled | jobctl trigger -", "those of a page"),
    ),
    changes=True,
)
def trigger(run: Run, which: Which, by: By, json: Json = False) -> None:
    """Have scheduled jobs run now, in the order given.

    The jobs' ids are printed. Ids are all or none, five hundred at a time: one that is running, blocked or closed is
    exit code 4, a missing one 3. A filter is about scheduled and ready chains; it asks first, and passes over what
    has moved on meanwhile.
    """
    carry_out(run, which, by, TRIGGER, lambda client, ids, **how: client.trigger(ids, **how), json=json)


@command(
    "reschedule",
    section="Work",
    examples=(
        ("jobctl reschedule $id --after 2h", ""),
        ("jobctl reschedule $id --at 2030-01-31T17:00 --priority 10", ""),
        ("jobctl reschedule --type resize --since 1d --after 0s --priority -5 --yes", "all of a day's"),
    ),
    changes=True,
)
def reschedule(
    run: Run,
    which: Which,
    by: By,
    after: After = None,
    at: At = None,
    priority: Annotated[
        str | None, typer.Option("--priority", metavar="N", help="Higher goes first, -1000 to 1000; else as it is.")
    ] = None,
    json: Json = False,
) -> None:
    """Move waiting jobs to another time or priority.

    The jobs' ids are printed. Ids are all or none, five hundred at a time: one that is running, blocked or closed is
    exit code 4, a missing one 3. A filter is about scheduled and ready chains; it asks first, and passes over what
    has moved on meanwhile.
    """
    due = parse.schedule(after, at, run.say)
    number = None if priority is None else parse.whole("--priority", priority)
    if after is None and at is None and number is None:
        raise UsageError("say to what: give --after, --at or --priority")

    def call(client: Client, ids: Sequence[str], **how: Any) -> Sequence[Job[Any]]:
        return client.reschedule(ids, priority=number, **due, **how)

    carry_out(run, which, by, RESCHEDULE, call, json=json)


@command(
    "delete",
    section="Work",
    examples=(
        ("jobctl delete $id", ""),
        ("jobctl delete $id --cascade --note 'started by mistake'", "with what it waits for"),
        ("jobctl delete --type resize --status failed --until 30d --yes", "all that failed long ago"),
    ),
    changes=True,
)
def delete(
    run: Run,
    which: Which,
    by: By,
    cascade: Annotated[
        bool, typer.Option("--cascade", help="With all chains that they wait for, and that those do.")
    ] = False,
    json: Json = False,
) -> None:
    """Delete chains with all that belongs to them.

    Their ids are printed. Ids are all or none, five hundred at a time: a chain that an open one waits for is exit code
    4, unless both go; of several ids, missing ones are passed over. A filter asks first, and deletes what it can: exit
    code 4 tells that open chains wait for some. A worker that is on a deleted job is told.
    """

    def call(client: Client, ids: Sequence[str], **how: Any) -> Sequence[str]:
        keep = how["within"] is not None
        return client.delete(ids, cascade=cascade, keep_awaited=keep, **how)

    carry_out(run, which, by, DELETE, call, json=json)
