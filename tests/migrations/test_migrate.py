"""Bringing databases up to date: once, by whoever comes first, all of it or nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from importlib import metadata as distribution

import psycopg
import pytest
from sqlalchemy import inspect, select
from support import InThread, wait_until_blocked

from jobctl import Client
from jobctl.errors import SchemaOutdatedError, SchemaTooNewError
from jobctl.storage import migrate as module
from jobctl.storage.migrate import Migration, check_schema, found_version, known_version, migrate, migrations, pending
from jobctl.storage.open import open_store
from jobctl.storage.tables import migration

AT_ONCE = 20


@pytest.fixture
def empty(empty_database_url):
    """A store on a database without any table."""
    store = open_store(empty_database_url)
    yield store
    store.close()


def versions(store):
    with store.transaction(read_only=True) as conn:
        return [version for (version,) in conn.exec_driver_sql("SELECT version FROM jobctl_migration ORDER BY 1")]


def tables(store):
    return set(inspect(store.engine).get_table_names())


def test_migrate_applies_all_once(empty):
    """On an empty database every step is applied and told, and the next call has nothing to do."""
    wanted = list(migrations(empty.dialect))
    assert pending(empty) == wanted
    assert migrate(empty) == wanted
    assert versions(empty) == [each.version for each in wanted]
    assert migrate(empty) == []
    assert pending(empty) == []
    check_schema(empty)


def test_pending_makes_no_file(empty_sqlite_url, tmp_path):
    """Asking what is pending in an SQLite file that does not exist, or is empty, neither makes nor fills it."""
    wanted = list(migrations("sqlite"))
    file = tmp_path / "jobctl.db"
    for url in (empty_sqlite_url, f"sqlite:///{tmp_path / 'no' / 'such' / 'folder.db'}"):
        store = open_store(url)
        assert pending(store) == wanted
        assert list(tmp_path.iterdir()) == []
        store.close()
    file.touch()
    store = open_store(empty_sqlite_url)
    assert pending(store) == wanted
    store.close()
    assert [(each.name, each.stat().st_size) for each in tmp_path.iterdir()] == [("jobctl.db", 0)]


def test_pending_changes_nothing(empty):
    """Asking what is pending makes no table."""
    pending(empty)
    assert tables(empty) == set()
    migrate(empty)
    before = versions(empty)
    pending(empty)
    assert versions(empty) == before


def test_row_tells_when_and_what(empty):
    """Each step's row has its name and the time it was applied."""
    migrate(empty)
    with empty.transaction(read_only=True) as conn:
        rows = conn.execute(select(migration.c.name, migration.c.applied_at).order_by(migration.c.version)).all()
    assert [name for name, _ in rows] == [each.name for each in migrations(empty.dialect)]
    assert all(abs(at - datetime.now(UTC)) < timedelta(minutes=1) for _, at in rows)


def test_concurrent_migrates_apply_once(empty_postgres_url):
    """Twenty migrates at once on an empty PostgreSQL all succeed, and each step is applied by one of them."""
    stores = [open_store(empty_postgres_url) for _ in range(AT_ONCE)]
    running = [InThread(lambda store=store: migrate(store)) for store in stores]
    applied = [step for each in running for step in each.result(within=60)]
    assert applied == list(migrations("postgresql"))
    assert versions(stores[0]) == [each.version for each in applied]
    for each in stores:
        each.close()


def test_migrate_waits_for_another(empty_postgres_url):
    """A migrate that meets another waits until that one is done, and then has nothing to do."""
    store, other = open_store(empty_postgres_url), open_store(empty_postgres_url)
    with store.transaction() as conn:
        store.migration_lock(conn)
        later = InThread(lambda: migrate(other))
        wait_until_blocked(empty_postgres_url, by=conn.connection.driver_connection.info.backend_pid)
        store.run_script(conn, module._VERSION_TABLE["postgresql"])
        for step in migrations("postgresql"):
            conn.exec_driver_sql(f"INSERT INTO jobctl_migration (version, name) VALUES ({step.version}, '{step.name}')")
            store.run_script(conn, step.script)
    assert later.result() == []
    store.close()
    other.close()


def test_concurrent_first_uses_of_a_file(empty_sqlite_url, open_client):
    """Twenty clients that use a new SQLite file for the first time at once all succeed, and set it up once."""
    running = [InThread(lambda: open_client(empty_sqlite_url).start("a").id) for _ in range(AT_ONCE)]
    started = {each.result(within=60) for each in running}
    client = open_client(empty_sqlite_url)
    assert {each.id for each in client.list_chains().items} == started
    assert len(started) == AT_ONCE
    assert versions(client.store) == [each.version for each in migrations("sqlite")]


def test_sqlite_sets_itself_up(empty_sqlite_url):
    """A client of an SQLite file sets it up by itself."""
    with Client(empty_sqlite_url) as client:
        assert client.start("a").id
        assert versions(client.store) == [each.version for each in migrations("sqlite")]


def test_postgres_without_schema(empty_postgres_url):
    """A client of a PostgreSQL database without the schema says what to do, and makes nothing."""
    with Client(empty_postgres_url) as client:
        with pytest.raises(SchemaOutdatedError, match="has no schema of jobctl's: run `jobctl migrate`") as outdated:
            client.start("a")
        assert outdated.value.details == {"found": 0, "known": known_version("postgresql")}
        assert outdated.value.exit_code == 6
        assert tables(client.store) == set()
        migrate(client.store)
        assert client.start("a").id


def test_older_schema(postgres_url, monkeypatch):
    """A schema older than the code is refused with both versions, until it is migrated."""
    known = known_version("postgresql")
    newer = Migration(known + 1, "more", "CREATE TABLE more (id integer)")
    all_steps = (*migrations("postgresql"), newer)
    monkeypatch.setattr(module, "migrations", lambda _: all_steps)
    with Client(postgres_url) as client:
        with pytest.raises(
            SchemaOutdatedError,
            match=f"has version {known} of the schema, older than {known + 1}: run `jobctl migrate`",
        ):
            client.list_chains()
        assert pending(client.store) == [newer]
        assert migrate(client.store) == [newer]
        assert client.list_chains().items == ()
        assert "more" in tables(client.store)


def test_older_sqlite_file_is_brought_up_to_date(sqlite_url, monkeypatch):
    """An older SQLite file is brought up to date by the first client that uses it, and keeps what it has."""
    with Client(sqlite_url) as client:
        chain = client.start("a")
    newer = Migration(known_version("sqlite") + 1, "more", "CREATE TABLE more (id INTEGER);\n")
    all_steps = (*migrations("sqlite"), newer)
    monkeypatch.setattr(module, "migrations", lambda _: all_steps)
    with Client(sqlite_url) as client:
        assert client.get(chain.id).type_name == "a"
        assert "more" in tables(client.store)


@pytest.mark.parametrize("call", ["client", "migrate", "pending", "check"])
def test_newer_schema_is_refused(store, call):
    """A schema that a later jobctl migrated is refused by everything, migrate too, and left as it is."""
    known = known_version(store.dialect)
    moment = "CURRENT_TIMESTAMP" if store.dialect == "postgresql" else "0"
    with store.transaction() as conn:
        conn.exec_driver_sql(f"INSERT INTO jobctl_migration VALUES ({known + 7}, 'later', {moment})")
    calls = {
        "client": lambda: Client(store).list_chains(),
        "migrate": lambda: migrate(store),
        "pending": lambda: pending(store),
        "check": lambda: check_schema(store),
    }
    with pytest.raises(SchemaTooNewError, match="newer than this jobctl knows .*: update jobctl") as newer:
        calls[call]()
    assert newer.value.details == {"found": known + 7, "known": known}
    assert newer.value.exit_code == 6
    assert versions(store)[-1] == known + 7


def test_failing_migration_leaves_nothing(empty, monkeypatch):
    """A step that fails midway leaves neither its row nor anything that it or the steps before made."""
    good = migrations(empty.dialect)
    bad = Migration(good[-1].version + 1, "bad", "CREATE TABLE half (id INTEGER);\nSELECT no_such_function();\n")
    monkeypatch.setattr(module, "migrations", lambda _: (*good, bad))
    with pytest.raises(Exception, match="no_such_function"):
        migrate(empty)
    assert tables(empty) == set()
    monkeypatch.undo()
    assert migrate(empty) == list(good)


def test_failing_migration_of_an_old_database(store, client, monkeypatch):
    """A later step that fails leaves the database as it was, with its version and its jobs."""
    chain = client.start("a")
    before = tables(store)
    good = migrations(store.dialect)
    bad = Migration(good[-1].version + 1, "bad", "CREATE TABLE half (id INTEGER);\nSELECT no_such_function();\n")
    monkeypatch.setattr(module, "migrations", lambda _: (*good, bad))
    with pytest.raises(Exception, match="no_such_function"):
        migrate(store)
    monkeypatch.undo()
    assert tables(store) == before
    assert versions(store) == [each.version for each in good]
    assert client.get(chain.id).type_name == "a"


def test_tables_go_where_search_path_says(new_schema):
    """Two schemas of one database hold two sets of tables that know nothing of each other."""
    one, two = new_schema(), new_schema()
    for url in (one, two):
        store = open_store(url)
        assert len(migrate(store)) == len(migrations("postgresql"))
        store.close()
    with Client(one) as first, Client(two) as second:
        first.start("a")
        assert second.list_chains().items == ()


def test_found_version_of_a_table_without_rows(empty):
    """A table of versions without rows counts as no schema."""
    with empty.transaction() as conn:
        empty.run_script(conn, module._VERSION_TABLE[empty.dialect])
    with empty.transaction(read_only=True) as conn:
        assert found_version(conn) == 0


def test_colons_and_percents_in_scripts(empty, monkeypatch):
    """A script goes to the database as it stands: neither colons nor percent signs are parameters."""
    odd = Migration(99, "odd", """CREATE TABLE odd (x text DEFAULT '{"a":1, "b": "%s %(x)s ? $1 :x"}');\n""")
    monkeypatch.setattr(module, "migrations", lambda _: (*migrations(empty.dialect), odd))
    migrate(empty)
    with empty.transaction() as conn:
        conn.exec_driver_sql("INSERT INTO odd DEFAULT VALUES")
        assert conn.exec_driver_sql("SELECT x FROM odd").scalar_one() == '{"a":1, "b": "%s %(x)s ? $1 :x"}'


def test_server_is_one_that_is_supported(postgres_url):
    """The server of the tests is one of the versions that jobctl is for."""
    with psycopg.connect(postgres_url) as conn:
        assert conn.info.server_version >= 140_000
    assert distribution.version("psycopg") >= "3.2"
