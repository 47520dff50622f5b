"""Worker processes as they are measured, and the jobs that they are given."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.databases import Database
from jobctl.ids import new_id
from jobctl.model import NOW, Schedule
from jobctl.storage.records import NewJob

ROOT = Path(__file__).parents[1]
BATCH = 1000
PAYLOAD = '{"n": 1}'

SPAN = {
    "postgresql": "SELECT count(*), extract(epoch FROM max(completed_at) - min(claimed_at)) FROM jobctl_settled",
    "sqlite": "SELECT count(*), (max(completed_at) - min(claimed_at)) / 1000.0 FROM jobctl_settled",
}
"""How many jobs were settled, and the seconds from the first claim to the last settlement."""

EFFECT = "CREATE TABLE effect (job_id text)"


def fill(database: Database, type_name: str, count: int, schedule: Schedule = NOW) -> None:
    """Start chains, in batches."""
    for begin in range(0, count, BATCH):
        ids = [new_id() for _ in range(min(BATCH, count - begin))]
        jobs = [NewJob(each, each, 0, type_name, type_name, PAYLOAD, 0, schedule) for each in ids]
        with database.store.transaction() as conn:
            database.store.start(conn, jobs)


def effect_table(database: Database) -> None:
    """The table of the handlers' own."""
    with database.store.transaction() as conn:
        conn.exec_driver_sql(EFFECT)


@contextmanager
def worker(database: Database, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """A worker process, ended at the end if it has not by itself."""
    command = [sys.executable, "-m", "jobctl", "worker", "--processors", "benchmarks.handlers", *options]
    environment = {**os.environ, "JOBCTL_DATABASE": database.url, "PYTHONPATH": str(ROOT)}
    with (database.folder / "worker.log").open("ab") as log:
        process = subprocess.Popen(command, env=environment, cwd=ROOT, stderr=log)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def drain(database: Database, expected: int, *options: str, processes: int = 1) -> float:
    """Have worker processes do all that is ready; returns jobs per second, from the first claim to the last end.

    Raises:
        RuntimeError: A worker failed, or not all was done.
    """
    running = []
    for _ in range(processes):
        context = worker(database, "--drain", *options)
        running.append((context, context.__enter__()))
    try:
        codes = [process.wait() for _, process in running]
    finally:
        for context, _ in running:
            context.__exit__(None, None, None)
    count, seconds = database.one(SPAN[database.kind])
    if any(codes) or count != expected:
        log = (database.folder / "worker.log").read_text(encoding="utf-8")
        raise RuntimeError(f"{count:.0f} of {expected} jobs were done, exit codes {codes}:\n{log[-2000:]}")
    return count / seconds
