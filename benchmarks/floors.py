"""What bare drivers reach with one plain table: no library can be faster, and none needs to promise less."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time

import psycopg

from benchmarks.databases import Database
from benchmarks.measuring import Benchmark, Figure, Sizes, fresh
from benchmarks.working import EFFECT

BATCH = 100
CONNECTIONS = 10

TABLE = "CREATE TABLE queue (id bigint PRIMARY KEY, payload text NOT NULL, status text NOT NULL DEFAULT 'ready')"
INDEX = "CREATE INDEX queue_ready ON queue (id) WHERE status = 'ready'"

CLAIM = """
    UPDATE queue SET status = 'running'
    WHERE id IN (SELECT id FROM queue WHERE status = 'ready' ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED)
    RETURNING id, payload
"""
COMPLETE = "UPDATE queue SET status = 'completed' WHERE id = ANY(%s)"

CLAIM_SQLITE = """
    UPDATE queue SET status = 'running'
    WHERE id IN (SELECT id FROM queue WHERE status = 'ready' ORDER BY id LIMIT ?) RETURNING id, payload
"""
COMPLETE_SQLITE = "UPDATE queue SET status = 'completed' WHERE id IN (SELECT value FROM json_each(?))"


async def no_op(payload: object) -> None:
    """The handler."""


def fill_postgres(database: Database, count: int) -> None:
    """Make the table, and the jobs in it."""
    with psycopg.connect(database.url) as conn, conn.cursor() as cursor:
        for each in (TABLE, INDEX, EFFECT):
            cursor.execute(each.encode())
        with cursor.copy("COPY queue (id, payload) FROM STDIN") as copy:
            for n in range(count):
                copy.write_row((n, json.dumps({"n": n})))
    database.settle_down()


def batches(database: Database, sizes: Sizes) -> list[Figure]:
    """One connection: claim a hundred, commit, run them, complete them, commit."""
    fill_postgres(database, sizes.jobs)

    async def loop() -> float:
        async with await psycopg.AsyncConnection.connect(database.url) as conn, conn.cursor() as cursor:
            begin = time.perf_counter()
            while True:
                await cursor.execute(CLAIM, [BATCH])
                claimed = await cursor.fetchall()
                await conn.commit()
                if not claimed:
                    return time.perf_counter() - begin
                await asyncio.gather(*(no_op(json.loads(payload)) for _, payload in claimed))
                await cursor.execute(COMPLETE, [[id_ for id_, _ in claimed]])
                await conn.commit()

    return [Figure("processed", "jobs/s", sizes.jobs / asyncio.run(loop()))]


def transactions(database: Database, sizes: Sizes) -> list[Figure]:
    """Ten connections: claim one, write a row of the user's own, complete it, commit."""
    fill_postgres(database, sizes.jobs)

    async def loop(conn: psycopg.AsyncConnection[tuple[int, str]]) -> None:
        async with conn, conn.cursor() as cursor:
            while True:
                await cursor.execute(CLAIM, [1])
                claimed = await cursor.fetchone()
                if claimed is None:
                    return
                id_, payload = claimed
                await no_op(json.loads(payload))
                await cursor.execute("INSERT INTO effect (job_id) VALUES (%s)", [str(id_)])
                await cursor.execute(COMPLETE, [[id_]])
                await conn.commit()

    async def all_() -> float:
        connections = [await psycopg.AsyncConnection.connect(database.url) for _ in range(CONNECTIONS)]
        begin = time.perf_counter()
        await asyncio.gather(*(loop(each) for each in connections))
        return time.perf_counter() - begin

    return [Figure("processed", "jobs/s", sizes.jobs / asyncio.run(all_()))]


def batches_sqlite(database: Database, sizes: Sizes) -> list[Figure]:
    """The same as batches, with the standard library's driver."""
    conn = sqlite3.connect(database.folder / "floor.db", isolation_level=None)
    conn.execute("PRAGMA journal_mode = WAL")
    conn.execute(TABLE)
    conn.execute(INDEX)
    conn.execute("BEGIN")
    rows = ((n, json.dumps({"n": n})) for n in range(sizes.jobs))
    conn.executemany("INSERT INTO queue (id, payload) VALUES (?, ?)", rows)
    conn.execute("COMMIT")

    async def loop() -> float:
        begin = time.perf_counter()
        while claimed := conn.execute(CLAIM_SQLITE, [BATCH]).fetchall():
            await asyncio.gather(*(no_op(json.loads(payload)) for _, payload in claimed))
            conn.execute(COMPLETE_SQLITE, [json.dumps([id_ for id_, _ in claimed])])
        return time.perf_counter() - begin

    seconds = asyncio.run(loop())
    conn.close()
    return [Figure("processed", "jobs/s", sizes.jobs / seconds)]


BENCHMARKS = [
    Benchmark("bare-batches", "process", fresh(batches), kinds=("postgresql",)),
    Benchmark("bare-batches-sqlite", "process", fresh(batches_sqlite), kinds=("sqlite",)),
    Benchmark("bare-transactions", "transactions", fresh(transactions), kinds=("postgresql",)),
]
