"""What shows only after a while: memory, and what an old snapshot does to throughput."""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import NamedTuple

import psutil
import psycopg

from benchmarks.databases import Database, Databases, at_rest
from benchmarks.measuring import Benchmark, Figure, Measure, Sizes, fresh
from benchmarks.working import fill, logged, now, settled_since, worker

PARTS = 5

LOOK_SECONDS = 0.05


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

    The two take turns, window by window, until the disturbed one has worked for so many minutes. Each has one worker
    process for all of that time, and a server of its own; while it is the other's turn they are stopped, so that its
    vacuum is at the cost of nobody else. On a server that was given only the worker is.
    """

    def once() -> list[Figure]:
        with databases.beside() as others, databases.fresh(kind) as disturbed, others.fresh(kind) as undisturbed:
            disturbed.client.list_chains()  # with its schema, before the snapshot
            with psycopg.connect(disturbed.url) as other, ExitStack() as stack:
                other.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
                other.execute("SELECT count(*) FROM jobctl_current")
                sides = [
                    Side(each, server.pids, stack.enter_context(worker(each, "--types", "plain")))
                    for each, server in ((disturbed, databases), (undisturbed, others))
                ]
                return _windows(sides[0], sides[1], sizes)

    yield once


class Side(NamedTuple):
    """What takes turns with another: a database, its server's process if it has one of its own, and its worker."""

    database: Database
    server: tuple[int, ...]
    worker: subprocess.Popen[bytes]

    def at_rest(self) -> AbstractContextManager[None]:
        """Within the block it does nothing."""
        return at_rest([self.worker.pid, *self.server])


def _windows(disturbed: Side, undisturbed: Side, sizes: Sizes) -> list[Figure]:
    rates: dict[Side, list[float]] = {undisturbed: [], disturbed: []}
    left = sizes.minutes * 60
    while left > 0 or not rates[disturbed]:
        for side, other in ((undisturbed, disturbed), (disturbed, undisturbed)):
            with other.at_rest():
                rates[side].append(_window(side.database, side.worker, sizes.jobs))
        left -= sizes.jobs / rates[disturbed][-1]
    shares = [with_ / without * 100 for with_, without in zip(rates[disturbed], rates[undisturbed], strict=True)]
    last = shares[-max(len(shares) // 5, 1) :]
    return [
        Figure("undisturbed", "jobs/s", statistics.median(rates[undisturbed]), tuple(rates[undisturbed])),
        Figure("beside an old snapshot", "jobs/s", statistics.median(rates[disturbed]), tuple(rates[disturbed])),
        Figure("beside an old snapshot, least window", "% of undisturbed", min(shares)),
        Figure("beside an old snapshot, last fifth", "% of undisturbed", statistics.median(last)),
    ]


def _window(database: Database, process: subprocess.Popen[bytes], count: int) -> float:
    """Give so many jobs at once to the worker that is there; returns jobs per second.

    Raises:
        RuntimeError: The worker ended.
    """
    client = database.client
    client.pause(types=["plain"])
    fill(database, "plain", count - 1)
    last = client.start("plain", {"n": count})
    since = now(database)
    client.resume(types=["plain"])
    while not (client.get(last.id).status.closed and (found := settled_since(database, since))[0] == count):
        if process.poll() is not None:
            raise RuntimeError(f"the worker ended with exit code {process.returncode}:\n{logged(database)}")
        time.sleep(LOOK_SECONDS)
    return found[1]


BENCHMARKS = [
    Benchmark("memory", "memory", fresh(memory)),
    Benchmark("old-snapshot", "old-snapshot", old_snapshot, kinds=("postgresql",)),
]
