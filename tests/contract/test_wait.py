"""Waiting until chains are closed."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
from support import InThread, eventually
from working import claim, completed, continued, run, settle, with_outcome

from jobctl import Status
from jobctl.errors import NotFoundError, UnsuccessfulError, UsageError, WaitTimeoutError
from jobctl.ids import new_id
from jobctl.storage.records import Complete, Retry
from jobctl.waiting import POLL_SECONDS, require_completed


def test_closed_already(client, store):
    """Chains that are closed already are returned at once, in the order given, each told once."""
    chains = [client.start("a") for _ in range(3)]
    for chain in chains:
        run(store, chain.id, f'"{chain.id}"')
    wanted = [chains[2].id, chains[0].id, chains[1].id, chains[2].id]
    told = []
    found = client.wait(wanted, on_closed=lambda chain: told.append(chain.id))
    assert list(found) == wanted[:3]
    assert [chain.output for chain in found.values()] == wanted[:3]
    assert told == wanted[:3]
    assert found[chains[0].id] == client.get(chains[0].id)


def test_nothing(client):
    """Waiting for nothing is over at once."""
    assert client.wait([]) == {}


@pytest.mark.parametrize(
    ("outcome", "status"),
    [(Complete('"done"'), Status.COMPLETED), (Retry("boom", None), Status.FAILED)],
    ids=["completed", "failed"],
)
def test_closed_meanwhile(client, store, open_client, database_url, outcome, status):
    """A chain that somebody else closes, or that fails, is returned at once, not when the next look is due."""
    chain = client.start("a")
    (row,) = claim(store, "a")
    other = open_client(database_url)
    other.get(chain.id)
    waiting = InThread(lambda: (other.wait([chain.id]), time.monotonic()))
    _until_it_waits(store, waiting)
    settle(store, with_outcome(row, outcome))
    settled_at = time.monotonic()
    found, returned_at = waiting.result()
    assert found[chain.id].status is status
    assert returned_at - settled_at < POLL_SECONDS / 2


def _until_it_waits(store, waiting):
    """Until the wait has looked once and listens; on SQLite nothing shows it, and it does so from the beginning."""

    def listens():
        with store.transaction() as conn:
            listening = conn.exec_driver_sql(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%%'"
            )
            return listening.scalar_one() > 0

    if store.dialect == "postgresql":
        eventually(listens)
    time.sleep(0.1)  # whether it has looked yet or not, it must return soon; that it has is the more telling
    assert waiting.running


def test_one_after_another(client, store):
    """Each chain is told as soon as it is closed, and the wait is over with the last."""
    chains = [client.start("a", index) for index in range(3)]
    rows = {row.id: row for row in claim(store, "a")}
    told = []
    waiting = InThread(lambda: client.wait([each.id for each in chains], on_closed=lambda each: told.append(each.id)))
    order = [chains[1].id, chains[2].id, chains[0].id]
    for number, id_ in enumerate(order, 1):
        assert waiting.running
        settle(store, completed(rows[id_]))
        eventually(lambda number=number: len(told) == number)
    assert told == order
    assert list(waiting.result()) == [each.id for each in chains]


def test_continuing_is_not_closing(client, store):
    """A chain that hands over goes on: the wait ends with its last job."""
    chain = client.start("a")
    waiting = InThread(lambda: client.wait([chain.id], timeout="20s"))
    (row,) = claim(store, "a")
    settle(store, continued(row, "b"))
    (row,) = claim(store, "b")
    assert waiting.running
    settle(store, completed(row, "2"))
    assert waiting.result()[chain.id].output == 2


def test_settled_by_hand_meanwhile(client):
    """A chain closed by hand ends the wait like any other."""
    chain = client.start("a")
    waiting = InThread(lambda: client.wait([chain.id]))
    with client.settle(chain.id) as current:
        current.complete("by hand")
    assert waiting.result()[chain.id].output == "by hand"


def test_failed_chain(client, store):
    """A chain that failed is returned, as nothing will happen to it by itself; who needs its output is told no."""
    chain = client.start("a")
    waiting = InThread(lambda: client.wait([chain.id]))
    (row,) = claim(store, "a")
    settle(store, with_outcome(row, Retry("Traceback …\nValueError: boom\n", None)))
    found = waiting.result()[chain.id]
    assert found.status is Status.FAILED
    with pytest.raises(UnsuccessfulError, match=rf"the chain {chain.id} is failed: ValueError: boom$") as no:
        require_completed(found)
    assert no.value.details == {"id": chain.id, "status": "failed"}
    assert no.value.exit_code == 8


def test_completed_chain_has_its_output(client, store):
    """A completed chain passes, also with null as its output."""
    chain = client.start("a")
    run(store, chain.id, "null")
    found = client.wait([chain.id])[chain.id]
    assert require_completed(found) is found


def test_timeout(client, store):
    """When the time runs out the error says which chains are still open, after no less than that time."""
    closed, open_ = client.start("a"), client.start("b")
    run(store, closed.id)
    begun = time.monotonic()
    with pytest.raises(WaitTimeoutError, match="1 of 2 chains are still open") as no:
        client.wait([closed.id, open_.id], timeout="300ms")
    assert 0.3 <= time.monotonic() - begun < 5
    assert no.value.open == [open_.id]
    assert no.value.exit_code == 124


def test_timeout_names_the_open_chains(client):
    """The error names one chain, or several up to three and how many more; its facts have all."""
    chains = [client.start("a").id for _ in range(5)]
    for awaited, said in (
        (chains[:1], f"the chain {chains[0]} is still open"),
        (chains[:2], f"2 of 2 chains are still open: {chains[0]}, {chains[1]}"),
        (chains, f"5 of 5 chains are still open: {', '.join(chains[:3])} and 2 more"),
    ):
        with pytest.raises(WaitTimeoutError) as no:
            client.wait(awaited, timeout="0s")
        assert str(no.value) == said
        assert no.value.open == awaited


def test_no_time_at_all(client, store):
    """With no time at all it looks once: closed chains are returned, others time out at once."""
    chain = client.start("a")
    with pytest.raises(WaitTimeoutError):
        client.wait([chain.id], timeout=timedelta(0))
    run(store, chain.id)
    assert client.wait([chain.id], timeout=timedelta(0))[chain.id].status is Status.COMPLETED


def test_cancelled(client, store):
    """A wait that is called off returns what has closed so far."""
    closed, open_ = client.start("a"), client.start("b")
    run(store, closed.id)
    stop = []
    waiting = InThread(lambda: client.wait([open_.id, closed.id], cancelled=lambda: bool(stop)))
    assert waiting.running
    stop.append(True)
    assert list(waiting.result(within=5)) == [closed.id]


def test_unknown_id(client):
    """A chain that does not exist cannot be waited for, and a wrong timeout is refused."""
    missing = new_id()
    with pytest.raises(NotFoundError, match=missing):
        client.wait([client.start("a").id, missing])
    with pytest.raises(UsageError, match="is not an id"):
        client.wait(["nonsense"])
    with pytest.raises(UsageError, match="is not a duration"):
        client.wait([client.start("a").id], timeout="soon")
