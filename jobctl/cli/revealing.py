"""``--reveal``: showing what is sensitive, which leaves a trace."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from jobctl.cli.hiding import NOTHING, hide, hides
from jobctl.cli.run import Run
from jobctl.model import Chain, ChainDetail, Job

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from jobctl.client import Client

Shown = Chain | Job[Any]


def reveal(run: Run, client: Client, items: Iterable[Shown], *, actor: str | None, note: str | None) -> None:
    """Hide nothing from here on, once the histories of those chains have it of which something would be hidden.

    Args:
        run: The command's.
        client: Where the histories are.
        items: What is about to be shown.
        actor: Who looks.
        note: Why.
    """
    if leave_trace(client, items, actor=actor, note=note):
        run.say("revealed: the history has it")
    hide(lambda: NOTHING)


def leave_trace(
    client: Client,
    items: Iterable[Shown],
    *,
    actor: str | None,
    note: str | None,
    conn: Connection | None = None,
) -> bool:
    """Have the histories of chains say that they are revealed, if something of them would be hidden; whether any is.

    Args:
        client: Where the histories are.
        items: What is about to be shown.
        actor: Who looks.
        note: Why.
        conn: The transaction that it is a part of.
    """
    revealed = [each.id if isinstance(each, Chain) else each.chain_id for each in items if hides(each)]
    if revealed:
        client.reveal(revealed, actor=actor, note=note, conn=conn)
    return bool(revealed)


def all_of(details: Sequence[ChainDetail]) -> Iterator[Shown]:
    """All of which these documents have inputs and outputs: the chains that they wait for too, and who waits."""
    for each in details:
        yield each.chain
        yield from each.jobs
        yield from each.blockers.values()
        yield from each.dependents
