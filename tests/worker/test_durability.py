"""What waits for the disk: whatever is settled; not a claim alone, which a crash of the machine may take back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Connection, text
from worker.workshop import Workshop, make

from jobctl import Client, NewChain
from jobctl.events import Told
from jobctl.ids import new_id
from jobctl.storage.front import Front
from jobctl.storage.postgres import PostgresStore
from jobctl.storage.postgres_alone import Step
from jobctl.storage.postgres_statements import CLAIMING
from jobctl.storage.store import Store

SOURCE = "SELECT source FROM pg_settings WHERE name = 'synchronous_commit'"


def waits(store: Store, conn: Connection) -> bool:
    """Whether the commit of this transaction waits for the disk, as far as it is jobctl that says."""
    if store.dialect == "postgresql":
        return conn.exec_driver_sql(SOURCE).scalar_one() != "session"
    return conn.exec_driver_sql("PRAGMA synchronous").scalar_one() == 2  # FULL; NORMAL does not, where there is a log


def test_each_transaction_is_told_anew(store):
    """On one connection, only the transactions that may be forgotten do not wait."""
    found = []
    for forgettable in (False, True, True, False):
        with store.work(forgettable=forgettable) as conn:
            found.append((waits(store, conn), conn.connection.driver_connection))
    assert [each for each, _ in found] == [True, False, False, True]
    assert len({id(driver) for _, driver in found}) == 1


@pytest.mark.parametrize("mode", ["plain", "atomic"])
def test_only_claims_do_not_wait(shop: Workshop, mode: str, monkeypatch: pytest.MonkeyPatch):
    """Of a worker's transactions, those that settle or write what a handler did wait for the disk."""
    store = shop.store
    seen: set[tuple[str, bool]] = set()
    for name in ("claim", "settle", "hold"):
        call = getattr(store, name)

        def seeing(conn, what, *arguments, call=call, name=name, **named):
            done = call(conn, what, *arguments, **named)
            if what and done:  # not where nothing is to be settled, or was claimed
                seen.add((name, waits(store, conn)))
            return done

        monkeypatch.setattr(store, name, seeing)

    @contextmanager
    def seeing_alone() -> Iterator[Callable[..., list[tuple[Any, ...]]]]:
        with alone() as run:

            def run_and_see(*steps: Step) -> list[tuple[Any, ...]]:
                rows = run(*steps)
                if rows and steps[-1].name.startswith(b"jobctl_claim"):
                    ((source,),) = run(*steps[:-1], Step(b"seen", text(SOURCE)))
                    seen.add(("claim", source != "session"))
                return rows

            yield run_and_see

    if isinstance(store, PostgresStore):
        alone = store.alone
        monkeypatch.setattr(store, "alone", seeing_alone)
    working = shop.work(make(mode))
    shop.start("step", 1)
    working.until(Told.JOB_COMPLETED)  # the first claim goes with a look for leases that ran out
    seen.clear()
    shop.start("step", 2)
    working.until(Told.JOB_COMPLETED, times=2)
    assert seen == {("claim", False), ("settle" if mode == "plain" else "hold", True)}


def test_a_claim_alone_leaves_nothing_behind(postgres_url: str):
    """What a claim in a transaction of its own sets is gone with it: the connection's next user waits for the disk."""
    shown = text("SELECT name, setting, source FROM pg_settings WHERE source = 'session'")
    with Client(postgres_url) as client:
        client.start_many([NewChain("a") for _ in range(5)])
        store = client.store
        with store.alone() as run:
            before = run(Step(b"shown", shown))
            for _ in range(4):  # sent whole, prepared, and then known
                (row,) = store.claim_alone({"a": 60.0}, 1, worker="w", lease=new_id(), front=Front())
                assert client.get(row.chain_id).status == "running"
                assert run(Step(b"shown", shown)) == before
            assert len(run(Step(b"jobctl_claiming", CLAIMING), Step(b"shown", shown))) == len(before) + 5


def test_a_result_that_is_not_read_to_the_end(shop: Workshop):
    """What a handler left half read does not keep the next one on its thread in the past."""
    left = []

    def read_half(conn, _job):
        left.append(conn.exec_driver_sql("SELECT id FROM jobctl_job"))
        left[-1].fetchone()

    for number in range(5):
        shop.start("other", number)
    working = shop.work(make("atomic", hooks={"complete": read_half}), concurrency=1)
    for number in range(3):
        shop.start("step", number)
        working.until(Told.JOB_COMPLETED, times=number + 1, within=5.0)
    assert len(left) == 3
