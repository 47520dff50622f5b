"""Worker processes as they are measured, and the jobs that they are given."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.databases import Database
from jobctl.asking import NewChain

ROOT = Path(__file__).parents[1]
BATCH = 1000
LOG = "worker.log"

NOW = {
    "postgresql": "SELECT extract(epoch FROM clock_timestamp())",
    "sqlite": "SELECT (julianday('now') - 2440587.5) * 86400.0",
}

SPAN = """
    WITH done AS (SELECT {claimed} AS claimed, {completed} AS completed, completed_by FROM jobctl_settled
                  WHERE completed_at >= {since}),
    worker AS (SELECT min(claimed) AS began FROM done GROUP BY completed_by),
    span AS (SELECT max(began) AS began FROM worker)
    SELECT (SELECT count(*) FROM done), count(*), coalesce(max(completed) - max(began), 0)
    FROM done, span WHERE completed > began
"""
"""How many jobs were settled since then, how many of them after the last worker's first claim, and within how long."""

SECONDS = {"postgresql": "extract(epoch FROM {})", "sqlite": "{} / 1000.0"}
INSTANT = {"postgresql": "to_timestamp({})", "sqlite": "{} * 1000.0"}

EFFECT = "CREATE TABLE effect (job_id text)"


def fill(database: Database, type_names: str | Sequence[str], count: int, *, after: str | None = None) -> None:
    """Start chains, in batches; of several types in turns."""
    types = itertools.cycle([type_names] if isinstance(type_names, str) else type_names)
    for begin in range(0, count, BATCH):
        numbers = range(begin, min(begin + BATCH, count))
        database.client.start_many(NewChain(next(types), {"n": n}, after) for n in numbers)


def effect_table(database: Database) -> None:
    """The table of the handlers' own."""
    with database.client.store.transaction() as conn:
        conn.exec_driver_sql(EFFECT)


@contextmanager
def worker(database: Database, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """A worker process, ended at the end if it has not by itself. What it logs goes to a file."""
    command = [sys.executable, "-m", "jobctl", "worker", "--processors", "benchmarks.handlers", *options]
    environment = {**os.environ, "JOBCTL_DATABASE": database.url, "PYTHONPATH": str(ROOT)}
    with (database.folder / LOG).open("ab") as log:
        process = subprocess.Popen(command, env=environment, cwd=database.folder, stderr=log)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def logged(database: Database) -> str:
    """The end of what the workers have logged."""
    return (database.folder / LOG).read_text(encoding="utf-8")[-2000:]


def now(database: Database) -> float:
    """The database's clock, in seconds."""
    (seconds,) = database.one(NOW[database.kind])
    return seconds


def settled_since(database: Database, since: float) -> tuple[int, float]:
    """How many jobs were settled since then, and how many per second.

    That is from the first claim to the last settlement, by the database's clock; of several workers, from when the last
    of them made its first claim.
    """
    columns = {name: SECONDS[database.kind].format(f"{name}_at") for name in ("claimed", "completed")}
    total, count, seconds = database.one(SPAN.format(since=INSTANT[database.kind].format(since), **columns))
    return int(total), count / seconds if seconds else 0.0


def drain(database: Database, expected: int, *options: str, processes: int = 1) -> float:
    """Have worker processes do all that is ready; returns jobs per second.

    Raises:
        RuntimeError: A worker failed, or not all was done.
    """
    since = now(database)
    with ExitStack() as stack:
        running = [stack.enter_context(worker(database, "--drain", *options)) for _ in range(processes)]
        codes = [process.wait() for process in running]
    total, rate = settled_since(database, since)
    if any(codes) or total != expected:
        raise RuntimeError(f"{total} of {expected} jobs were done, exit codes {codes}:\n{logged(database)}")
    return rate
