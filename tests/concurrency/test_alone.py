"""Statements that are transactions of their own on PostgreSQL: prepared or not, failing, interrupted, cut off."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import psycopg
import pytest
from sqlalchemy import text
from support import InThread, Running, eventually

from jobctl import Client, ListFilter, NewChain, Status
from jobctl.cli.main import Terminated
from jobctl.errors import DatabaseUnavailableError, DuplicateIdError, LockTimeoutError
from jobctl.ids import new_id
from jobctl.storage import postgres_alone
from jobctl.storage.front import Front
from jobctl.storage.postgres_alone import Step
from jobctl.storage.records import JobRow

WAITING = "SELECT pid FROM pg_locks WHERE NOT granted AND relation = 'jobctl_{}'::regclass"
"""Who waits for a table of this test's."""

DEFERRED = (
    "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''not now''; END'",
    *(
        f"CREATE CONSTRAINT TRIGGER refusing AFTER INSERT OR UPDATE ON jobctl_{table} DEFERRABLE INITIALLY DEFERRED "
        "FOR EACH ROW EXECUTE FUNCTION refuse()"
        for table in ("job", "current")
    ),
    "ALTER TABLE jobctl_job DISABLE TRIGGER refusing",
    "ALTER TABLE jobctl_current DISABLE TRIGGER refusing",
)
"""Triggers that refuse a commit, once they are enabled."""

PREPARED = "SELECT name FROM pg_prepared_statements WHERE name LIKE 'jobctl%'"


def claimed(client: Client) -> list[JobRow]:
    """Claim one job in a transaction of its own."""
    return client.store.claim_alone({"a": 60.0}, 1, worker="w", lease=new_id(), front=Front())


def asked(client: Client, question: str) -> list[Any]:
    """The answers of the one connection that the client has for such statements."""
    with client.store.alone() as run:
        return [answer for (answer,) in run(Step(question.encode(), text(question)))]


def prepared(client: Client) -> list[str]:
    """The names of the statements of ours that it has prepared."""
    return asked(client, PREPARED)


def end_connection(client: Client, other: psycopg.Connection) -> None:
    """As a server does that is told to, or is restarted."""
    (pid,) = asked(client, "SELECT pg_backend_pid()")
    other.execute("SELECT pg_terminate_backend(%s, 10000)", [pid])


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
    """A start works where all that was prepared is let go of."""
    with Client(postgres_url) as client:
        for _ in range(3):
            client.start("a")
        asked(client, "DEALLOCATE ALL")
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
        end_connection(client, other)
        with pytest.raises(DatabaseUnavailableError):
            client.start("lost")
        client.start("found")
        assert {each.type_name for each in client.list_chains().items} == {"a", "found"}


@pytest.mark.parametrize("before", [0, 1, 2, 3])
def test_a_commit_that_fails(postgres_url: str, before: int):
    """A start or a claim that fails when it commits says so, and the connection works on."""
    with Client(postgres_url) as client, psycopg.connect(postgres_url, autocommit=True) as other:
        for each in DEFERRED:
            other.execute(each.encode())
        client.start_many([NewChain("a") for _ in range(9)])
        for _ in range(before):
            client.start("b")
            assert len(claimed(client)) == 1
        for table in ("job", "current"):
            other.execute(f"ALTER TABLE jobctl_{table} ENABLE TRIGGER refusing".encode())
        with pytest.raises(psycopg.errors.RaiseException, match="not now"):
            client.start("refused")
        with pytest.raises(psycopg.errors.RaiseException, match="not now"):
            claimed(client)
        for table in ("job", "current"):
            other.execute(f"ALTER TABLE jobctl_{table} DISABLE TRIGGER refusing".encode())
        client.start("c")
        assert len(claimed(client)) == 1
        found = client.list_jobs(ListFilter(limit=50)).items
        assert sorted(each.type_name for each in found) == ["a"] * 9 + ["b"] * before + ["c"]
        assert [each.status for each in found].count(Status.RUNNING) == before + 1


def test_a_server_that_was_restarted(postgres_url: str):
    """However many connections were kept, only one call fails once a server has ended all of them."""
    with Client(postgres_url) as client, psycopg.connect(postgres_url, autocommit=True) as other:
        client.start_many([NewChain("a") for _ in range(9)])
        with ExitStack() as stack:
            runs = [stack.enter_context(client.store.alone()) for _ in range(3)]
            pids = [pid for run in runs for (pid,) in run(Step(b"pid", text("SELECT pg_backend_pid()")))]
        assert len(set(pids)) == 3
        for pid in pids:
            other.execute("SELECT pg_terminate_backend(%s, 10000)", [pid])
        with pytest.raises(DatabaseUnavailableError):
            claimed(client)
        with ExitStack() as stack:
            for _ in range(3):
                run = stack.enter_context(client.store.alone())
                assert run(Step(b"one", text("SELECT 1"))) == [(1,)]


def test_interrupted_in_the_middle(postgres_url: str):
    """A claim that is interrupted while it waits leaves no connection behind on which the next one would fail."""
    with (
        Client(postgres_url) as client,
        psycopg.connect(postgres_url) as other,
        psycopg.connect(postgres_url, autocommit=True) as watching,
    ):
        client.start_many([NewChain("a") for _ in range(5)])

        def interrupt() -> None:
            eventually(lambda: watching.execute(WAITING.format("pause").encode()).rowcount == 1)
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

        for _ in range(3):
            other.execute("LOCK TABLE jobctl_pause")
            interrupting = InThread(interrupt)
            with pytest.raises(KeyboardInterrupt):
                claimed(client)
            interrupting.result()
            other.rollback()
            assert len(claimed(client)) == 1


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_while_it_waits(postgres_url: str, spawn: Callable[..., Running], sent: signal.Signals):
    """A start that waits for a lock ends at once when it is interrupted, and has started nothing."""
    waiting = WAITING.format("job").encode()
    with psycopg.connect(postgres_url) as other, psycopg.connect(postgres_url, autocommit=True) as watching:
        other.execute("LOCK TABLE jobctl_job")
        starting = spawn("start", "a", "--database", postgres_url)
        eventually(lambda: watching.execute(waiting).rowcount == 1)
        done = starting.send(sent).wait()
        assert (done.code, done.out) == (128 + sent, "")
        eventually(lambda: watching.execute(waiting).rowcount == 0)
        other.rollback()
        assert watching.execute("SELECT FROM jobctl_job").rowcount == 0


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, Terminated])
def test_interrupted_as_it_is_sent(postgres_url: str, monkeypatch: pytest.MonkeyPatch, interrupt: type[BaseException]):
    """A start that is interrupted when the server has it already, and before it waits, is taken back there too."""
    messages = postgres_alone._messages

    def interrupted(*arguments: Any) -> Iterator[postgres_alone._Message]:
        for each in messages(*arguments):

            def send(each: postgres_alone._Message = each) -> None:
                each.send()
                eventually(lambda: watching.execute(waiting).rowcount == 1)
                raise interrupt

            yield each._replace(send=send)

    waiting = WAITING.format("job").encode()
    with (
        Client(postgres_url) as client,
        psycopg.connect(postgres_url) as other,
        psycopg.connect(postgres_url, autocommit=True) as watching,
    ):
        other.execute("LOCK TABLE jobctl_job")
        with monkeypatch.context() as patch:
            patch.setattr(postgres_alone, "_messages", interrupted)
            with pytest.raises(interrupt):
                client.start("a")
        eventually(lambda: watching.execute(waiting).rowcount == 0)
        other.rollback()
        assert watching.execute("SELECT FROM jobctl_job").rowcount == 0
        client.start("a")


@pytest.mark.parametrize("let_go", ["ALL", "jobctl_isolation", "jobctl_claiming", "jobctl_claim"])
def test_deallocated_in_part(postgres_url: str, let_go: str):
    """A claim, which is three statements, works whichever of them is let go of."""
    with Client(postgres_url) as client:
        client.start_many([NewChain("a") for _ in range(20)])
        for n in range(8):
            if n in {3, 4, 6}:
                asked(client, f"DEALLOCATE {let_go}")
            assert len(claimed(client)) == 1
        assert sorted(prepared(client)) == ["jobctl_claim", "jobctl_claiming", "jobctl_isolation"]


def test_a_claim_that_is_cancelled(postgres_url: str):
    """A claim that the server has cancelled says so, claims nothing, and the next one works on the same connection."""
    with (
        Client(postgres_url) as client,
        psycopg.connect(postgres_url) as other,
        psycopg.connect(postgres_url, autocommit=True) as watching,
    ):
        client.start_many([NewChain("a") for _ in range(5)])
        for _ in range(3):  # sent whole, prepared by the same message, and known
            other.execute("LOCK TABLE jobctl_pause")
            claiming = InThread(lambda: claimed(client))
            eventually(lambda: watching.execute(WAITING.format("pause").encode()).rowcount == 1)
            watching.execute(f"SELECT pg_cancel_backend(pid) FROM ({WAITING.format('pause')}) AS found".encode())
            with pytest.raises(LockTimeoutError):
                claiming.result()
            other.rollback()
            assert len(claimed(client)) == 1
        assert len(client.list_jobs(ListFilter(statuses=(Status.RUNNING,))).items) == 3


def test_a_claim_whose_connection_is_lost(postgres_url: str):
    """A claim whose connection was ended by the server says so, and the next one works."""
    with Client(postgres_url) as client, psycopg.connect(postgres_url, autocommit=True) as other:
        client.start_many([NewChain("a") for _ in range(5)])
        for _ in range(3):
            assert len(claimed(client)) == 1
            end_connection(client, other)
            with pytest.raises(DatabaseUnavailableError):
                claimed(client)
