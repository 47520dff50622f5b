"""Hearing of the commits of others on an SQLite file, whether or not the system tells of writes."""

from __future__ import annotations

import sqlite3
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from jobctl.ids import new_id
from jobctl.storage import sqlite_watch
from jobctl.storage.open import open_store
from jobctl.storage.records import NewJob
from jobctl.storage.sqlite import SqliteStore
from jobctl.storage.sqlite_watch import FileWatch

MUCH = """
    CREATE TABLE much AS
    WITH RECURSIVE number(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < 2000)
    SELECT n, hex(randomblob(500)) AS text FROM number
"""
"""More than a transaction keeps in memory: it is in the journal before it is committed."""


@pytest.fixture
def first(sqlite_url: str) -> Iterator[SqliteStore]:
    """The store of who watches."""
    with closing(open_store(sqlite_url)) as store:
        assert isinstance(store, SqliteStore)
        yield store


@pytest.fixture
def second(sqlite_url: str) -> Iterator[SqliteStore]:
    """The store of somebody else, who writes."""
    with closing(open_store(sqlite_url)) as store:
        assert isinstance(store, SqliteStore)
        yield store


@pytest.fixture(params=["told", "silent", "polled"])
def watching(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """Whether the system tells of writes, never does though it said that it would, or cannot."""
    real = sqlite_watch._writes_to
    (tmp_path / "another-wal").touch()
    writes_to = {"told": real, "silent": lambda _: real(tmp_path / "another"), "polled": lambda _: None}
    monkeypatch.setattr(sqlite_watch, "_writes_to", writes_to[request.param])
    return str(request.param)


def start_one(store: SqliteStore) -> None:
    """Commit something."""
    with store.transaction() as conn:
        store.start(conn, [NewJob(id_ := new_id(), id_, 0, "a", "a", "null")])


@pytest.mark.usefixtures("watching")
def test_sees_commits_of_others(first: SqliteStore, second: SqliteStore):
    """Who watches the file is woken by another's commit, at once, and not by its own reading."""
    with closing(first.watch()) as watch:
        assert watch.wait(0) is None
        for _ in range(3):
            assert watch.wait(0.02) == {}
            start_one(second)
            begun = time.monotonic()
            assert watch.wait(10)
            assert time.monotonic() - begun < 5


@pytest.mark.usefixtures("watching")
def test_waits_for_the_commit(first: SqliteStore, second: SqliteStore):
    """What is written to the journal and not committed yet wakes nobody; the commit does, and a rollback does not."""
    with closing(first.watch()) as watch:
        assert watch.wait(0) is None
        for end in ("ROLLBACK", "COMMIT"):
            with closing(sqlite3.connect(second.path, isolation_level=None)) as conn:
                conn.execute("PRAGMA cache_size = 1")
                conn.execute("BEGIN IMMEDIATE")
                conn.execute(MUCH)
                assert second.path.with_name(f"{second.path.name}-wal").stat().st_size > 1_000_000
                assert watch.wait(0.2) == {}
                conn.execute(end)
                assert bool(watch.wait(10 if end == "COMMIT" else 0.2)) is (end == "COMMIT")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the system does not tell")
def test_sleeps(first: SqliteStore, second: SqliteStore, monkeypatch: pytest.MonkeyPatch):
    """Where the system tells of writes, who watches looks seldom while nobody writes, and soon after somebody has."""
    read = FileWatch._read
    looks: list[sqlite3.Connection] = []

    def look(conn: sqlite3.Connection) -> int:
        looks.append(conn)
        return read(conn)

    monkeypatch.setattr(FileWatch, "_read", staticmethod(look))
    with closing(first.watch()) as watch:
        watch.wait(0)
        looks.clear()
        assert watch.wait(0.5) == {}
        assert len(looks) < 25
        monkeypatch.setattr(watch, "_pause", 60.0)
        threading.Timer(0.2, start_one, [second]).start()
        begun = time.monotonic()
        assert watch.wait(50)
        assert time.monotonic() - begun < 10
