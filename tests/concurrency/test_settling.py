"""Two who settle one job: one wins, the other notices, nobody waits for ever."""

from __future__ import annotations

import psycopg
import pytest
from sqlalchemy import text
from support import InThread, wait_until_blocked
from working import claim, completed, continued, held, with_outcome

from jobctl import Status
from jobctl.errors import AlreadySettledError, GuardError
from jobctl.storage.open import open_store
from jobctl.storage.records import Retry


@pytest.fixture
def one(postgres_url, open_client):
    """A client whose transaction is held."""
    return open_client(postgres_url)


@pytest.fixture
def two(postgres_url, open_client):
    """The client of somebody else, who runs into it."""
    return open_client(postgres_url)


@pytest.fixture
def worker(postgres_url):
    """The store of a worker."""
    store = open_store(postgres_url)
    yield store
    store.close()


def pid_of(conn):
    return conn.connection.driver_connection.info.backend_pid


def complete_by_hand(client, id_, output, **guard):
    with client.settle(id_, **guard) as current:
        current.complete(output)


def complete_by_worker(store, settlement):
    with store.transaction() as conn:
        return store.settle(conn, [settlement])


def meet(client, id_, step, other, url):
    """Hold the chain by hand, have the other run into it, do the step, and return what became of the other."""
    with client.store.transaction() as conn:
        with client.settle(id_, conn=conn) as current:
            running = InThread(other)
            wait_until_blocked(url, by=pid_of(conn))
            step(current)
        assert running.running
    return running


def test_two_persons_completing(one, two, postgres_url):
    """Of two persons who complete one chain, one wins and the other is told that it is closed."""
    chain = one.start("a")
    later = meet(
        one, chain.id, lambda it: it.complete("one"), lambda: complete_by_hand(two, chain.id, "two"), postgres_url
    )
    assert isinstance(later.error(), AlreadySettledError)
    detail = one.show(chain.id)
    assert detail.chain.output == "one"
    assert len(detail.history) == 1


def test_two_persons_continuing(one, two, postgres_url):
    """Of two persons who hand over one job, one wins: there is one successor."""
    chain = one.start("a")

    def continue_too():
        with two.settle(chain.id, expect="a") as current:
            current.continue_with("c")

    later = meet(one, chain.id, lambda it: it.continue_with("b"), continue_too, postgres_url)
    assert isinstance(later.error(), GuardError)
    assert [job.type_name for job in one.show(chain.id).jobs] == ["a", "b"]


def test_person_holding_a_job_id(one, two, postgres_url):
    """Who names the job is told that it is settled, although the chain goes on."""
    chain = one.start("z")
    with one.settle(chain.id) as current:
        job = current.continue_with("a")
    later = meet(
        one, chain.id, lambda it: it.continue_with("b"), lambda: complete_by_hand(two, job.id, "two"), postgres_url
    )
    assert isinstance(later.error(), AlreadySettledError)
    assert one.get(chain.id).status is Status.READY


def test_person_without_guard_gets_the_next_step(one, two, postgres_url):
    """Who names the chain without a guard gets the job that is current once the lock is theirs."""
    chain = one.start("a")

    def see():
        with two.settle(chain.id) as current:
            return current.job.type_name

    assert meet(one, chain.id, lambda it: it.continue_with("b"), see, postgres_url).result() == "b"


def test_person_leaving_lets_the_other_win(one, two, postgres_url):
    """Who holds the chain and leaves without settling lets the other one settle."""
    chain = one.start("a")
    meet(one, chain.id, lambda _: None, lambda: complete_by_hand(two, chain.id, "two"), postgres_url).result()
    assert one.get(chain.id).output == "two"


@pytest.mark.parametrize("kind", ["complete", "continue", "retry", "fail"])
def test_person_before_worker(one, worker, postgres_url, kind):
    """A worker that settles what a person is completing settles nothing."""
    chain = one.start("a")
    (row,) = claim(worker, "a")
    settlement = {
        "complete": completed(row, '"worker"'),
        "continue": continued(row, "b"),
        "retry": with_outcome(row, Retry("boom", 1.0)),
        "fail": with_outcome(row, Retry("boom", None)),
    }[kind]
    later = meet(
        one, chain.id, lambda it: it.complete("one"), lambda: complete_by_worker(worker, settlement), postgres_url
    )
    assert later.result().won == frozenset()
    detail = one.show(chain.id)
    assert (detail.chain.output, detail.chain.length, detail.errors) == ("one", 1, ())


def test_person_leaving_lets_the_worker_win(one, worker, postgres_url):
    """A worker that waited for a person who left settles its job, and the lease was not lost."""
    chain = one.start("a")
    (row,) = claim(worker, "a", worker="w-1")
    later = meet(
        one, chain.id, lambda _: None, lambda: complete_by_worker(worker, completed(row, '"worker"')), postgres_url
    )
    assert later.result().won == {row.id}
    assert one.get_job(chain.id).completed_by == "w-1"


@pytest.mark.parametrize("ending", ["commit", "rollback"])
def test_worker_before_person(one, worker, postgres_url, ending):
    """A person who completes what a worker is completing is told so, unless the worker's transaction fails."""
    chain = one.start("a")
    (row,) = claim(worker, "a", worker="w-1")
    with worker.engine.connect() as conn:
        transaction = conn.begin()
        worker.settle(conn, [completed(row, '"worker"')])
        person = InThread(lambda: complete_by_hand(one, chain.id, "one"))
        wait_until_blocked(postgres_url, by=pid_of(conn))
        assert person.running
        getattr(transaction, ending)()
    error = person.error()
    if ending == "commit":
        assert isinstance(error, AlreadySettledError)
        assert "was completed by w-1" in str(error)
        assert one.get(chain.id).output == "worker"
    else:
        assert error is None
        assert one.get(chain.id).output == "one"
        assert one.get_job(chain.id).completed_by is None


def test_worker_before_person_continuing(one, worker, postgres_url):
    """A person who hands over what a worker is handing over meets the successor, and the guard says so."""
    chain = one.start("a")
    (row,) = claim(worker, "a")
    with worker.transaction() as conn:
        worker.settle(conn, [continued(row, "b")])
        person = InThread(lambda: complete_by_hand(one, chain.id, "one", expect="a"))
        wait_until_blocked(postgres_url, by=pid_of(conn))
    assert isinstance(person.error(), GuardError)
    assert [job.type_name for job in one.show(chain.id).jobs] == ["a", "b"]


def test_job_never_has_two_successors(one, postgres_url):
    """Even somebody who writes past jobctl cannot give a job a second successor: the database refuses."""
    chain = one.start("a")
    with one.settle(chain.id) as current:
        current.continue_with("b")
    with psycopg.connect(postgres_url) as conn, pytest.raises(psycopg.errors.UniqueViolation, match="jobctl_job_chain"):
        conn.execute(
            "INSERT INTO jobctl_job (id, chain_id, chain_index, chain_type, type_name, created_at, input)"
            " SELECT gen_random_uuid(), chain_id, chain_index, chain_type, 'c', created_at, input"
            " FROM jobctl_job WHERE chain_index = 1"
        )


# --- leases ----------------------------------------------------------------------------------------------------------


def renew(store, row):
    with store.transaction() as conn:
        conn.execute(text("SET LOCAL lock_timeout = '5s'"))
        return store.renew(conn, [held(row)], {row.type_name: 600.0})


def test_renewing_does_not_wait_for_a_settler(one, worker, postgres_url):
    """A lease whose job somebody is settling is renewed without waiting, and counts as held until it is settled."""
    chain, other = one.start("a"), one.start("a")
    rows = {row.id: row for row in claim(worker, "a")}
    with one.store.transaction() as conn:
        with one.settle(chain.id, conn=conn) as current:
            current.complete()

        def renew_both():
            with worker.transaction() as mine:
                return worker.renew(mine, [held(each) for each in rows.values()], {"a": 600.0})

        assert InThread(renew_both).result(within=5) == {chain.id, other.id}
    assert renew(worker, rows[chain.id]) == set()
    assert renew(worker, rows[other.id]) == {other.id}
    assert one.get_job(other.id).leased_until > rows[other.id].leased_until


def test_reaping_passes_over_what_is_being_settled(one, worker, postgres_url):
    """An expired lease whose job is being settled is not reaped, and nobody waits."""
    one.start("a")
    (row,) = claim(worker, "a", seconds=-1.0)

    def reap():
        with one.store.transaction() as mine:
            return one.store.reap(mine, [])

    with worker.transaction() as conn:
        assert worker.settle(conn, [completed(row)]).won == {row.id}
        assert InThread(reap).result(within=5) == []
    assert reap() == []
    assert one.get_job(row.id).status is Status.COMPLETED


def test_settling_waits_for_a_reaper_and_loses(one, worker, postgres_url):
    """A worker that settles what is being reaped waits for that, and then has lost it."""
    one.start("a")
    (row,) = claim(worker, "a", seconds=-1.0)
    with one.store.transaction() as conn:
        assert [each.id for each in one.store.reap(conn, [])] == [row.id]
        late = InThread(lambda: complete_by_worker(worker, completed(row)))
        wait_until_blocked(postgres_url, by=pid_of(conn))
    assert late.result().won == frozenset()
    assert one.get_job(row.id).status is Status.READY


# --- deadlocks -------------------------------------------------------------------------------------------------------


def lock(conn, chain_id):
    """Lock a chain if it is free; fails at once if it is not."""
    conn.execute("SELECT 1 FROM jobctl_current WHERE chain_id = %s FOR UPDATE NOWAIT", [chain_id])


def test_batches_in_opposite_orders_do_not_deadlock(one, worker, postgres_url):
    """Batches lock their chains by id, whatever their own order: who waits for the first holds none of the others."""
    chains = sorted(one.start("a").id for _ in range(4))
    rows = {row.id: row for row in claim(worker, "a")}

    def settle(order):
        with one.store.transaction() as conn:
            return one.store.settle(conn, [completed(rows[each]) for each in order])

    with psycopg.connect(postgres_url) as holder, psycopg.connect(postgres_url) as probe:
        lock(holder, chains[0])
        running = [InThread(lambda order=order: settle(order)) for order in (chains, chains[::-1])]
        wait_until_blocked(postgres_url, 2)
        for each in chains[1:]:
            lock(probe, each)
        probe.rollback()
        holder.rollback()
        won = [each.result().won for each in running]
    assert sorted(won, key=len) == [frozenset(), frozenset(chains)]


def test_freeing_in_opposite_orders_does_not_deadlock(one, worker, postgres_url):
    """Who completes chains locks the jobs that wait for them by id, too."""
    blockers = [one.start("a").id, one.start("a").id]
    waiting = sorted(one.start("w", blocked_by=order).id for order in (blockers, blockers[::-1], blockers))
    rows = {row.id: row for row in claim(worker, "a")}
    with psycopg.connect(postgres_url) as holder, psycopg.connect(postgres_url) as probe:
        lock(holder, waiting[0])
        running = [
            InThread(lambda each=each: complete_by_worker(one.store, completed(rows[each]))) for each in blockers
        ]
        wait_until_blocked(postgres_url, 2)
        for each in waiting[1:]:
            lock(probe, each)
        probe.rollback()
        holder.rollback()
        work = [each.result().work for each in running]
    assert sorted(work, key=len) == [frozenset(), frozenset({"w"})]
    assert {one.get(each).status for each in waiting} == {Status.READY}


def test_starting_behind_blockers_in_opposite_orders_does_not_deadlock(one, two, postgres_url):
    """Who starts chains behind others locks those by id, whatever order they are given in."""
    blockers = sorted(one.start("a").id for _ in range(3))
    with psycopg.connect(postgres_url) as holder, psycopg.connect(postgres_url) as probe:
        lock(holder, blockers[0])
        running = [
            InThread(lambda client=client, order=order: client.start("w", blocked_by=order))
            for client, order in ((one, blockers), (two, blockers[::-1]))
        ]
        wait_until_blocked(postgres_url, 2)
        for each in blockers[1:]:
            lock(probe, each)
        probe.rollback()
        holder.rollback()
        started = [each.result() for each in running]
    assert [one.get_job(each.id).blocker_ids for each in started] == [tuple(blockers), tuple(blockers[::-1])]
