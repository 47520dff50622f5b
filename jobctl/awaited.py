"""Which chains open ones wait for, and must not be taken away from under them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from sqlalchemy import Connection

from jobctl.errors import ReferencedError
from jobctl.storage import editing
from jobctl.storage.parameters import id_rows
from jobctl.storage.store import Store

MOST_NAMED = 3
"""How many of the chains that wait an error names in its message; it has all of them as a fact."""


def awaited_by(store: Store, conn: Connection, chain_ids: Iterable[str]) -> dict[str, list[str]]:
    """Those of these chains, which are locked, that open ones wait or waited for, each with those."""
    waiting: dict[str, list[str]] = {}
    for awaited, by in store.run(conn, editing.WAITING, {"ids": id_rows(chain_ids)}):
        waiting.setdefault(awaited, []).append(by)
    return waiting


def without_awaited(waiting: Mapping[str, list[str]], doomed: Iterable[str]) -> list[str]:
    """Those of these chains that can be taken away together.

    A chain that has to stay is itself one that waits: then what it waits for has to stay too.
    """
    going = dict.fromkeys(doomed)
    while kept := [each for each, by in waiting.items() if each in going and not going.keys() >= set(by)]:
        for each in kept:
            del going[each]
    return list(going)


def refuse_awaited(waiting: Mapping[str, list[str]], doomed: Collection[str], remedy: str) -> None:
    """Refuse to take chains away that others wait for.

    Args:
        waiting: Chains, each with those that wait for it.
        doomed: The chains that are to be taken away: these may wait.
        remedy: What to do instead.

    Raises:
        ReferencedError: A chain that stays waits for one.
    """
    for awaited, by in waiting.items():
        staying = [each for each in by if each not in doomed]
        if staying:
            more = f" and {len(staying) - MOST_NAMED} more" if len(staying) > MOST_NAMED else ""
            raise ReferencedError(
                f"the chain {awaited} is waited for by {', '.join(staying[:MOST_NAMED])}{more}: {remedy}",
                id=awaited,
                waiting=staying,
            )
