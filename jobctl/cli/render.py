"""What people read: relative times, tables on a terminal, tab-separated lines elsewhere."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Generic, Literal, NamedTuple, TypeVar

from jobctl.cli.documents import iso
from jobctl.cli.hiding import error_of
from jobctl.cli.run import Run, is_terminal
from jobctl.model import Act, Chain, Job, Status
from jobctl.wording import said, span

if TYPE_CHECKING:
    from rich.table import Table

Item = TypeVar("Item")

NOTHING = "-"
"""What stands for no value in a line: an empty field would shift the others for tools that split at white space."""

GAP = 2
"""Spaces between two columns of a table."""

LEAST_WIDTH = 8
"""How narrow a column of a table may become."""

STYLES = {
    Status.BLOCKED: "yellow",
    Status.SCHEDULED: "cyan",
    Status.READY: "blue",
    Status.RUNNING: "bold blue",
    Status.FAILED: "bold red",
    Status.CONTINUED: "green",
    Status.COMPLETED: "green",
    Status.CANCELLED: "magenta",
}

_CHANGES = ("status", "type", "attempt", "due", "priority")
"""What is told of what an act changed, in this order."""


def plain(text: str) -> str:
    """The text without what moves a terminal's cursor or changes its colours."""
    if text.isprintable():
        return text
    return "".join(_visible(char) for char in text)


def _visible(char: str) -> str:
    if char in "\t\n\r":
        return " "
    if unicodedata.category(char) in {"Cc", "Cf", "Cs", "Zl", "Zp"}:
        return char.encode("unicode_escape").decode("ascii")
    return char


def said_line(text: str) -> str:
    """The line of an error that says what it was."""
    return plain(said(text))


def relative(instant: datetime, now: datetime) -> str:
    """How long ago, or in how long."""
    seconds = (instant - now).total_seconds()
    if abs(seconds) < 1:
        return "now"
    text = span(round(seconds))
    return f"in {text}" if seconds > 0 else f"{text} ago"


def what_changed(act: Act, *, people: bool = False) -> str | None:
    """What an act by hand changed, in a few words; for people with times as they were seen from then."""
    return ", ".join(_changes(act, people=people)) or None


def _changes(act: Act, *, people: bool) -> Iterator[str]:
    details = act.details
    if (new := details.get("restarted_as")) is not None:
        yield f"as {new}"
    if (old := details.get("restarted_from")) is not None:
        yield f"from {old}"
    if details.get("cascade"):
        yield "cascade"
    before, after = details.get("before") or {}, details.get("after") or {}
    for name in _CHANGES:
        if name not in before or (name in {"attempt", "due"} and "job_id" in before):  # another job has its own
            continue
        was, now = before[name], after.get(name, "gone")
        if name == "due":
            instants = datetime.fromisoformat(was), datetime.fromisoformat(now)
            was, now = (relative(each, act.at) if people else iso(each) for each in instants)
        if was != now:
            yield f"{was} → {now}" if name == "status" else f"{name} {was} → {now}"


class Column(NamedTuple, Generic[Item]):
    """A column of a list.

    Attributes:
        name: Its heading.
        line: Its field of a line, exact.
        cell: What a person reads, at this moment.
        width: From which width of the terminal on it is shown, and then only if a row has something there.
        style: The colour of a row's cell.
        flexible: It gives way when the terminal is too narrow.
        right: Its cells are numbers, aligned at their ends.
    """

    name: str
    line: Callable[[Item], str | None]
    cell: Callable[[Item, datetime], str | None]
    width: int = 0
    style: Callable[[Item], str] = lambda _: ""
    flexible: bool = False
    right: bool = False


def _paused(item: Chain | Job[Any]) -> str | None:
    return None if item.paused is None else item.paused.value


def _short_error(item: Chain | Job[Any]) -> str | None:
    return None if item.status.closed or (text := error_of(item, item.last_error)) is None else said_line(text)


def _status_style(item: Chain | Job[Any]) -> str:
    return STYLES[item.status]


def _due(item: Chain | Job[Any], now: datetime) -> str | None:
    return None if item.status.closed else relative(item.scheduled_at, now)


CHAIN_COLUMNS: Sequence[Column[Chain]] = (
    Column("id", lambda chain: chain.id, lambda chain, _: chain.id, style=lambda _: "dim"),
    Column("type", lambda chain: chain.type_name, lambda chain, _: chain.type_name, flexible=True),
    Column("status", lambda chain: chain.status.value, lambda chain, _: chain.status.value, style=_status_style),
    Column(
        "at",
        lambda chain: chain.job_type,
        lambda chain, _: None if chain.job_type == chain.type_name else chain.job_type,
        width=96,
        flexible=True,
    ),
    Column("started", lambda chain: iso(chain.created_at), lambda chain, now: relative(chain.created_at, now)),
    Column("due", lambda chain: iso(chain.scheduled_at), _due, width=96),
    Column(
        "closed",
        lambda chain: None if chain.closed_at is None else iso(chain.closed_at),
        lambda chain, now: None if chain.closed_at is None else relative(chain.closed_at, now),
        width=112,
    ),
    Column("attempt", lambda chain: str(chain.attempt), lambda chain, _: str(chain.attempt), width=124),
    Column("error", _short_error, lambda chain, _: _short_error(chain), width=116, flexible=True),
    Column("paused", _paused, lambda chain, _: _paused(chain), width=1, style=lambda _: "yellow"),
)

JOB_COLUMNS: Sequence[Column[Job[Any]]] = (
    Column("id", lambda job: job.id, lambda job, _: job.id, style=lambda _: "dim"),
    Column("chain", lambda job: job.chain_id, lambda job, _: job.chain_id, width=150, style=lambda _: "dim"),
    Column("type", lambda job: job.type_name, lambda job, _: job.type_name, flexible=True),
    Column("status", lambda job: job.status.value, lambda job, _: job.status.value, style=_status_style),
    Column("created", lambda job: iso(job.created_at), lambda job, now: relative(job.created_at, now)),
    Column("due", lambda job: iso(job.scheduled_at), _due, width=96),
    Column(
        "settled",
        lambda job: None if job.completed_at is None else iso(job.completed_at),
        lambda job, now: None if job.completed_at is None else relative(job.completed_at, now),
        width=104,
    ),
    Column("attempt", lambda job: str(job.attempt), lambda job, _: str(job.attempt), width=112),
    Column(
        "worker",
        lambda job: job.worker or job.completed_by,
        lambda job, _: job.worker or job.completed_by,
        width=120,
        flexible=True,
    ),
    Column("error", _short_error, lambda job, _: _short_error(job), width=140, flexible=True),
    Column("paused", _paused, lambda job, _: _paused(job), width=1, style=lambda _: "yellow"),
)


def write_list(run: Run, columns: Sequence[Column[Item]], items: Iterable[Item]) -> None:
    """Write a list: a table on a terminal, else a line per item with its fields separated by tabs."""
    if is_terminal(sys.stdout):
        _write_table(run, columns, list(items))
        return
    for item in items:
        run.out("\t".join(_field(each.line(item)) for each in columns))


def _field(text: str | None) -> str:
    return plain(text) if text else NOTHING


def _write_table(run: Run, columns: Sequence[Column[Item]], items: Sequence[Item]) -> None:
    console = run.console()
    console.print(table_of(columns, items, console.width, datetime.now(UTC)))


def table_of(
    columns: Sequence[Column[Item]], items: Sequence[Item], width: int, now: datetime, *, marked: int | None = None
) -> Table:
    """A table that fits the width, a line per item.

    Args:
        columns: Its columns, of which those are left out that need more width, or have nothing to show.
        items: Its rows.
        width: Of the terminal.
        now: The moment that times are relative to.
        marked: The row to be marked.
    """
    from rich.table import Table
    from rich.text import Text

    wide_enough = [each for each in columns if each.width <= width]
    shown = [each for each in wide_enough if each.width == 0 or any(_cell(each, item, now) for item in items)]
    rows = [[Text(_cell(each, item, now), style=each.style(item)) for each in shown] for item in items]
    widths = [max([len(each.name), *(row[place].cell_len for row in rows)]) for place, each in enumerate(shown)]
    fitting = fit(widths, [each.flexible for each in shown], width - GAP * (len(shown) - 1))
    table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, header_style="bold")
    for each, its_width in zip(shown, fitting, strict=True):
        justify: Literal["right", "left"] = "right" if each.right else "left"
        table.add_column(each.name.upper(), width=its_width, no_wrap=True, overflow="ellipsis", justify=justify)
    for place, row in enumerate(rows):
        table.add_row(*row, style="reverse" if place == marked else "")
    return table


def fit(widths: Sequence[int], flexible: Sequence[bool], space: int) -> list[int]:
    """The widths of columns, those that may give way made narrower until all fit, the widest first."""
    fitting = list(widths)
    while sum(fitting) > space:
        candidates = [place for place, gives_way in enumerate(flexible) if gives_way and fitting[place] > LEAST_WIDTH]
        if not candidates:
            break
        fitting[max(candidates, key=lambda place: fitting[place])] -= 1
    return fitting


def _cell(column: Column[Item], item: Item, now: datetime) -> str:
    return plain(column.cell(item, now) or "")
