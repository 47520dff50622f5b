"""``complete``: a person settles a chain's current job."""

from __future__ import annotations

import os
from typing import Annotated, Any

import typer

from jobctl.cli import completing, parse
from jobctl.cli.command import command
from jobctl.cli.documents import chain_document
from jobctl.cli.options import Actor, After, At, BlockedBy, DryRun, Json, Note, Processors
from jobctl.cli.render import plain
from jobctl.cli.run import Run
from jobctl.errors import UsageError


@command(
    "complete",
    section="Work",
    examples=(
        ("jobctl complete $id", "the chain ends with the output null"),
        ("jobctl complete $id --output '{\"rejected\": true}' --note 'too late'", ""),
        ("jobctl complete $id --expect await-approval --continue process-request", ""),
    ),
    changes=True,
)
def complete(
    run: Run,
    id_: Annotated[
        str,
        typer.Argument(
            metavar="ID",
            help="The chain, or a job that must still be its current one.",
            autocompletion=completing.chains,
        ),
    ],
    output: Annotated[
        str | None, typer.Option("--output", metavar="JSON", help="The output: JSON, @FILE, or - for stdin; else null.")
    ] = None,
    continue_: Annotated[
        str | None,
        typer.Option(
            "--continue",
            metavar="TYPE",
            help="Do not end the chain: hand over to a next job.",
            autocompletion=completing.types,
        ),
    ] = None,
    input_: Annotated[
        str | None, typer.Option("--input", metavar="JSON", help="The next job's input; else the current job's.")
    ] = None,
    after: After = None,
    at: At = None,
    blocked_by: BlockedBy = None,
    priority: Annotated[
        str | None, typer.Option("--priority", metavar="N", help="The next job's; else that of the current one.")
    ] = None,
    next_id: Annotated[
        str | None, typer.Option("--id", metavar="UUID", help="The next job's id; else a new one.")
    ] = None,
    expect: Annotated[
        str | None,
        typer.Option(
            "--expect",
            metavar="TYPE",
            help="Only if the chain is at this type; else exit 4.",
            autocompletion=completing.types,
        ),
    ] = None,
    actor: Actor = None,
    note: Note = None,
    force: Annotated[bool, typer.Option("--force", help="Even if the job still waits for other chains.")] = False,
    processors: Processors = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Settle a chain's current job by hand.

    It ends the chain with an output, or hands over to a next job with --continue. What was done is told on stderr. With
    --continue the next job's id is printed.
    """
    if continue_ is None:
        _refuse_without_continue(
            {
                "--input": input_,
                "--after": after,
                "--at": at,
                "--blocked-by": blocked_by,
                "--priority": priority,
                "--id": next_id,
            }
        )
    elif output is not None:
        raise UsageError("--output ends the chain and --continue does not: give one of them")
    from jobctl.inside import Inside

    value = None if output is None else parse.json_argument("--output", output)
    due = parse.schedule(after, at, run.say)
    number = None if priority is None else parse.whole("--priority", priority)
    given = None if input_ is None else parse.json_argument("--input", input_)
    # The document is read in the same transaction: afterwards a worker may be further already.
    with (
        run.acting(run.registry(processors), dry_run=dry_run) as (client, rolled_back),
        client.store.on(rolled_back) as conn,
        client.settle(
            id_, expect=expect, force=force, actor=actor, note=note, inside=Inside.of(os.environ), conn=conn
        ) as current,
    ):
        before = current.job
        if continue_ is None:
            current.complete(value)
        else:
            carried = before.input if input_ is None else given
            current.continue_with(continue_, carried, blocked_by=blocked_by or (), priority=number, id=next_id, **due)
        chain = client.get(before.chain_id, conn=conn)
    if json:
        run.json({**chain_document(chain), "dry_run": dry_run})
    elif continue_ is not None:
        run.out(chain.job_id)
    done = f"completed {plain(before.type_name)}, and with it the chain {chain.id}"
    if continue_ is not None:
        done = (
            f"continued {plain(before.type_name)} with {plain(chain.job_type)} {chain.job_id} in the chain {chain.id}"
        )
    run.say(done)


def _refuse_without_continue(given: dict[str, Any]) -> None:
    for option, value in given.items():
        if value is not None and value != []:
            raise UsageError(f"{option} is about the next job: give --continue TYPE too, or leave it out")
