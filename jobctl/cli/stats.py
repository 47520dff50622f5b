"""``stats``: how many jobs are where, since when, and what was done to them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Annotated

import typer

from jobctl.cli.command import command
from jobctl.cli.numbers import (
    all_types,
    column,
    duration_cell,
    lines,
    number_cell,
    rate_cell,
    stats_document,
    waiting_cell,
)
from jobctl.cli.options import Json, OfType
from jobctl.cli.parse import names
from jobctl.cli.render import NOTHING, STYLES, Column, plain, relative, write_list
from jobctl.cli.run import Run, is_terminal
from jobctl.errors import UsageError
from jobctl.model import Status
from jobctl.stats import DEFAULT_WINDOWS, OPEN, Done, Stats, TypeStats

Row = tuple[str, Done]
"""What was done, and to which type."""


@command(
    "stats",
    section="Look",
    examples=(
        ("jobctl stats", ""),
        ("jobctl stats --type resize --window 15m --json", ""),
        ("jobctl stats | grep -P '\\tfailed\\t'", "how many have failed, by type"),
        ("jobctl stats --prometheus > jobctl.prom", "for node_exporter's textfile folder"),
    ),
)
def stats(
    run: Run,
    type_name: OfType = None,
    window: Annotated[
        list[str] | None,
        typer.Option(
            "--window",
            metavar="DURATION",
            help="Look back so far, 1m to 2d; repeatable, or several with commas; 5m,1h,1d unless given.",
        ),
    ] = None,
    prometheus: Annotated[
        bool, typer.Option("--prometheus", help="Print metrics in the text format of Prometheus.")
    ] = False,
    json: Json = False,
) -> None:
    """Count jobs by type and status, and what was done to them.

    Open jobs are counted exactly, with the age of the oldest. What was done is what workers counted, who tell of it
    every few seconds, and what was done by hand; of windows longer than an hour, from a full hour on.

    Off a terminal: a line per number with type, name and value, separated by tabs, - for nothing, times in UTC.
    """
    if json and prometheus:
        raise UsageError("--json and --prometheus exclude each other: give one of them")
    with run.client() as client:
        found = client.stats(type_name=type_name, windows=names("--window", window) or DEFAULT_WINDOWS)
        workers = client.activity(limit=1, minutes=1) if prometheus else None
    if json:
        run.json(stats_document(found))
    elif workers is not None:
        from jobctl.cli.prometheus import exposition

        sys.stdout.write(exposition(found, workers))
    elif is_terminal(sys.stdout):
        _write_tables(run, found)
    else:
        for name, what, value in lines(found):
            run.out(f"{plain(name)}\t{what}\t{value or NOTHING}")
    if not found.types and run.talks_to_person and not prometheus:
        run.say("there is nothing to count")


def _write_tables(run: Run, stats: Stats) -> None:
    if stats.types:
        write_list(run, _open_columns(stats), stats.types)
    rows = _rows(stats)
    if rows:
        run.out("")
        write_list(run, DONE_COLUMNS, rows)
    if stats.paused:
        run.out("")
    for each in stats.paused:
        what = "all types are" if each.name is None else f"{plain(each.name)} is"
        note = f": {plain(each.note)}" if each.note else ""
        run.out(f"{what} paused, {relative(each.at, stats.at)} by {plain(each.actor or '')}{note}")


def _rows(stats: Stats) -> list[Row]:
    """A row for each window of each type of which something was done, and those of all together."""
    active = [each for each in stats.types if any(done.worked.attempts or done.settled_by_hand for done in each.done)]
    rows = [(each.type_name, done) for each in active for done in each.done]
    if len(active) > 1:
        rows += [("all types", all_types(active, place)) for place in range(len(stats.windows))]
    return rows


def _open_columns(stats: Stats) -> Sequence[Column[TypeStats]]:
    return (
        column("type", lambda each: each.type_name, flexible=True),
        *(_status_column(stats, status) for status in OPEN),
        column("paused", _paused, width=1, style=lambda _: "yellow"),
    )


def _status_column(stats: Stats, status: Status) -> Column[TypeStats]:
    return column(
        status.value,
        lambda each: waiting_cell(status, each.open[status], stats.at),
        style=lambda each: STYLES[status] if each.open[status].count else "dim",
    )


def _paused(each: TypeStats) -> str | None:
    if each.paused:
        return "yes"
    return f"{each.paused_chains} chains" if each.paused_chains else None


def _by_hand(row: Row) -> str | None:
    return number_cell(row[1].settled_by_hand) if row[1].settled_by_hand else None


def _bad(count: Callable[[Row], int]) -> Callable[[Row], str]:
    return lambda row: "red" if count(row) else "dim"


DONE_COLUMNS: Sequence[Column[Row]] = (
    column("type", lambda row: row[0], flexible=True),
    column("last", lambda row: row[1].window.label, style=lambda _: "cyan"),
    column("done", lambda row: number_cell(row[1].worked.settled), right=True),
    column("rate", lambda row: rate_cell(row[1].per_second), right=True),
    column("by hand", _by_hand, width=1, right=True),
    column("attempts", lambda row: number_cell(row[1].worked.attempts), width=100, right=True),
    column(
        "errors",
        lambda row: number_cell(row[1].worked.errors),
        right=True,
        style=_bad(lambda row: row[1].worked.errors),
    ),
    column(
        "failed",
        lambda row: number_cell(row[1].worked.failed),
        right=True,
        style=_bad(lambda row: row[1].worked.failed),
    ),
    column("p50", lambda row: duration_cell(row[1].worked.durations.quantile(0.5)), right=True),
    column("p95", lambda row: duration_cell(row[1].worked.durations.quantile(0.95)), right=True),
)
