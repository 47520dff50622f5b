"""Looks for leases that ran out: where they take long they go on where nothing runs out before, and nothing is missed."""

from __future__ import annotations

import time

import psycopg
import pytest
from plans import recorded, touched
from sqlalchemy import text
from support import eventually
from working import claim, completed, settle

from jobctl import Client, NewChain
from jobctl.lapses import Lapses
from jobctl.storage import front

BACKDATE = "UPDATE jobctl_current SET leased_until = leased_until - {} WHERE lease IS NOT NULL"
HOUR = {"postgresql": "interval '1 hour'", "sqlite": "3600000"}


@pytest.fixture(params=[False, True])
def dear(request, monkeypatch):
    """Whether each look has taken so long that there need not be another of all leases for a minute."""
    monkeypatch.setattr(front, "DEAR_SECONDS", -1.0 if request.param else 1e9)
    return request.param


def look(store, lapses, *, kept=True):
    """Do as the worker does in one transaction; returns the ids of the jobs that were given back."""
    with store.work() as conn:
        reaped = lapses.reap(conn, [])
        due = store.next_due(conn, {}, since=lapses.since)
        if not kept:
            conn.rollback()
    if kept:
        lapses.reaped(time.monotonic(), 0.0)
        lapses.learn(due, time.monotonic())
    return [each.id for each in reaped]


def ran_out(store, *, long_ago=False):
    """Claim jobs whose leases run out at once, or as it were an hour ago; returns their ids."""
    rows = claim(store, "a", seconds=0.01)

    def lapsed():
        with store.transaction(read_only=True) as conn:
            lease = store.next_due(conn, {}).lease
        return lease is not None and lease < 0

    eventually(lapsed)
    if long_ago:
        with store.transaction() as conn:
            conn.execute(text(BACKDATE.format(HOUR[store.dialect])))
    return {row.id for row in rows}


@pytest.mark.usefixtures("dear")
def test_what_runs_out_is_found(store, client):
    """A lease that ran before a look, and one that was taken after it, are found once they have run out."""
    lapses = Lapses(store)
    client.start_many([NewChain("a"), NewChain("b")])
    (before,) = claim(store, "a", seconds=0.2)
    assert look(store, lapses) == []
    (after,) = claim(store, "b", seconds=0.01)
    found = []
    eventually(lambda: len(found.extend(look(store, lapses)) or found) == 2)
    assert set(found) == {before.id, after.id}


def test_where_a_look_goes_on(store, client, dear):
    """What has run out before nobody looks for where that takes long, until all leases are looked at; elsewhere always."""
    lapses = Lapses(store)
    client.start("a")
    look(store, lapses)
    (id_,) = ran_out(store, long_ago=True)
    short = dear and store.dialect == "postgresql"
    assert look(store, lapses) == ([] if short else [id_])
    lapses._all_from = 0.0
    assert look(store, lapses) == ([id_] if short else [])


def test_where_looks_take_long_no_more(store, client, monkeypatch):
    """Once the snapshot is gone and a look of all takes no time, each look is one."""
    lapses = Lapses(store)
    for seconds in (-1.0, 1e9):
        monkeypatch.setattr(front, "DEAR_SECONDS", seconds)
        lapses._all_from = 0.0
        look(store, lapses)
        assert (lapses.since > 0.0) is (seconds < 0 and store.dialect == "postgresql")


@pytest.mark.usefixtures("dear")
def test_what_all_leases_show_besides(store, client):
    """What a look of all leases found, and could not give back yet, the next look finds."""
    lapses = Lapses(store)
    client.start_many([NewChain("a"), NewChain("a")])
    look(store, lapses)
    ids = ran_out(store, long_ago=True)
    lapses._all_from = 0.0
    reap = store.reap
    store.reap = lambda *args, **named: reap(*args, **named, limit=1)
    found = look(store, lapses)
    store.reap = reap
    assert len(found) == 1
    assert {*found, *look(store, lapses)} == ids


@pytest.mark.usefixtures("dear")
def test_what_was_not_kept_is_found_again(store, client):
    """What was given back in a transaction that was rolled back is found by the next look."""
    lapses = Lapses(store)
    client.start_many([NewChain("a"), NewChain("a")])
    look(store, lapses)
    ids = ran_out(store)
    assert set(look(store, lapses, kept=False)) == ids
    assert set(look(store, lapses)) == ids


@pytest.mark.usefixtures("dear")
def test_more_than_are_given_back_at_once(store, client, monkeypatch):
    """What one look leaves, as it gives back so many at the most, the next one finds."""
    reap = store.reap
    monkeypatch.setattr(store, "reap", lambda *args, **named: reap(*args, **named, limit=2))
    lapses = Lapses(store)
    client.start_many([NewChain("a") for _ in range(5)])
    look(store, lapses)
    ids = ran_out(store)
    assert {id_ for _ in range(3) for id_ in look(store, lapses)} == ids


def test_an_old_snapshot(postgres_url, monkeypatch):
    """While an old snapshot is open, a look that goes on touches no more pages, however many have run."""
    monkeypatch.setattr(front, "DEAR_SECONDS", -1.0)
    with Client(postgres_url) as client, psycopg.connect(postgres_url) as old:
        store, lapses, pages = client.store, Lapses(client.store), []
        client.start_many([NewChain("a") for _ in range(4000)])
        old.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        old.execute("SELECT count(*) FROM jobctl_current")
        for _ in range(2):
            for _ in range(15):
                settle(store, *map(completed, claim(store, "a", limit=100, seconds=0.001)))
            time.sleep(1.1)  # more than the margin: what has run lies behind
            look(store, lapses)
            with recorded(store) as found:
                look(store, lapses)
            with recorded(store) as anew:
                look(store, Lapses(store))
            pages.append(tuple(sum(touched(postgres_url, each) for each in every) for every in (found, anew)))
    (soon, soon_anew), (late, late_anew) = pages
    assert late <= soon * 1.5
    assert late_anew > soon_anew + 20  # who begins anew walks over them: the snapshot does hold
    assert late * 2 < late_anew
