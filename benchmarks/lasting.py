"""What shows only after a while: memory, and what an old snapshot does to throughput."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import psycopg

from benchmarks.databases import Database, Databases
from benchmarks.measuring import Benchmark, Figure, Measure, Sizes, fresh
from benchmarks.working import drain, fill, worker

PARTS = 5


def memory(database: Database, sizes: Sizes) -> list[Figure]:
    """The resident memory of a worker: after its first job, a fifth of its jobs, and all of them.

    Each fifth is given at once: as many jobs wait, and are claimed at a time, in the first as in the last.
    """
    client = database.client
    part = sizes.lifetime // PARTS

    with worker(database, "--types", "plain", "--quiet") as process:
        watched = psutil.Process(process.pid)

        def after(count: int) -> float:
            fill(database, "plain", count - 1)
            last = client.start("plain", {"n": count}, priority=-1)
            client.wait([last.id], timeout="10m")
            return watched.memory_info().rss / 2**20

        first = after(1)
        early, *_, late = (after(part) for _ in range(PARTS))
    found = {"1 job": first, f"{part:,} jobs": early, f"{sizes.lifetime:,} jobs": late}
    return [
        *(Figure(f"worker's memory after {done}", "MiB", value) for done, value in found.items()),
        Figure("worker's memory, last over the one before", "times", late / early),
    ]


@contextmanager
def old_snapshot(databases: Databases, kind: str, sizes: Sizes) -> Iterator[Measure]:
    """Throughput window by window while another session holds an old snapshot, beside that of a database without.

    A snapshot keeps what dies later only in its own database: the two take turns on one server, window by window, until
    the disturbed one has worked for so many minutes.
    """

    def once() -> list[Figure]:
        with databases.fresh(kind) as disturbed, databases.fresh(kind) as undisturbed:
            disturbed.client.list_chains()  # with its schema, before the snapshot
            with psycopg.connect(disturbed.url) as other:
                other.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
                other.execute("SELECT count(*) FROM jobctl_current")
                return _windows(disturbed, undisturbed, sizes)

    yield once


def _windows(disturbed: Database, undisturbed: Database, sizes: Sizes) -> list[Figure]:
    rates: dict[Database, list[float]] = {undisturbed: [], disturbed: []}
    left = sizes.minutes * 60
    while left > 0 or not rates[disturbed]:
        for database, found in rates.items():
            fill(database, "plain", sizes.jobs)
            found.append(drain(database, sizes.jobs, "--types", "plain"))
        left -= sizes.jobs / rates[disturbed][-1]
    shares = [with_ / without * 100 for with_, without in zip(rates[disturbed], rates[undisturbed], strict=True)]
    last = shares[-max(len(shares) // 5, 1) :]
    return [
        Figure("undisturbed", "jobs/s", statistics.median(rates[undisturbed]), tuple(rates[undisturbed])),
        Figure("beside an old snapshot", "jobs/s", statistics.median(rates[disturbed]), tuple(rates[disturbed])),
        Figure("beside an old snapshot, least window", "% of undisturbed", min(shares)),
        Figure("beside an old snapshot, last fifth", "% of undisturbed", statistics.median(last)),
    ]


BENCHMARKS = [
    Benchmark("memory", "memory", fresh(memory)),
    Benchmark("old-snapshot", "old-snapshot", old_snapshot, kinds=("postgresql",)),
]
