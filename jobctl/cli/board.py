"""What ``top`` shows: the state of its screen, the keys that change it, and how it is drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from jobctl.cli.kinds import kinds_of, stacked
from jobctl.cli.render import STYLES, plain, relative
from jobctl.cli.tree import chain_tree, rich_tree
from jobctl.model import ChainDetail, Status
from jobctl.stats import OPEN, Activity, Minute, Stats, TypeStats

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
    from rich.segment import Segment
    from rich.text import Text

SPARKS: Final = "▁▂▃▄▅▆▇█"
PLAIN_SPARKS: Final = "_.-=+*%#"

ROWS: Final = 200
"""How many rows of a kind are read for a screen, in which one can move."""

TEXT_ROWS: Final = 20
"""And where there is none."""

STEPS: Final = {
    "j": 1,
    "down": 1,
    "k": -1,
    "up": -1,
    "pagedown": 10,
    "pageup": -10,
    "g": -(10**6),
    "home": -(10**6),
    "G": 10**6,
    "end": 10**6,
}
"""How far a key moves."""

HELP: Final = (
    ("j k, arrows", "move among what runs and what failed"),
    ("Page Up/Down", "move by ten"),
    ("g G", "move to the first, to the last"),
    ("Enter", "open the chain, as `jobctl show` does"),
    ("Esc", "go back"),
    ("s", "sort the types by the next column"),
    ("r", "reverse the order"),
    ("Space", "look again at once"),
    ("?", "this help"),
    ("q", "quit"),
)


@dataclass(frozen=True, slots=True)
class Seen:
    """What was read, to be shown.

    Attributes:
        database: Which, without a password.
        stats: Numbers, in one window.
        activity: What goes on.
        detail: The chain that is opened.
        missing: What there is to say when that does not exist any more.
        trouble: Why it is not newer; None when it is.
    """

    database: str
    stats: Stats
    activity: Activity
    detail: ChainDetail | None = None
    missing: str | None = None
    trouble: str | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """An order of the types.

    Attributes:
        column: By which column.
        key: What to compare; the largest first.
    """

    column: str
    key: Callable[[TypeStats], Any]


ORDERS: Final = (
    Order("rate", lambda each: each.done[0].worked.settled),
    Order("errors", lambda each: each.done[0].worked.errors),
    Order("p95", lambda each: each.done[0].worked.durations.quantile(0.95) or 0.0),
    Order("ready", lambda each: each.open[Status.READY].count),
    Order("scheduled", lambda each: each.open[Status.SCHEDULED].count),
    Order("running", lambda each: each.open[Status.RUNNING].count),
    Order("failed", lambda each: each.open[Status.FAILED].count),
)


@dataclass(slots=True)
class Board:
    """The state of the screen.

    Attributes:
        ascii_only: Draw without the characters that not every terminal has.
        order: The place in ORDERS of how types are sorted.
        reversed: Whether the smallest goes first.
        marked: The row that is marked: its kind and its job.
        opened: The chain that is opened.
        offset: How far that is scrolled.
        helping: Whether the help is shown.
    """

    ascii_only: bool = False
    order: int = 0
    reversed: bool = False
    marked: tuple[str, str, int] | None = None
    opened: str | None = None
    offset: int = 0
    helping: bool = False
    _place: int = 0
    _rows: list[tuple[tuple[str, str, int], str]] = field(default_factory=list)  # what can be marked, and its chain

    # --- keys ----------------------------------------------------------------------------------------------------

    def press(self, key: str) -> bool:
        """Do what a key says; returns whether to go on."""
        if key == "q":
            return False
        if key == "?":
            self.helping = not self.helping
        elif key == "esc" and self.helping:
            self.helping = False
        elif key == "esc":
            self.opened = None
        elif self.opened is not None:
            self.offset = max(0, self.offset + STEPS.get(key, 0))
        elif key in STEPS:
            self._move(STEPS[key])
        elif key == "enter" and self._rows:
            self.opened, self.offset = self._rows[self._place][1], 0
        elif key == "s":
            self.order, self.reversed = (self.order + 1) % len(ORDERS), False
        elif key == "r":
            self.reversed = not self.reversed
        return True

    def _move(self, by: int) -> None:
        if self._rows:
            self._place = min(max(self._place + by, 0), len(self._rows) - 1)
            self.marked = self._rows[self._place][0]

    def take(self, seen: Seen) -> None:
        """Go on with what was read: the mark stays at its job, or else at its place."""
        running = [(("running", each.job_id, each.attempt), each.chain_id) for each in seen.activity.running]
        failed = [(("failed", each.job_id, each.attempt), each.chain_id) for each in seen.activity.failures]
        self._rows = running + failed
        names = [name for name, _ in self._rows]
        if self.marked in names:
            self._place = names.index(self.marked)
        else:
            self.marked = None
        self._place = max(0, min(self._place, len(names) - 1))

    # --- drawing -------------------------------------------------------------------------------------------------

    def draw(self, seen: Seen, console: Console, now: datetime) -> RenderableType:
        """The screen, as large as the terminal."""
        from rich.text import Text

        foot = Text("j k move   Enter open   s sort   r reverse   ? help   q quit", style="dim", no_wrap=True)
        head = _rendered(console, self._head(seen, console.width, now))
        room = console.height - len(head) - 2
        if self.helping:
            body = _rendered(console, [Text(f"{keys:<16}{what}") for keys, what in HELP])
        elif self.opened is None:
            body = _rendered(console, self._tables(seen, console.width, room, now, mark=self._place))
        else:
            foot = Text("j k scroll   Esc back   ? help   q quit", style="dim", no_wrap=True)
            body = self._chain(seen, console, room, now)
        return _Lines([*head, [], *body[:room], *[[]] * (room - len(body)), *_rendered(console, [foot])])

    def everything(self, seen: Seen, width: int, now: datetime) -> list[RenderableType]:
        """All that there is to show, for where there is no screen."""
        from rich.text import Text

        return [*self._head(seen, width, now), Text(), *self._tables(seen, width, None, now)]

    def _head(self, seen: Seen, width: int, now: datetime) -> list[RenderableType]:
        at = f"{now.astimezone():%H:%M:%S}"
        title = _line(("jobctl top", "bold"), (f"  {plain(seen.database)}", "dim"))
        title.truncate(max(0, width - len(at) - 2), overflow="ellipsis")
        title.pad_right(max(1, width - title.cell_len - len(at)))
        title.append(at, "dim")
        found: list[RenderableType] = [title, _line(*_workers_said(seen.activity), *_open_said(seen.stats.types))]
        if seen.trouble is None:
            return [*found, _line(*self._throughput(seen.activity.minutes, width, seen.activity.at))]
        return [*found, _line((f"as of {relative(seen.stats.at, now)}: {plain(seen.trouble)}", "bold red"))]

    def _throughput(self, minutes: Sequence[Minute], width: int, now: datetime) -> list[tuple[str, str]]:
        """A sparkline of the minutes that are over, and what is done in a minute by the last one and this."""
        lately = minutes[-2:]
        passed = max(1.0, (now - lately[0].at).total_seconds()) / 60
        settled, errors = sum(each.settled for each in lately) / passed, sum(each.errors for each in lately) / passed
        said = f" {settled:,.0f} jobs/min"
        failing = f"  {errors:,.0f} errors/min" if errors else ""
        most = max(10, width - len(said) - len(failing) - len("  last 60m"))
        counts = [each.settled for each in minutes[:-1]][-most:]
        drawn = sparkline(counts, PLAIN_SPARKS if self.ascii_only else SPARKS)
        return [(drawn, "green"), (said, "bold"), (failing, "bold red"), (f"  last {len(counts)}m", "dim")]

    def _tables(
        self, seen: Seen, width: int, room: int | None, now: datetime, mark: int | None = None
    ) -> list[RenderableType]:
        order = ORDERS[self.order]
        types = sorted(seen.stats.types, key=lambda each: each.type_name)
        types.sort(key=order.key, reverse=not self.reversed)
        arrow = ("^" if self.reversed else "v") if self.ascii_only else ("▲" if self.reversed else "▼")
        kinds = kinds_of(types, seen.activity, order.column, arrow, mark)
        return stacked(kinds, width, room, now)

    def _chain(self, seen: Seen, console: Console, room: int, now: datetime) -> list[list[Segment]]:
        """The chain that is opened, as far as it fits."""
        from rich.text import Text

        if seen.detail is None or seen.detail.chain.id != self.opened:
            return _rendered(console, [Text(seen.missing or "…", style="dim")])
        lines = _rendered(console, [rich_tree(chain_tree(seen.detail, now))])
        self.offset = max(0, min(self.offset, len(lines) - room))
        return lines[self.offset :]


def sparkline(counts: Sequence[int], characters: str = SPARKS) -> str:
    """A character for each count, the higher the more; the lowest for nothing at all."""
    most = max(counts, default=0)
    levels = len(characters) - 1
    return "".join(characters[-(-count * levels // most) if most else 0] for count in counts)


def _line(*parts: tuple[str, str]) -> Text:
    from rich.text import Text

    return Text.assemble(*parts, no_wrap=True, overflow="ellipsis")


def _workers_said(activity: Activity) -> list[tuple[str, str]]:
    alive = [each for each in activity.workers if each.lives(activity.at)]
    silent = len(activity.workers) - len(alive)
    said = f"{len(alive)} worker{'' if len(alive) == 1 else 's'}"
    slots = f" {sum(each.running for each in alive)}/{sum(each.concurrency for each in alive)} slots" if alive else ""
    return [(said, "bold" if alive else "bold red"), (slots, ""), (f", {silent} silent" if silent else "", "bold red")]


def _open_said(types: Sequence[TypeStats]) -> list[tuple[str, str]]:
    counts = {status: sum(each.open[status].count for each in types) for status in OPEN}
    return [(f"  {status.value} {count:,}", STYLES[status]) for status, count in counts.items() if count]


def _rendered(console: Console, parts: Sequence[RenderableType]) -> list[list[Segment]]:
    return [line for each in parts for line in console.render_lines(each, pad=False)]


class _Lines:
    """Lines that are rendered already."""

    def __init__(self, lines: Sequence[Sequence[Segment]]) -> None:
        self._lines = lines

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.segment import Segment

        for place, each in enumerate(self._lines):
            if place:
                yield Segment.line()
            yield from each
