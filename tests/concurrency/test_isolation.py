"""Whatever isolation the server, the URL or a caller would have, what jobctl writes it writes at READ COMMITTED."""

from __future__ import annotations

from contextlib import contextmanager
from urllib.parse import quote

import psycopg
import pytest
from sqlalchemy import create_engine, event, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool
from support import InThread, eventually, wait_until_blocked
from working import claim, completed

from jobctl import Client, NewChain, Status
from jobctl.errors import DuplicateIdError, UsageError
from jobctl.ids import new_id
from jobctl.storage.front import Front
from jobctl.storage.open import open_store

READ = text("SELECT current_setting('transaction_isolation')")

CLAIM_WAITS = "SELECT FROM pg_locks WHERE NOT granted AND relation = 'jobctl_pause'::regclass"


@pytest.fixture(params=["REPEATABLE READ", "SERIALIZABLE"])
def level(request):
    """Each level that is not fit."""
    return request.param


@pytest.fixture
def strict_url(postgres_url, level):
    """The database's URL, with that level as the default, as one can be set for a server, a database or a role too."""
    value = level.lower().replace(" ", "\\ ")
    url = postgres_url + quote(f" -cdefault_transaction_isolation={value}", safe="")
    with psycopg.connect(url) as conn:
        assert conn.execute("SHOW transaction_isolation").fetchone() == (level.lower(),)
    return url


@pytest.fixture
def open_strict(strict_url):
    """Opens stores on it, as other processes would have them."""
    opened = []

    def open_one():
        opened.append(open_store(strict_url))
        return opened[-1]

    yield open_one
    for each in opened:
        each.close()


@pytest.fixture
def client(postgres_url, open_client):
    return open_client(postgres_url)


# --- its own transactions --------------------------------------------------------------------------------------------


@contextmanager
def in_transaction(store, row):
    with store.transaction() as conn:
        store.settle(conn, [completed(row)])
        yield conn


@contextmanager
def in_workers_transaction(store, row):
    with store.work() as conn:
        store.settle(conn, [completed(row)])
        yield conn


@contextmanager
def in_handlers_transaction(store, row):
    with store.engine.connect() as conn, conn.begin():
        store.settle_held(conn, completed(row), store.hold(conn, row.chain_id))
        yield conn


@pytest.mark.parametrize("settled", [in_transaction, in_workers_transaction, in_handlers_transaction])
def test_two_blockers_completing_at_once_unblock(client, open_strict, postgres_url, settled):
    """Of two chains that complete at once, the later one frees the job that waits for both, whatever is the default."""
    first, second = open_strict(), open_strict()
    blockers = [client.start("a"), client.start("a")]
    waiting = client.start("w", blocked_by=[each.id for each in blockers])
    one, two = claim(first, "a")

    def settle_later():
        with settled(second, two):
            pass

    with settled(first, one) as conn:
        later = InThread(settle_later)
        wait_until_blocked(postgres_url, by=conn.connection.driver_connection.info.backend_pid)
    later.result()
    assert client.get(waiting.id).status is Status.READY


def test_after_a_snapshot(open_strict):
    """What is looked at is one state, and a connection that read one is as fit as before for what is written next."""
    store = open_strict()
    found = []
    for begin in (store.transaction, store.work):
        for read_only in (False, True, False):
            with begin(read_only=read_only) as conn:
                found.append((conn.connection.driver_connection, conn.scalar(READ)))
    levels = [level for _, level in found]
    assert levels == ["read committed", "repeatable read", "read committed", *["read committed"] * 3]
    assert len({id(driver) for driver, _ in found}) == 1


def test_claims_while_others_change_what_is_ready(client, open_strict, postgres_url):
    """A claim takes a job that somebody changed while it waited, prepared or not, and does not say that all is busy."""
    store = open_strict()
    client.start_many([NewChain("a") for _ in range(3)])
    with psycopg.connect(postgres_url) as other, psycopg.connect(postgres_url, autocommit=True) as watching:
        for _ in range(3):  # sent whole, prepared by the same message, and known
            other.execute("LOCK TABLE jobctl_pause")
            claiming = InThread(lambda: store.claim_alone({"a": 60.0}, 1, worker="w", lease=new_id(), front=Front()))
            eventually(lambda: watching.execute(CLAIM_WAITS).rowcount == 1)
            other.execute("UPDATE jobctl_current SET priority = priority + 1")
            other.commit()
            assert len(claiming.result()) == 1


def test_two_starts_with_one_id(client, open_strict, postgres_url):
    """A start whose id another one takes at the same moment says so, and does not say that all is busy."""
    starting = Client(open_strict())
    for _ in range(3):  # as above
        taken = new_id()
        with client.store.transaction() as conn:
            client.start("a", id=taken, conn=conn)
            later = InThread(lambda taken=taken: starting.start("a", id=taken))
            wait_until_blocked(postgres_url, by=conn.connection.driver_connection.info.backend_pid)
        assert isinstance(later.error(), DuplicateIdError)


# --- a caller's transaction ------------------------------------------------------------------------------------------


@pytest.fixture
def open_engine():
    """Makes engines as a caller would, who knows nothing of jobctl."""
    made = []

    def make(url, **options):
        made.append(create_engine(url.replace("postgresql:", "postgresql+psycopg:"), poolclass=NullPool, **options))
        return made[-1]

    yield make
    for each in made:
        each.dispose()


@contextmanager
def by_engine(open_engine, url, _strict_url, level):
    with open_engine(url, isolation_level=level).begin() as conn:
        yield conn


@contextmanager
def by_statement(open_engine, url, _strict_url, level):
    with open_engine(url).begin() as conn:
        conn.execute(text(f"SET TRANSACTION ISOLATION LEVEL {level}"))
        yield conn


@contextmanager
def by_default(open_engine, _url, strict_url, _level):
    with open_engine(strict_url).begin() as conn:
        yield conn


def start(client, conn, _chain):
    client.start("a", conn=conn)


def start_waiting(client, conn, chain):
    client.start("a", blocked_by=[chain.id], conn=conn)


def settle(client, conn, chain):
    with client.settle(chain.id, conn=conn) as current:
        current.complete()


def trigger(client, conn, chain):
    client.trigger([chain.id], conn=conn)


def delete(client, conn, chain):
    client.delete([chain.id], conn=conn)


@pytest.mark.parametrize("begun", [by_engine, by_statement, by_default])
@pytest.mark.parametrize("call", [start, start_waiting, settle, trigger, delete])
def test_writing_is_refused(client, open_engine, postgres_url, strict_url, level, begun, call):
    """What would write in a transaction that reads an old state says what is wrong, and does nothing: it can go on."""
    chain = client.start("a", after="1h")
    with begun(open_engine, postgres_url, strict_url, level) as conn:
        before = client.list_chains(conn=conn)
        with pytest.raises(UsageError, match=f"conn is {level}, .* run it at READ COMMITTED"):
            call(client, conn, chain)
        assert client.list_chains(conn=conn) == before
        assert conn.scalar(READ) == level.lower()
    assert client.list_chains() == before


@pytest.mark.parametrize("fit", ["READ COMMITTED", "READ UNCOMMITTED"])
def test_a_fit_transaction_under_a_strict_default(client, open_engine, strict_url, fit):
    """A caller whose server has another default runs the one transaction at READ COMMITTED, and all is well."""
    with open_engine(strict_url, isolation_level=fit).begin() as conn:
        chain = client.start("a", conn=conn)
    assert client.get(chain.id) == chain


@pytest.fixture
def sent():
    """Keeps the statements that an engine sends."""
    found = []

    def listen(engine):
        event.listen(engine, "before_cursor_execute", lambda *args: found.append(args[2]))
        return found

    return listen


def test_looked_at_once_in_a_transaction(client, open_engine, postgres_url, level, sent):
    """Each transaction of one connection is looked at once, and cannot be changed afterwards."""
    engine = open_engine(postgres_url)
    statements = sent(engine)
    with engine.connect() as conn:
        for times in (1, 2):
            for _ in range(3):
                client.start("a", conn=conn)
            assert sum("transaction_isolation" in each for each in statements) == times
            conn.commit()
        with client.store.on(conn), pytest.raises(DBAPIError, match="must be called before any query"):
            conn.execute(text(f"SET TRANSACTION ISOLATION LEVEL {level}"))
        conn.rollback()
        conn.execution_options(isolation_level=level)
        with pytest.raises(UsageError, match=level):
            client.start("a", conn=conn)


def test_its_own_connections_are_not_looked_at(client, open_strict, sent):
    """To start chains on a connection that jobctl gave, as handlers do, takes nothing more."""
    store = open_strict()
    statements = sent(store.engine)
    with store.transaction() as conn:
        chain = client.start("a", conn=conn)
    assert client.get(chain.id) == chain
    assert statements
    assert not [each for each in statements if "transaction_isolation" in each]
