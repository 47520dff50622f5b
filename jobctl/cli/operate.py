"""``retry``, ``cancel`` and ``restart``: jobs that need a person."""

from __future__ import annotations

from typing import Annotated

import typer

from jobctl.cli import parse
from jobctl.cli.command import command
from jobctl.cli.documents import chain_document, job_document
from jobctl.cli.options import Actor, After, At, Ids, Json, Note, Processors
from jobctl.cli.render import plain
from jobctl.cli.run import Run


@command(
    "retry",
    section="Work",
    examples=(
        ("jobctl retry $id --note 'the mail server is back'", ""),
        ("jobctl list --status failed --type send | cut -f 1 | xargs jobctl retry", "all of a type"),
    ),
)
def retry(run: Run, ids: Ids, actor: Actor = None, note: Note = None, json: Json = False) -> None:
    """Give failed jobs another round of attempts.

    They are due now, in the order given, and their attempts are counted anew; the errors so far are kept. All of them
    or none. The jobs' ids are printed. One that has not failed is exit code 4, a missing one 3.
    """
    with run.client() as client:
        jobs = client.retry(ids, actor=actor, note=note)
    if json:
        run.json({"items": [job_document(each) for each in jobs]})
    else:
        for each in jobs:
            run.out(each.id)
    for each in jobs:
        run.say(f"{plain(each.type_name)} {each.id} gets another round")


@command(
    "cancel",
    section="Work",
    examples=(
        ("jobctl cancel $id --reason 'the customer withdrew'", ""),
        ("jobctl cancel $id --cascade", "with the chains that wait for it"),
    ),
)
def cancel(
    run: Run,
    ids: Ids,
    reason: Annotated[
        str | None,
        typer.Option("--reason", metavar="TEXT", help="Why it is not wanted; the note, unless one is given."),
    ] = None,
    cascade: Annotated[
        bool, typer.Option("--cascade", help="With all open chains that wait for them, and that wait for those.")
    ] = False,
    actor: Actor = None,
    note: Note = None,
    json: Json = False,
) -> None:
    """Close chains as cancelled, wherever they stand.

    All of them or none. Their ids are printed. A chain that an open one waits for is exit code 4, unless both go; so is
    a closed one; a missing one is 3. A worker that is on one is told.
    """
    with run.client() as client:
        chains = client.cancel(ids, reason=reason, cascade=cascade, actor=actor, note=note)
    if json:
        run.json({"items": [chain_document(each) for each in chains]})
    else:
        for each in chains:
            run.out(each.id)
    run.say(f"cancelled {len(chains)} chain{'' if len(chains) == 1 else 's'}")


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
    with run.client(run.registry(processors)) as client:
        chain = client.restart(id_, from_job=from_, actor=actor, note=note, **given, **due)
    if json:
        run.json(chain_document(chain))
    else:
        run.out(chain.id)
    if run.talks_to_person:
        run.say(f"started {plain(chain.type_name)} {chain.id}: {chain.status.value}")
