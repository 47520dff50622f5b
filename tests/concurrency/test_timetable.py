"""What is in sight: where it takes long to learn that, as beside an old snapshot, it is asked for a share of the time."""

from __future__ import annotations

import math
import time

import pytest
from plans import recorded
from sqlalchemy import update

from jobctl import Client
from jobctl.storage import front
from jobctl.storage.spelling import now
from jobctl.storage.tables import current
from jobctl.timetable import Timetable

TYPES = {"a": 60.0}


def asked(statements):
    """The questions among them."""
    return [each for each in statements if "min(jobctl_current.leased_until)" in each.text]


def timetable(store, running=(), *, poll=60.0, drain=False):
    """That of a worker that runs handlers as long as there is something in a list."""
    return Timetable(store, TYPES, poll, drain=drain, running=lambda: bool(running), settling=lambda: False)


@pytest.fixture(params=[False, True])
def dear(request, monkeypatch):
    """Whether each question has taken so long that there need not be another for a minute."""
    monkeypatch.setattr(front, "DEAR_SECONDS", -1.0 if request.param else 1e9)
    monkeypatch.setattr(front, "LOOK_SHARE", 1e-9)
    return request.param


def test_an_answer_is_remembered(postgres_url, dear):
    """Who asks again so soon is told what was known, and looks at the latest when the job is due that was seen."""
    with Client(postgres_url) as client:
        times = timetable(client.store)
        client.start("a", after="30s")
        with client.store.work(read_only=True) as conn, recorded(client.store) as found:
            first, second = times.ask(conn), times.ask(conn)
        assert len(asked(found)) == (1 if dear else 2)
        assert first.job is not None
        assert second.job is not None
        assert 0 < second.job <= first.job < 30.0


def test_what_is_not_seen_waits_for_polling(postgres_url, dear):
    """What becomes due meanwhile is looked for as often as the worker polls."""
    with Client(postgres_url) as client:
        times = timetable(client.store)
        client.start("a", after="1h")
        with client.store.work() as conn:
            times.plan(times.ask(conn))
            conn.execute(update(current).values(scheduled_at=now()))
            times.plan(times.ask(conn))
        assert (times.look_at - time.monotonic() > 5.0) is dear
        assert times.look_at - time.monotonic() <= 60.0


def test_idle_and_busy(postgres_url, monkeypatch):
    """Where it takes long, a worker asks as often as it polls; while handlers run less often, as what ends waits."""
    monkeypatch.setattr(front, "DEAR_SECONDS", -1.0)
    monkeypatch.setattr(front, "LOOK_SHARE", 1e-9)
    with Client(postgres_url) as client:
        running = []
        times = timetable(client.store, running, poll=0.01)
        with client.store.work(read_only=True) as conn, recorded(client.store) as found:
            times.ask(conn)
            time.sleep(0.02)
            running.append("a handler")
            times.ask(conn)
            assert len(asked(found)) == 1
            running.clear()
            times.ask(conn)
            assert len(asked(found)) == 2


@pytest.mark.parametrize("drain", [False, True])
def test_the_last_question(postgres_url, dear, drain):
    """A worker that ends when nothing is left asks before it does, whatever that takes: others may have locked a job."""
    with Client(postgres_url) as client:
        running = []
        times = timetable(client.store, running, drain=drain)
        with client.store.work(read_only=True) as conn, recorded(client.store) as found:
            for handlers in (1, 1, 0, 0):
                running[:] = ["a handler"] * handlers
                times.ask(conn)
        assert len(asked(found)) == (4 if not dear else 3 if drain else 1)


def test_not_on_sqlite(tmp_path, monkeypatch):
    """Nothing that died stays in SQLite's indexes: a question that took long there was kept waiting by something else."""
    monkeypatch.setattr(front, "DEAR_SECONDS", -1.0)
    with Client(f"sqlite:///{tmp_path / 'jobs.db'}") as client:
        times = timetable(client.store)
        client.list_chains()
        with client.store.work(read_only=True) as conn, recorded(client.store) as found:
            times.ask(conn)
            times.ask(conn)
        assert len(asked(found)) == 2


def test_what_has_ended_is_settled_first(postgres_url):
    """A look that was put off because it takes long is not made while something that ended is not settled."""
    with Client(postgres_url) as client:
        ended = ["an attempt"]
        settling = {"running": lambda: False, "settling": lambda: bool(ended)}
        times = Timetable(client.store, TYPES, 60.0, drain=False, **settling)
        times.front.unlooked, times.look_at = True, math.inf
        assert not times.looking()
        ended.clear()
        assert times.looking()
