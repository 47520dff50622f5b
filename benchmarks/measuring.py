"""Figures: the median of several runs with minimum and maximum, as a table and as JSON."""

from __future__ import annotations

import platform
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.databases import Database


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Attributes:
        jobs: Jobs that are processed in one run.
        transactional: Jobs that are processed with a transaction each.
        single: Chains that are started one by one.
        backlogs: How many jobs wait while claims and lists are measured.
        samples: Repetitions of what is measured call by call.
    """

    jobs: int
    transactional: int
    single: int
    backlogs: Sequence[int]
    samples: int


FULL = Sizes(jobs=20_000, transactional=5_000, single=2_000, backlogs=(1_000, 100_000, 1_000_000), samples=200)
QUICK = Sizes(jobs=200, transactional=50, single=20, backlogs=(100, 1_000), samples=5)


@dataclass(frozen=True)
class Figure:
    """A measurement of one run.

    Attributes:
        name: What was measured.
        unit: Its unit.
        value: The value.
    """

    name: str
    unit: str
    value: float


@dataclass(frozen=True)
class Benchmark:
    """Something that is measured.

    Attributes:
        name: By which it is chosen on the command line.
        run: Measures once, on an empty database with jobctl's schema.
        kinds: On which kinds of database.
    """

    name: str
    run: Callable[[Database, Sizes], list[Figure]]
    kinds: Sequence[str] = ("postgresql", "sqlite")


@dataclass(frozen=True)
class Result:
    """A figure over several runs."""

    benchmark: str
    database: str
    name: str
    unit: str
    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The value in the middle."""
        return statistics.median(self.values)

    def document(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "benchmark": self.benchmark,
            "database": self.database,
            "name": self.name,
            "unit": self.unit,
            "median": self.median,
            "minimum": min(self.values),
            "maximum": max(self.values),
            "values": list(self.values),
        }


def collect(benchmark: str, database: str, runs: Sequence[Sequence[Figure]]) -> list[Result]:
    """The figures of several runs, put together by name."""
    values: dict[tuple[str, str], list[float]] = {}
    for run in runs:
        for figure in run:
            values.setdefault((figure.name, figure.unit), []).append(figure.value)
    return [Result(benchmark, database, name, unit, tuple(each)) for (name, unit), each in values.items()]


def percentile(values: Sequence[float], share: float) -> float:
    """The value that so great a share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


def show(results: Sequence[Result]) -> None:
    """Print a table."""
    table = Table("benchmark", "database", "measured", "median", "min to max", "unit")
    for each in results:
        spread = f"{number(min(each.values))} to {number(max(each.values))}"
        table.add_row(each.benchmark, each.database, each.name, number(each.median), spread, each.unit)
    Console(width=140).print(table)


def number(value: float) -> str:
    """A number with three digits that tell."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def machine() -> dict[str, str]:
    """What it was measured on."""
    return {"python": platform.python_version(), "system": platform.platform()}
