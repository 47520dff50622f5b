"""Pruning: what is over and old goes, a little at a time, and never from under a chain that waits for it."""

from __future__ import annotations

import json

import psycopg
import pytest
from sqlalchemy import text
from support import InThread, wait_until_blocked
from working import claim, run, settle, with_outcome

from jobctl import ListFilter, NewChain, Retention, RetentionPolicy, Status
from jobctl.errors import UsageError
from jobctl.ids import new_id
from jobctl.pruning import MOST_AT_ONCE
from jobctl.storage.records import Retry

DAY = 86_400
NOW_SQL = {"sqlite": "CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER)", "postgresql": "now()"}
EVERYTHING = ListFilter(limit=1000)


def age(client, days, *ids, column=None):
    """Have everything about these chains have happened so many days before."""
    store = client.store
    past = f"- {days * DAY * 1000}" if store.dialect == "sqlite" else f"- interval '{days} days'"
    columns = {
        "jobctl_job": ("chain_id", ["created_at"]),
        "jobctl_settled": ("chain_id", ["completed_at", "scheduled_at"]),
        "jobctl_current": ("chain_id", ["scheduled_at"]),
        "jobctl_act": ("chain_id", ["at"]),
    }
    with store.transaction() as conn:
        for id_ in ids:
            for table, (key, names) in columns.items():
                values = ", ".join(f"{name} = {name} {past}" for name in names)
                conn.exec_driver_sql(f"UPDATE {table} SET {values} WHERE {key} = '{id_}'")
            jobs = f"SELECT id FROM jobctl_job WHERE chain_id = '{id_}'"
            conn.exec_driver_sql(f"UPDATE jobctl_error SET at = at {past} WHERE job_id IN ({jobs})")


def completed(client, type_name="a", days=0.0, **how):
    chain = client.start(type_name, **how)
    run(client.store, chain.id, '"done"')
    age(client, days, chain.id)
    return chain.id


def failed(client, type_name="a", days=0.0):
    chain = client.start(type_name)
    (row,) = [each for each in claim(client.store, type_name) if each.chain_id == chain.id]
    settle(client.store, with_outcome(row, Retry("broken", None)))
    age(client, days, chain.id)
    return chain.id


def cancelled(client, type_name="a", days=0.0):
    """Written as cancelling writes it."""
    chain = client.start(type_name)
    columns = "chain_id, chain_index, priority, attempt, scheduled_at"
    with client.store.transaction() as conn:
        conn.exec_driver_sql(
            f"INSERT INTO jobctl_settled ({columns}, status, completed_at)"
            f" SELECT {columns}, 'cancelled', scheduled_at FROM jobctl_current WHERE chain_id = '{chain.id}'"
        )
        conn.exec_driver_sql(f"DELETE FROM jobctl_current WHERE chain_id = '{chain.id}'")
    age(client, days, chain.id)
    return chain.id


def there(client):
    return {each.id for each in client.list_chains(EVERYTHING).items}


# --- what goes -------------------------------------------------------------------------------------------------------


def test_old_ones_go(client):
    """Of each status that is named, those go that ended longer ago; of others, and of open chains, none."""
    old = [completed(client, days=31), cancelled(client, days=8), failed(client, days=91)]
    kept = {completed(client, days=29), cancelled(client, days=6), failed(client, days=89), client.start("a").id}
    waiting = client.start("a", after="1h").id
    age(client, 400, waiting)
    done = client.prune(Retention(completed="30d", cancelled="7d", failed="90d"))
    assert (done.completed, done.cancelled, done.failed, done.chains, done.kept, done.complete) == (1, 1, 1, 3, 0, True)
    assert there(client) == kept | {waiting}
    with client.store.transaction() as conn:
        for table, key in (("jobctl_settled", "chain_id"), ("jobctl_current", "chain_id"), ("jobctl_job", "chain_id")):
            left = {str(row[0]) for row in conn.exec_driver_sql(f"SELECT {key} FROM {table}")}
            assert left.isdisjoint(old)


@pytest.mark.parametrize("status", ["completed", "cancelled", "failed"])
def test_what_is_not_named_stays(client, status):
    """A status that is not named is kept for ever, and so is one that is never to go."""
    made = {"completed": completed, "cancelled": cancelled, "failed": failed}
    chains = {name: make(client, days=1000) for name, make in made.items()}
    others = dict.fromkeys(made.keys() - {status}, "never")
    assert client.prune(Retention(**{status: "1d"}, **others)).chains == 1
    assert there(client) == set(chains.values()) - {chains[status]}
    assert client.prune(Retention(**{status: "1d"})).chains == 0


def test_end_counts_not_start(client):
    """A chain's age is counted from its end: one that ran long, or was settled late, is as young as its last job."""
    chain = client.start("a").id
    with client.settle(chain) as current:
        current.continue_with("b")
    age(client, 40, chain)
    run(client.store, chain)
    assert client.prune(Retention(completed="30d")).chains == 0
    age(client, 31, chain)
    assert client.prune(Retention(completed="30d")).chains == 1


def test_types(client):
    """A type's own length goes before the general one, for what it names; only= leaves other types alone."""
    policy = RetentionPolicy(
        Retention(completed="30d", cancelled="30d"),
        {"audit": Retention(completed="never"), "noise": Retention(completed="1d")},
    )
    ids = {
        (type_name, make.__name__): make(client, type_name, 10 if type_name == "noise" else 100)
        for type_name in ("a", "audit", "noise")
        for make in (completed, cancelled)
    }
    assert client.prune(policy, only=["audit"]).chains == 1  # the cancelled one
    assert client.prune(policy, only=["a", "a", "nothing"]).chains == 2
    assert client.prune(policy).chains == 1
    assert there(client) == {ids["audit", "completed"], ids["noise", "cancelled"]}


def test_nothing_to_go(client):
    """A policy that keeps everything is refused, and so are lengths that are none."""
    for wrong in (
        lambda: client.prune(Retention()),
        lambda: client.prune(Retention(completed="never"), only=["a"]),
        lambda: client.prune(RetentionPolicy(types={"a": Retention(failed="never")})),
        lambda: client.prune(Retention(completed="1d"), limit=0),
        lambda: Retention(completed="soon"),
    ):
        with pytest.raises(UsageError):
            wrong()


# --- what stays ------------------------------------------------------------------------------------------------------


def test_awaited_chains_stay(client):
    """What an open chain is yet to be given stays, also behind a failed one that stays; then it goes."""
    awaited, other = completed(client, days=50), completed(client, days=50)
    open_ = client.start("b", blocked_by=[awaited]).id
    done = client.prune(Retention(completed="30d"))
    assert (done.completed, done.kept) == (1, 1)
    assert there(client) == {awaited, open_}
    assert client.prune(Retention(completed="30d", failed="30d")).kept == 1
    run(client.store, open_)
    assert client.prune(Retention(completed="30d")).chains == 1
    assert other not in there(client)
    assert client.show(open_).blockers == {}


def test_failed_chain_goes_with_what_it_waited_for(client):
    """A failed chain that goes does not keep what it waited for, whichever is met first."""
    awaited = completed(client, days=50)
    chain = client.start("b", blocked_by=[awaited]).id
    (row,) = claim(client.store, "b")
    settle(client.store, with_outcome(row, Retry("broken", None)))
    age(client, 40, chain)
    assert client.prune(Retention(completed="30d", failed="60d")).kept == 1
    done = client.prune(Retention(completed="30d", failed="30d"))
    assert (done.completed, done.failed, done.kept) == (1, 1, 0)


def test_who_begins_to_wait_meanwhile_wins(postgres_url, open_client):
    """A chain that somebody begins to wait for while it is about to be pruned stays."""
    client, other = open_client(postgres_url), open_client(postgres_url)
    chain = completed(client, days=50)
    with client.store.transaction() as conn:
        waiting = client.start("b", blocked_by=[chain], conn=conn).id
        pruning = InThread(lambda: other.prune(Retention(completed="30d")))
        wait_until_blocked(postgres_url)
    assert (pruning.result().chains, pruning.result().kept) == (0, 1)
    assert there(client) == {chain, waiting}


def test_who_is_helped_meanwhile_stays(postgres_url, open_client):
    """A failed chain that somebody settles while it is about to be pruned is looked at again, and stays."""
    client, other = open_client(postgres_url), open_client(postgres_url)
    chain = failed(client, days=50)
    with client.store.transaction() as conn, client.settle(chain, conn=conn) as current:
        current.complete("by hand")
        pruning = InThread(lambda: other.prune(Retention(failed="30d", completed="30d")))
        wait_until_blocked(postgres_url)
    assert pruning.result().chains == 0
    assert client.get(chain).status is Status.COMPLETED


# --- how -------------------------------------------------------------------------------------------------------------


def test_batches_limit_and_stopping(client, monkeypatch):
    """It goes in batches, tells after each, ends at the limit, and stops between two when asked to; the rest stays."""
    monkeypatch.setattr("jobctl.pruning.MOST_AT_ONCE", 2)
    monkeypatch.setattr("jobctl.pruning.FEWEST_AT_ONCE", 2)
    monkeypatch.setattr("jobctl.storage.pruning.WALKED_AT_ONCE", 1000)
    ids = [completed(client, days=50) for _ in range(7)]
    told = []
    done = client.prune(Retention(completed="30d"), limit=3, on_batch=lambda each: told.append(each.completed))
    assert (done.completed, done.complete, told) == (3, False, [2, 3])
    done = client.prune(
        Retention(completed="30d"), on_batch=lambda each: told.append(each.completed), cancelled=lambda: told[-1] == 2
    )
    assert (done.completed, done.complete) == (2, False)
    assert len(there(client)) == 2
    assert there(client) <= set(ids)
    assert MOST_AT_ONCE > 2  # what was replaced is what is used


def test_walks_page_by_page(client, monkeypatch):
    """However few rows a statement looks at, all that is old is found, and each kept row is looked at once."""
    from sqlalchemy import literal_column

    from jobctl.storage import pruning

    monkeypatch.setattr(pruning, "WALKED_AT_ONCE", 2)
    for name in ("CANCELLED", "FAILED"):
        monkeypatch.setattr(pruning, name, getattr(pruning, name).limit(literal_column("2")))
    for make in (cancelled, failed):
        for days in (50, 1, 50, 1, 50, 1, 1):
            make(client, days=days)
    done = client.prune(Retention(cancelled="30d", failed="30d"))
    assert (done.cancelled, done.failed) == (3, 3)
    assert len(there(client)) == 8


def test_dry_run(client):
    """A dry run counts what would go, exports nothing, and changes nothing."""
    chain, gone = completed(client, days=50), completed(client, days=50)
    client.delete([gone])
    age(client, 50, gone)
    exported = []
    policy = RetentionPolicy(Retention(completed="30d"), history="30d")
    done = client.prune(policy, dry_run=True, export=lambda details, _: exported.append(details))
    assert (done.completed, done.history, exported) == (1, 1, [])
    assert there(client) == {chain}
    with client.store.transaction() as conn:
        assert conn.scalar(text("SELECT count(*) FROM jobctl_act")) == 1
    assert client.prune(policy).history == 1


def test_export(client):
    """What is deleted is handed over before, whole, as show has it; if that fails, it stays, and nothing is written."""
    blocker = completed(client, days=60)
    chain = client.start("b", {"number": 1}, blocked_by=[blocker]).id
    (row,) = claim(client.store, "b")
    settle(client.store, with_outcome(row, Retry("broken", 0.0)))
    with client.settle(chain, actor="ann", note="why") as current:
        current.continue_with("c", 2)
    run(client.store, chain)
    waiting = client.start("d", blocked_by=[chain])
    run(client.store, waiting.id)
    age(client, 50, chain)
    shown = {id_: client.show(id_) for id_ in (blocker, chain)}

    def refuse(details, conn):
        client.reveal([chain], conn=conn)
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        client.prune(Retention(completed="30d"), export=refuse)
    assert client.show(chain) == shown[chain]
    exported = []

    def export(details, conn):
        exported.extend(details)
        client.reveal([chain], conn=conn)

    client.prune(Retention(completed="30d"), export=export)
    assert client.history(chain).items[0].action == "reveal"
    assert {each.chain.id: each for each in exported} == shown
    assert there(client) == {waiting.id}


def test_history(client):
    """Each batch is an act; acts on chains that are gone go after their time, those on others stay with them."""
    chain = client.start("a", after="1h").id
    client.trigger([chain], actor="ann")
    gone = client.start("a").id
    client.delete([gone])
    age(client, 100, chain, gone)
    with client.settle(client.start("b").id, actor="ann") as current:
        current.complete()
    age(client, 50, current.job.chain_id)
    done = client.prune(RetentionPolicy(Retention(completed="30d"), history="90d"), actor="cron", note="nightly")
    assert (done.completed, done.history) == (1, 1)
    with client.store.transaction() as conn:
        acts = conn.execute(text("SELECT action, actor, note, details FROM jobctl_act ORDER BY id")).all()
    assert [each[0] for each in acts] == ["trigger", "complete", "prune"]
    assert acts[2][1:3] == ("cron", "nightly")
    details = acts[2][3]
    details = json.loads(details) if isinstance(details, str) else details
    assert details["before"] == {"completed": 1, "cancelled": 0, "failed": 0}
    assert client.prune(RetentionPolicy(history="90d")).history == 0
    assert len(client.show(chain).history) == 1


# --- what it costs ---------------------------------------------------------------------------------------------------


def test_kept_rows_are_not_walked_again(client, monkeypatch):
    """Between two batches the walk goes on where it was: what is kept is read once, however many batches there are."""
    from plans import recorded

    monkeypatch.setattr("jobctl.pruning.MOST_AT_ONCE", 1)
    monkeypatch.setattr("jobctl.pruning.FEWEST_AT_ONCE", 1)
    for days in (50, 1, 50, 1, 50):
        completed(client, days=days)
    client.prune(Retention(completed="100d"))
    with recorded(client.store) as found:
        assert client.prune(Retention(completed="30d")).completed == 3
    walks = [each for each in found if "walked" in each.text]
    assert len(walks) == 1


def test_vacuum(client):
    """Vacuuming tells the sizes before and after, and gives room back: all that is free on SQLite."""
    client.start_many(NewChain("a", "x" * 1000) for _ in range(2000))
    client.delete(client.select(ListFilter()))
    done = client.vacuum()
    assert client.vacuum(full=True).after <= done.after
    names = {each.name for each in done.parts}
    if client.store.dialect == "sqlite":
        assert names == {"jobctl.db", "jobctl.db-wal"}
        assert done.before > 2_000_000
        assert done.after < 1_000_000
    else:
        assert {"jobctl_job", "jobctl_current", "jobctl_settled"} <= names
    assert client.start(new_id()[:8]).status is Status.READY


def test_vacuum_of_others_tables(postgres_url, open_client):
    """Tables that belong to somebody else are not vacuumed, which is told."""
    from jobctl.errors import UnsuccessfulError

    name = f"clerk_{new_id()[-12:]}"
    with psycopg.connect(postgres_url, autocommit=True) as conn:
        (schema,) = conn.execute("SELECT current_schema()").fetchone()
        conn.execute(f"CREATE ROLE {name} LOGIN")
        conn.execute(f"GRANT USAGE ON SCHEMA {schema} TO {name}")
        conn.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {name}")
        try:
            clerk = open_client(postgres_url.replace("postgres@", f"{name}@"))
            with pytest.raises(UnsuccessfulError, match="not all tables could be vacuumed: .*jobctl_"):
                clerk.vacuum()
        finally:
            clerk.close()
            conn.execute(f"DROP OWNED BY {name}")
            conn.execute(f"DROP ROLE {name}")
