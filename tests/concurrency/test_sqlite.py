"""SQLite: one writer at a time, from any number of threads and processes on one file."""

from __future__ import annotations

import os
import signal
import sqlite3
import threading
import time
from contextlib import closing, suppress
from pathlib import Path

import pytest
from sqlalchemy import create_engine, event
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool
from support import PATIENCE, InThread, eventually
from working import claim, completed, continued

from jobctl import Status
from jobctl.errors import AlreadySettledError, LockTimeoutError
from jobctl.ids import new_id
from jobctl.model import NOW
from jobctl.storage import sqlite as module
from jobctl.storage.database import COMMIT_GUARD
from jobctl.storage.open import open_store
from jobctl.storage.records import NewJob

START = """
import sys
from jobctl import Client

with Client(sys.argv[1]) as client:
    for number in range(int(sys.argv[2])):
        print(client.start("a", number).id)
"""

SETTLE_BY_HAND = """
import sys
from jobctl import Client
from jobctl.errors import GuardError

with Client(sys.argv[1]) as client:
    for chain_id in sys.argv[3:]:
        try:
            with client.settle(chain_id, expect="a", actor=sys.argv[2]) as current:
                current.continue_with("b", sys.argv[2])
            print(chain_id, "won")
        except GuardError:
            print(chain_id, "lost")
"""


@pytest.fixture
def client(sqlite_url, open_client):
    return open_client(sqlite_url)


@pytest.fixture
def first(sqlite_url):
    """The store whose transaction is held."""
    with closing(open_store(sqlite_url)) as store:
        yield store


@pytest.fixture
def second(sqlite_url):
    """The store of somebody else, who runs into it."""
    with closing(open_store(sqlite_url)) as store:
        yield store


def run_into(store, call):
    """Start a call in a thread, and return once its transaction is about to begin; it must wait there."""
    begins = threading.Event()

    def tell(text) -> None:
        if text == "BEGIN IMMEDIATE":
            begins.set()

    event.listen(store.engine, "checkout", lambda driver, _record, _proxy: driver.set_trace_callback(tell))

    def work():
        with store.transaction() as conn:
            return call(conn)

    running = InThread(work)
    assert begins.wait(PATIENCE)
    return running


def test_two_blockers_completing_at_once_unblock(client, first, second):
    """Of two chains that complete at once the later one frees the job that waits for both."""
    blockers = [client.start("a"), client.start("a")]
    waiting = client.start("w", blocked_by=[each.id for each in blockers])
    one, two = claim(first, "a")
    with first.transaction() as conn:
        assert first.settle(conn, [completed(one)]).work == frozenset()
        later = run_into(second, lambda conn: second.settle(conn, [completed(two)]))
        assert later.running
    assert later.result().work == {"w"}
    assert client.get(waiting.id).status is Status.READY


@pytest.mark.parametrize("hand_over", [False, True], ids=["completing", "handing-over"])
def test_blocker_added_while_its_chain_moves(client, first, second, hand_over):
    """A chain that starts waiting for one that is being settled reads that chain's end as it is afterwards."""
    blocker = client.start("a")
    waiting = new_id()
    (row,) = claim(first, "a")
    job = NewJob(waiting, waiting, 0, "w", "w", "null", 0, NOW, (blocker.id,))
    with first.transaction() as conn:
        first.settle(conn, [continued(row, "b") if hand_over else completed(row)])
        starting = run_into(second, lambda conn: second.start(conn, [job]))
        assert starting.running
    starting.result()
    assert client.get(waiting).status is (Status.BLOCKED if hand_over else Status.READY)


def test_person_and_worker_settling_one_job(client, first):
    """A worker that settles what a person is completing waits for that, and settles nothing."""
    chain = client.start("a")
    (row,) = claim(first, "a")
    with client.settle(chain.id) as current:
        worker = run_into(first, lambda conn: first.settle(conn, [completed(row, '"worker"')]))
        current.complete("by hand")
        assert worker.running
    assert worker.result().won == frozenset()
    assert client.get(chain.id).output == "by hand"


def test_two_persons_settling_one_job(client, first, open_client, sqlite_url):
    """Of two persons one wins, and the other is told that the chain is closed."""
    chain = client.start("a")
    other = open_client(sqlite_url)

    def complete_too():
        with other.settle(chain.id) as current:
            current.complete("two")

    with client.settle(chain.id) as current:
        later = InThread(complete_too)
        current.complete("one")
        assert later.running
    assert isinstance(later.error(), AlreadySettledError)
    assert client.get(chain.id).output == "one"


def test_readers_do_not_wait_for_a_writer(client, first):
    """Looking and listing go on while somebody writes, and show the state before."""
    chain = client.start("a")
    (row,) = claim(first, "a")
    with first.transaction() as conn:
        first.settle(conn, [completed(row)])
        assert InThread(lambda: client.get(chain.id)).result(within=5).status is Status.RUNNING
        assert len(InThread(client.list_chains).result(within=5).items) == 1
    assert client.get(chain.id).status is Status.COMPLETED


def test_writer_that_waits_too_long_is_told(client, first, monkeypatch):
    """Who waits for the file longer than it should is told to try again, and nothing is changed."""
    monkeypatch.setattr(module, "BUSY_TIMEOUT", 0.05)
    with first.transaction(), pytest.raises(LockTimeoutError, match="is busy, try again") as busy:
        client.start("a")
    assert busy.value.exit_code == 75
    assert client.list_chains().items == ()


def test_connection_belongs_to_its_thread(first):
    """A connection refuses to be used by another thread than the one that opened it."""
    with first.transaction() as conn:
        driver = conn.connection.driver_connection

        def use():
            driver.execute("SELECT 1")

        with pytest.raises(sqlite3.ProgrammingError, match="same thread"):
            InThread(use).result()


def test_threads_of_one_store_have_connections_of_their_own(first):
    """Each thread has one connection for all its transactions, and no other thread ever has it."""
    users: dict[int, set[int]] = {}
    together = threading.Barrier(4)

    def work():
        for _ in range(5):
            with first.transaction() as conn:
                users.setdefault(id(conn.connection.driver_connection), set()).add(threading.get_ident())
                first.next_due(conn, {"a": 60.0})
        together.wait(10)

    running = [InThread(work) for _ in range(4)]
    for each in running:
        each.result()
    assert [len(threads) for threads in users.values()] == [1, 1, 1, 1]


def test_connection_ends_with_its_thread(first):
    """Threads that come and go leave no file open."""

    def opened():
        return sum(each.resolve() == first.path for each in Path("/proc/self/fd").iterdir())

    def work():
        with first.transaction() as conn:
            first.next_due(conn, {"a": 60.0})
        return opened()

    before = opened()
    assert [InThread(work).result() for _ in range(3)] == [before + 1] * 3
    assert opened() == before


def test_transaction_within_another_of_the_same_thread(first):
    """A thread that asks for a second connection while it uses its own gets another, which cannot write beside it."""
    with first.transaction() as outer, first.engine.connect() as inner:
        assert inner.connection.driver_connection is not outer.connection.driver_connection
        inner.connection.driver_connection.execute("PRAGMA busy_timeout = 0")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            inner.connection.driver_connection.execute("BEGIN IMMEDIATE")


def test_connection_whose_commit_failed_is_not_kept(first):
    """SQLAlchemy takes a commit that failed for the end; SQLite may not, and the file would stay locked."""

    def fail(_):
        raise sqlite3.OperationalError("disk I/O error")

    with first.engine.connect() as conn:
        driver = conn.connection.driver_connection
        transaction = conn.begin()
        conn.connection.info[COMMIT_GUARD] = fail
        with pytest.raises(OperationalError):
            transaction.commit()
        assert driver.in_transaction
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        driver.execute("SELECT 1")
    with first.transaction() as conn:
        assert conn.connection.driver_connection.in_transaction


def test_file_that_is_replaced(first, tmp_path):
    """What is read after another file was put in place comes from that file."""
    with first.transaction() as conn:
        old = [path for _, _, path in conn.exec_driver_sql("PRAGMA database_list")]
        conn.exec_driver_sql("CREATE TABLE which AS SELECT 'old' AS name")
    with closing(sqlite3.connect(tmp_path / "other.db")) as other:
        other.execute("CREATE TABLE which AS SELECT 'new' AS name")
    first.close()
    with first.transaction(read_only=True) as conn:
        assert conn.exec_driver_sql("SELECT name FROM which").scalar_one() == "old"
    (tmp_path / "other.db").replace(old[0])
    with first.transaction(read_only=True) as conn:
        assert conn.exec_driver_sql("SELECT name FROM which").scalar_one() == "new"


def test_child_after_a_fork(first):
    """A process that was forked after its parent used the file opens it anew, and leaves the parent's as it is."""
    with first.transaction() as conn:
        conn.exec_driver_sql("CREATE TABLE word (text TEXT)")
        mine = conn.connection.driver_connection
    child = os.fork()
    if child == 0:
        status = 1
        with suppress(BaseException), first.transaction() as conn:
            status = 2 if conn.connection.driver_connection is mine else 0
            conn.exec_driver_sql("INSERT INTO word VALUES ('child')")
        os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    with first.transaction() as conn:
        conn.exec_driver_sql("INSERT INTO word VALUES ('parent')")
    with first.transaction(read_only=True) as conn:
        assert conn.exec_driver_sql("SELECT text FROM word ORDER BY text").scalars().all() == ["child", "parent"]


def test_fork_takes_no_connection_along(first):
    """A child has no open file of its parent's: to close it there might remove a log that others have begun since."""
    with first.transaction() as conn:
        first.next_due(conn, {"a": 60.0})
    child = os.fork()
    if child == 0:
        open_ = [each for each in Path("/proc/self/fd").iterdir() if each.resolve() == first.path]
        os._exit(len(open_))
    assert os.waitpid(child, 0)[1] == 0


def test_settings_of_connections(first, second):
    """Connections write ahead, keep foreign keys, and wait for other writers, one too that has waited in vain."""
    first.hurried = True
    with second.transaction(), pytest.raises(LockTimeoutError), first.work():
        pass
    with first.transaction(read_only=True) as conn:
        values = {
            name: conn.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "foreign_keys", "busy_timeout")
        }
    assert values == {"journal_mode": "wal", "foreign_keys": 1, "busy_timeout": 10_000}


def test_processes_write_to_one_file(client, sqlite_url, spawn):
    """Four processes that start chains at once all succeed, and nothing is lost."""
    running = [spawn("-c", START, sqlite_url, 50, python=True) for _ in range(4)]
    started = []
    for each in running:
        done = each.wait()
        assert done.code == 0, done.err
        started += done.lines
    assert len(set(started)) == 200
    assert {client.get(each).status for each in started} == {Status.READY}


def test_processes_settle_one_job_once(client, sqlite_url, spawn):
    """Of two processes that hand over the same jobs, exactly one wins each."""
    chains = [client.start("a").id for _ in range(30)]
    running = [
        spawn("-c", SETTLE_BY_HAND, sqlite_url, name, *order, python=True)
        for name, order in (("one", chains), ("two", chains[::-1]))
    ]
    lines = [line for each in running for line in each.wait().lines]
    assert sorted(line.split()[0] for line in lines) == sorted(chains * 2)
    assert sorted(line.split()[0] for line in lines if line.endswith("won")) == sorted(chains)
    for each in chains:
        assert [job.type_name for job in client.show(each).jobs] == ["a", "b"]


def test_caller_with_a_transaction_of_its_own_kind(client, sqlite_url):
    """A caller whose engine says BEGIN itself can start chains after reading, and roll them back."""
    engine = create_engine(sqlite_url, poolclass=NullPool)
    event.listen(engine, "connect", lambda connection, _: setattr(connection, "isolation_level", None))
    event.listen(engine, "begin", lambda conn: conn.exec_driver_sql("BEGIN"))
    with engine.connect() as conn:
        conn.exec_driver_sql("SELECT count(*) FROM jobctl_job")
        client.start("a", conn=conn)
        conn.rollback()
    with engine.begin() as conn:
        kept = client.start("a", conn=conn)
    engine.dispose()
    assert [each.id for each in client.list_chains().items] == [kept.id]


def test_file_is_made_with_its_folders(tmp_path, open_client):
    """A file in folders that do not exist yet is made with them."""
    client = open_client(f"sqlite:///{tmp_path / 'some' / 'where' / 'jobctl.db'}")
    assert eventually(lambda: client.start("a")).status is Status.READY


def test_a_writer_that_waits_hears_signals(first, second):
    """Who waits for the file is interrupted at once, not when the wait is over."""
    before = signal.signal(signal.SIGUSR1, signal.default_int_handler)
    try:
        with first.transaction():
            begun = time.monotonic()
            threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGUSR1)).start()
            with pytest.raises(KeyboardInterrupt), second.transaction():
                raise AssertionError("the file is held")
        assert time.monotonic() - begun < module.BUSY_TIMEOUT / 2
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_who_is_in_a_hurry_gives_up_soon(first, second):
    """A process that stops does not wait its ten seconds for a file that is held, even if it waits already."""
    with first.transaction():
        begun = time.monotonic()
        threading.Timer(0.1, setattr, (second, "hurried", True)).start()
        with pytest.raises(LockTimeoutError), second.work():
            raise AssertionError("the file is held")
    assert time.monotonic() - begun < module.BUSY_TIMEOUT / 2


def test_handlers_do_not_hurry(first, second, monkeypatch):
    """While a worker stops, the transactions of its handlers wait for the file as ever."""
    monkeypatch.setattr(module, "HURRIED_TIMEOUT", 0.0)
    second.hurried = True

    def write():
        with second.transaction():
            return True

    with first.transaction():
        handler = InThread(write)
        for _ in range(2):
            with pytest.raises(LockTimeoutError), second.work():
                raise AssertionError("the file is held")
        assert handler.running
    assert handler.result()
