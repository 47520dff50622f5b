"""What a call costs does not grow with what waits: every statement goes by an index, whatever the parameters."""

from __future__ import annotations

import re
from contextlib import closing
from datetime import timedelta

import psycopg
import pytest
from backlog import BEGUN, FEW, RARE, SOME, TYPES, WAITING, postgres_with, sqlite_with, undone
from plans import LARGE, Statement, postgres_plan, recorded, sqlite_plan, sqlite_steps, statements_of, touched
from sqlalchemy import Select, TextClause, Update, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql import ClauseElement
from working import claim, completed, continued, held, with_outcome

from jobctl import Client, ListFilter, NewChain, Retention, RetentionPolicy, Status
from jobctl.claiming import OneJob
from jobctl.ids import new_id
from jobctl.reasons import Reason
from jobctl.reports import Limits
from jobctl.storage import (
    claiming,
    counting,
    editing,
    inside,
    lanes,
    leasing,
    obstacles,
    pausing,
    presence,
    queries,
    reading,
    statements,
    tallying,
    upkeep,
)
from jobctl.storage import postgres as postgres_module
from jobctl.storage import sqlite as sqlite_module
from jobctl.storage.records import NewJob, Retry
from jobctl.storage.tables import current


@pytest.fixture(scope="module")
def postgres_backlog(new_lasting_schema):
    """The URL of a PostgreSQL database with a backlog, which no test changes."""
    url = new_lasting_schema()
    with closing(postgres_with(url)) as store:
        yield url, store


@pytest.fixture(scope="module")
def sqlite_backlog(tmp_path_factory):
    """An SQLite file with a backlog, which no test changes."""
    store = sqlite_with(tmp_path_factory.mktemp("cost"), WAITING)
    yield store
    store.close()


@pytest.fixture(scope="module")
def small_backlog(tmp_path_factory):
    """An SQLite file with a backlog a hundredth as long."""
    store = sqlite_with(tmp_path_factory.mktemp("cost"), WAITING // 100)
    yield store
    store.close()


# --- the calls -------------------------------------------------------------------------------------------------------


def claim_of(types, limit):
    def call(store):
        undone(store, lambda conn: store.claim(conn, dict.fromkeys(types, 60.0), limit, worker="w", lease=new_id()))

    return call


def on_claimed(limit, action):
    """A call on jobs that were claimed in the same transaction."""

    def call(store):
        def work(conn):
            rows = store.claim(conn, dict.fromkeys(TYPES, 60.0), limit, worker="w", lease=new_id())
            assert len(rows) == limit
            action(store, conn, rows)

        undone(store, work)

    return call


def renew(store, conn, rows):
    assert len(store.renew(conn, [held(row) for row in rows], dict.fromkeys(TYPES, 60.0))) == len(rows)


def settle(store, conn, rows):
    third = len(rows) // 3
    settlements = [completed(row) for row in rows[:third]]
    settlements += [continued(row, "next", blocked_by=(rows[0].chain_id,)) for row in rows[third : third * 2]]
    settlements += [with_outcome(row, Retry("boom", 1.0)) for row in rows[third * 2 :]]
    assert len(store.settle(conn, settlements).won) == len(rows)


def list_call(kind, **wanted):
    def call(store):
        with store.transaction(read_only=True) as conn:
            list_ = reading.list_chains if kind == "chains" else reading.list_jobs
            found, cursor = list_(conn, ListFilter(**wanted))
            if cursor:
                list_(conn, ListFilter(cursor=cursor, **wanted))
            assert found

    return call


def next_due(store):
    with store.transaction(read_only=True) as conn:
        due = store.next_due(conn, dict.fromkeys([*TYPES, "none"], 60.0))
    assert due.job < 0
    assert due.lease < 0


def reap(store):
    undone(store, lambda conn: store.reap(conn, [new_id()], limit=20))


def start(store):
    client = Client(store)
    undone(store, lambda conn: client.start("type-1", blocked_by=[SOME], conn=conn))


def look(store):
    client = Client(store)
    with store.transaction(read_only=True) as conn:
        client.get(SOME, conn=conn)
        client.get_job(SOME, conn=conn)
        assert client.show(SOME, conn=conn).dependents


def settle_by_hand(store):
    client = Client(store)

    def work(conn):
        with client.settle(SOME, force=True, conn=conn) as current:
            current.continue_with("next")
            current.complete(1)

    undone(store, work)


def on_failed(action):
    """A call on a few chains that have failed."""

    def call(store):
        client = Client(store)
        some = select(current.c.chain_id).where(reading._has_status(Status.FAILED)).limit(3)
        with store.transaction(read_only=True) as conn:
            failed = list(conn.scalars(some))
        undone(store, lambda conn: action(client, conn, failed))

    return call


def pause_and_resume(client, conn, ids):
    client.pause(ids, types=["type-1"], everything=True, conn=conn)
    assert len(client.pauses(conn=conn).items) == 2 + len(ids)
    assert client.resume(ids, types=["type-1"], everything=True, conn=conn)


def restart_and_look_back(client, conn, ids):
    client.restart(ids[0], conn=conn)
    assert client.history(ids[0], conn=conn).items
    assert client.history(conn=conn).items


def diagnose(store):
    client = Client(store)
    with store.transaction(read_only=True) as conn:
        assert client.why(SOME, conn=conn).reason is Reason.NO_WORKER
        assert client.workers(conn=conn) == []
        found = {each.check for each in client.doctor(limits=Limits(size=0), conn=conn).findings}
        assert {"leases", "unattended"} <= found
        assert client.doctor(require_workers=["a"], max_age="1m", conn=conn).findings


def explain_blocked(store):
    client = Client(store)
    with store.transaction(read_only=True) as conn:
        (blocked, *_) = client.list_chains(ListFilter(statuses=[Status.BLOCKED], limit=2), conn=conn).items
        assert client.why(blocked.id, conn=conn).blockers


def claim_this(store):
    """The claim of one job, and whether its command has settled it."""

    def work(conn):
        (row,) = OneJob(store, SOME)(conn, dict.fromkeys(TYPES, 60.0), 1, worker="w", lease=new_id())
        assert not inside.settled_inside(conn, held(row))

    undone(store, work)


def act_within(store):
    client = Client(store)
    wanted = ListFilter(type_name="type-2", statuses=(Status.SCHEDULED, Status.READY), newest_first=False)

    def work(conn):
        ids = list(client.select(wanted, limit=40, conn=conn))
        assert len(client.trigger(ids, within=wanted, conn=conn)) == 40
        assert client.delete(ids, within=ListFilter(), keep_awaited=True, conn=conn)

    undone(store, work)


def prune(store):
    policy = RetentionPolicy(Retention(completed="1s", cancelled="1s", failed="1ms"), history="1s")
    done = Client(store).prune(policy, only=["type-1"], limit=10, dry_run=True)
    assert done.chains == 10


SINCE = BEGUN - timedelta(minutes=3)

CALLS = {
    "claim-one-type": claim_of(TYPES[:1], 10),
    "claim-one-job": claim_of(TYPES, 1),
    "claim-this": claim_this,
    "claim-many-types": claim_of([*TYPES, "none"], 50),
    "renew": on_claimed(50, renew),
    "settle": on_claimed(60, settle),
    "next-due": next_due,
    "reap": reap,
    "start": start,
    "look": look,
    "settle-by-hand": settle_by_hand,
    "diagnose": diagnose,
    "explain-blocked": explain_blocked,
    "act-within": act_within,
    "chains": list_call("chains"),
    "chains-oldest": list_call("chains", newest_first=False),
    "chains-type": list_call("chains", type_name="type-2"),
    "chains-since": list_call("chains", since=SINCE),
    "chains-type-until": list_call("chains", type_name="type-2", until=SINCE),
    "jobs": list_call("jobs"),
    "jobs-oldest": list_call("jobs", newest_first=False),
    "jobs-type": list_call("jobs", type_name="type-2"),
    "jobs-failed": list_call("jobs", statuses=[Status.FAILED], limit=2),
    "jobs-blocked": list_call("jobs", statuses=[Status.BLOCKED], newest_first=False, limit=2),
    "chains-failed": list_call("chains", statuses=[Status.FAILED], limit=2),
    "chains-completed": list_call("chains", statuses=[Status.COMPLETED]),
    "jobs-completed": list_call("jobs", statuses=[Status.COMPLETED]),
    "retry": on_failed(lambda client, conn, ids: client.retry(ids, conn=conn)),
    "cancel": on_failed(lambda client, conn, ids: client.cancel([*ids, SOME], cascade=True, conn=conn)),
    "pause": on_failed(pause_and_resume),
    "restart": on_failed(restart_and_look_back),
    "jobs-chain": list_call("jobs", chain_id=SOME),
}


each_call = pytest.mark.parametrize("call", list(CALLS.values()), ids=list(CALLS))


# --- PostgreSQL ------------------------------------------------------------------------------------------------------


@each_call
def test_postgres_looks_at_few_rows(postgres_backlog, call):
    """Under a plan that knows no parameters, no statement scans or sorts the jobs that wait."""
    url, store = postgres_backlog
    found = statements_of(store, lambda: call(store))
    assert found
    for each in found:
        plan = postgres_plan(url, each)
        scans = [node for node in plan if node.table in LARGE and node.kind in {"Seq Scan", "Sample Scan"}]
        assert not scans, each.text
        assert sum(node.rows for node in plan if node.table in LARGE) <= FEW, (each.text, plan)
        assert all(node.rows <= FEW for node in plan if "Sort" in node.kind), (each.text, plan)


def test_postgres_prunes_by_index(postgres_backlog):
    """However much there is, each statement of pruning looks at a page of an index, and at what it is to delete."""
    url, store = postgres_backlog
    for each in statements_of(store, lambda: prune(store)):
        plan = postgres_plan(url, each)
        assert not [node for node in plan if node.table in LARGE and node.kind in {"Seq Scan", "Sample Scan"}], (
            each.text
        )
        assert sum(node.rows for node in plan if node.table in LARGE) <= FEW, (each.text, plan)
        assert all(node.rows <= FEW for node in plan if "Sort" in node.kind), (each.text, plan)


def test_a_plan_that_scans_is_noticed(postgres_backlog):
    """What the tests of cost look for is there when a status is a parameter instead of a literal."""
    url, _ = postgres_backlog
    bad = Statement(
        "SELECT job_id FROM jobctl_current WHERE type_name = %(a)s AND status = %(b)s ORDER BY priority DESC, scheduled_at"
        " LIMIT 10",
        {"a": "type-1", "b": "pending"},
    )
    plan = postgres_plan(url, bad)
    assert sum(node.rows for node in plan if node.table in LARGE) > FEW


# --- SQLite ----------------------------------------------------------------------------------------------------------


TABLES = {"root", "tail", "later", "jobctl_error", "jobctl_act", "jobctl_blocker", *LARGE}


@each_call
def test_sqlite_scans_nothing(sqlite_backlog, call):
    """No statement goes through a table without an index, and through one in its order only to fill a page."""
    by_time = call in {
        CALLS[name]
        for name in ("chains", "chains-oldest", "chains-completed", "jobs", "jobs-oldest", "jobs-completed", "diagnose")
    }
    sorts = call in {
        CALLS[name] for name in ("jobs-chain", "jobs-failed", "jobs-blocked", "chains-failed", "explain-blocked")
    }  # a few
    found = statements_of(sqlite_backlog, lambda: call(sqlite_backlog))
    assert found
    for each in found:
        plan = sqlite_plan(sqlite_backlog, each)
        for line in plan:
            words = line.split()
            if "INDEX jobctl_current_paused" in line:  # which has what is paused, and nothing else
                continue
            if words[0] == "SCAN" and words[1] in TABLES:
                assert by_time, (line, each.text)
                assert "INDEX jobctl_job_created" in line, (line, each.text)
        if "ORDER BY" in each.text and "LIMIT" in each.text and not sorts:
            lanes = "SCAN lane" in plan  # a claim sorts its types, of each of which there is one row
            assert sum("TEMP B-TREE" in line for line in plan) <= lanes, (plan, each.text)


def test_sqlite_prunes_by_index(sqlite_backlog):
    """The same on SQLite, where no statement goes through a table, or sorts more than a page."""
    for each in statements_of(sqlite_backlog, lambda: prune(sqlite_backlog)):
        for line in sqlite_plan(sqlite_backlog, each):
            assert not (line.startswith("SCAN") and line.split()[1] in TABLES), (line, each.text)
            if "LIMIT" in each.text and "walked" not in each.text:  # where the page that was read is sorted
                assert "TEMP B-TREE" not in line, (line, each.text)


@each_call
def test_sqlite_cost_does_not_grow(sqlite_backlog, small_backlog, call):
    """With a hundred times as many jobs a call takes about as many steps."""
    few = sqlite_steps(small_backlog, lambda: call(small_backlog))
    many = sqlite_steps(sqlite_backlog, lambda: call(sqlite_backlog))
    assert many <= few * 3 + 5


# --- counting --------------------------------------------------------------------------------------------------------


def count(store):
    client = Client(store)
    assert sum(waiting.count for each in client.stats().types for waiting in each.open.values()) > WAITING // 100
    assert client.stats(type_name="type-1").types
    assert client.activity().running


def test_postgres_counts_what_is_open_once(postgres_backlog):
    """Counting looks at each open job once, at no other, and could do so by the indexes alone."""
    url, store = postgres_backlog
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("VACUUM jobctl_current")  # as PostgreSQL does by itself: says of which pages the index is enough
    whole, one_type = [], []
    for each in statements_of(store, lambda: count(store)):
        plan = postgres_plan(url, each, "seqscan", "bitmapscan")
        assert not any(node.table in {"jobctl_job", "jobctl_settled"} and node.rows > RARE for node in plan), plan
        looked_at = sum(node.rows for node in plan if node.table == "jobctl_current")
        assert looked_at <= WAITING, (each.text, plan)
        if looked_at > RARE:
            assert {node.kind for node in plan if node.table} == {"Index Only Scan"}, (each.text, plan)
            (one_type if "type_name" in each.parameters else whole).append(looked_at)
    assert whole == [WAITING]
    assert one_type == [WAITING // len(TYPES)]


def test_sqlite_counts_by_indexes_alone(sqlite_backlog):
    """Counting what waits reads indexes that have all it needs, and nothing of what is settled."""
    found = statements_of(sqlite_backlog, lambda: count(sqlite_backlog))
    lines = [(each.text, line) for each in found for line in sqlite_plan(sqlite_backlog, each)]
    for text, line in lines:
        assert "jobctl_settled" not in line, text
        assert not line.startswith("SCAN jobctl_job"), text
        if "SCAN jobctl_current" in line:  # all of a partial index
            assert "INDEX jobctl_current_" in line, (line, text)
    covered = [line for _, line in lines if "COVERING INDEX" in line]
    assert {name for line in covered for name in re.findall(r"jobctl_current_\w+", line)} >= {
        "jobctl_current_claim",
        "jobctl_current_waiting",
    }


# --- both ------------------------------------------------------------------------------------------------------------


def compiled_statements():
    found = []
    acting = (editing, pausing, claiming, inside)
    looking = (queries, counting, tallying, lanes, obstacles, presence, upkeep)
    for module in (statements, leasing, *acting, *looking, postgres_module, sqlite_module):
        for name, value in vars(module).items():
            if not isinstance(value, ClauseElement) or isinstance(value, TextClause):
                continue
            if not (isinstance(value, Select | Update) or value.is_dml):
                continue
            for dialect in (postgresql.dialect(), sqlite.dialect()):
                foreign = {postgres_module: "sqlite", sqlite_module: "postgresql"}.get(module)
                if dialect.name != foreign:
                    found.append(pytest.param(value.compile(dialect=dialect), id=f"{dialect.name}-{name}"))
    return found


STATUSES = {"pending", *(status.value for status in Status)}


@pytest.mark.parametrize("compiled", compiled_statements())
def test_statuses_are_literals(compiled):
    """A status that restricts a statement is written in it: as a parameter it would miss the partial indexes."""
    values = {value for value in compiled.params.values() if isinstance(value, str)}
    assert not values & STATUSES


@pytest.mark.parametrize("compiled", compiled_statements())
def test_conditions_are_not_compared_with_one(compiled):
    """No condition is spelled `… = 1`, which would lose its index."""
    text = str(compiled).replace("WHERE 1 = 1", "")  # which is how SQLite is told "always"
    assert not re.search(r"(=|IS) 1\b", text)


@pytest.mark.parametrize("statuses", [[status] for status in Status] + [list(Status)], ids=str)
def test_statuses_of_lists_are_literals(client, store, statuses):
    """The statuses that a list asks for are written in the statement."""
    wanted = ListFilter(statuses=statuses)
    for each in statements_of(store, lambda: (client.list_jobs(wanted), client.list_chains(wanted))):
        values = each.parameters.values() if isinstance(each.parameters, dict) else each.parameters
        assert not STATUSES & {value for value in values if isinstance(value, str)}


def test_batches_take_one_round_trip(store):
    """Whatever the size of a batch, the number of statements is the same."""

    def statements_for(count):
        ids = [new_id() for _ in range(count)]

        def work():
            with store.transaction() as conn:
                store.start(conn, [NewJob(each, each, 0, "a", "a", "null") for each in ids])
            with store.transaction() as conn:
                rows = store.claim(conn, {"a": 60.0}, count, worker="w", lease=new_id())
                store.renew(conn, [held(row) for row in rows], {"a": 60.0})
                outcomes = [completed(row) if index % 2 else continued(row, "b") for index, row in enumerate(rows)]
                assert len(store.settle(conn, outcomes).won) == count

        return len(statements_of(store, work))

    assert statements_for(2) == statements_for(200)


def test_settling_many_costs_as_much_for_each(postgres_url):
    """However many are settled at once, each takes the same, also where the planner knows how few leases there are."""
    with Client(postgres_url) as client:
        store = client.store
        client.start_many([NewChain("type-1") for _ in range(2000)])
        with psycopg.connect(postgres_url, autocommit=True) as conn:
            conn.execute("VACUUM ANALYZE jobctl_current")
        pages = []
        for number in (100, 800):
            rows = claim(store, "type-1", limit=number)
            with recorded(store) as found, store.engine.connect() as conn, conn.begin() as transaction:
                store.settle(conn, [continued(row, "type-2") for row in rows])
                transaction.rollback()
            pages.append(touched(postgres_url, found[0]) / number)
    few, many = pages
    assert many < few * 1.5
