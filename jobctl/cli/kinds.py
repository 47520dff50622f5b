"""The tables of ``top``, one for each kind of thing: how they look, and how they share a screen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from jobctl.cli.numbers import column, duration_cell, number_cell, rate_cell, waiting_cell
from jobctl.cli.render import STYLES, Column, relative, said_line, table_of
from jobctl.model import Status
from jobctl.stats import Activity, Failure, Running, TypeStats, Working
from jobctl.wording import span

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

Item = TypeVar("Item")

LEAST_LINES: Final = 3
"""What a table takes: its heading, a row, and the empty line before the next."""


@dataclass(slots=True)
class Kind(Generic[Item]):
    """A table.

    Attributes:
        title: Stands over the first column.
        items: Its rows.
        columns: Its columns; the first one's name is the title.
        marked: The row that is marked.
    """

    title: str
    items: Sequence[Item]
    columns: Callable[[str], Sequence[Column[Item]]]
    marked: int | None = None

    def table(self, width: int, height: int, now: datetime) -> Table:
        """So many rows of it, those around the marked one, and how many there are."""
        first = 0 if self.marked is None else min(max(0, self.marked - height + 1), len(self.items) - height)
        shown = self.items[first : first + height]
        count = len(self.items) if len(shown) == len(self.items) else f"{len(shown)} of {len(self.items)}"
        columns = self.columns(f"{self.title} ({count})")
        return table_of(columns, shown, width, now, marked=None if self.marked is None else self.marked - first)


def kinds_of(
    types: Sequence[TypeStats], activity: Activity, ordered_by: str, arrow: str, mark: int | None
) -> list[Kind[Any]]:
    """The tables that have something to show.

    Args:
        types: The types, in their order.
        activity: What goes on.
        ordered_by: The column that types are ordered by.
        arrow: Shows that.
        mark: Which of what runs and what failed, counted through, is marked.
    """
    running = len(activity.running)
    runs = mark if mark is not None and mark < running else None
    fails = mark - running if mark is not None and mark >= running else None
    found: list[Kind[Any]] = [
        Kind("types", types, lambda title: _type_columns(title, ordered_by, arrow, activity.at)),
        Kind("running", activity.running, lambda title: _running_columns(title, activity.at), runs),
        Kind("failed attempts", activity.failures, lambda title: _failure_columns(title, activity.at), fails),
        Kind("workers", activity.workers, lambda title: _worker_columns(title, activity.at)),
    ]
    return [each for each in found if each.items]


def stacked(kinds: Sequence[Kind[Any]], width: int, room: int | None, now: datetime) -> list[RenderableType]:
    """The tables one under the other, in so many lines; the last ones are left out when there are too few."""
    from rich.text import Text

    if not kinds:
        return [Text("nothing is open, and nothing was done lately", style="dim")]
    if room is not None:
        kinds = kinds[: max(1, (room + 1) // LEAST_LINES)]
    wanted = [len(each.items) for each in kinds]
    heights = wanted if room is None else share(room - 2 * len(kinds) + 1, wanted)
    parts: list[RenderableType] = []
    for each, height in zip(kinds, heights, strict=True):
        if height > 0:
            parts += [Text(), each.table(width, height, now)] if parts else [each.table(width, height, now)]
    return parts


def share(room: int, wanted: Sequence[int]) -> list[int]:
    """Lines for each, in turn, until all have what they want or there are no more."""
    given = [0] * len(wanted)
    while room > 0 and given != list(wanted):
        for place, want in enumerate(wanted):
            if room > 0 and given[place] < want:
                given[place] += 1
                room -= 1
    return given


# --- columns ---------------------------------------------------------------------------------------------------------


def _type_columns(title: str, ordered_by: str, arrow: str, at: datetime) -> Sequence[Column[TypeStats]]:
    def named(name: str) -> str:
        return f"{name}{arrow}" if name == ordered_by else name

    def waiting(status: Status, width: int = 0) -> Column[TypeStats]:
        return column(
            named(status.value),
            lambda each: waiting_cell(status, each.open[status], at),
            width=width,
            style=lambda each: STYLES[status] if each.open[status].count else "dim",
        )

    return (
        column(title, lambda each: f"{each.type_name} (paused)" if each.paused else each.type_name, flexible=True),
        column(named("rate"), lambda each: rate_cell(each.done[0].per_second), right=True),
        column(
            named("errors"),
            lambda each: number_cell(each.done[0].worked.errors),
            right=True,
            style=lambda each: "red" if each.done[0].worked.errors else "dim",
        ),
        column("p50", lambda each: duration_cell(each.done[0].worked.durations.quantile(0.5)), width=110, right=True),
        column(named("p95"), lambda each: duration_cell(each.done[0].worked.durations.quantile(0.95)), right=True),
        waiting(Status.READY),
        waiting(Status.SCHEDULED, 72),
        waiting(Status.RUNNING, 100),
        waiting(Status.BLOCKED, 120),
        waiting(Status.FAILED),
    )


def _running_columns(title: str, at: datetime) -> Sequence[Column[Running]]:
    return (
        column(title, lambda each: each.type_name, flexible=True),
        column("for", lambda each: span(max(0.0, (at - each.since).total_seconds())), right=True),
        column("attempt", lambda each: str(each.attempt), width=72, right=True),
        column("chain", lambda each: each.chain_id, style=lambda _: "dim"),
        column("worker", lambda each: each.worker, width=100, flexible=True),
    )


def _failure_columns(title: str, at: datetime) -> Sequence[Column[Failure]]:
    return (
        column(title, lambda each: each.type_name, flexible=True),
        column("when", lambda each: relative(each.at, at)),
        column("attempt", lambda each: str(each.attempt), width=100, right=True),
        column("error", lambda each: said_line(each.error), flexible=True, style=lambda _: "red"),
        column("chain", lambda each: each.chain_id, width=130, style=lambda _: "dim"),
    )


def _worker_columns(title: str, at: datetime) -> Sequence[Column[Working]]:
    def state(each: Working) -> str:
        if not each.lives(at):
            return f"silent for {span((at - each.seen_at).total_seconds())}"
        return "stopping" if each.stopping else "alive"

    return (
        column(title, lambda each: each.name, flexible=True),
        column("slots", lambda each: f"{each.running}/{each.concurrency}", right=True),
        column("state", state, style=lambda each: "" if each.lives(at) else "bold red"),
        column("host", lambda each: each.host, width=100, flexible=True),
        column("pid", lambda each: str(each.pid), width=100, right=True),
    )
