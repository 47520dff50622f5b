"""Latency: how soon an idle worker begins, and what single calls cost as the work grows."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial

import psutil
from sqlalchemy import Connection

from benchmarks.databases import Database
from benchmarks.measuring import Benchmark, Figure, Sizes, percentile
from benchmarks.working import ROOT, drain, fill, worker
from jobctl import Client, ListFilter, Status
from jobctl.ids import new_id
from jobctl.model import Schedule
from jobctl.storage.store import Store

MS = "ms"

PICK_UP = {
    "postgresql": "SELECT extract(epoch FROM claimed_at - created_at) * 1000.0",
    "sqlite": "SELECT claimed_at - created_at",
}


def pick_up(database: Database, sizes: Sizes) -> list[Figure]:
    """From the start of a chain to its claim by an idle worker in another process, by the database's clock."""
    client = Client(database.store)
    with worker(database, "--types", "plain", "--quiet"):
        client.wait([client.start("plain").id], timeout="30s")
        ids = []
        for _ in range(sizes.samples):
            time.sleep(0.02)  # the worker is idle again
            ids.append(client.start("plain").id)
        client.wait(ids, timeout="30s")
    query = (
        f"{PICK_UP[database.kind]} FROM jobctl_job JOIN jobctl_settled USING (chain_id, chain_index)"
        f" WHERE chain_id IN ({', '.join(repr(each) for each in ids)})"
    )
    with database.store.transaction(read_only=True) as conn:
        found = [float(value) for value in conn.exec_driver_sql(query).scalars()]
    return [Figure("pick-up, p50", MS, percentile(found, 0.5)), Figure("pick-up, p99", MS, percentile(found, 0.99))]


def _undone(store: Store, call: Callable[[Connection], object]) -> float:
    """Milliseconds that a call in a transaction takes, which is then rolled back."""
    with store.engine.connect() as conn, conn.begin() as transaction:
        begin = time.perf_counter()
        call(conn)
        took = (time.perf_counter() - begin) * 1000
        transaction.rollback()
    return took


def claims(database: Database, sizes: Sizes, types: int) -> list[Figure]:
    """A claim of ten jobs out of more and more that wait."""
    figures = []
    store = database.store
    names = dict.fromkeys((f"type-{number}" for number in range(types)), 30.0)
    done = 0
    for backlog in sizes.backlogs:
        for name in names:
            fill(database, name, (backlog - done) // types)
        done = backlog
        analyze(database)
        took = [
            _undone(store, lambda conn: store.claim(conn, names, 10, worker="w", lease=new_id()))
            for _ in range(sizes.samples)
        ]
        label = f"claim of 10 from {backlog:,} waiting, {types} type{'s' * (types > 1)}"
        figures.append(Figure(label, MS, percentile(took, 0.5)))
    return figures


def claims_before_future(database: Database, sizes: Sizes) -> list[Figure]:
    """A claim of ten jobs while more and more are scheduled for later."""
    store = database.store
    fill(database, "plain", 1000)
    fill(database, "plain", sizes.backlogs[-1], Schedule.of("1d"))
    analyze(database)
    took = [
        _undone(store, lambda conn: store.claim(conn, {"plain": 30.0}, 10, worker="w", lease=new_id()))
        for _ in range(sizes.samples)
    ]
    return [Figure(f"claim of 10 before {sizes.backlogs[-1]:,} scheduled", MS, percentile(took, 0.5))]


def lists(database: Database, sizes: Sizes) -> list[Figure]:
    """A page of lists, and one chain, out of many."""
    count = sizes.backlogs[-1]
    fill(database, "plain", count)
    analyze(database)
    client = Client(database.store)
    chain_id = client.list_chains().items[0].id
    calls: dict[str, Callable[[], object]] = {
        "list": client.list_chains,
        "list --type": lambda: client.list_chains(ListFilter(type_name="plain")),
        "list --status failed": lambda: client.list_chains(ListFilter(statuses=(Status.FAILED,))),
        "jobs --order oldest": lambda: client.list_jobs(ListFilter(newest_first=False)),
        "show": lambda: client.show(chain_id),
    }
    return [
        Figure(f"{name}, {count:,} chains", MS, percentile([_milliseconds(call) for _ in range(sizes.samples)], 0.5))
        for name, call in calls.items()
    ]


def _milliseconds(call: Callable[[], object]) -> float:
    begin = time.perf_counter()
    call()
    return (time.perf_counter() - begin) * 1000


def memory(database: Database, sizes: Sizes) -> list[Figure]:
    """The resident memory of a worker, soon after its start and after many jobs."""
    client = Client(database.store)
    with worker(database, "--types", "plain", "--quiet") as process:
        client.wait([client.start("plain").id], timeout="30s")
        watched = psutil.Process(process.pid)
        before = watched.memory_info().rss
        fill(database, "plain", sizes.jobs * 5)
        last = client.start("plain", priority=-1)
        client.wait([last.id], timeout="10m")
        after = watched.memory_info().rss
    return [
        Figure("worker's memory at the start", "MiB", before / 2**20),
        Figure(f"worker's memory after {sizes.jobs * 5:,} jobs", "MiB", after / 2**20),
    ]


def old_snapshot(database: Database, sizes: Sizes) -> list[Figure]:
    """Throughput while another session holds an old snapshot, of what it is without."""
    fill(database, "plain", sizes.jobs)
    undisturbed = drain(database, sizes.jobs, "--types", "plain")
    with database.store.engine.connect() as old:
        old.execution_options(isolation_level="REPEATABLE READ")
        old.exec_driver_sql("SELECT count(*) FROM jobctl_current")
        for round_ in range(1, 4):
            fill(database, "plain", sizes.jobs)
            begin = time.perf_counter()
            drain(database, sizes.jobs * (round_ + 1), "--types", "plain")
            disturbed = sizes.jobs / (time.perf_counter() - begin)
    return [Figure("throughput with an old snapshot", "% of undisturbed", disturbed / undisturbed * 100)]


def commands(database: Database, sizes: Sizes) -> list[Figure]:
    """Wall time of commands as whole processes."""
    environment = {**os.environ, "JOBCTL_DATABASE": database.url, "PYTHONPATH": str(ROOT)}
    chain_id = Client(database.store).start("plain").id
    jobctl = ("-m", "jobctl")
    lines = {
        "python importing typer": ("-c", "import typer"),
        "jobctl --help": (*jobctl, "--help"),
        "python importing typer, sqlalchemy, sqlite3": ("-c", "import typer, sqlalchemy, sqlite3"),
        "jobctl start": (*jobctl, "start", "plain"),
        "jobctl show": (*jobctl, "show", chain_id),
        "jobctl complete": (*jobctl, "complete"),
    }
    figures = []
    for name, line in lines.items():
        took = []
        for _ in range(max(sizes.samples // 20, 2)):
            last = (Client(database.store).start("plain").id,) if name == "jobctl complete" else ()
            begin = time.perf_counter()
            subprocess.run([sys.executable, *line, *last], env=environment, check=True, capture_output=True)
            took.append((time.perf_counter() - begin) * 1000)
        figures.append(Figure(name, MS, percentile(took, 0.5)))
    return figures


def analyze(database: Database) -> None:
    """Have the planner know the tables, as it does after some minutes."""
    with database.store.transaction() as conn:
        conn.exec_driver_sql("ANALYZE")


BENCHMARKS = [
    Benchmark("pick-up", pick_up),
    Benchmark("claim-1", partial(claims, types=1)),
    Benchmark("claim-50", partial(claims, types=50)),
    Benchmark("claim-future", claims_before_future),
    Benchmark("lists", lists),
    Benchmark("memory", memory),
    Benchmark("old-snapshot", old_snapshot, kinds=("postgresql",)),
    Benchmark("commands", commands),
]
