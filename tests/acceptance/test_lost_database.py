"""A database that goes away and comes back, and one that does not let us in."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from acceptance.observing import appear, effects, events, make_effects
from acceptance.own_server import OwnServer
from postgres_server import ServerRun
from support import Result, Running, eventually

from benchmarks.databases import at_rest
from jobctl import Client, Status
from jobctl.cli.working import LAST_SECONDS
from jobctl.storage.migrate import migrate
from jobctl.storage.open import open_store

HANDLERS = """
import asyncio
import time
from pathlib import Path

import sqlalchemy as sa
from jobctl import Attempt, Job, processor

EFFECT = sa.table("effect", sa.column("chain_id"), sa.column("note"))

def effect(job):
    return sa.insert(EFFECT).values(chain_id=job.chain_id, note=job.type_name)

def gate(job):
    Path(f"{job.type_name}.reached").touch()
    while not Path("open").exists():
        time.sleep(0.005)

@processor("plain")
def plain(job: Job):
    gate(job)
    return "done"

@processor("atomic")
def atomic(job: Job, conn):
    conn.execute(effect(job))
    gate(job)
    return "done"

@processor("between")
def between(job: Job, attempt: Attempt):
    with attempt.prepare():
        pass
    gate(job)
    with attempt.complete() as conn:
        conn.execute(effect(job))
    return "done"

@processor("after")
async def after(job: Job, attempt: Attempt):
    async with attempt.complete() as conn:
        await conn.execute(effect(job))
    Path("after.reached").touch()
    while not Path("open").exists():
        await asyncio.sleep(0.005)
    return "done"
"""

TYPES = ("plain", "atomic", "between", "after")


@pytest.fixture
def handlers(workplace: Path) -> Path:
    """The module, where the command runs."""
    file = workplace / "handlers.py"
    file.write_text(HANDLERS)
    return file


@pytest.fixture(scope="module")
def own_server() -> Iterator[OwnServer]:
    """A server for the tests of this file, which leave it running."""
    run = ServerRun()
    try:
        yield OwnServer(run.folder)
    finally:
        run.close()


@pytest.fixture
def own_url(own_server: OwnServer) -> Iterator[str]:
    """A database with jobctl's schema on a server of the test's own."""
    with psycopg.connect(own_server.url, autocommit=True) as conn:
        conn.execute("CREATE DATABASE app")
    url = own_server.url.replace("/postgres?", "/app?")
    store = open_store(url)
    migrate(store)
    store.close()
    yield url
    with psycopg.connect(own_server.url, autocommit=True) as conn:
        conn.execute("DROP DATABASE app WITH (FORCE)")


def check_chains(client: Client, chains: dict[str, str]) -> None:
    """All are completed in their first attempt that counted, and what they did in the database is there once."""
    closed = client.wait(chains, timeout="30s")
    for chain, type_name in chains.items():
        detail = client.show(chain)
        assert (closed[chain].status, closed[chain].output) == (Status.COMPLETED, "done"), type_name
        assert (detail.chain.attempt, detail.errors) == (1, ()), type_name
    assert effects(client) == {(chain, name): 1 for chain, name in chains.items() if name != "plain"}


@pytest.mark.usefixtures("handlers")
def test_server_restarts(own_server: OwnServer, own_url: str, spawn: Callable[..., Running], workplace: Path):
    """A worker lives through the crash of its server: it says so, and finishes all that it was about to do, once."""
    with Client(own_url) as client:
        make_effects(client)
        chains = {client.start(each).id: each for each in TYPES}
    worker = spawn(
        *("worker", "--processors", "handlers", "--poll", "10m", "--log-format", "json"),
        env={"JOBCTL_DATABASE": own_url},
    )
    appear([workplace / f"{each}.reached" for each in TYPES], worker)
    own_server.stop()
    lost = eventually(lambda: events(worker, "database_lost"), what="the worker tells that the database is away")
    assert "is not available" in lost[0]["detail"]
    (workplace / "open").touch()  # the handlers end while nothing can be written
    own_server.start()
    eventually(lambda: events(worker, "database_back"), what="the worker tells that the database is back")
    with Client(own_url) as client:
        check_chains(client, chains)
        again = client.start("plain").id  # told of, for it is not looked for within ten minutes
        assert client.wait([again], timeout="20s")[again].output == "done"
    result = worker.stop()
    assert (result.code, result.out) == (143, "")
    assert [line["event"] for line in events(worker, "database_lost", "database_back")][:2] == [
        "database_lost",
        "database_back",
    ]
    assert events(worker, "job_failed", "job_retried", "job_lost", "job_reaped") == []


@pytest.mark.usefixtures("handlers")
def test_connections_end(
    postgres_url: str, open_client: Callable[[str], Client], spawn: Callable[..., Running], workplace: Path
):
    """A worker all of whose connections the server ends says so and goes on with new ones, idle or at work."""
    client = open_client(postgres_url)
    make_effects(client)
    # no sign of life in between: it would meet the broken connection first, and say nothing
    patient = ("--poll", "10m", "--beat", "10m")
    worker = spawn("worker", "--processors", "handlers", *patient, env={"PGAPPNAME": "the worker"})
    eventually(lambda: " started " in worker.err)

    def end_connections(at_least: int) -> None:
        with psycopg.connect(postgres_url, autocommit=True) as conn:
            theirs = "FROM pg_stat_activity WHERE application_name = 'the worker' AND datname = current_database()"
            eventually(lambda: conn.execute(f"SELECT count(*) {theirs}").fetchone() >= (at_least,))
            conn.execute(f"SELECT pg_terminate_backend(pid) {theirs}")

    def said_to_be_lost() -> bool:
        end_connections(2)  # the one that listens, and the one that claims
        return " database lost " in worker.err

    eventually(said_to_be_lost)  # the first sign of life may have met the broken connection, and says nothing
    eventually(lambda: " database back" in worker.err, what="the worker tells that the database is back")
    chains = {client.start(each).id: each for each in TYPES}
    appear([workplace / f"{each}.reached" for each in TYPES], worker)
    end_connections(3)  # the one that listens, and those of the open transactions
    (workplace / "open").touch()
    check_chains(client, chains)
    result = worker.stop()
    assert (result.code, result.out) == (143, "")
    assert "Traceback" not in result.err


@pytest.mark.usefixtures("handlers")
def test_a_server_that_gives_no_answer(
    own_server: OwnServer, own_url: str, spawn: Callable[..., Running], workplace: Path
):
    """A second signal ends a worker whose database gives no answer; what ran is left to its lease."""
    with Client(own_url) as client:
        chain = client.start("plain").id
        worker = spawn("worker", "--processors", "handlers", "--poll", "100ms", env={"JOBCTL_DATABASE": own_url})
        appear([workplace / "plain.reached"], worker)
        with at_rest([own_server.pid]):
            time.sleep(1.0)  # ten times as long as until it asks the database something, and waits for the answer
            worker.send(signal.SIGTERM)
            worker.send(signal.SIGINT)  # another one: two of the same may come as one
            result = worker.wait(LAST_SECONDS + 10.0)
        assert result.code in {143, 130}
        assert "the database gives no answer" in result.err
        assert client.get(chain).status is Status.RUNNING


@pytest.fixture
def guest(own_server: OwnServer, own_url: str) -> Iterator[str]:
    """The URL for a user who needs a password, with {} in its place."""
    rules = own_server.data / "pg_hba.conf"
    before = rules.read_text()
    with psycopg.connect(own_url, autocommit=True) as conn:
        conn.execute("CREATE ROLE guest LOGIN SUPERUSER PASSWORD 'geheim'")
    rules.write_text(f"local all guest scram-sha-256\n{before}")
    own_server.reload()
    yield own_url.replace("postgres@", "guest:{}@")
    rules.write_text(before)
    own_server.reload()
    with psycopg.connect(own_url, autocommit=True) as conn:
        conn.execute("DROP ROLE guest")


def test_wrong_password(guest: str, spawn: Callable[..., Running], tmp_path: Path):
    """A wrong password is one line with exit code 75, the right one works, and neither is ever shown."""
    passwords = tmp_path / "passwords"
    passwords.write_text("*:*:*:guest:falsch\n")
    passwords.chmod(0o600)
    wrong, without = guest.format("falsch"), guest.replace(":{}", "")
    refused = [
        spawn("start", "a", "--database", wrong),
        spawn("start", "a", "--database", without, env={"PGPASSWORD": "falsch"}),
        spawn("list", "--database", without, env={"PGPASSFILE": str(passwords)}),
        spawn("migrate", "--database", f"{without}&password=falsch"),
    ]
    debugged = spawn("list", "--debug", "--json", "--database", wrong)
    allowed = spawn("list", "--database", guest.format("geheim"))
    for each in refused:
        result = each.wait()
        assert (result.code, result.out) == (75, "")
        assert result.err.startswith("jobctl: the database postgresql://guest@")
        assert "password authentication failed for user" in result.err
        assert result.err.count("\n") == 1
        assert "falsch" not in result.err
    debug = debugged.wait()
    assert debug.code == 75
    assert "Traceback" in debug.err
    assert json.loads(debug.err.splitlines()[-1])["error"]["kind"] == "database_unavailable"
    assert "falsch" not in debug.err
    assert allowed.wait() == Result(0, "", "")
