"""The same work is started once per slot of time, by the database's clock."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from support import InThread

from jobctl import NewChain, Slot
from jobctl.errors import DuplicateKeyError
from jobctl.storage import reading

INPUT = {"day": "monday", "n": 1}


def test_once_per_slot(client):
    """In one slot the same input is one chain, closed or not; another input or type is another."""
    first = client.start("report", INPUT, key=Slot("1h"))
    with client.settle(first.id) as current:
        current.complete("done")
    again = client.start("report", {"n": 1, "day": "monday"}, key=Slot("1h"))
    assert (first.deduplicated, again.deduplicated, again.id) == (False, True, first.id)
    others = [client.start("report", 2, key=Slot("1h")), client.start("invoice", INPUT, key=Slot("1h"))]
    assert not any(each.deduplicated for each in others)


def test_conflict(client):
    """A slot that is taken may be an error."""
    client.start("report", key=Slot("1h"))
    with pytest.raises(DuplicateKeyError):
        client.start("report", key=Slot("1h", conflict="fail"))


def test_clock_is_the_databases(client, store, monkeypatch):
    """The slot is that of the database's clock, whatever the caller's says; in the next slot there is a new chain."""
    with store.transaction() as conn:
        now = reading.clock(conn)
    chain = client.start("report", key=Slot("1d"))
    began = datetime.fromisoformat(chain.key.partition("+")[0])
    assert began - timedelta(seconds=30) <= chain.created_at < began + timedelta(days=1)
    assert abs(chain.created_at - now) < timedelta(minutes=1)
    monkeypatch.setattr(reading, "clock", lambda _: now + timedelta(days=1))
    tomorrow = client.start("report", key=Slot("1d"))
    assert not tomorrow.deduplicated
    assert tomorrow.key.partition("/")[2] == chain.key.partition("/")[2]


def test_many_hosts(client, database_url, open_client):
    """However many start it at the same time, there is one chain."""
    clients = [client, *(open_client(database_url) for _ in range(3))]
    starts = [InThread(lambda each=each: each.start("report", INPUT, key=Slot("1h"))) for each in clients]
    found = [each.result() for each in starts]
    assert len({each.id for each in found}) == 1
    assert [each.deduplicated for each in found].count(False) == 1


def test_together(client):
    """Of several started at once, those of one slot and input are one."""
    chains = client.start_many(NewChain("report", n, key=Slot("1h")) for n in (1, 2, 1))
    assert [each.deduplicated for each in chains] == [False, False, True]
    assert chains[2].id == chains[0].id
