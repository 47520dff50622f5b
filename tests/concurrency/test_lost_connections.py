"""A PostgreSQL server that went away, or that may not be written to any more: what is tried next is tried anew."""

from __future__ import annotations

from contextlib import ExitStack

import psycopg
import pytest
from working import claim

from jobctl import Client
from jobctl.errors import DatabaseUnavailableError
from jobctl.storage.postgres_driver import driver_of

COUNT = 8


@pytest.fixture
def client(postgres_url, open_client):
    return open_client(postgres_url)


def connected(client):
    """The backends of as many connections, which wait in the client's pool afterwards."""
    with ExitStack() as stack:
        opened = [stack.enter_context(client.store.transaction()) for _ in range(COUNT)]
        return [driver_of(conn).info.backend_pid for conn in opened]


def end(postgres_url, pids):
    with psycopg.connect(postgres_url, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(pid, 10000) FROM unnest(%s::int[]) AS pid", [pids])


def failures(call):
    """How often a call fails for want of a database before it does not."""
    for count in range(COUNT + 2):
        try:
            call()
        except DatabaseUnavailableError:
            continue
        return count
    raise AssertionError("it still fails")


@pytest.mark.parametrize("call", ["list_chains", "start", "claim", "reap"])
def test_the_server_was_started_again(client: Client, postgres_url: str, call: str):
    """Of many connections that were lost at once, one call finds out, and the next one connects anew."""
    calls = {
        "list_chains": client.list_chains,
        "start": lambda: client.start("a"),
        "claim": lambda: claim(client.store, "a"),
        "reap": lambda: reap(client.store),
    }
    client.start("b")  # with a connection that is kept for such calls
    with client.store.alone() as run:
        kept = run.args[0].info.backend_pid
    end(postgres_url, [*connected(client), kept])
    assert failures(calls[call]) <= 1
    assert failures(client.list_chains) == 0


def reap(store):
    with store.work() as conn:
        return store.reap(conn, [])


@pytest.mark.parametrize("alone", [False, True])
def test_a_server_that_may_not_be_written_to(client: Client, postgres_url: str, alone: bool):
    """It counts as not available, and is left: the next connection may lead to the one that took its place."""
    chain = client.start("a")
    pids = connected(client)
    with client.store.alone() as run:
        run.args[0].execute("SET default_transaction_read_only TO on")
        run.args[0].commit()
    for conn in [client.store.engine.raw_connection() for _ in pids[:5]]:
        conn.driver_connection.execute("SET default_transaction_read_only TO on")
        conn.driver_connection.commit()
        conn.close()

    def write():
        if alone:
            client.start("a")
        else:
            client.reschedule([chain.id], after="1h")

    with pytest.raises(DatabaseUnavailableError, match="not available: .*check that this is the primary"):
        write()
    write()
