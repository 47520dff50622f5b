"""Processing jobs: jobs per second of whole worker processes."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from benchmarks.databases import Database
from benchmarks.measuring import Benchmark, Figure, Sizes, fresh
from benchmarks.working import drain, effect_table, fill

TRANSACTIONAL = ("atomic", "staged", "async-staged")
TOPICS = {mode: "transactions" if mode in TRANSACTIONAL else "process" for mode in ("plain", "async", *TRANSACTIONAL)}

QUICK = {("plain", 1), ("plain", 2), ("atomic", 1), ("async-staged", 1)}
"""The modes and numbers of processes, with default options, that stand for all others when only a few are tried."""

SLEEP_SECONDS = 0.01
SLEEPING_AT_ONCE = 100


def no_ops(
    database: Database, sizes: Sizes, mode: str, concurrency: int | None, processes: int, more: tuple[str, ...] = ()
) -> list[Figure]:
    """No-op jobs of a mode; transactional ones write a row of their own."""
    if mode in TRANSACTIONAL:
        effect_table(database)
    fill(database, mode, sizes.jobs)
    database.settle_down()
    options = ("--types", mode, *more, *(() if concurrency is None else ("--concurrency", str(concurrency))))
    return [Figure("processed", "jobs/s", drain(database, sizes.jobs, *options, processes=processes))]


def three_steps(database: Database, sizes: Sizes) -> list[Figure]:
    """Chains of three jobs."""
    chains = max(sizes.jobs // 3, 1)
    fill(database, "step-1", chains)
    database.settle_down()
    rate = drain(database, chains * 3, "--types", "step-1,step-2,step-3")
    return [Figure("chains of three steps", "chains/s", rate / 3)]


def sleeping(database: Database, sizes: Sizes, mode: str) -> list[Figure]:
    """Jobs that wait for 10 ms, a hundred at once: how much of the ideal 10,000 per second."""
    fill(database, mode, sizes.jobs)
    database.settle_down()
    rate = drain(database, sizes.jobs, "--types", mode, "--concurrency", str(SLEEPING_AT_ONCE))
    return [Figure("sleeping 10 ms, 100 at once", "% of ideal", rate / (SLEEPING_AT_ONCE / SLEEP_SECONDS) * 100)]


def _variants() -> Iterator[Benchmark]:
    for mode, topic in TOPICS.items():
        for concurrency in (None, 1, 10, 100):
            for processes in (1, 2):
                yield Benchmark(
                    f"{mode}-{concurrency or 'default'}-{processes}",
                    topic,
                    fresh(partial(no_ops, mode=mode, concurrency=concurrency, processes=processes)),
                    is_variant=concurrency is not None or (mode, processes) not in QUICK,
                )


BENCHMARKS = [
    *_variants(),
    Benchmark(
        "plain-quiet-1",
        "process",
        fresh(partial(no_ops, mode="plain", concurrency=None, processes=1, more=("--quiet",))),
        is_variant=True,
    ),
    Benchmark("chains", "process", fresh(three_steps)),
    Benchmark("sleep", "sleep", fresh(partial(sleeping, mode="sleep")), is_variant=True),
    Benchmark("async-sleep", "sleep", fresh(partial(sleeping, mode="async-sleep"))),
]
