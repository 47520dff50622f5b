"""``--reveal``: showing what is sensitive, which leaves a trace."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from jobctl.cli.hiding import NOTHING, hide, hides
from jobctl.cli.run import Run
from jobctl.model import Chain, Job

if TYPE_CHECKING:
    from jobctl.client import Client


def reveal(run: Run, client: Client, items: Iterable[Chain | Job[Any]], *, actor: str | None, note: str | None) -> None:
    """Hide nothing from here on, once the histories of those chains have it of which something would be hidden.

    Args:
        run: The command's.
        client: Where the histories are.
        items: What is about to be shown.
        actor: Who looks.
        note: Why.
    """
    revealed = [each.id if isinstance(each, Chain) else each.chain_id for each in items if hides(each)]
    if revealed:
        client.reveal(revealed, actor=actor, note=note)
        run.say("revealed: the history has it")
    hide(lambda: NOTHING)
