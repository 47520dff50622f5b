"""Everything inside the caller's own transaction, next to the caller's own table."""

from __future__ import annotations

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, create_engine, func, insert, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.pool import NullPool
from working import run

from jobctl import ListFilter, Status
from jobctl.errors import AlreadySettledError, DuplicateIdError, GuardError, NotFoundError, UsageError
from jobctl.ids import new_id

orders = Table("orders", MetaData(), Column("id", Integer, primary_key=True))


@pytest.fixture
def engine(database_url):
    """An engine as a caller would make it, knowing nothing of jobctl, and a table of theirs."""
    made = create_engine(database_url.replace("postgresql:", "postgresql+psycopg:"), poolclass=NullPool)
    with made.begin() as conn:
        orders.create(conn)
    yield made
    with made.begin() as conn:
        orders.drop(conn)
    made.dispose()


def count(engine):
    with engine.connect() as conn:
        return conn.scalar(select(func.count()).select_from(orders))


@pytest.mark.parametrize("own_work", ["before", "after", "none"])
def test_start_is_committed_with_the_transaction(client, engine, own_work):
    """What is started is there for others once the caller commits, and not before."""
    with engine.begin() as conn:
        if own_work == "before":
            conn.execute(insert(orders).values(id=1))
        chain = client.start("a", {"order": 1}, conn=conn)
        assert client.get(chain.id, conn=conn) == chain
        with pytest.raises(NotFoundError):
            client.get(chain.id)
        if own_work == "after":
            conn.execute(insert(orders).values(id=1))
    assert client.get(chain.id) == chain
    assert count(engine) == (own_work != "none")


@pytest.mark.parametrize("own_work", ["before", "after", "read", "none"])
@pytest.mark.parametrize("how", ["rollback", "close", "error"])
def test_start_is_rolled_back_with_the_transaction(client, engine, own_work, how):
    """What is started is gone with the caller's transaction, whether that wrote anything else or not."""
    chain = None

    def work():
        nonlocal chain
        with engine.connect() as conn:
            if own_work == "before":
                conn.execute(insert(orders).values(id=1))
            if own_work == "read":
                conn.scalar(select(func.count()).select_from(orders))
            chain = client.start("a", conn=conn)
            if own_work == "after":
                conn.execute(insert(orders).values(id=1))
            if how == "rollback":
                conn.rollback()
            if how == "error":
                raise ZeroDivisionError

    if how == "error":
        with pytest.raises(ZeroDivisionError):
            work()
    else:
        work()
    with pytest.raises(NotFoundError):
        client.get(chain.id)
    assert count(engine) == 0


def test_settling_is_rolled_back_with_the_transaction(client, engine, store):
    """What was settled in a transaction that is rolled back is as it was, its dependents and its history too."""
    chain = client.start("a")
    waiting = client.start("w", blocked_by=[chain.id])
    before = client.show(chain.id)
    with engine.connect() as conn:
        with client.settle(chain.id, conn=conn) as current:
            current.continue_with("b")
            current.complete(1)
        assert client.get(waiting.id, conn=conn).status is Status.READY
        assert client.show(chain.id, conn=conn).chain.output == 1
        conn.rollback()
    assert client.show(chain.id) == before
    assert client.get(waiting.id).status is Status.BLOCKED
    run(store, chain.id)


def test_settling_is_committed_with_the_transaction(client, engine):
    """What was settled is committed together with the caller's own rows."""
    chain = client.start("a")
    with engine.begin() as conn:
        conn.execute(insert(orders).values(id=1))
        with client.settle(chain.id, conn=conn) as current:
            current.complete({"order": 1})
        conn.execute(insert(orders).values(id=2))
    assert client.get(chain.id).output == {"order": 1}
    assert count(engine) == 2


def test_callers_rows_are_seen_by_the_block(client, engine):
    """The block of a settle in the caller's transaction is that transaction: their error undoes both."""
    chain = client.start("a")

    def work():
        with engine.begin() as conn:
            conn.execute(insert(orders).values(id=1))
            with client.settle(chain.id, conn=conn) as current:
                current.complete()
                conn.execute(insert(orders).values(id=1))

    with pytest.raises(IntegrityError):
        work()
    assert client.get(chain.id).status is Status.READY
    assert count(engine) == 0


def start_taken(client, conn, chain, _closed):
    client.start("a", id=chain.id, conn=conn)


def start_missing_blocker(client, conn, _chain, _closed):
    client.start("a", blocked_by=[new_id()], conn=conn)


def start_wrong(client, conn, _chain, _closed):
    client.start("a", after="soon", conn=conn)


def settle_closed(client, conn, _chain, closed):
    with client.settle(closed.id, conn=conn) as current:
        current.complete()


def settle_other_step(client, conn, chain, _closed):
    with client.settle(chain.id, expect="other", conn=conn) as current:
        current.complete()


def settle_and_fail(client, conn, chain, _closed):
    with client.settle(chain.id, conn=conn) as current:
        current.complete()
        raise ZeroDivisionError


def settle_and_break(client, conn, chain, _closed):
    with client.settle(chain.id, conn=conn) as current:
        current.complete()
        conn.execute(insert(orders).values(id=1))


def get_missing(client, conn, _chain, _closed):
    client.get(new_id(), conn=conn)


def show_missing(client, conn, _chain, _closed):
    client.show(new_id(), conn=conn)


def list_wrong(client, conn, _chain, _closed):
    client.list_chains(ListFilter(cursor="nonsense"), conn=conn)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (start_taken, DuplicateIdError),
        (start_missing_blocker, NotFoundError),
        (start_wrong, UsageError),
        (settle_closed, AlreadySettledError),
        (settle_other_step, GuardError),
        (settle_and_fail, ZeroDivisionError),
        (settle_and_break, IntegrityError),
        (get_missing, NotFoundError),
        (show_missing, NotFoundError),
        (list_wrong, UsageError),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_failing_call_leaves_the_transaction_usable(client, engine, store, call, error):
    """A call that fails undoes what it wrote and nothing else: the caller may go on and commit."""
    chain, closed = client.start("a"), client.start("b")
    run(store, closed.id)
    before = client.show(chain.id)
    with engine.begin() as conn:
        conn.execute(insert(orders).values(id=1))
        other = client.start("c", conn=conn)
        with pytest.raises(error):
            call(client, conn, chain, closed)
        conn.execute(insert(orders).values(id=2))
    assert count(engine) == 2
    assert client.get(other.id).status is Status.READY
    assert client.show(chain.id) == before
    assert len(client.list_chains().items) == 3


def test_callers_savepoint(client, engine):
    """Inside a savepoint of the caller's, what was started is gone with the savepoint alone."""
    with engine.begin() as conn:
        first = client.start("a", conn=conn)
        savepoint = conn.begin_nested()
        second = client.start("a", conn=conn)
        savepoint.rollback()
        third = client.start("a", conn=conn)
    found = {each.id for each in client.list_chains().items}
    assert found == {first.id, third.id}
    assert second.id not in found


def test_everything_that_looks_sees_the_transaction(client, engine):
    """Get, show and the lists on the caller's connection see what the transaction has written."""
    with engine.connect() as conn:
        chain = client.start("a", conn=conn)
        assert client.get(chain.id, conn=conn) == chain
        assert client.get_job(chain.id, conn=conn).id == chain.id
        assert client.show(chain.id, conn=conn).chain == chain
        assert client.list_chains(conn=conn).items == (chain,)
        assert len(client.list_jobs(conn=conn).items) == 1
        conn.rollback()
    assert client.list_chains().items == ()


def test_several_transactions_on_one_connection(client, engine):
    """One connection can be used for several transactions, one after the other."""
    with engine.connect() as conn:
        first = client.start("a", conn=conn)
        conn.commit()
        second = client.start("a", conn=conn)
        conn.rollback()
        third = client.start("a", conn=conn)
        conn.commit()
    assert second.id not in {each.id for each in client.list_chains().items}
    assert {first.id, third.id} == {each.id for each in client.list_chains().items}


def test_blockers_in_the_transaction(client, engine, store):
    """Chains of one transaction can wait for each other."""
    with engine.begin() as conn:
        first = client.start("a", conn=conn)
        second = client.start("b", blocked_by=[first.id], conn=conn)
        assert second.status is Status.BLOCKED
    run(store, first.id)
    assert client.get(second.id).status is Status.READY


def test_stores_own_connection(client, store):
    """A connection of the store's own engine serves as well as one of the caller's."""
    with store.transaction() as conn:
        chain = client.start("a", conn=conn)
    assert client.get(chain.id) == chain
