"""Side effects after the commit."""

from __future__ import annotations

import logging

import pytest
from sqlalchemy import text

from jobctl import Job, WorkerOptions, processor
from jobctl.registry import Registry
from jobctl.worker import Worker


def test_in_order_once_committed(client, store):
    """They run in order, when others can see what was committed, and once."""
    done = []
    with store.engine.connect() as conn:
        with conn.begin():
            chain = client.start("a", conn=conn)
            client.after_commit(conn, lambda: done.append(client.get(chain.id).type_name))
            client.after_commit(conn, lambda: done.append("second"))
            assert done == []
        assert done == ["a", "second"]
        with conn.begin():
            client.start("b", conn=conn)
        assert done == ["a", "second"]


def test_never_after_a_rollback(client, store):
    """A transaction that is rolled back runs none, then or later."""
    done = []
    with store.engine.connect() as conn:
        with pytest.raises(ZeroDivisionError), conn.begin():
            client.after_commit(conn, lambda: done.append("never"))
            raise ZeroDivisionError
        with conn.begin():
            client.start("a", conn=conn)
            client.after_commit(conn, lambda: done.append("this"))
    assert done == ["this"]


def test_connection_that_is_used_again(client, store):
    """What a connection was given back with does not run for who gets it from the pool next."""
    done = []
    with store.engine.connect() as conn:
        transaction = conn.begin()
        client.after_commit(conn, lambda: done.append("never"))
        del transaction
    with store.engine.connect() as conn, conn.begin():
        client.start("a", conn=conn)
        client.after_commit(conn, lambda: done.append("this"))
    assert done == ["this"]


def test_savepoints(client, store):
    """Those of a savepoint that is rolled back do not run, those before it and of one that is released do."""
    done = []
    with store.transaction() as conn:
        client.start("a", conn=conn)
        with conn.begin_nested():
            client.after_commit(conn, lambda: done.append("released"))
        with pytest.raises(ZeroDivisionError), conn.begin_nested():
            client.after_commit(conn, lambda: done.append("never"))
            with conn.begin_nested():
                client.after_commit(conn, lambda: done.append("never either"))
            raise ZeroDivisionError
        client.after_commit(conn, lambda: done.append("last"))
    assert done == ["released", "last"]


def test_savepoint_before_the_first(client, store):
    """One registered first inside a savepoint does not run when that is rolled back."""
    done = []
    with store.transaction() as conn:
        client.start("a", conn=conn)
        with pytest.raises(ZeroDivisionError), conn.begin_nested():
            client.after_commit(conn, lambda: done.append("never"))
            raise ZeroDivisionError
    assert done == []


def test_error_does_not_stop_the_others(client, store, caplog):
    """An error in one is reported, the others run, and the commit stands."""
    done = []

    def fail():
        raise LookupError("no mail today")

    with caplog.at_level(logging.ERROR), store.transaction() as conn:
        chain = client.start("a", conn=conn)
        client.after_commit(conn, fail)
        client.after_commit(conn, lambda: done.append("other"))
    assert done == ["other"]
    assert client.get(chain.id).type_name == "a"
    assert "no mail today" in caplog.text


def test_commit_that_fails(client, postgres_url, open_client):
    """When the commit itself fails, none runs."""
    other = open_client(postgres_url)
    done = []
    with other.store.transaction() as conn:
        conn.execute(text("CREATE TABLE parent (id int PRIMARY KEY)"))
        conn.execute(text("CREATE TABLE child (id int REFERENCES parent DEFERRABLE INITIALLY DEFERRED)"))
    with pytest.raises(Exception, match="child"), other.store.engine.begin() as conn:
        conn.execute(text("INSERT INTO child VALUES (1)"))
        other.after_commit(conn, lambda: done.append("never"))
    assert done == []


@pytest.mark.parametrize("fails", [False, True])
def test_in_a_handler(client, store, fails):
    """In a handler's completing transaction they run when the job is settled, and not when the attempt fails."""
    done = []

    @processor("a")
    def handle(job: Job, conn) -> None:
        client.after_commit(conn, lambda: done.append(client.get(job.chain_id).status.value))
        if fails:
            raise ZeroDivisionError

    client.start("a")
    Worker(store, Registry([handle]), WorkerOptions(drain=True)).run()
    assert done == ([] if fails else ["completed"])
