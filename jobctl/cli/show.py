"""``show``: a chain with all that is known of it."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from jobctl.cli import completing
from jobctl.cli.command import command
from jobctl.cli.documents import detail_document
from jobctl.cli.options import Actor, Json, Note, Reveal
from jobctl.cli.render import plain
from jobctl.cli.run import Run, is_terminal
from jobctl.cli.tree import chain_tree, rich_tree, text_lines
from jobctl.errors import UsageError
from jobctl.model import ChainDetail

if TYPE_CHECKING:
    from jobctl.client import Client

LOOK_EVERY = 0.5
"""Seconds between two looks at a chain that is watched."""


@command(
    "show",
    section="Look",
    examples=(
        ("jobctl show $id", ""),
        ("jobctl show $id --watch", "until it is closed"),
        ("jobctl show $id --field status --field input", "a line each, for scripts"),
        ("jobctl show $id --json | python -m json.tool", ""),
    ),
)
def show(
    run: Run,
    id_: Annotated[
        str, typer.Argument(metavar="ID", help="The chain, or any of its jobs.", autocompletion=completing.chains)
    ],
    watch: Annotated[
        bool, typer.Option("--watch", help="Again whenever something changes, until it is closed.")
    ] = False,
    field: Annotated[
        list[str] | None,
        typer.Option("--field", metavar="PATH", help="Print this field alone: output.requestId; repeatable."),
    ] = None,
    reveal: Reveal = False,
    actor: Actor = None,
    note: Note = None,
    json: Json = False,
) -> None:
    """Show a chain with its jobs, errors and history.

    With --watch off a terminal, every change prints a new block, or with --json a new line.

    A field of the chain, or below jobs, blockers, dependents, errors or history, is a path such as jobs.-1.type. A text
    is printed as it is, anything else as JSON; a field that is not there is exit code 3.
    """
    if field and (watch or json):
        raise UsageError("--field prints fields alone: leave out --watch and --json")
    with run.client() as client:
        if reveal:
            from jobctl.cli.revealing import all_of
            from jobctl.cli.revealing import reveal as showing_all

            showing_all(run, client, all_of([client.show(id_)]), actor=actor, note=note)
        if field:
            _write_fields(run, client.show(id_), field)
        elif not watch:
            _write(run, client.show(id_), json=json)
        elif is_terminal(sys.stdout) and not json:
            _live(run, client, id_)
        else:
            last = None
            for detail in _looks(client, id_):
                if detail != last:
                    if last is not None and not json:
                        run.out("")
                    _write(run, detail, json=json)
                    run.flush()
                last = detail


def _write(run: Run, detail: ChainDetail, *, json: bool) -> None:
    if json:
        run.json(detail_document(detail))
        return
    if is_terminal(sys.stdout):
        run.console().print(rich_tree(chain_tree(detail, datetime.now(UTC))))
        return
    for line in text_lines(chain_tree(detail, None)):
        run.out(line)


def _write_fields(run: Run, detail: ChainDetail, paths: Sequence[str]) -> None:
    from jobctl.cli.fields import pick

    document = detail_document(detail)
    fields = {**document["chain"], **document}
    found = [pick(fields, each, id_=f"the chain {detail.chain.id}") for each in paths]  # all of them or none
    for each in found:
        run.out(plain(each) if is_terminal(sys.stdout) else each)


def _looks(client: Client, id_: str) -> Iterator[ChainDetail]:
    """The chain again and again, until it is closed."""
    while True:
        detail = client.show(id_)
        yield detail
        if detail.chain.status.closed:
            return
        time.sleep(LOOK_EVERY)


def _live(run: Run, client: Client, id_: str) -> None:
    """Redraw in place; relative times move on too."""
    from rich.live import Live

    with Live(console=run.console(), auto_refresh=False, vertical_overflow="visible") as live:
        for detail in _looks(client, id_):
            live.update(rich_tree(chain_tree(detail, datetime.now(UTC))), refresh=True)
