"""Starting chains."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone

import psycopg
import pytest
from working import claim, completed, continued, run, settle, with_outcome

from jobctl import Client, Job, NewChain, Status, processor
from jobctl.asking import ListFilter
from jobctl.codecs import MAX_DEPTH, decode_json, encode_json
from jobctl.errors import DuplicateIdError, InvalidDataError, NotFoundError, UsageError
from jobctl.ids import new_id
from jobctl.registry import Registry
from jobctl.storage import postgres as postgres_module
from jobctl.storage import sqlite as sqlite_module
from jobctl.storage.records import Retry

TOLERANCE = timedelta(seconds=30)  # between the clocks and for a machine under load


def test_chain_is_started(client):
    """A chain starts with one job that is ready, and the chain's id is that job's."""
    chain = client.start("greet", {"name": "Ann"})
    assert chain == client.get(chain.id)
    assert (chain.type_name, chain.job_type) == ("greet", "greet")
    assert chain.job_id == chain.id
    assert (chain.status, chain.length, chain.attempt, chain.priority) == (Status.READY, 1, 0, 0)
    assert (chain.input, chain.output, chain.last_error, chain.closed_at) == ({"name": "Ann"}, None, None, None)
    assert chain.scheduled_at == chain.created_at
    assert chain.created_at.tzinfo is UTC
    assert abs(chain.created_at - datetime.now(UTC)) < TOLERANCE
    assert chain.deduplicated is False


def test_delay_counts_from_the_databases_now(client):
    """A delay makes a scheduled job that is due so long after it was created, to the millisecond."""
    chain = client.start("greet", after="2h30m")
    assert chain.status is Status.SCHEDULED
    assert abs(chain.scheduled_at - chain.created_at - timedelta(hours=2, minutes=30)) <= timedelta(milliseconds=1)
    half = client.start("greet", after=timedelta(seconds=90.5))
    assert abs(half.scheduled_at - half.created_at - timedelta(seconds=90.5)) <= timedelta(milliseconds=1)


def test_time_is_kept(client):
    """A time makes a job that is due at this instant, whatever zone it was written in."""
    instant = datetime(2099, 7, 1, 12, 30, 15, 250_000, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    chain = client.start("greet", at=instant)
    assert chain.status is Status.SCHEDULED
    assert chain.scheduled_at == instant
    assert chain.scheduled_at.isoformat() == "2099-07-01T07:00:15.250000+00:00"


@pytest.mark.parametrize(
    "when", [{"at": datetime(1999, 1, 1, tzinfo=UTC)}, {"after": timedelta(hours=-1)}, {"after": "0s"}]
)
def test_past_means_now(client, when):
    """A time or delay that lies in the past means now."""
    chain = client.start("greet", **when)
    assert chain.status is Status.READY
    assert chain.scheduled_at == chain.created_at


def test_far_future(client):
    """The longest delay that can be written and the last instants of the calendar can be stored."""
    assert client.start("greet", after="366000d").scheduled_at.year > 3000
    assert client.start("greet", at=datetime(9999, 12, 30, tzinfo=UTC)).scheduled_at.year == 9999


def test_id_is_the_callers(client):
    """An id that the caller gives becomes the chain's, in its one spelling."""
    wanted = new_id()
    assert client.start("greet", id=wanted.upper()).id == wanted
    assert client.get(wanted.replace("-", "")).id == wanted


def test_id_is_taken(client):
    """An id that a chain or a job has is refused, saying which, and what was there stays."""
    first = client.start("greet", {"n": 1})
    with pytest.raises(DuplicateIdError, match=f"the id {first.id} is taken") as refused:
        client.start("other", {"n": 2}, id=first.id)
    assert refused.value.details == {"id": first.id}
    with client.settle(first.id) as current:
        successor = current.continue_with("next")
    with pytest.raises(DuplicateIdError):
        client.start("other", id=successor.id)
    assert client.get(first.id).type_name == "greet"
    assert len(client.list_chains().items) == 1


@pytest.mark.parametrize("priority", [-1000, -1, 1, 1000])
def test_priority_is_kept(client, priority):
    """A priority goes from -1000 to 1000."""
    assert client.start("greet", priority=priority).priority == priority


@pytest.mark.parametrize(
    ("arguments", "error", "about"),
    [
        ({"priority": 1001}, UsageError, "out of range: -1000 to 1000"),
        ({"priority": -1001}, UsageError, "out of range"),
        ({"after": "soon"}, UsageError, "is not a duration"),
        ({"after": "1s", "at": datetime(2030, 1, 1, tzinfo=UTC)}, UsageError, "not both"),
        ({"at": datetime(2030, 1, 1)}, UsageError, "no zone"),  # noqa: DTZ001 - that is what is refused
        ({"id": "nonsense"}, UsageError, "is not an id"),
        ({"blocked_by": ["nonsense"]}, UsageError, "is not an id"),
        ({"input": float("nan")}, InvalidDataError, "the input of 'greet' is not JSON"),
        ({"input": object()}, InvalidDataError, "the input of 'greet' is not JSON"),
    ],
)
def test_wrong_call_changes_nothing(client, arguments, error, about):
    """A wrong argument is refused in words, and nothing is started."""
    with pytest.raises(error, match=about):
        client.start("greet", **arguments)
    assert client.list_chains().items == ()


@pytest.mark.parametrize("name", ["", "a b", "a,b", "x" * 201])
def test_wrong_type_name(client, name):
    """A type that could not be listed is refused."""
    with pytest.raises(UsageError, match="is not a type name"):
        client.start(name)


def test_input_is_checked_by_processors(store):
    """A client that knows the processors refuses an input that the type does not take, and starts by processor."""

    @processor("greet")
    def greet(job: Job[dict]): ...

    client = Client(store, processors=Registry([greet]))
    with pytest.raises(InvalidDataError, match="the input of 'greet' must be an object"):
        client.start("greet", [1])
    with pytest.raises(InvalidDataError, match="no processor handles 'great'; did you mean 'greet'"):
        client.start("great")
    assert client.start(greet, {"n": 1}).type_name == "greet"
    assert len(client.list_chains().items) == 1


# --- payloads --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "payload",
    [
        None,
        False,
        0,
        "",
        [],
        {},
        "NUL \x00 in it",
        {"\x00": "\x00"},
        "\ud800 a lone surrogate",
        "naïve – 日本 🎉 \u2028",
        {"z": 1, "a": {"y": 2, "b": [None, True]}},
        2**63,
        -(10**40),
        0.1,
        1e300,
        -0.0,
        'it\'s "quoted" \\ :1 %s %(x)s ? $1',
        {"type_name": "x", "id": "y"},
        "x" * 200_000,
        list(range(5000)),
    ],
    ids=repr,
)
def test_payload_comes_back_as_it_was(client, store, payload):
    """Whatever JSON value goes in, as input or output, comes back the same: in a claim, a chain, a list and a wait."""
    chain = client.start("greet", payload)
    (row,) = claim(store, "greet")
    assert client.get_job(chain.id).input == payload
    assert repr(decode_json(row.input)) == repr(payload)
    settle(store, completed(row, encode_json({"result": payload})))
    assert repr(client.get(chain.id).output) == repr({"result": payload})
    assert repr(client.list_chains().items[0].input) == repr(payload)
    assert repr(client.show(chain.id).jobs[0].output) == repr({"result": payload})


def test_order_of_keys_is_kept(client):
    """An object's keys come back in the order given."""
    chain = client.start("greet", {"z": 1, "a": 2, "m": 3})
    assert list(client.get(chain.id).input) == ["z", "a", "m"]


def test_deepest_payload_can_be_read(client):
    """A payload as deep as is accepted can be read, in lists too."""
    deep = {}
    for _ in range(MAX_DEPTH - 1):
        deep = {"d": deep}
    chain = client.start("greet", deep)
    assert client.list_chains().items[0].input == deep
    assert client.show(chain.id).jobs[0].input == deep


@pytest.mark.parametrize("name", ["größe/日本", "it's", 'a"b', "a:1", "%s", "a\\b", "{x}", "x" * 200])
def test_type_name_comes_back_as_it_was(client, store, name):
    """A type's name is data, whatever characters it has."""
    chain = client.start(name)
    assert client.get(chain.id).type_name == name
    assert [row.type_name for row in claim(store, name)] == [name]
    assert len(client.list_jobs(ListFilter(type_name=name)).items) == 1


# --- blockers --------------------------------------------------------------------------------------------------------


def test_open_blocker_blocks(client, store):
    """A chain that waits for an open chain is blocked, nobody can claim it, and it knows what it waits for."""
    first, second = client.start("a"), client.start("b")
    waiting = client.start("c", blocked_by=[second.id, first.id, second.id])
    assert waiting.status is Status.BLOCKED
    assert client.get_job(waiting.id).blocker_ids == (second.id, first.id)
    assert claim(store, "c") == []


def test_last_blocker_unblocks(client, store):
    """A blocked job is ready once all the chains it waits for are complete, not before."""
    first, second = client.start("a"), client.start("b")
    waiting = client.start("c", blocked_by=[first.id, second.id])
    run(store, first.id)
    assert client.get(waiting.id).status is Status.BLOCKED
    run(store, second.id)
    assert client.get(waiting.id).status is Status.READY
    assert [row.id for row in claim(store, "c")] == [waiting.id]


def test_unblocking_tells_which_work_there_is(client, store):
    """The settlement that unblocks says the types of the jobs that it freed."""
    first = client.start("a")
    client.start("c", blocked_by=[first.id])
    client.start("d", blocked_by=[first.id])
    (row,) = claim(store, "a")
    assert settle(store, completed(row)).work == {"c", "d"}


def test_complete_blocker_does_not_block(client, store):
    """A chain that waits for complete chains alone is ready at once."""
    first = client.start("a")
    run(store, first.id, '"done"')
    waiting = client.start("c", blocked_by=[first.id])
    assert waiting.status is Status.READY
    assert client.get_job(waiting.id).blocker_ids == (first.id,)


def test_mixed_blockers(client, store):
    """Of complete and open blockers, the open ones are waited for."""
    done, open_ = client.start("a"), client.start("b")
    run(store, done.id)
    waiting = client.start("c", blocked_by=[done.id, open_.id])
    assert waiting.status is Status.BLOCKED
    run(store, open_.id)
    assert client.get(waiting.id).status is Status.READY


def test_blocker_is_the_chain_not_its_first_job(client, store):
    """A chain that handed over is not complete: who waits for it waits for its end."""
    first = client.start("a")
    (row,) = claim(store, "a")
    settle(store, continued(row, "a2"))
    waiting = client.start("c", blocked_by=[first.id])
    assert waiting.status is Status.BLOCKED
    run(store, first.id)
    assert client.get(waiting.id).status is Status.READY


def test_failed_blocker_blocks_on(client, store):
    """A chain that failed is not complete: who waits for it goes on waiting."""
    first = client.start("a")
    waiting = client.start("c", blocked_by=[first.id])
    (row,) = claim(store, "a")
    settle(store, with_outcome(row, Retry("boom", None)))
    assert client.get(waiting.id).status is Status.BLOCKED
    assert client.start("d", blocked_by=[first.id]).status is Status.BLOCKED


def test_unblocked_job_keeps_its_time(client, store):
    """A blocked job with a time of its own is scheduled when it is unblocked, and due no earlier than that."""
    first = client.start("a")
    late = client.start("c", blocked_by=[first.id], after="1h")
    soon = client.start("c", blocked_by=[first.id])
    run(store, first.id)
    closed = client.get(first.id).closed_at
    assert client.get(late.id).status is Status.SCHEDULED
    assert client.get(late.id).scheduled_at == late.scheduled_at
    assert client.get(soon.id).scheduled_at >= closed - timedelta(milliseconds=1)


def test_missing_blocker(client):
    """A blocker that does not exist is refused by name, and nothing is started."""
    missing = new_id()
    with pytest.raises(NotFoundError, match=f"there is no chain {missing} to wait for") as refused:
        client.start("c", blocked_by=[client.start("a").id, missing])
    assert refused.value.details == {"id": missing}
    assert len(client.list_chains().items) == 1


def test_job_is_no_blocker(client):
    """What is waited for is a chain: the id of a later job of one is refused."""
    first = client.start("a")
    with client.settle(first.id) as current:
        later = current.continue_with("b")
    with pytest.raises(NotFoundError):
        client.start("c", blocked_by=[later.id])


def test_own_id_is_no_blocker(client):
    """A chain cannot wait for itself."""
    own = new_id()
    with pytest.raises(UsageError, match=f"the chain {own} cannot wait for itself"):
        client.start("c", id=own, blocked_by=[own])
    assert client.list_chains().items == ()


def test_blockers_of_the_same_batch(client, store):
    """Of a batch, a chain may wait for one before it, but not for one after it; refused, nothing is started."""
    first, second = new_id(), new_id()
    with pytest.raises(NotFoundError, match=f"there is no chain {second} to wait for"):
        client.start_many([NewChain("a", id=first, blocked_by=[second]), NewChain("a", id=second)])
    assert client.list_chains().items == ()
    one, two = client.start_many([NewChain("a", id=first), NewChain("a", id=second, blocked_by=[first])])
    assert (one.status, two.status) == (Status.READY, Status.BLOCKED)
    with client.settle(first) as current:
        current.complete()
    assert client.get(second).status is Status.READY


def test_many_at_once(client):
    """Many chains of different types start in one call, in the order given, each as it was asked for."""
    blocker = client.start("first")
    wanted = new_id()
    chains = client.start_many(
        [
            NewChain("a", {"n": 1}, priority=5),
            NewChain("b", [2], after="1h"),
            NewChain("a", 3, blocked_by=[blocker.id], id=wanted),
            NewChain("c", at=datetime(1999, 1, 1, tzinfo=UTC)),
        ]
    )
    assert [(each.type_name, each.input) for each in chains] == [("a", {"n": 1}), ("b", [2]), ("a", 3), ("c", None)]
    assert [each.status.value for each in chains] == ["ready", "scheduled", "blocked", "ready"]
    assert chains[2].id == wanted
    assert chains[0].priority == 5
    assert chains == [client.get(each.id) for each in chains]


def test_empty_batch(client):
    """A batch with nothing in it is fine."""
    assert client.start_many([]) == []


def test_what_is_started_is_a_sequence(client):
    """The chains of a batch are counted, found from both ends, cut and compared as those of a list are."""
    started = client.start_many(NewChain("a", n, after="1h" if n == 2 else None) for n in range(5))
    read = [client.get(each.id) for each in started]
    assert started == read
    assert read == started
    assert started != read[:4]
    assert started != tuple(read)
    assert started[0] is started[0]
    assert started != 5
    assert (len(started), started[-1], started[1:3], list(reversed(started))) == (5, read[4], read[1:3], read[::-1])
    assert (read[2] in started, repr(started)) == (True, repr(read))
    with pytest.raises(IndexError):
        started[5]


def test_batch_takes_few_statements(client):
    """A thousand chains without keys and blockers take four statements, and on SQLite one for each of the two tables."""
    statements = []
    where, name, times = (
        (psycopg.Cursor, "execute", 4) if client.store.dialect == "postgresql" else (sqlite_module, "_run", 2)
    )
    call = getattr(where, name)

    def counted(*arguments, **named):
        statements.append(arguments)
        return call(*arguments, **named)

    client.start("warm")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(where, name, counted)
        chains = client.start_many(NewChain("a", number) for number in range(1000))
    assert [each.input for each in chains] == list(range(1000))
    assert len(statements) == times


@pytest.mark.parametrize("count", [1, 2, 249, 250, 251, 499, 501])
def test_batches_of_any_size(client, count):
    """However a batch is divided, each chain is as it was asked for, and may wait for one of an earlier part."""
    (first, *_) = ids = [new_id() for _ in range(count)]
    asked = [NewChain("a", {"n": n}, priority=n % 3, after="1h" if n % 2 else None, id=ids[n]) for n in range(count)]
    asked.append(NewChain("b", blocked_by=[first]))
    started = client.start_many(asked)
    assert [(each.input, each.priority) for each in started[:-1]] == [({"n": n}, n % 3) for n in range(count)]
    assert [each.status for each in started[:2]][:count] == [Status.READY, Status.SCHEDULED][:count]
    assert started[-1].status is Status.BLOCKED
    assert [client.get(each.id) for each in started[-3:]] == started[-3:]


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("count", [1, 2, 249, 250, 251, 500, 751])
def test_unrelated_batches_of_any_size(client, count, own):
    """So it is of chains that wait for nothing and have no ids of the caller's, in a transaction of the caller's too."""
    asked = [NewChain("a", {"n": n}, priority=n % 3, after="1h" if n % 2 else None) for n in range(count)]
    with client.store.transaction() if own else nullcontext() as conn:
        started = client.start_many(asked, conn=conn)
    assert [(each.input, each.priority) for each in started] == [({"n": n}, n % 3) for n in range(count)]
    assert [each.id for each in started] == sorted({each.id for each in started})
    assert {client.get(each.id) == each for each in (started[0], started[count // 2], started[-1])} == {True}
    assert len(client.list_chains(ListFilter(limit=1000)).items) == count


def test_what_start_many_returns(client):
    """It is the same kind of thing, whatever is started."""
    kinds = {
        type(client.start_many(chains))
        for chains in (
            [],
            [NewChain("a")],
            [NewChain("a"), NewChain("a")],
            [NewChain("a", id=new_id()), NewChain("a")],
            [NewChain("a", key="k"), NewChain("a", key="k")],
        )
    }
    assert len(kinds) == 1


@dataclass
class Tagged:
    """An input that must have a certain tag."""

    tags: list[str]

    def __post_init__(self) -> None:
        next(each for each in self.tags if each == "wanted")


def test_an_input_that_ends_an_iteration(client):
    """An input whose check runs out of something is an error, not the end of the batch."""

    @processor("tagged")
    def tagged(job: Job[Tagged]) -> None:
        """Do nothing."""

    client.processors = Registry([tagged])
    good = NewChain("tagged", {"tags": ["wanted"]})
    with pytest.raises(RuntimeError):
        client.start_many([good, NewChain("tagged", {"tags": []}), good])
    assert client.list_chains().items == ()


TAKEN = new_id()


@pytest.mark.parametrize(
    ("bad", "error", "about"),
    [
        (NewChain("b", id=TAKEN), DuplicateIdError, TAKEN),
        (NewChain("b", object()), InvalidDataError, "the input of 'b' is not JSON"),
    ],
    ids=["taken", "no-json"],
)
@pytest.mark.parametrize("in_flight", [1, postgres_module.IN_FLIGHT])
@pytest.mark.parametrize("place", [0, 300, 999])
def test_batch_that_is_refused_midway(client, monkeypatch, place, bad, error, about, in_flight):
    """A chain that cannot be started refuses all that was sent before and after it; the connection is as good as ever."""
    monkeypatch.setattr(postgres_module, "IN_FLIGHT", in_flight)
    taken = client.start("a", id=TAKEN)
    chains = [NewChain("b", number) for number in range(1000)]
    chains[place] = bad
    with pytest.raises(error, match=about):
        client.start_many(chains)
    with client.store.transaction() as conn:
        with pytest.raises(error, match=about):
            client.start_many(chains, conn=conn)
        kept = client.start("c", conn=conn)
    assert {each.id for each in client.list_chains().items} == {taken.id, kept.id}
    assert len(client.start_many(NewChain("b", number) for number in range(600))) == 600


def test_batch_is_all_or_nothing(client):
    """An id that is taken, or given twice, refuses the whole batch."""
    taken = client.start("a")
    twice = new_id()
    with pytest.raises(DuplicateIdError, match=taken.id):
        client.start_many([NewChain("a"), NewChain("a", id=taken.id)])
    with pytest.raises(DuplicateIdError, match=twice):
        client.start_many([NewChain("a", id=twice), NewChain("b"), NewChain("c", id=twice)])
    with pytest.raises(NotFoundError):
        client.start_many([NewChain("a"), NewChain("b", blocked_by=[new_id()])])
    assert [each.id for each in client.list_chains().items] == [taken.id]
