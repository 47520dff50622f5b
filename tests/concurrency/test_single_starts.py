"""Single starts on PostgreSQL, which go past the driver's cursor: prepared statements, errors, interrupts, lost servers."""

from __future__ import annotations

import signal
from collections.abc import Callable

import psycopg
import pytest
from support import Running, eventually

from jobctl import Client
from jobctl.errors import DatabaseUnavailableError, DuplicateIdError
from jobctl.ids import new_id

PREPARED = "SELECT name FROM pg_prepared_statements WHERE name LIKE 'jobctl%%'"


def prepared(client: Client) -> list[str]:
    """The names of the statements of ours that the client's one connection has prepared."""
    with client.store.engine.connect() as conn:
        return [name for (name,) in conn.exec_driver_sql(PREPARED)]


def test_prepared_from_the_second_time_on(postgres_url: str):
    """A connection prepares the statement that starts a chain once, and not for one start alone."""
    with Client(postgres_url) as client:
        first = client.start("a", {"n": 1})
        assert prepared(client) == []
        others = [client.start("a", {"n": n}, priority=n, after="1h") for n in (2, 3, 4)]
        assert prepared(client) == ["jobctl_start"]
        assert [client.get(each.id) for each in (first, *others)] == [first, *others]


def test_taken_ids(postgres_url: str):
    """An id that is taken is refused each time, prepared or not, and the next start works."""
    with Client(postgres_url) as client:
        taken = client.start("a", id=new_id()).id
        for n in range(4):
            with pytest.raises(DuplicateIdError, match=taken):
                client.start("a", n, id=taken)
        assert client.start("b").type_name == "b"
        assert len(client.list_chains().items) == 2


def test_deallocated(postgres_url: str):
    """A start works after the driver has let go of all that was prepared, as it does after a rollback."""
    with Client(postgres_url) as client:
        for _ in range(3):
            client.start("a")
        with client.store.engine.connect() as conn:
            conn.exec_driver_sql("DEALLOCATE ALL")
        assert prepared(client) == []
        ids = [client.start("a").id for _ in range(2)]
        assert prepared(client) == ["jobctl_start"]
        assert {each.id for each in client.list_chains().items} > set(ids)


@pytest.mark.parametrize("before", [1, 3])
def test_lost_connection(postgres_url: str, before: int):
    """A start whose connection was ended by the server says so, starts nothing, and the next one works."""
    with Client(postgres_url) as client, psycopg.connect(postgres_url, autocommit=True) as other:
        for _ in range(before):
            client.start("a")
        with client.store.engine.connect() as conn:
            (pid,) = conn.exec_driver_sql("SELECT pg_backend_pid()").one()
        other.execute("SELECT pg_terminate_backend(%s, 10000)", [pid])
        with pytest.raises(DatabaseUnavailableError):
            client.start("lost")
        client.start("found")
        assert {each.type_name for each in client.list_chains().items} == {"a", "found"}


def test_interrupted_while_it_waits(postgres_url: str, spawn: Callable[..., Running]):
    """A start that waits for a lock ends at once when it is interrupted, and has started nothing."""
    waiting = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%jobctl_job%'"
    with psycopg.connect(postgres_url) as other, psycopg.connect(postgres_url, autocommit=True) as watching:
        other.execute("LOCK TABLE jobctl_job")
        starting = spawn("start", "a", "--database", postgres_url)
        eventually(lambda: watching.execute(waiting).rowcount == 1)
        done = starting.send(signal.SIGINT).wait()
        assert (done.code, done.out) == (130, "")
        eventually(lambda: watching.execute(waiting).rowcount == 0)
        other.rollback()
        assert watching.execute("SELECT FROM jobctl_job").rowcount == 0
