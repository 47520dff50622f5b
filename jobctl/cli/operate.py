"""``retry``, ``cancel`` and ``restart``: jobs that need a person."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jobctl.cli import parse
from jobctl.cli.command import command
from jobctl.cli.documents import chain_document
from jobctl.cli.options import Actor, After, At, By, DryRun, Json, Note, Processors
from jobctl.cli.render import plain
from jobctl.cli.run import Run
from jobctl.cli.selection import Deed, Which, carry_out, on_jobs
from jobctl.model import Chain, Status

if TYPE_CHECKING:
    from jobctl.client import Client


RETRY = on_jobs("retry", "retried", (Status.FAILED,), lambda job: f"{plain(job.type_name)} {job.id} gets another round")

CANCEL: Deed[Chain] = Deed(
    "cancel",
    "cancelled",
    "chain",
    (Status.BLOCKED, Status.SCHEDULED, Status.READY, Status.RUNNING, Status.FAILED),
    lambda chain: chain.id,
    lambda chain: chain.id,
    "items",
    chain_document,
    awaited_stay=True,
)


@command(
    "retry",
    section="Work",
    examples=(
        ("jobctl retry $id --note 'the mail server is back'", ""),
        ("jobctl retry --type send --note 'the mail server is back'", "all of a type, when that is confirmed"),
        ("jobctl list --status failed --since 1d | jobctl retry -", "those of a page"),
    ),
    changes=True,
)
def retry(run: Run, which: Which, by: By, json: Json = False) -> None:
    """Give failed jobs another round of attempts.

    They are due now, in the order given, and their attempts are counted anew; the errors so far are kept. The jobs' ids
    are printed. Ids are all or none, five hundred at a time: one that has not failed is exit code 4, a missing one 3. A
    filter is about failed chains; it asks first, and passes over what has moved on meanwhile.
    """
    carry_out(run, which, by, RETRY, lambda client, ids, **how: client.retry(ids, **how), json=json)


@command(
    "cancel",
    section="Work",
    examples=(
        ("jobctl cancel $id --reason 'the customer withdrew'", ""),
        ("jobctl cancel $id --cascade", "with the chains that wait for it"),
        ("jobctl cancel --type send --status scheduled,ready --dry-run", "which that would be"),
    ),
    changes=True,
)
def cancel(
    run: Run,
    which: Which,
    by: By,
    reason: Annotated[
        str | None,
        typer.Option("--reason", metavar="TEXT", help="Why it is not wanted; the note, unless one is given."),
    ] = None,
    cascade: Annotated[
        bool, typer.Option("--cascade", help="With all open chains that wait for them, and that wait for those.")
    ] = False,
    json: Json = False,
) -> None:
    """Close chains as cancelled, wherever they stand.

    Their ids are printed. Ids are all or none, five hundred at a time: a chain that an open one waits for is exit code
    4, unless both go; so is a closed one; a missing one is 3. A filter is about open chains; it asks first, and cancels
    what it can: exit code 4 tells that open chains wait for some. A worker that is on one is told.
    """

    def call(client: Client, ids: Sequence[str], **how: Any) -> Sequence[Chain]:
        keep = how["within"] is not None
        return client.cancel(ids, reason=reason, cascade=cascade, keep_awaited=keep, **how)

    carry_out(run, which, by, CANCEL, call, json=json)


@command(
    "restart",
    section="Work",
    examples=(
        ("new=$(jobctl restart $id)", "as it began"),
        (
            'jobctl restart $id --from $job --input \'{"requestId": "124"}\'',
            "as one of its jobs began, with another input",
        ),
    ),
    changes=True,
)
def restart(
    run: Run,
    id_: Annotated[str, typer.Argument(metavar="CHAIN", help="The chain, open or closed.")],
    from_: Annotated[
        str | None, typer.Option("--from", metavar="JOB", help="Which of its jobs to begin with; else its first.")
    ] = None,
    input_: Annotated[
        str | None, typer.Option("--input", metavar="JSON", help="The input: JSON, @FILE, or -; else that of the job.")
    ] = None,
    after: After = None,
    at: At = None,
    dry_run: DryRun = False,
    actor: Actor = None,
    note: Note = None,
    processors: Processors = None,
    json: Json = False,
) -> None:
    """Start a new chain from a job of an old one.

    It has the type, the input and the priority of that job. Its id is printed. The old chain stays as it is; the
    histories of both name the other.
    """
    due = parse.schedule(after, at, run.say)
    given = {} if input_ is None else {"input": parse.json_argument("--input", input_)}
    with run.acting(run.registry(processors), dry_run=dry_run) as (client, conn):
        chain = client.restart(id_, from_job=from_, actor=actor, note=note, conn=conn, **given, **due)
    if json:
        run.json({**chain_document(chain), "dry_run": dry_run})
    else:
        run.out(chain.id)
    if run.talks_to_person:
        run.say(f"started {plain(chain.type_name)} {chain.id}: {chain.status.value}")
