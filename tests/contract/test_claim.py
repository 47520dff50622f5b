"""Claiming jobs: which, in which order, and with what they come."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest
from support import eventually
from working import claim

from jobctl import ListFilter, NewChain, Status
from jobctl.ids import new_id
from jobctl.model import Schedule
from jobctl.storage.records import NewJob


def test_claimed_job_is_running(client, store):
    """A claimed job is running, leased to its worker for the seconds asked for, and its attempt is counted."""
    chain = client.start("a", {"n": 1}, priority=3)
    (row,) = claim(store, "a", worker="w-7", seconds=90)
    assert (row.id, row.chain_id, row.chain_type, row.chain_index) == (chain.id, chain.id, "a", 0)
    assert (row.type_name, row.priority, row.input, row.attempt, row.status) == ("a", 3, '{"n":1}', 1, "running")
    job = client.get_job(chain.id)
    assert (job.status, job.worker, job.attempt) == (Status.RUNNING, "w-7", 1)
    assert job.leased_until == row.leased_until
    assert abs(job.leased_until - datetime.now(UTC) - timedelta(seconds=90)) < timedelta(seconds=20)
    assert client.get(chain.id).status is Status.RUNNING


def test_nothing_to_claim(store):
    """Without jobs nothing is claimed, and without types neither."""
    assert claim(store, "a", "b") == []
    assert claim(store) == []


def test_order_is_priority_then_time_then_id(client, store):
    """Higher priorities go first, then who is due earlier, then the smaller id; in one batch and one by one."""
    ids = sorted(new_id() for _ in range(2))
    client.start("a", priority=0, id=ids[1])
    client.start("b", priority=5)
    client.start("a", priority=-5)
    client.start("b", priority=0)
    client.start("a", priority=5)
    client.start("c", priority=-1000)
    client.start("b", priority=1000)
    expected = [
        each.id
        for each in sorted(client.list_jobs().items, key=lambda each: (-each.priority, each.scheduled_at, each.id))
    ]
    one_by_one = [claim(store, "a", "b", "c", limit=1)[0].id for _ in range(3)]
    rest = [row.id for row in claim(store, "a", "b", "c")]
    assert one_by_one + rest == expected


def test_equal_times_go_by_id(store):
    """Jobs started together, due at one instant, are claimed in the order of their ids."""
    ids = [new_id() for _ in range(20)]
    jobs = [NewJob(each, each, 0, "a", "a", "null") for each in reversed(ids)]
    with store.transaction() as conn:
        store.start(conn, jobs)
    assert [row.id for row in claim(store, "a", limit=7)] == ids[:7]
    assert [row.id for row in claim(store, "a", limit=100)] == ids[7:]


def test_time_outweighs_id(store):
    """Who is due earlier goes first although it was made later."""
    early, late = new_id(), new_id()
    now = datetime.now(UTC)
    with store.transaction() as conn:
        store.start(
            conn,
            [
                NewJob(early, early, 0, "a", "a", "null", schedule=Schedule(after=timedelta(seconds=0.2))),
                NewJob(late, late, 0, "a", "a", "null", schedule=Schedule(at=now)),
            ],
        )
    found = eventually(lambda: (rows := claim(store, "a", limit=1)) and rows)
    assert found[0].id == late
    found = eventually(lambda: claim(store, "a", limit=1))
    assert found[0].id == early


def test_limit(client, store):
    """No more than the limit are claimed, and the best ones."""
    for priority in range(6):
        client.start("a" if priority % 2 else "b", priority=priority)
    assert [row.priority for row in claim(store, "a", "b", limit=4)] == [5, 4, 3, 2]
    assert [row.priority for row in claim(store, "a", "b", limit=4)] == [1, 0]


@pytest.mark.parametrize("seed", range(12))
def test_order_of_a_mixed_backlog(client, store, seed):
    """Whatever waits of whatever types and priorities, each claim takes the first that are due of those asked for."""
    chance = random.Random(seed)  # noqa: S311 - a backlog, not a secret
    names = [f"t{number}" for number in range(chance.choice([1, 3, 12]))]
    priorities = chance.choice([(0,), (0, 5), (-1000, -1, 0, 3, 1000)])
    for _ in range(8):
        client.start_many(
            NewChain(chance.choice(names), after=chance.choice([None, None, "1h"]), priority=chance.choice(priorities))
            for _ in range(chance.randrange(12))
        )
    client.pause(types=["t1"])
    asked = chance.sample(names, chance.randint(1, len(names)))
    jobs = [job for job in client.list_jobs(ListFilter(limit=1000)).items if job.status is Status.READY]
    ready = [job for job in jobs if job.type_name in asked and job.type_name != "t1"]
    expected = [job.id for job in sorted(ready, key=lambda job: (-job.priority, job.scheduled_at, job.id))]
    found = []
    while rows := claim(store, *asked, limit=chance.randint(1, 9)):
        found += [row.id for row in rows]
    assert found == expected


def test_types(client, store):
    """Only jobs of the types asked for are claimed."""
    for name in ("a", "b", "c"):
        client.start(name)
    assert {row.type_name for row in claim(store, "a", "c", "unknown")} == {"a", "c"}
    assert client.list_jobs().items[1].status is Status.READY


def test_lease_is_per_type(client, store):
    """Each type's job is leased for that type's seconds."""
    client.start("short")
    client.start("long")
    rows = {row.type_name: row for row in claim(store, leases={"short": 10.0, "long": 3600.5})}
    difference = rows["long"].leased_until - rows["short"].leased_until
    assert abs(difference - timedelta(seconds=3590.5)) <= timedelta(milliseconds=1)


def test_nothing_is_claimed_twice(client, store):
    """What is claimed is not claimed again."""
    for _ in range(10):
        client.start("a")
    first, second = claim(store, "a", limit=6), claim(store, "a", limit=6)
    assert (len(first), len(second)) == (6, 4)
    assert not {row.id for row in first} & {row.id for row in second}
    assert claim(store, "a") == []
    assert len({row.lease for row in first}) == 1
    assert {row.lease for row in first} != {row.lease for row in second}


@pytest.mark.parametrize("when", [{"after": "1h"}, {"at": datetime(2099, 1, 1, tzinfo=UTC)}])
def test_scheduled_job_waits(client, store, when):
    """A job whose time has not come is not claimed."""
    client.start("a", **when)
    assert claim(store, "a") == []


def test_scheduled_job_becomes_ready(client, store):
    """A job is claimed once its time has come, and not before."""
    chain = client.start("a", after="300ms")
    (row,) = eventually(lambda: claim(store, "a"))
    assert row.leased_until - timedelta(seconds=60) >= chain.scheduled_at


def test_scheduled_job_of_high_priority_hides_nobody(client, store):
    """A job that is not due, whatever its priority, keeps nobody else from being claimed."""
    client.start("a", after="1h", priority=1000)
    ready = client.start("a", priority=-1000)
    assert [row.id for row in claim(store, "a", limit=1)] == [ready.id]


def test_many_priorities_and_types(client, store):
    """With many types and priorities everything is claimed, the highest priorities first."""
    for index in range(60):
        client.start(f"t{index % 12}", priority=index % 5)
    names = [f"t{index}" for index in range(12)]
    found = [row.priority for _ in range(6) for row in claim(store, *names, limit=10)]
    assert found == sorted(found, reverse=True)
    assert len(found) == 60
