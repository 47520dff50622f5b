"""What a worker does over and over stays quick, however little PostgreSQL's planner knows of what there is.

The planner learns how large a table is about once a minute, and keeps a statement's plan until then. A queue was empty
a moment ago, and is full now.
"""

from __future__ import annotations

from contextlib import closing

import psycopg
import pytest
from backlog import FEW, TYPES, WAITING, drained_postgres, fill_postgres, migrated, postgres_with, undone
from plans import LARGE, planned, statements_of
from sqlalchemy import text
from working import completed, continued, held, with_outcome

from jobctl import Client, NewChain
from jobctl.ids import new_id
from jobctl.storage import front as front_module
from jobctl.storage.front import Front
from jobctl.storage.open import open_store
from jobctl.storage.records import Retry

AVOIDED = ("seqscan", "bitmapscan")
"""What a worker's transactions have the planner avoid."""

WANTED = dict.fromkeys(TYPES, 60.0)


def work(store):
    """All that a worker does with jobs, once."""
    client = Client(store)

    def at_once(conn):
        front = Front()
        client.start_many([NewChain("type-1") for _ in range(100)], conn=conn)
        store.reap(conn, [new_id()], limit=20)
        store.next_due(conn, WANTED)
        for limit in (5, 60, 60, 60):  # the first from the beginning, the others from where it ended
            rows = store.claim(conn, WANTED, limit, worker="w", lease=new_id(), front=front)
            assert len(rows) == limit
        half = len(rows) // 2
        ends = [*map(completed, rows[:half]), *(continued(row, "next") for row in rows[half:])]
        assert len(store.settle(conn, ends).won) == len(rows)
        rows = store.claim(conn, WANTED, 60, worker="w", lease=new_id(), front=front)
        store.renew(conn, [held(row) for row in rows], WANTED)
        store.states(conn, [row.id for row in rows])
        store.release(conn, [held(row) for row in rows[40:]])
        others = [continued(row, "next", blocked_by=(rows[-1].chain_id,)) for row in rows[:20]]
        others += [with_outcome(row, Retry("boom", 1.0)) for row in rows[20:40]]
        assert len(store.settle(conn, others).won) == 40

    undone(store, at_once)


@pytest.fixture(autouse=True)
def goes_on(monkeypatch):
    """Claims go on where the last one ended for as long as a test takes."""
    monkeypatch.setattr(front_module, "LOOK_SECONDS", 1e9)


@pytest.fixture(scope="module")
def known_backlog(new_lasting_schema):
    """A database with a backlog of which the planner knows."""
    url = new_lasting_schema()
    postgres_with(url).close()
    return url


@pytest.fixture(scope="module")
def statements(known_backlog):
    """The statements of a worker that finds a backlog."""
    with closing(open_store(known_backlog)) as store, pytest.MonkeyPatch.context() as patch:
        patch.setattr(front_module, "LOOK_SECONDS", 1e9)
        return statements_of(store, lambda: work(store))


def most_read(url, statements):
    """The statement that looks at the most rows, and how many it looks at."""
    with planned(url, statements, *AVOIDED) as run:
        return _most(run, statements)


def _most(run, statements):
    looked_at = [sum(node.rows for node in run(each) if node.table in LARGE) for each in statements]
    return max(zip(looked_at, (each.text for each in statements), strict=True))


def test_there_is_an_index_for_all(known_backlog, statements):
    """No statement of a worker needs what its transactions avoid: its plan would count as so dear that it is compiled."""
    with planned(known_backlog, statements, *AVOIDED) as run:
        needed = {(each.text, node.kind, node.table) for each in statements for node in run(each) if node.disabled}
    assert not needed


@pytest.mark.parametrize("thought_empty", [*([each] for each in LARGE), LARGE], ids="+".join)
def test_tables_that_are_thought_empty(new_lasting_schema, statements, thought_empty):
    """No statement reads more where the planner thinks of tables that they are empty, as they were a minute ago."""
    url = new_lasting_schema()
    postgres_with(url, thought_empty=thought_empty).close()
    rows, statement = most_read(url, statements)
    assert rows <= FEW, statement


def test_a_queue_that_was_empty(new_lasting_schema, statements):
    """No statement reads more once a queue has filled again that was full of one type, and then empty."""
    url = new_lasting_schema()
    migrated(url).close()
    drained_postgres(url)
    fill_postgres(url, WAITING, thought_empty=["jobctl_current"])
    rows, statement = most_read(url, statements)
    assert rows <= FEW, statement


def test_plans_made_while_nothing_waited(new_lasting_schema, statements):
    """No statement reads more by a plan that was made while nothing waited, which is when an idle worker makes them."""
    url = new_lasting_schema()
    migrated(url).close()
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("VACUUM ANALYZE jobctl_job, jobctl_current, jobctl_settled")
    with planned(url, statements, *AVOIDED) as run:
        fill_postgres(url, WAITING, known=False)
        rows, statement = _most(run, statements)
    assert rows <= FEW, statement


def test_a_claim_is_planned_once(postgres_url):
    """A worker's claims go by the plan that was made for the first of them, which is not compiled.

    Left to itself, the server planned each of them, which took twice as long as to run it.
    """
    plans = text("SELECT sum(generic_plans), sum(custom_plans) FROM pg_prepared_statements")
    with closing(open_store(postgres_url)) as store:
        Client(store).start_many([NewChain("type-1") for _ in range(20)])
        for wanted in (1, 2, 3) * 3:
            with store.work(forgettable=True) as conn:
                assert len(store.claim(conn, WANTED, wanted, worker="w", lease=new_id())) == wanted
                assert conn.scalar(text("SHOW jit")) == "off"
        with store.engine.connect() as conn:
            generic, custom = conn.execute(plans).one()
    assert generic > 0
    assert custom == 0


def test_functions_planned_while_nothing_waited(new_lasting_schema):
    """What attempts run in functions scans no table by a plan that was made while nothing waited."""
    scans = text("SELECT sum(seq_scan) FROM pg_stat_xact_user_tables")  # of this connection alone, and at once
    came = text("SELECT status FROM jobctl_settled WHERE completed_by = 'w'")
    url = new_lasting_schema()
    with closing(migrated(url)) as store, store.engine.connect() as conn:
        with psycopg.connect(url, autocommit=True) as other:
            other.execute("VACUUM ANALYZE")
        Client(store).start("type-0")
        for first in (True, False):
            with conn.begin() as undone:
                (row,) = store.claim(conn, {"type-0": 60.0}, 1, worker="w", lease=new_id())
                before = conn.scalar(scans)
                held_by = f"'{row.chain_id}', '{row.lease}', 'w', 'null'"
                for call in (f"jobctl_hold('{row.chain_id}')", f"jobctl_complete({held_by})"):
                    conn.execute(text(f"SELECT * FROM {call}"))  # noqa: S608 - of ours alone
                assert conn.scalar(scans) == before
                assert conn.scalar(came) == "completed"
                undone.rollback()
            if first:
                fill_postgres(url, WAITING, known=False)


def test_a_worker_has_no_table_scanned(postgres_url):
    """A worker's own transactions go by the indexes; those of handlers and commands are planned as ever."""
    with closing(open_store(postgres_url)) as store:
        for options in ({}, {"read_only": True}, {"forgettable": True}):
            for begin, expected in ((store.work(**options), "off"), (store.transaction(), "on")):
                with begin as conn:
                    assert {conn.scalar(text(f"SHOW enable_{each}")) for each in AVOIDED} == {expected}
