"""``wait``: until chains are closed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import typer

from jobctl.cli import completing, parse
from jobctl.cli.command import command
from jobctl.cli.documents import chain_document, outcome_document
from jobctl.cli.hiding import hide, output_of, without_secrets
from jobctl.cli.options import Actor, Json, Note, Reveal, Timeout
from jobctl.cli.run import Run
from jobctl.errors import UnsuccessfulError
from jobctl.model import Chain, Status


@command(
    "wait",
    section="Look",
    examples=(
        ("jobctl wait $id --timeout 10m", "prints the output"),
        ("jobctl wait $first $second", "prints a line for each as it closes"),
        ("jobctl wait --any $first $second", "the first that closes"),
        ("jobctl list --ids --status ready | jobctl wait - --timeout 0s", ""),
    ),
)
def wait(
    run: Run,
    ids: Annotated[
        list[str],
        typer.Argument(
            metavar="ID...", help="The chains; - reads ids from stdin, one per line.", autocompletion=completing.chains
        ),
    ],
    any_: Annotated[bool, typer.Option("--any", help="Only until one of them is closed.")] = False,
    timeout: Timeout = None,
    reveal: Reveal = False,
    actor: Actor = None,
    note: Note = None,
    json: Json = False,
) -> None:
    """Wait until chains are closed, and print the output as JSON.

    For several chains, and for ids from stdin, one line with id, type, status and output is printed for each as it
    closes. Exit code 8 when one failed or was cancelled, 3 when one does not exist or was deleted. With --any only what
    closed first counts; of no ids at all there is nothing to wait for.
    """
    limit = None if timeout is None else parse.duration("--timeout", timeout)
    wanted = parse.ids(ids)
    several = len(wanted) > 1 or "-" in ids

    with run.client() as client:

        def show_all(chains: Iterable[Chain]) -> None:
            if reveal:
                from jobctl.cli.revealing import reveal as showing_all

                hide(lambda: run.sensitive)
                showing_all(run, client, chains, actor=actor, note=note)

        def tell(chain: Chain) -> None:
            show_all([chain])
            run.json(outcome_document(chain))
            run.flush()

        found = client.wait(wanted, any=any_, timeout=limit, on_closed=tell if several and not json else _nothing)
        if json or not several:
            show_all(found.values())
    if json:
        run.json({"items": [chain_document(each) for each in found.values()]})
    _require_completed(list(found.values()))
    if not several and not json:
        (chain,) = found.values()
        run.json(output_of(chain))


def _nothing(_: Chain) -> None:
    """Tell nothing yet."""


def _require_completed(chains: list[Chain]) -> None:
    """Say no when a chain failed or was cancelled."""
    from jobctl.waiting import require_completed

    bad = [each for each in chains if each.status is not Status.COMPLETED]
    if len(bad) > 1:
        listed = ", ".join(f"{each.id} is {each.status}" for each in bad)
        raise UnsuccessfulError(
            f"{len(bad)} of {len(chains)} chains did not complete: {listed}", id=bad[0].id, status=bad[0].status
        )
    for each in bad:
        require_completed(without_secrets(each))
