"""What is measured: figures, and benchmarks that give them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

from benchmarks.databases import Database, Databases


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Attributes:
        jobs: Jobs that are processed in one run, and chains that are started in batches.
        single: Chains that are started one by one.
        backlogs: How many jobs wait while claims are measured; the last is also how many chains are listed.
        samples: Repetitions of what is measured call by call.
        commands: Repetitions of each command.
        lifetime: Jobs that a worker does before its memory is looked at.
        minutes: Worth of jobs that are done while an old snapshot is held open.
    """

    jobs: int
    single: int
    backlogs: tuple[int, ...]
    samples: int
    commands: int
    lifetime: int
    minutes: float


FULL = Sizes(
    jobs=20_000,
    single=2_000,
    backlogs=(1_000, 100_000, 1_000_000),
    samples=200,
    commands=15,
    lifetime=100_000,
    minutes=0.5,
)
QUICK = Sizes(jobs=100, single=10, backlogs=(50, 100), samples=3, commands=1, lifetime=200, minutes=0.0)


@dataclass(frozen=True)
class Figure:
    """A measurement of one run.

    Attributes:
        name: What was measured.
        unit: Its unit.
        value: The value.
        series: The values it comes from, in their order in time, where that order tells something.
    """

    name: str
    unit: str
    value: float
    series: tuple[float, ...] = ()


Measure = Callable[[], list[Figure]]
"""Measures once."""


@dataclass(frozen=True)
class Benchmark:
    """Something that is measured.

    Attributes:
        name: By which it is chosen on the command line.
        topic: Benchmarks of one topic are compared: their runs take turns.
        open: Prepares what all its runs share, for a kind of database, and gives what measures once.
        kinds: On which kinds of database.
        is_variant: Another of the same is measured with --quick in its place.
    """

    name: str
    topic: str
    open: Callable[[Databases, str, Sizes], AbstractContextManager[Measure]]
    kinds: Sequence[str] = ("postgresql", "sqlite")
    is_variant: bool = False


def fresh(
    measure: Callable[[Database, Sizes], list[Figure]],
) -> Callable[[Databases, str, Sizes], AbstractContextManager[Measure]]:
    """How a benchmark is opened whose runs share nothing: each has an empty database."""

    @contextmanager
    def opened(databases: Databases, kind: str, sizes: Sizes) -> Iterator[Measure]:
        def once() -> list[Figure]:
            with databases.fresh(kind) as database:
                return measure(database, sizes)

        yield once

    return opened


@dataclass(frozen=True)
class Result:
    """A figure over several runs."""

    benchmark: str
    database: str
    name: str
    unit: str
    values: tuple[float, ...]
    series: tuple[tuple[float, ...], ...] = ()

    @property
    def median(self) -> float:
        """The value in the middle."""
        return statistics.median(self.values)

    def document(self) -> dict[str, Any]:
        """As JSON values."""
        found = {
            "benchmark": self.benchmark,
            "database": self.database,
            "name": self.name,
            "unit": self.unit,
            "median": self.median,
            "minimum": min(self.values),
            "maximum": max(self.values),
            "values": list(self.values),
        }
        return found | ({"series": [list(each) for each in self.series]} if any(self.series) else {})

    @classmethod
    def of_document(cls, document: dict[str, Any]) -> Result:
        """From what document gives."""
        benchmark, database, name, unit = (str(document[each]) for each in ("benchmark", "database", "name", "unit"))
        series = tuple(tuple(each) for each in document.get("series", ()))
        return cls(benchmark, database, name, unit, tuple(document["values"]), series)


def collect(benchmark: str, database: str, runs: Sequence[Sequence[Figure]]) -> list[Result]:
    """The figures of several runs, put together by name."""
    found: dict[tuple[str, str], list[Figure]] = {}
    for run in runs:
        for figure in run:
            found.setdefault((figure.name, figure.unit), []).append(figure)
    return [
        Result(benchmark, database, *key, tuple(each.value for each in figures), tuple(each.series for each in figures))
        for key, figures in found.items()
    ]


def percentile(values: Sequence[float], share: float) -> float:
    """The value that so great a share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


def in_turns(
    chosen: Sequence[Benchmark],
    databases: Databases,
    kind: str,
    sizes: Sizes,
    runs: int,
    tell: Callable[[str], object],
) -> tuple[list[Result], list[str]]:
    """Measure the benchmarks of a topic A B C A B C …: what slows the machine for a while slows all of them.

    Returns:
        The results, and the names of those that failed: hours of the others are not lost with them.
    """
    found: dict[str, list[list[Figure]]] = {each.name: [] for each in chosen}
    failed: list[str] = []
    with _opened(chosen, databases, kind, sizes) as measures:
        for run in range(1, runs + 1):
            for name, measure in measures.items():
                if name in failed:
                    continue
                try:
                    found[name].append(measure())
                except Exception as error:  # noqa: BLE001 - whatever it is
                    failed.append(name)
                    tell(f"{name} on {kind} failed: {error}")
                else:
                    tell(f"{name} on {kind}, run {run} of {runs}")
    return [result for name, figures in found.items() for result in collect(name, kind, figures)], failed


@contextmanager
def _opened(chosen: Sequence[Benchmark], databases: Databases, kind: str, sizes: Sizes) -> Iterator[dict[str, Measure]]:
    if not chosen:
        yield {}
        return
    with chosen[0].open(databases, kind, sizes) as measure, _opened(chosen[1:], databases, kind, sizes) as others:
        yield {chosen[0].name: measure} | others
