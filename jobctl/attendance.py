"""Which types there are, what waits under their names, and who attends to them."""

from __future__ import annotations

import difflib

from sqlalchemy import Connection

from jobctl.registry import Registry
from jobctl.reports import TypeReport, WorkerReport, WorkerState
from jobctl.storage.counting_types import Counts, open_jobs, paused_types
from jobctl.workforce import workers


def types(conn: Connection, processors: Registry) -> list[TypeReport]:
    """The types of open jobs, of live workers and of these processors, by name."""
    counts = open_jobs(conn)
    paused = paused_types(conn)
    alive = [each for each in workers(conn) if each.state is WorkerState.ALIVE]
    taken = sorted({name for each in alive for name in each.types})
    names = sorted({*counts, *taken, *processors})
    return [
        _report(
            name, counts.get(name, Counts()), paused, [each for each in alive if name in each.types], taken, processors
        )
        for name in names
    ]


def _report(
    name: str, counts: Counts, paused: set[str], takers: list[WorkerReport], taken: list[str], processors: Registry
) -> TypeReport:
    known = processors.get(name)
    return TypeReport(
        name,
        *counts,
        paused="type" if name in paused else "all" if "" in paused else None,
        workers=tuple(each.name for each in takers),
        similar=() if takers or counts == Counts() else tuple(difflib.get_close_matches(name, taken)),
        known=known is not None,
        alias_of=None if known is None or known.name == name else known.name,
        aliases=() if known is None or known.name != name else known.aliases,
        entry=None if known is None else known.entry,
        where=None if known is None else known.where,
    )
