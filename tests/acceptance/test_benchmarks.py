"""The benchmarks run, on small sizes; no time is judged. What they say of goals and write into pages follows from them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from support import InThread, eventually

from benchmarks.databases import Database, Databases, at_rest, databases
from benchmarks.measuring import QUICK, Benchmark, Figure, in_turns
from benchmarks.working import settled_since

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "performance.md"


def benchmarks(*arguments: object) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.smoke
@pytest.mark.timeout(240)  # some thirty processes, one after the other
@pytest.mark.parametrize("kind", ["postgresql", "sqlite"])
def test_benchmarks_run(tmp_path: Path, postgres_server: str, kind: str):
    """Each kind of benchmark measures something on each database it is for, and all that the goals are about."""
    output, page = tmp_path / "figures.json", tmp_path / "performance.md"
    page.write_text(PAGE.read_text())
    places = ("--database", postgres_server, "--kind", kind, "--output", output, "--markdown", page)
    benchmarks("--quick", "--runs", 1, *places)
    document = json.loads(output.read_text())
    expected = {"start-single", "start-100", "start-1000", "plain-default-1", "plain-default-2", "atomic-default-1"}
    expected |= {"async-staged-default-1", "chains", "async-sleep", "pick-up", "claim", "lists", "memory", "commands"}
    expected |= {
        "postgresql": {"bare-batches", "bare-transactions", "old-snapshot"},
        "sqlite": {"bare-batches-sqlite"},
    }[kind]
    assert {(each["benchmark"], each["database"]) for each in document["results"]} == {
        (each, kind) for each in expected
    }
    for each in document["results"]:
        assert 0 < each["minimum"] <= each["median"] <= each["maximum"], each
        assert f"| {each['benchmark']} | {kind} | {each['name']} |" in page.read_text()

    for each in document["goals"]:
        assert each["database"] != kind or each["measured"] is not None, each
    missing = [each["goal"] for each in document["goals"] if each["database"] == kind and each["ratio"] is None]
    assert all("PgQueuer" in each or "peer" in each or "on PostgreSQL" in each for each in missing)


def test_goals_are_compared(tmp_path: Path):
    """A goal says what was measured as a ratio to what it is compared with, of several the greatest, and if it is reached."""
    output = tmp_path / "figures.json"
    rates = {
        "plain-default-1": ("processed", 30.0),
        "pgqueuer-process": ("processed", 10.0),
        "start-1000": ("in batches of 1,000", 26.0),
        "pgqueuer-start": ("in batches", 10.0),
        "awa-start": ("in batches", 40.0),
        "atomic-default-1": ("processed", 50.0),
    }
    results = [
        {
            "benchmark": benchmark,
            "database": "postgresql",
            "name": name,
            "unit": "jobs/s",
            "values": [0, rate, rate * 9],
        }
        for benchmark, (name, rate) in rates.items()
    ]
    sizes = {"jobs": 1, "single": 1, "backlogs": [1], "samples": 1, "commands": 1, "lifetime": 1, "minutes": 1}
    output.write_text(json.dumps({"sizes": sizes, "results": results}))
    rows = [[cell.strip() for cell in line.split("│")] for line in benchmarks("--from", output, "--goals").splitlines()]
    goals = {row[1]: row[3:8] for row in rows if len(row) > 8}
    assert goals == {
        "plain handlers, default options: PgQueuer": ["30", "10", "3", "at least 1.5", "yes"],
        "plain handlers: a bare loop": ["30", "", "", "at least 0.507", "not measured"],
        "atomic handlers: a bare loop": ["50", "", "", "at least 0.909", "not measured"],
        "start in batches of 1,000: the best peer": ["26", "40", "0.65", "at least 1.3", "no"],
    }


def test_runs_take_turns():
    """The runs of what is compared take turns, in what was opened once; what fails is told and left out, alone."""
    order = []

    def benchmark(name, fails_in=None):
        @contextmanager
        def opened(databases, kind, sizes):
            runs = 0

            def measure():
                nonlocal runs
                runs += 1
                order.append(f"{name}{runs}")
                if runs == fails_in:
                    raise RuntimeError("no")
                return [Figure("rate", "jobs/s", float(runs), series=(1.0, 2.0))]

            order.append(f"+{name}")
            yield measure
            order.append(f"-{name}")

        return Benchmark(name, "letters", opened)

    told = []
    chosen = [benchmark("a"), benchmark("b", fails_in=2), benchmark("c")]
    results, failed = in_turns(chosen, None, "sqlite", QUICK, 3, told.append)
    assert order == ["+a", "+b", "+c", "a1", "b1", "c1", "a2", "b2", "c2", "a3", "c3", "-c", "-b", "-a"]
    assert failed == ["b"]
    assert "b on sqlite failed: no" in told
    assert [(each.benchmark, each.median, each.values) for each in results] == [
        ("a", 2.0, (1.0, 2.0, 3.0)),
        ("b", 1.0, (1.0,)),
        ("c", 2.0, (1.0, 2.0, 3.0)),
    ]
    assert results[0].document()["series"] == [[1.0, 2.0]] * 3


def test_what_takes_turns_has_servers_of_its_own():
    """Two databases that take turns are on two servers; the one at rest does nothing, and goes on afterwards."""
    with databases(None) as one, one.beside() as two:
        assert one.pids
        assert two.pids
        assert one.pids != two.pids
        with one.fresh("postgresql") as here, two.fresh("postgresql") as there:
            assert here.one("SELECT 1") == there.one("SELECT 1") == (1.0,)
            with at_rest(two.pids):
                processes = [psutil.Process(pid) for pid in two.pids]
                stopped = [*processes, *(child for each in processes for child in each.children(recursive=True))]
                eventually(lambda: {each.status() for each in stopped} == {psutil.STATUS_STOPPED})
                waiting = InThread(lambda: there.one("SELECT 3"))
                assert here.one("SELECT 2") == (2.0,)
                assert waiting.running
            assert waiting.result() == (3.0,)
            assert psutil.STATUS_STOPPED not in {each.status() for each in processes}


def test_on_a_server_that_was_given_nothing_is_stopped(postgres_server: str, tmp_path: Path):
    """A server that others may use is not stopped: both databases are on it."""
    one = Databases(postgres_server, tmp_path)
    with one.beside() as two:
        assert two is one
        assert two.pids == ()


SETTLED = {
    "postgresql": "UPDATE jobctl_settled SET completed_by = '{worker}', claimed_at = to_timestamp({claimed}),"
    " completed_at = to_timestamp({completed}) WHERE chain_id = '{id}'",
    "sqlite": "UPDATE jobctl_settled SET completed_by = '{worker}', claimed_at = {claimed} * 1000,"
    " completed_at = {completed} * 1000 WHERE chain_id = '{id}'",
}

BEGIN = 2_000_000_000


@pytest.mark.parametrize(
    ("jobs", "total", "rate"),
    [
        ([("a", 0, 1), ("a", 0, 1), ("a", 1, 4), ("a", 1, 4)], 4, 1.0),  # four jobs from second 0 to second 4
        ([("a", 0, 1), ("a", 1, 3), ("b", 2, 4), ("b", 3, 6)], 4, 0.75),  # three were settled since b began at 2
        ([("a", -9, -8), ("a", 0, 1), ("a", 1, 2)], 2, 1.0),  # one belongs to an earlier measurement
    ],
)
def test_rates_are_those_of_workers_that_all_work(database_url: str, tmp_path: Path, jobs, total, rate):
    """A rate is from the first claim to the last settlement since the measurement began, once every worker has begun."""
    database = Database(database_url, database_url.partition(":")[0], tmp_path)
    for worker, claimed, completed in jobs:
        chain = database.client.start("plain")
        with database.client.settle(chain.id) as current:
            current.complete(None)
        times = {"worker": worker, "claimed": BEGIN + claimed, "completed": BEGIN + completed}
        with database.client.store.transaction() as conn:
            conn.exec_driver_sql(SETTLED[database.kind].format(id=chain.id, **times))
    assert settled_since(database, BEGIN - 1) == (total, pytest.approx(rate))
    database.close()
