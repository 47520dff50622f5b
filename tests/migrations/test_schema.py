"""The schema: schema.sql, the migrations and the SQLAlchemy tables say the same."""

from __future__ import annotations

import re
import sqlite3
from importlib import resources
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import inspect
from sqlalchemy.exc import IntegrityError

from jobctl.storage.migrate import known_version, migrate, migrations, schema_script
from jobctl.storage.open import open_store
from jobctl.storage.tables import metadata

SCHEMA = Path(__file__).parents[2] / "schema.sql"

CATALOG = {
    "columns": """
        SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity,
            pg_get_expr(d.adbin, d.adrelid), co.collname
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
        LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
        LEFT JOIN pg_collation co ON co.oid = a.attcollation
        WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') AND a.attnum > 0
            AND NOT a.attisdropped ORDER BY 1, 2
    """,
    "constraints": """
        SELECT conrelid::regclass::text, conname, contype, pg_get_constraintdef(oid) FROM pg_constraint
        WHERE connamespace = current_schema()::regnamespace ORDER BY 1, 2
    """,
    "indexes": """
        SELECT c.relname, replace(pg_get_indexdef(c.oid), current_schema() || '.', '') FROM pg_class c
        WHERE c.relkind = 'i' AND c.relnamespace = current_schema()::regnamespace ORDER BY 1
    """,
    "others": """
        SELECT c.relkind, c.relname FROM pg_class c WHERE c.relnamespace = current_schema()::regnamespace ORDER BY 1, 2
    """,
    "functions": """
        SELECT proname, pg_get_function_arguments(oid), pg_get_function_result(oid), provolatile, proconfig, prosrc
        FROM pg_proc WHERE pronamespace = current_schema()::regnamespace ORDER BY 1
    """,
    "triggers": """
        SELECT tgname, pg_get_triggerdef(t.oid) FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
        WHERE c.relnamespace = current_schema()::regnamespace AND NOT tgisinternal ORDER BY 1
    """,
    "types": """
        SELECT typname FROM pg_type WHERE typnamespace = current_schema()::regnamespace AND typtype IN ('e', 'd')
        ORDER BY 1
    """,
}


def catalog_of(url):
    with psycopg.connect(url) as conn:
        return {name: conn.execute(query.encode()).fetchall() for name, query in CATALOG.items()}


def test_schema_sql_equals_all_migrations(new_schema):
    """A database made of schema.sql is the same as one that had every migration."""
    migrated, made = new_schema(), new_schema()
    store = open_store(migrated)
    migrate(store)
    store.close()
    with psycopg.connect(made, autocommit=True) as conn:
        conn.execute(SCHEMA.read_bytes())
    found, wanted = catalog_of(migrated), catalog_of(made)
    for name in CATALOG:
        assert found[name] == wanted[name], name
    assert len(found["columns"]) > 30
    assert len(found["indexes"]) > 10
    assert [name for name, *_ in found["functions"]] == ["jobctl_complete", "jobctl_hold"]


def test_a_difference_is_noticed(new_schema):
    """The comparison sees a default, a partial index and a check that differ."""
    one, two = new_schema(), new_schema()
    table = "CREATE TABLE t (a integer DEFAULT {0}, b text CHECK (b <> '{0}')); CREATE INDEX i ON t (a) WHERE a > {0}"
    for url, number in ((one, 1), (two, 2)):
        with psycopg.connect(url, autocommit=True) as conn:
            conn.execute(table.format(number).encode())
    found, wanted = catalog_of(one), catalog_of(two)
    assert {name for name in CATALOG if found[name] != wanted[name]} == {"columns", "constraints", "indexes"}


def test_schema_script_is_schema_sql():
    """What is printed as PostgreSQL's schema is the file at the top of the project."""
    assert schema_script("postgresql") == SCHEMA.read_text(encoding="utf-8")


def test_schema_script_of_sqlite_makes_the_schema(tmp_path, sqlite_url):
    """What is printed as SQLite's schema makes the same tables and indexes as the migrations."""
    made = sqlite3.connect(tmp_path / "made.db")
    made.executescript(schema_script("sqlite"))
    migrated = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))
    query = "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY 1, 2"
    assert made.execute(query).fetchall() == migrated.execute(query).fetchall()
    made.close()
    migrated.close()


def test_tables_equal_the_database(store):
    """SQLAlchemy's tables have the database's tables and columns, with its types, nullability and keys."""
    found = inspect(store.engine)
    assert set(found.get_table_names()) == set(metadata.tables)
    for name, table in metadata.tables.items():
        columns = {column["name"]: column for column in found.get_columns(name)}
        assert set(columns) == set(table.columns.keys())
        key = set(found.get_pk_constraint(name)["constrained_columns"])
        assert key == {column.name for column in table.primary_key}
        for column in table.columns:
            real = columns[column.name]
            # SQLite allows NULL to be written into the column of a row's number, and then numbers it itself
            numbered = store.dialect == "sqlite" and key == {column.name} and "INT" in str(real["type"])
            assert numbered or real["nullable"] == column.nullable, (name, column.name)
            assert _family(real["type"].compile(store.engine.dialect)) == _family(
                column.type.compile(store.engine.dialect), sqlite=store.dialect == "sqlite"
            ), (name, column.name)


def _family(spelling, *, sqlite=False):
    """A type's name, without what SQLite does not distinguish."""
    word = re.sub(r"\(.*\)", "", spelling).strip().upper()
    if sqlite and ("INT" in word or word == "DOUBLE"):
        return "INTEGER" if "INT" in word else "REAL"
    return word


def test_every_number_has_both_files():
    """Every migration has a file for each database, numbered without gaps from one, with the same name."""
    found: dict[str, list[tuple[int, str]]] = {
        dialect: [(each.version, each.name) for each in migrations(dialect)] for dialect in ("postgresql", "sqlite")
    }
    assert found["postgresql"] == found["sqlite"]
    assert [number for number, _ in found["sqlite"]] == list(range(1, len(found["sqlite"]) + 1))
    assert known_version("sqlite") == known_version("postgresql") == len(found["sqlite"])


def test_no_file_is_overlooked():
    """Every SQL file in the folder of migrations is one of them."""
    folder = resources.files("jobctl.storage") / "migrations"
    names = {file.name for file in folder.iterdir() if file.name.endswith(".sql")}
    used = {
        f"{each.version:04}_{each.name}.{dialect}.sql"
        for dialect in ("postgresql", "sqlite")
        for each in migrations(dialect)
    }
    assert names == used


SETTLED = """
    INSERT INTO jobctl_settled (chain_id, chain_index, status, priority, attempt, scheduled_at, completed_at)
    SELECT chain_id, chain_index, '{}', 0, 0, scheduled_at, scheduled_at FROM jobctl_current
"""


@pytest.mark.parametrize(
    ("statement", "constraint"),
    [
        ("UPDATE jobctl_current SET status = 'other'", "jobctl_current_status"),
        ("UPDATE jobctl_current SET status = 'running'", "jobctl_current_lease"),
        ("UPDATE jobctl_job SET chain_index = 1", "jobctl_job_root"),
        (SETTLED.format("other"), "jobctl_settled_status"),
        (SETTLED.format("completed"), "jobctl_settled_output"),
    ],
)
def test_database_refuses_what_cannot_be(client, store, statement, constraint):
    """A status that does not exist, a running job without a lease, and a first job that is not its chain's are refused."""
    client.start("a")
    with pytest.raises(IntegrityError, match=constraint), store.transaction() as conn:
        conn.exec_driver_sql(statement)
