"""What a worker did is counted, whatever the mode, and kept by the minute."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
import sqlalchemy as sa
from support import InThread, eventually
from worker.workshop import make

from jobctl import continue_with, reschedule, tally
from jobctl.durations import Durations
from jobctl.events import Told
from jobctl.ids import new_id
from jobctl.model import Backoff
from jobctl.stats import Worked
from jobctl.storage import tallying
from jobctl.storage.tables import tally as table
from jobctl.tally import Tally

BROKEN = RuntimeError("broken")


def ever(shop, type_name="step"):
    """All that was counted of a type."""
    found = {each.type_name: each.ever for each in shop.client.stats().types}
    return found.get(type_name, Worked())


def rows(shop):
    with shop.store.transaction(read_only=True) as conn:
        return conn.execute(sa.select(table.c.minute, table.c.worker_id, table.c.type_name)).all()


def answer(job):
    """What the input says shall become of the job."""
    match job.input:
        case "continue":
            return continue_with("next")
        case "reschedule":
            reschedule(after="1h")
        case "fail":
            raise BROKEN
    return job.input


def test_every_end_is_counted(shop, mode):
    """Completed, continued, rescheduled and failed attempts and failed jobs are counted by type, with their durations."""
    inputs = ("complete", "complete", "continue", "reschedule", "fail", "fail", "fail")
    for each in inputs:
        shop.start(input=each)
    shop.run(make(mode, answer=answer, max_attempts=1), make("plain", "next"))
    found = ever(shop)
    assert (found.completed, found.continued, found.rescheduled, found.errors, found.failed) == (2, 1, 1, 3, 3)
    assert (found.settled, found.attempts, found.durations.count) == (3, 7, 7)
    assert 0 < found.seconds < 60
    assert 0 < found.durations.quantile(0.5) < 60
    assert ever(shop, "next").completed == 1


def test_attempts_that_failed_are_not_failed_jobs(shop):
    """An attempt that is followed by another one counts as an error, and not as a failed job."""
    shop.start(input="fail")
    shop.run(make("plain", answer=answer, max_attempts=3, backoff=Backoff(0.0)))
    found = ever(shop)
    assert (found.errors, found.failed, found.attempts) == (3, 1, 3)


def test_durations_are_real(shop, mode):
    """An attempt's duration is that of its handler."""
    shop.start()
    shop.run(make(mode, hooks={"between": lambda *_: time.sleep(0.1), "complete": lambda *_: time.sleep(0.1)}))
    found = ever(shop)
    assert 0.1 < found.seconds < 20
    assert 0.07 < found.durations.quantile(1.0) < 20


def test_lost_attempts_are_not_counted(shop):
    """An attempt whose job somebody else settled has done nothing."""
    gate = shop.gate()
    working = shop.work(make("plain", hooks={"between": gate}))
    chain = shop.start()
    gate.reached()
    with shop.client.settle(chain) as current:
        current.complete("by hand")
    gate.open()
    working.until(Told.JOB_LOST)
    working.stop()
    assert ever(shop) == Worked()


def test_attempts_of_dead_workers_are_errors(shop):
    """Who reaps the job of a dead worker counts the attempt as failed, without a duration."""
    chain = shop.start()
    shop.claim()
    shop.expire(chain)
    shop.run(make("plain"))
    found = ever(shop)
    assert (found.completed, found.errors, found.durations.count) == (1, 1, 1)


def test_written_while_it_works(shop, monkeypatch):
    """Numbers are there while the worker runs on, in one row for each minute, under the worker's own id."""
    monkeypatch.setattr(tally, "WRITE_SECONDS", 0.01)
    working = shop.work(make("plain"))
    for number in range(1, 6):
        shop.start()
        eventually(lambda wanted=number: ever(shop).completed == wanted)
    assert len(rows(shop)) <= 2  # a minute may have ended meanwhile
    assert {each.worker_id for each in rows(shop)} == {working.worker.id}
    working.stop()
    assert ever(shop).completed == 5


class Counting:
    """A tally without a worker, of which the test is the thread that writes."""

    def __init__(self, shop):
        self.shop = shop
        self.id = new_id()
        self.tally = Tally(shop.store, self.id)

    def reaped(self, count=1):
        """Something to count."""
        self.tally.count_reaped([type("Reaped", (), {"type_name": "step"})] * count)


@pytest.fixture
def counting(shop):
    return Counting(shop)


def rename(shop, old, new):
    with shop.store.transaction() as conn:
        conn.exec_driver_sql(f"ALTER TABLE {old} RENAME TO {new}")


def test_what_cannot_be_written_is_written_later(shop, counting):
    """When the database refuses, nobody is told, and the next writing brings all of it, once."""
    counting.reaped()
    counting.tally._try()
    rename(shop, "jobctl_tally", "away")
    for _ in range(2):
        counting.reaped()
        counting.tally._try()
    rename(shop, "away", "jobctl_tally")
    assert ever(shop).errors == 1
    counting.tally._try()
    assert ever(shop).errors == 3


def test_a_commit_without_an_answer_counts_once(shop, counting, monkeypatch):
    """What was written although the worker was told otherwise is not counted again."""
    written = tallying.write

    def fail_late(store, conn, *args):
        written(store, conn, *args)
        conn.commit()
        raise ConnectionError("the answer was lost")

    counting.reaped()
    monkeypatch.setattr(tallying, "write", fail_late)
    counting.tally._try()
    assert ever(shop).errors == 1
    monkeypatch.undo()
    counting.reaped()
    counting.tally._try()
    assert ever(shop).errors == 2


def test_what_is_too_late_is_let_go(shop, counting, monkeypatch):
    """What could not be written for half an hour is not written any more: its minute may be summed up by then."""
    at = tallying.clock
    monkeypatch.setattr(tallying, "clock", lambda *args: at(*args) - timedelta(minutes=31))
    monkeypatch.setattr(tallying, "write", None)
    counting.reaped()
    counting.tally._try()
    monkeypatch.undo()
    counting.reaped()
    counting.tally._try()
    assert ever(shop).errors == 1
    assert len(rows(shop)) == 1


def test_nothing_counted_writes_nothing(shop, counting):
    """A worker that has nothing to do leaves no rows."""
    counting.tally._try()
    assert rows(shop) == []


# --- summing up ------------------------------------------------------------------------------------------------------

ONE = Worked(1, 2, 3, 4, 5, 0.5, Durations({0.001: 7, 1.0: 3}))


def ago(store, *, minutes=0, hours=0):
    """A minute that has passed, by the database's clock."""
    with store.transaction(read_only=True) as conn:
        at = tallying.clock(store, conn)
    return (at - timedelta(hours=hours, minutes=minutes)).replace(second=0, microsecond=0)


def write(store, *minutes):
    """What several workers did in these minutes."""
    with store.transaction() as conn:
        for _ in range(3):
            tallying.write(store, conn, new_id(), {minute: {"step": ONE, "other": ONE} for minute in minutes})


def sum_up(store):
    tallying.sum_up(store, new_id())


def test_old_minutes_become_hours_and_hours_one_sum(shop):
    """What is old takes a row for each type and hour, what is older than any window one for each type; sums stay."""
    recent = [ago(shop.store, minutes=minutes) for minutes in (0, 5, 59)]
    older = [ago(shop.store, hours=hours, minutes=minutes) for hours in (5, 30) for minutes in range(10)]
    oldest = [ago(shop.store, hours=hours) for hours in (50, 80, 1000)]
    write(shop.store, *recent, *older, *oldest)
    before = shop.client.stats(windows=["1h", "2d"])
    sum_up(shop.store)
    after = shop.client.stats(windows=["1h", "2d"])
    assert [each.ever for each in after.types] == [each.ever for each in before.types]
    assert after.types[0].ever.attempts == 10 * 3 * (3 + 20 + 3)
    for found in (before, after):
        assert [each.worked.attempts for each in found.types[0].done] == [10 * 3 * 3, 10 * 3 * 23]
    left = rows(shop)
    hours = {each.replace(minute=0) for each in older}
    assert {each.minute for each in left} == {tallying.EVER, *hours, *recent}
    assert len(left) == 2 * (1 + len(hours) + 3 * len(recent))
    sum_up(shop.store)
    assert sorted(rows(shop)) == sorted(left)
    write(shop.store, oldest[0])
    sum_up(shop.store)
    assert len(rows(shop)) == len(left)
    assert after.types[0].ever.attempts + 30 == ever(shop).attempts


def test_a_full_hour_is_summed_up(shop):
    """What several workers did in the first minute of an old hour, and in no other, takes a row for each type."""
    hour = ago(shop.store, hours=5).replace(minute=0)
    write(shop.store, hour)
    before = ever(shop)
    sum_up(shop.store)
    assert ever(shop) == before
    assert [each.minute for each in rows(shop)] == [hour, hour]
    left = rows(shop)
    sum_up(shop.store)
    assert sorted(rows(shop)) == sorted(left)


def test_two_sum_up_at_once(postgres_shop):
    """Two workers that sum up the same rows at once count nothing twice and lose nothing."""
    store = postgres_shop.store
    write(store, *(ago(store, hours=hours, minutes=minutes) for hours in (5, 100) for minutes in range(3)))
    before = ever(postgres_shop)
    with store.transaction() as conn:
        tallying.sum_up_span(store, conn, new_id(), tallying.EVER, ago(store, hours=2))
        other = InThread(lambda: sum_up(store))
        eventually(lambda: waits_for_a_lock(store))
    other.result()
    assert ever(postgres_shop) == before
    assert {each.minute for each in rows(postgres_shop)} == {tallying.EVER}


def waits_for_a_lock(store):
    with store.transaction(read_only=True) as conn:
        return conn.scalar(sa.text("SELECT count(*) FROM pg_locks WHERE NOT granted"))


def test_a_worker_sums_up(shop):
    """A worker sums up in passing, however short it lives."""
    minutes = [ago(shop.store, hours=5, minutes=minutes) for minutes in range(3)]
    write(shop.store, *minutes)
    before = ever(shop)
    shop.run(make("plain"))
    assert ever(shop) == before
    assert len(rows(shop)) == 2 * len({each.hour for each in minutes})
