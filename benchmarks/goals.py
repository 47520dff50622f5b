"""What jobctl is meant to reach, as ratios to what else was measured in the same run: shown, never enforced."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.measuring import Result, Sizes
from benchmarks.side_by_side import PEERS

PICK_UP = ("pick-up, p50", "pick-up, p99")


@dataclass(frozen=True)
class Source:
    """Where a figure is found: the benchmark, the kind of database, the figure's name."""

    benchmark: str
    database: str
    name: str


@dataclass(frozen=True)
class Goal:
    """A ratio to be reached.

    Attributes:
        what: What it is about.
        measured: The figure.
        against: Sources of the figures that it is divided by, of which the greatest counts; or a number.
        least: The ratio is at least this much; exclusive with most.
        most: The ratio is at most this much.
    """

    what: str
    measured: Source
    against: tuple[Source, ...] | float = 1.0
    least: float | None = None
    most: float | None = None

    @property
    def sources(self) -> tuple[Source, ...]:
        """All that must be measured for it."""
        return (self.measured, *(self.against if isinstance(self.against, tuple) else ()))


@dataclass(frozen=True)
class Reached:
    """How far a goal is reached. Where one of the figures was not measured, there is no ratio."""

    goal: Goal
    measured: float | None
    against: float | None

    @property
    def ratio(self) -> float | None:
        """The figure to what it is compared with."""
        return self.measured / self.against if self.measured is not None and self.against else None

    @property
    def is_reached(self) -> bool | None:
        """Whether the goal is; None when that is not known."""
        if self.ratio is None:
            return None
        if self.goal.least is not None:
            return self.ratio >= self.goal.least
        return self.goal.most is not None and self.ratio <= self.goal.most

    def document(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "goal": self.goal.what,
            "database": self.goal.measured.database,
            "measured": self.measured,
            "against": self.against,
            "ratio": self.ratio,
            "least": self.goal.least,
            "most": self.goal.most,
            "reached": self.is_reached,
        }


def _pg(benchmark: str, name: str = "processed") -> Source:
    return Source(benchmark, "postgresql", name)


def goals(sizes: Sizes) -> list[Goal]:
    """All goals; some figures are named by how much was measured."""
    fewest, most = f"{sizes.backlogs[0]:,}", f"{sizes.backlogs[-1]:,}"
    found = [
        Goal("plain handlers, default options: PgQueuer", _pg("plain-default-1"), (_pg("pgqueuer-process"),), 1.5),
        Goal("plain handlers: a bare loop", _pg("plain-default-1"), (_pg("bare-batches"),), 18_750 / 37_000),
        Goal("atomic handlers: a bare loop", _pg("atomic-default-1"), (_pg("bare-transactions"),), 3_000 / 3_300),
        Goal(
            "three-step chains: a bare loop's jobs",
            _pg("chains", "chains of three steps"),
            (_pg("bare-batches"),),
            4_000 / 37_000,
        ),
        Goal("three-step chains, a second", _pg("chains", "chains of three steps"), 1.0, 4_000),
        Goal(
            "start one by one: PgQueuer",
            _pg("start-single", "one by one"),
            (_pg("pgqueuer-start", "one by one"),),
            2_000 / 1_950,
        ),
        Goal(
            "start in batches of 1,000: the best peer",
            _pg("start-1000", "in batches of 1,000"),
            tuple(_pg(f"{peer.name}-start", "in batches") for peer in PEERS),
            1.3,
        ),
        Goal("SQLite, plain handlers, a second", Source("plain-default-1", "sqlite", "processed"), 1.0, 15_000),
        Goal(
            "SQLite, plain handlers: a bare loop on PostgreSQL",
            Source("plain-default-1", "sqlite", "processed"),
            (_pg("bare-batches"),),
            15_000 / 37_000,
        ),
        Goal("pick-up p50: PgQueuer", _pg("pick-up", PICK_UP[0]), (_pg("pgqueuer-pick-up", PICK_UP[0]),), most=2 / 3.3),
        Goal("pick-up p99: PgQueuer", _pg("pick-up", PICK_UP[1]), (_pg("pgqueuer-pick-up", PICK_UP[1]),), most=5 / 5.3),
        Goal(
            "old snapshot, least window: % of undisturbed",
            _pg("old-snapshot", "beside an old snapshot, least window"),
            1.0,
            50,
        ),
    ]
    for kind in ("postgresql", "sqlite"):
        one, many = (Source("claim", kind, f"claim, {most} waiting, {types}") for types in ("1 type", "50 types"))
        few = Source("claim", kind, f"claim, {fewest} waiting, 1 type")
        scheduled = Source("claim", kind, f"claim, {fewest} waiting, {most} scheduled")
        few_of_many = Source("claim", kind, f"claim, {fewest} waiting, 50 types")
        found += [
            Goal("pick-up p50, ms", Source("pick-up", kind, PICK_UP[0]), 1.0, most=2),
            Goal("pick-up p99, ms", Source("pick-up", kind, PICK_UP[1]), 1.0, most=5),
            Goal(f"claim of {most}: of {fewest}", one, (few,), most=1.3),
            Goal(f"claim of {most} of 50 types: of {fewest}", many, (few_of_many,), most=1.3),
            Goal(f"claim before {most} scheduled: none scheduled", scheduled, (few,), most=1.3),
            Goal("claim of 50 types: of one", many, (one,), most=2),
            Goal(
                f"memory after {sizes.lifetime:,} jobs, MiB",
                Source("memory", kind, f"worker's memory after {sizes.lifetime:,} jobs"),
                1.0,
                most=80,
            ),
            Goal(
                "memory, last over the one before",
                Source("memory", kind, "worker's memory, last over the one before"),
                1.0,
                most=1.05,
            ),
        ]
    floor = "python importing typer, sqlalchemy, sqlite3"
    found += [
        Goal(
            "jobctl --help: importing typer",
            Source("commands", "sqlite", "jobctl --help"),
            (Source("commands", "sqlite", "python importing typer"),),
            most=1.5,
        ),
        Goal(
            "jobctl start: importing typer, sqlalchemy, sqlite3",
            Source("commands", "sqlite", "jobctl start"),
            (Source("commands", "sqlite", floor),),
            most=1.3,
        ),
    ]
    return found


def reached(results: Sequence[Result], sizes: Sizes) -> list[Reached]:
    """How far the goals are reached."""
    medians = {Source(each.benchmark, each.database, each.name): each.median for each in results}

    def against(goal: Goal) -> float | None:
        if isinstance(goal.against, float):
            return goal.against
        return max((medians[each] for each in goal.against if each in medians), default=None)

    return [Reached(goal, medians.get(goal.measured), against(goal)) for goal in goals(sizes)]


def needed(sizes: Sizes) -> Callable[[str, str], bool]:
    """Whether a benchmark, on a kind of database, is needed to judge the goals."""
    pairs = {(source.benchmark, source.database) for goal in goals(sizes) for source in goal.sources}
    return lambda benchmark, kind: (benchmark, kind) in pairs
