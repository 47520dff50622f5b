"""Starting and processing: jobs per second."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from benchmarks.databases import Database
from benchmarks.measuring import Benchmark, Figure, Sizes
from benchmarks.working import PAYLOAD, drain, effect_table, fill
from jobctl import Client
from jobctl.ids import new_id
from jobctl.storage.records import NewJob

RATE = "jobs/s"


def start_single(database: Database, sizes: Sizes) -> list[Figure]:
    """Chains started one by one on one connection, a commit each."""
    client = Client(database.store)
    client.start("warm-up", {"n": 1})
    begin = time.perf_counter()
    for _ in range(sizes.single):
        client.start("plain", {"n": 1})
    return [Figure("one by one", RATE, sizes.single / (time.perf_counter() - begin))]


def start_batches(database: Database, sizes: Sizes, size: int) -> list[Figure]:
    """Chains started in batches on one connection, a commit each."""
    count = max(sizes.jobs // size, 1)
    begin = time.perf_counter()
    for _ in range(count):
        ids = [new_id() for _ in range(size)]
        with database.store.transaction() as conn:
            database.store.start(conn, [NewJob(each, each, 0, "plain", "plain", PAYLOAD) for each in ids])
    return [Figure(f"batches of {size}", RATE, count * size / (time.perf_counter() - begin))]


def process(database: Database, sizes: Sizes, type_name: str, concurrency: int, processes: int) -> list[Figure]:
    """No-op jobs of a mode."""
    transactional = type_name in {"atomic", "staged", "async-staged"}
    if transactional:
        effect_table(database)
    count = sizes.transactional if transactional else sizes.jobs
    fill(database, type_name, count)
    rate = drain(database, count, "--types", type_name, "--concurrency", str(concurrency), processes=processes)
    return [Figure(f"{type_name}, concurrency {concurrency}, {processes} process{'es' * (processes > 1)}", RATE, rate)]


def three_steps(database: Database, sizes: Sizes) -> list[Figure]:
    """Chains of three jobs."""
    chains = sizes.jobs // 4
    fill(database, "step-1", chains)
    return [
        Figure("chains of three steps", "chains/s", drain(database, chains * 3, "--types", "step-1,step-2,step-3") / 3)
    ]


def sleeping(database: Database, sizes: Sizes, type_name: str) -> list[Figure]:
    """Jobs that wait for 10 ms, a hundred at once: how much of the ideal 10,000 per second."""
    fill(database, type_name, sizes.jobs)
    rate = drain(database, sizes.jobs, "--types", type_name, "--concurrency", "100")
    return [Figure(f"{type_name} 10 ms, concurrency 100", "% of the ideal", rate / 10_000 * 100)]


def _named(name: str, run: Callable[[Database, Sizes], list[Figure]]) -> Benchmark:
    return Benchmark(name, run)


BENCHMARKS = [
    _named("start-single", start_single),
    _named("start-100", partial(start_batches, size=100)),
    _named("start-1000", partial(start_batches, size=1000)),
    *(
        _named(
            f"{mode}-{concurrency}-{processes}",
            partial(process, type_name=mode, concurrency=concurrency, processes=processes),
        )
        for mode in ("plain", "async", "atomic", "staged", "async-staged")
        for concurrency, processes in ((1, 1), (10, 1), (100, 1), (10, 2))
    ),
    _named("chains", three_steps),
    _named("sleep", partial(sleeping, type_name="sleep")),
    _named("async-sleep", partial(sleeping, type_name="async-sleep")),
]
