"""Numbers: how many jobs are where, since when, and what was done to them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from working import claim, completed, settle, with_outcome

from jobctl import Status
from jobctl.durations import Durations
from jobctl.errors import UsageError
from jobctl.ids import new_id
from jobctl.model import Schedule
from jobctl.stats import OPEN, Stats, TypeStats, Waiting, Worked, window_label
from jobctl.storage import tallying
from jobctl.storage.records import Postpone, Retry
from jobctl.storage.tables import current, pause, worker

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def of(stats: Stats, type_name: str = "a") -> TypeStats:
    (found,) = [each for each in stats.types if each.type_name == type_name]
    return found


def counts(stats: Stats, type_name: str = "a") -> dict[str, int]:
    return {status.value: each.count for status, each in of(stats, type_name).open.items() if each.count}


def change(store, chain, **values):
    with store.transaction() as conn:
        conn.execute(sa.update(current).where(current.c.chain_id == chain.id).values(**values))


def test_nothing_at_all(client):
    """Of an empty database there is nothing to count, but the windows that nothing happened in."""
    found = client.stats()
    assert (found.types, found.paused) == ((), ())
    assert [each.label for each in found.windows] == ["5m", "1h", "1d"]
    assert abs((found.at - datetime.now(UTC)).total_seconds()) < 60


def test_open_jobs_are_counted_by_type_and_status(client, store):
    """Every open job is counted once, under its own type and the status that it is shown with."""
    blocker = client.start("b", after="1h")
    for _ in range(3):
        client.start("a")
    for hours in (2, 1):
        client.start("a", after=timedelta(hours=hours))
    client.start("a", blocked_by=[blocker.id])
    (row,) = claim(store, "a", limit=1)
    settle(store, with_outcome(row, Retry("boom", None)))
    claim(store, "a", limit=1)
    with client.settle(client.start("c").id) as step:
        step.continue_with("a")
    found = client.stats()
    assert counts(found) == {"ready": 2, "scheduled": 2, "running": 1, "blocked": 1, "failed": 1}
    assert counts(found, "b") == {"scheduled": 1}
    for each in found.types:
        assert tuple(each.open) == OPEN
        for status, waiting in each.open.items():
            listed = client.list_jobs().items
            assert waiting.count == sum(job.type_name == each.type_name and job.status is status for job in listed)
    assert of(client.stats(type_name="a")).open == of(found).open
    assert counts(client.stats(type_name="c"), "c") == {}


def test_closed_jobs_are_not_open(client, store):
    """What is completed is not counted as open, and a type of which nothing is known is not listed."""
    client.start("a")
    (row,) = claim(store, "a")
    settle(store, completed(row))
    assert client.stats().types == ()
    assert client.stats(type_name="never").types == ()


def test_oldest(client, store):
    """The oldest is that which is ready, runs or has failed the longest, and of scheduled ones the first to be due."""
    old, new, failed, due, late = (client.start("a") for _ in range(5))
    rows = {row.chain_id: row for row in claim(store, "a", limit=3)}
    settle(store, with_outcome(rows[failed.id], Retry("boom", None)))
    for chain, minutes in ((old, 10), (new, 5), (failed, 20)):
        change(store, chain, claimed_at=NOON - timedelta(minutes=minutes))
    change(store, due, scheduled_at=NOON)
    change(store, late, scheduled_at=NOON + timedelta(days=36_500))
    client.start("a")
    client.start("a", after=timedelta(days=36_600))
    found = of(client.stats()).open
    assert found[Status.RUNNING] == Waiting(2, NOON - timedelta(minutes=10))
    assert found[Status.FAILED] == Waiting(1, NOON - timedelta(minutes=20))
    assert found[Status.READY] == Waiting(2, NOON)
    assert found[Status.SCHEDULED] == Waiting(2, NOON + timedelta(days=36_500))
    assert found[Status.BLOCKED] == Waiting()


def test_blocked_since(client, store):
    """The oldest of the blocked ones is the one that was meant to be due first."""
    blocker = client.start("b", after="1h")
    chains = [client.start("a", blocked_by=[blocker.id]) for _ in range(2)]
    change(store, chains[1], scheduled_at=NOON)
    assert of(client.stats()).open[Status.BLOCKED] == Waiting(2, NOON)


def test_a_job_that_waits_again_is_no_failure(client, store):
    """After an attempt that failed or asked for another time the job is scheduled, and counted as that."""
    client.start("a")
    client.start("a")
    first, second = claim(store, "a")
    settle(store, with_outcome(first, Retry("boom", 60.0)))
    settle(store, with_outcome(second, Postpone(Schedule.of("1h"))))
    assert counts(client.stats()) == {"scheduled": 2}


def test_paused(client, store):
    """Types and chains that are paused are shown, and their jobs counted with the others of their status."""
    chains = [client.start("a"), client.start("a"), client.start("a", after="1h"), client.start("b")]
    for chain in chains[1:3]:
        change(store, chain, paused_at=NOON)
    change(store, chains[1], scheduled_at=NOON)
    with store.transaction() as conn:
        conn.execute(sa.insert(pause).values(type_name="b", at=NOON, actor="me", note="why"))
    found = client.stats()
    assert counts(found) == {"ready": 2, "scheduled": 1}
    assert of(found).open[Status.READY].oldest_at == NOON
    assert [(each.type_name, each.paused, each.paused_chains) for each in found.types] == [
        ("a", False, 2),
        ("b", True, 0),
    ]
    assert [(each.name, each.at, each.actor, each.note) for each in found.paused] == [("b", NOON, "me", "why")]
    with store.transaction() as conn:
        conn.execute(sa.insert(pause).values(type_name="", at=NOON, actor="me"))
    found = client.stats()
    assert all(each.paused for each in found.types)
    assert [each.name for each in found.paused] == [None, "b"]


# --- windows ---------------------------------------------------------------------------------------------------------

ONE = Worked(5, 2, 1, 4, 1, 6.0, Durations({0.001: 6, 1.0: 6}))


def write(store, *ago: timedelta, type_name="a"):
    """What a worker did that long ago."""
    with store.transaction() as conn:
        at = tallying.clock(store, conn)
        minutes = {(at - each).replace(second=0, microsecond=0): {type_name: ONE} for each in ago}
        tallying.write(store, conn, new_id(), minutes)
    return list(minutes)


def test_what_was_done_in_a_window(client, store):
    """Throughput, attempts, failures and durations are those of the window, whatever came before."""
    write(store, timedelta(0), timedelta(minutes=4), timedelta(minutes=30), timedelta(hours=20))
    write(store, timedelta(minutes=4), timedelta(hours=60))
    write(store, timedelta(0), type_name="b")
    found = of(client.stats())
    assert [each.window.label for each in found.done] == ["5m", "1h", "1d"]
    assert [each.worked.attempts for each in found.done] == [36, 48, 60]
    assert found.ever.attempts == 72
    five = found.done[0]
    assert five.worked.settled == 21
    assert (five.worked.errors, five.worked.failed, five.worked.rescheduled, five.worked.seconds) == (12, 3, 3, 18.0)
    assert five.worked.durations.quantile(0.5) == pytest.approx(0.001)
    assert five.worked.durations.quantile(0.95) == pytest.approx(1.0, rel=0.1)
    assert 300 <= five.window.seconds < 361
    assert five.per_second == pytest.approx(21 / five.window.seconds)


def test_windows_begin_with_a_minute_or_an_hour(client):
    """A window begins with a full minute, one that is longer than an hour with a full hour, and tells its real length."""
    found = client.stats(windows=["1m", timedelta(minutes=60), "90m", "2d", "60s"])
    assert [each.label for each in found.windows] == ["1m", "1h", "1h30m", "2d"]
    for each in found.windows:
        assert each.since.second == each.since.microsecond == 0
        assert each.since.minute == 0 or each.length <= timedelta(hours=1)
        assert each.seconds == (found.at - each.since).total_seconds()
        over = each.seconds - each.length.total_seconds()
        assert 0 <= over < (60 if each.length <= timedelta(hours=1) else 3600)


@pytest.mark.parametrize("window", ["59s", "49h", "soon", timedelta(0)])
def test_windows_that_are_not_counted(client, window):
    """A window that nothing is kept of is refused."""
    with pytest.raises(UsageError, match="1m to 2d|is not a duration"):
        client.stats(windows=[window])


def test_by_hand(client, store):
    """What people did is counted by action and type, in the windows alone, and not among what workers did."""
    chains = [client.start("a") for _ in range(3)]
    for chain in chains[:2]:
        with client.settle(chain.id) as step:
            step.complete()
    with client.settle(chains[2].id) as step:
        step.continue_with("b")
        step.complete()
    with store.transaction() as conn:
        conn.exec_driver_sql(
            "UPDATE jobctl_act SET at = "
            + ("at - 7200000" if store.dialect == "sqlite" else "at - interval '2h'")
            + f" WHERE chain_id = '{chains[0].id}'"
        )
    found = client.stats(windows=["5m", "1d"])
    assert [dict(each.by_hand) for each in of(found).done] == [
        {"complete": 1, "continue": 1},
        {"complete": 2, "continue": 1},
    ]
    assert [dict(each.by_hand) for each in of(found, "b").done] == [{"complete": 1}, {"complete": 1}]
    assert of(found).done[0].worked == of(found).ever == Worked()
    assert dict(of(client.stats(type_name="a", windows=["5m"])).done[0].by_hand) == {"complete": 1, "continue": 1}


def test_in_the_callers_transaction(client, store):
    """What the caller has started, and not committed, is counted in the caller's transaction alone."""
    with store.engine.connect() as conn, conn.begin() as transaction:
        client.start("a", conn=conn)
        assert counts(client.stats(conn=conn)) == {"ready": 1}
        transaction.rollback()
    assert client.stats().types == ()


@pytest.mark.parametrize(
    ("length", "label"),
    [
        (timedelta(minutes=5), "5m"),
        (timedelta(days=1), "1d"),
        (timedelta(hours=25, minutes=1), "1d1h1m"),
        (timedelta(0), "0s"),
    ],
)
def test_labels(length, label):
    """A window's name is its length in whole units."""
    assert window_label(length) == label


# --- what goes on ----------------------------------------------------------------------------------------------------


def test_activity(client, store):
    """What runs, the longest first; what failed, the latest first; and each of the last minutes."""
    chains = [client.start("a") for _ in range(3)]
    first, second, third = claim(store, "a", worker="w")
    settle(store, with_outcome(second, Retry("boom", 60.0)))
    settle(store, with_outcome(third, Retry("boom again", None)))
    client.start("b")
    (late,) = claim(store, "b", worker="w2")
    minutes = write(store, timedelta(0), timedelta(minutes=2), timedelta(minutes=10))
    found = client.activity(minutes=8)
    assert [(each.job_id, each.type_name, each.attempt, each.worker) for each in found.running] == [
        (first.id, "a", 1, "w"),
        (late.id, "b", 1, "w2"),
    ]
    assert all(abs(found.at - each.since) < timedelta(minutes=1) for each in found.running)
    assert [(each.chain_id, each.error, each.worker) for each in found.failures] == [
        (third.chain_id, "boom again", "w"),
        (second.chain_id, "boom", "w"),
    ]
    assert len(found.minutes) == 8
    assert {each.at: (each.settled, each.errors) for each in found.minutes if each.settled} == {
        minutes[0]: (7, 4),
        minutes[1]: (7, 4),
    }
    assert found.minutes[-1].at <= found.at < found.minutes[-1].at + timedelta(minutes=1)
    assert len(client.activity(limit=1).failures) == len(client.activity(limit=1).running) == 1
    assert chains


def test_activity_of_workers(client, store):
    """The workers that are registered, by name."""
    with store.transaction() as conn:
        for name, stopping in (("w2", 0), ("w1", 1)):
            conn.execute(
                sa.insert(worker).values(
                    id=new_id(),
                    name=name,
                    host="h",
                    pid=7,
                    version="1",
                    types="[]",
                    concurrency=10,
                    running=3,
                    stopping=stopping,
                    started_at=NOON,
                    seen_at=NOON,
                    beat_seconds=5.0,
                )
            )
    found = client.activity().workers
    assert [(each.name, each.stopping, each.running, each.concurrency) for each in found] == [
        ("w1", True, 3, 10),
        ("w2", False, 3, 10),
    ]
    assert found[0].seen_at == NOON


@pytest.mark.parametrize("wrong", [{"limit": 0}, {"limit": 1001}, {"minutes": 0}, {"minutes": 61}])
def test_activity_out_of_range(client, wrong):
    """A number out of range is refused."""
    with pytest.raises(UsageError, match="out of range"):
        client.activity(**wrong)
