"""Whether all is well: what is found, and what to do about it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from staff import hire
from support import eventually
from working import claim, run

from jobctl import Client
from jobctl.errors import SchemaOutdatedError
from jobctl.examining import journal_findings
from jobctl.reports import Limits
from jobctl.storage.spelling import later, now
from jobctl.storage.tables import current, job, pause
from jobctl.storage.upkeep import FileState


def found(health, check):
    return [(each.subject, each.message) for each in health.findings if each.check == check]


def change(store, chain_id, **values):
    with store.transaction() as conn:
        assert conn.execute(sa.update(current).where(current.c.chain_id == chain_id).values(**values)).rowcount == 1


def ago(seconds):
    return later(now(), sa.literal(-seconds))


def test_all_is_well(client, store):
    """A database whose jobs have workers is well, and all checks of its kind were made."""
    hire(store, "step")
    client.start("step")
    client.start("later", after="1h")
    health = client.doctor()
    own = {
        "postgresql": ("clock", "leases", "unattended", "ready", "history", "bloat", "transactions"),
        "sqlite": ("leases", "unattended", "ready", "history", "files", "journal", "room"),
    }
    assert health.checks == ("connection", "schema", *own[store.dialect])
    assert health.findings == ()
    assert health.database == store.label


def test_leases(client, store):
    """Leases that ran out and that nobody gave back are found, after the time that a worker may take for it."""
    chain = client.start("step").id
    claim(store, "step", worker="w9")
    change(store, chain, leased_until=ago(20.0))
    assert found(client.doctor(), "leases") == []
    change(store, chain, leased_until=ago(300.0))
    ((subject, message),) = found(client.doctor(), "leases")
    assert subject == "step"
    assert message == "a job has a lease that ran out and that nobody gave back, the first of worker w9 5m ago"
    other = client.start("step").id
    claim(store, "step", worker="w8")
    change(store, other, leased_until=ago(60.0))
    ((_, message),) = found(client.doctor(), "leases")
    assert message.startswith("2 jobs have a lease that ran out")


def test_unattended(client, store):
    """Types of which jobs are ready and that no live worker takes are found, with what may be the new name."""
    chain = client.start("send-mail", priority=5).id
    client.start("send-mail", priority=-5)
    change(store, chain, scheduled_at=ago(7200.0))
    client.start("later", after="1h")
    hire(store, "send-mail", seen=60.0)
    hire(store, "send-mails")
    health = client.doctor()
    assert found(health, "unattended") == [
        ("send-mail", "jobs of 'send-mail' are ready, the oldest for 2h, and no live worker takes them")
    ]
    assert "name it among the aliases of 'send-mails'" in health.findings[0].remedy
    assert found(health, "ready") == []


def test_ready_for_long(client, store):
    """Of types that workers take, those are found of which a job has been ready for long, of whatever priority."""
    hire(store, "a", "b")
    slow = client.start("a", priority=-5).id
    change(store, slow, scheduled_at=ago(7200.0))
    client.start("a", priority=5)
    client.start("b")
    health = client.doctor()
    assert found(health, "ready") == [("a", "a job of 'a' has been ready for 2h, longer than 1h")]
    assert f"jobctl why {slow}" in health.findings[0].remedy


@pytest.mark.parametrize("name", ["a", ""])
def test_what_is_paused_is_meant_to_wait(client, store, name):
    """Of types and chains that are paused nothing is found."""
    chain = client.start("a").id
    change(store, chain, scheduled_at=ago(7200.0))
    assert client.doctor().findings
    with store.transaction() as conn:
        conn.execute(sa.insert(pause).values(type_name=name, at=now(), actor="ann"))
    assert client.doctor().findings == ()
    with store.transaction() as conn:
        conn.execute(sa.delete(pause))
    change(store, chain, paused_at=now())
    assert client.doctor().findings == ()


def test_required_workers(client, store):
    """A type that must have a worker is found without one that lives, and on this host if that is asked for."""
    hire(store, "a", "b", host="h1")
    hire(store, "c", host="h1", seen=60.0)
    hire(store, "d", host="h1", stopping=1)
    client.start("other")
    health = client.doctor(require_workers=["a", "c", "d"])
    assert health.checks == ("connection", "schema", "require-worker")
    assert [each.message for each in health.findings] == ["no live worker takes 'c'", "no live worker takes 'd'"]
    assert client.doctor(require_workers=["a", "b"], host="h1").findings == ()
    (missing,) = client.doctor(require_workers=["a"], host="h2").findings
    assert missing.message == "no live worker on h2 takes 'a'"


def test_max_age(client, store):
    """With an age only that is checked: no type may have a job that has been ready for longer."""
    client.start("later", after="1h")
    chain = client.start("step").id
    change(store, chain, scheduled_at=ago(700.0))
    assert client.doctor(max_age="15m").findings == ()
    health = client.doctor(max_age=timedelta(minutes=10))
    assert health.checks == ("connection", "schema", "max-age")
    assert found(health, "max-age") == [("step", "a job of 'step' has been ready for 11m, longer than 10m")]
    assert len(client.doctor(max_age="10m", require_workers=["step"]).findings) == 2


def test_history(client, store):
    """Tables that take much room with closed chains from long ago are not pruned in time; open ones do not count."""
    old, gone = client.start("a").id, client.start("a").id
    limits = Limits(size=0, history=86_400.0)
    with store.transaction() as conn:
        conn.execute(sa.update(job).values(created_at=ago(3 * 86_400.0)))
    assert found(client.doctor(limits=limits), "history") == []
    run(store, gone)
    ((_, message),) = found(client.doctor(limits=limits), "history")
    assert message.endswith(", with closed chains from 3d ago: nothing prunes them in time")
    assert found(client.doctor(limits=Limits(history=86_400.0)), "history") == []
    client.delete([gone])
    assert found(client.doctor(limits=limits), "history") == []
    assert client.get(old)


def test_the_schema_comes_first(empty_postgres_url):
    """A schema that does not fit is an error of its own."""
    with Client(empty_postgres_url) as client, pytest.raises(SchemaOutdatedError):
        client.doctor()


# --- PostgreSQL ------------------------------------------------------------------------------------------------------


@pytest.fixture
def postgres(postgres_url):
    with Client(postgres_url) as client:
        yield client


def test_clock(postgres):
    """A clock that differs from the database's by more than the asking took is found."""
    assert found(postgres.doctor(limits=Limits(clock=5.0)), "clock") == []
    ((subject, message),) = found(postgres.doctor(limits=Limits(clock=-1e9)), "clock")
    assert subject is None
    assert message.startswith("the database's clock is ")


def test_old_transactions(postgres, postgres_url):
    """A transaction that has been open for long and keeps dead rows is found with its process; a young one is not."""
    with psycopg.connect(f"{postgres_url}&application_name=report") as other:
        other.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        other.execute("SELECT count(*) FROM jobctl_job")
        assert found(postgres.doctor(), "transactions") == []
        health = postgres.doctor(limits=Limits(transaction=0.0))
        pid = other.info.backend_pid
        mine = [each for each in health.findings if each.subject == str(pid)]
    assert len(mine) == 1
    assert " report idle in transaction) has been open for " in mine[0].message
    assert mine[0].remedy.endswith(f"SELECT pg_terminate_backend({pid})")


def test_dead_rows(postgres, postgres_url):
    """A table with more dead rows than live ones is found, from some number on."""
    with psycopg.connect(postgres_url, autocommit=True) as conn:
        conn.execute("ALTER TABLE jobctl_current SET (autovacuum_enabled = off)")
        ids = [postgres.start("a").id for _ in range(3)]
        for _ in range(4):
            conn.execute("UPDATE jobctl_current SET attempt = attempt + 1")
        conn.execute("SELECT pg_stat_force_next_flush()") if conn.info.server_version >= 150_000 else None
    assert ids
    limits = Limits(dead_rows=5)
    messages = eventually(lambda: dict(found(postgres.doctor(limits=limits), "bloat")).get("jobctl_current"))
    assert "dead rows and" in messages
    assert found(postgres.doctor(), "bloat") == []


# --- SQLite ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def sqlite(sqlite_url):
    with Client(sqlite_url) as client:
        yield client


def test_files_that_anybody_may_write(sqlite):
    """A file that anybody may write is found, and a folder where anybody may put another in its place."""
    path = Path(sqlite.store.path)
    path.chmod(0o666)
    path.parent.chmod(0o777)
    health = sqlite.doctor()
    assert {subject for subject, _ in found(health, "files")} == {str(path), str(path.parent)}
    assert any(each.remedy == f"run: chmod o-w '{path}'" for each in health.findings)
    path.chmod(0o600)
    path.parent.chmod(0o1777)
    assert sqlite.doctor().findings == ()


def test_journal():
    """Another journal mode than wal is found, and a log that grew without bounds."""
    state = FileState(Path("/jobs.db"), "wal", 10, 0, 5, (), ())
    assert list(journal_findings(state, Limits())) == []
    (mode,) = journal_findings(state._replace(journal="delete"), Limits())
    assert mode.message == "the journal mode is delete, not wal: readers and writers wait for each other"
    (grown,) = journal_findings(state._replace(wal=3 << 30), Limits())
    assert grown.message.startswith("the write-ahead log takes 3.0 GB")


def test_room(sqlite):
    """Room that holds nothing, in a file that was once larger, is found."""
    sqlite.delete([each.id for each in [sqlite.start("a", "x" * 1000) for _ in range(100)]])
    ((_, message),) = found(sqlite.doctor(limits=Limits(size=1000)), "room")
    assert message.endswith(" that the file takes hold nothing")
    assert found(sqlite.doctor(), "room") == []
