"""Many processes on one database at once: workers that share the work, and first uses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psycopg
from acceptance.observing import effects, events, log, make_effects
from support import Running, wait_until_blocked

from jobctl import Client, ListFilter, Status
from jobctl.storage.migrate import migrations
from jobctl.storage.postgres import MIGRATION_LOCK

CHAINS = 200
WORKERS = ("w1", "w2", "w3")
AT_ONCE = 20

HANDLERS = """
import time
from pathlib import Path

import sqlalchemy as sa
from jobctl import Job, continue_with, processor

EFFECT = sa.table("effect", sa.column("chain_id"), sa.column("note"))

@processor("gather")
def gather(job: Job):
    "All that a worker runs at once, until the others are here too: so each gets some of the work."
    Path(f"{job.worker}.here").touch()
    while not all(Path(f"{each}.here").exists() for each in job.input):
        time.sleep(0.005)

@processor("first")
def first(job: Job, conn):
    conn.execute(sa.insert(EFFECT).values(chain_id=job.chain_id, note="first"))
    return continue_with(second, job.input)

@processor("second", entry=False)
def second(job: Job, conn):
    conn.execute(sa.insert(EFFECT).values(chain_id=job.chain_id, note="second"))
    return job.input
"""


def test_three_workers(client: Client, spawn: Callable[..., Running], workplace: Path):
    """Three workers on one database complete hundreds of chains: each effect once, each attempt the first, no error."""
    make_effects(client)
    (workplace / "handlers.py").write_text(HANDLERS)
    with client.store.transaction() as conn:
        for _ in WORKERS:
            client.start("gather", WORKERS, priority=1, conn=conn)
        chains = {client.start("first", n, conn=conn).id: n for n in range(CHAINS)}
    workers = {
        name: spawn(
            *("worker", "--processors", "handlers", "--name", name, "--concurrency", "1", "--log-format", "json")
        )
        for name in WORKERS
    }
    closed = client.wait(chains, timeout="60s")
    assert {id_: (chain.status, chain.output) for id_, chain in closed.items()} == {
        id_: (Status.COMPLETED, n) for id_, n in chains.items()
    }
    assert effects(client) == {(chain, note): 1 for chain in chains for note in ("first", "second")}

    by = Counter[str]()
    for name, worker in workers.items():
        result = worker.stop()
        assert (result.code, result.out) == (143, "")
        assert {line["event"] for line in log(worker)} <= {
            *("worker_started", "worker_stopping", "worker_stopped"),
            *("job_started", "job_completed", "job_continued", "job_released"),
        }
        assert "locked" not in result.err
        done = events(worker, "job_completed", "job_continued")
        assert {line["attempt"] for line in done} == {1}
        assert "gather" in {line["type"] for line in done}
        by[name] = len(done)
    assert by.total() == 2 * CHAINS + len(WORKERS)


def test_migrate_at_once(empty_postgres_url: str, spawn: Callable[..., Running]):
    """Twenty ``jobctl migrate`` at once on an empty PostgreSQL all succeed; one applies the steps, each once."""
    with psycopg.connect(empty_postgres_url) as holder:
        holder.execute("SELECT pg_advisory_xact_lock(%s)", [MIGRATION_LOCK])
        running = [spawn("migrate") for _ in range(AT_ONCE)]
        wait_until_blocked(empty_postgres_url, AT_ONCE, by=holder.info.backend_pid, within=60)
    results = [each.wait(60) for each in running]
    assert {(each.code, each.out) for each in results} == {(0, "")}
    wanted = migrations("postgresql")
    applied = "".join(f"applied {each.version:04d} {each.name}\n" for each in wanted)
    said = Counter(each.err for each in results)
    assert said.pop(applied) == 1
    (others,) = said
    assert others.endswith(" is up to date\n")
    with psycopg.connect(empty_postgres_url) as conn:
        versions = conn.execute("SELECT version FROM jobctl_migration ORDER BY version").fetchall()
    assert versions == [(each.version,) for each in wanted]


def test_start_at_once(tmp_path: Path, spawn: Callable[..., Running], open_client: Callable[[str], Client]):
    """Twenty ``jobctl start`` at once on a file in a folder that does not exist all succeed, and set it up once."""
    url = f"sqlite:///{tmp_path / 'not' / 'yet' / 'jobs.db'}"
    running = [spawn("start", "a", "--database", url) for _ in range(AT_ONCE)]
    results = [each.wait(60) for each in running]
    assert {(each.code, each.err) for each in results} == {(0, "")}
    client = open_client(url)
    assert {each.id for each in client.list_chains(ListFilter(limit=100)).items} == {
        each.out.strip() for each in results
    }
    assert len({each.out for each in results}) == AT_ONCE
    with client.store.transaction(read_only=True) as conn:
        versions = conn.exec_driver_sql("SELECT version FROM jobctl_migration ORDER BY version").scalars().all()
    assert versions == [each.version for each in migrations("sqlite")]
