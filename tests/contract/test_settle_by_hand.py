"""Settling a chain's current job by hand."""

from __future__ import annotations

import json
import socket
from datetime import UTC, datetime, timedelta

import pytest
from working import claim, completed, run, settle, with_outcome

from jobctl import Client, Job, Status, processor
from jobctl.acts import default_actor
from jobctl.errors import (
    AlreadySettledError,
    BlockedError,
    ConflictError,
    GuardError,
    InvalidDataError,
    NotFoundError,
    UsageError,
)
from jobctl.ids import new_id
from jobctl.registry import Registry
from jobctl.storage.queries import ACTS_OF
from jobctl.storage.records import Retry


@pytest.mark.parametrize("state", ["scheduled", "ready", "running", "failed"])
def test_complete(client, store, state):
    """An open job can be completed by hand whatever its state; nobody is its worker."""
    chain = client.start("a", after="1h" if state == "scheduled" else None)
    if state in {"running", "failed"}:
        (row,) = claim(store, "a")
    if state == "failed":
        settle(store, with_outcome(row, Retry("boom", None)))
    with client.settle(chain.id) as current:
        assert current.job.status.value == state
        current.complete({"rejected": True})
        assert current.job.status is Status.COMPLETED
        assert current.job.output == {"rejected": True}
    after = client.get(chain.id)
    assert (after.status, after.output) == (Status.COMPLETED, {"rejected": True})
    job = client.get_job(chain.id)
    assert (job.completed_by, job.worker, job.leased_until) == (None, None, None)
    assert job.completed_at is not None


def test_complete_without_output(client):
    """Left out, the output is null."""
    chain = client.start("a")
    with client.settle(chain.id) as current:
        current.complete()
    assert (client.get(chain.id).status, client.get(chain.id).output) == (Status.COMPLETED, None)


def test_continue(client):
    """Continued by hand, the chain goes on with the successor, which is then the current job."""
    chain = client.start("a", {"n": 1}, priority=4)
    with client.settle(chain.id) as current:
        successor = current.continue_with("b", {"n": 2}, after="1h")
        assert current.job == successor
    assert (successor.type_name, successor.input, successor.status) == ("b", {"n": 2}, Status.SCHEDULED)
    assert (successor.chain_id, successor.chain_index, successor.chain_type) == (chain.id, 1, "a")
    assert successor.priority == 4
    assert client.get_job(successor.id) == successor
    first, second = client.show(chain.id).jobs
    assert (first.status, first.completed_by, first.output) == (Status.CONTINUED, None, None)
    assert second == successor
    assert client.get(chain.id).job_id == successor.id


def test_continue_at_a_time_and_blocked(client, store):
    """A successor made by hand can be given a time, and chains to wait for."""
    blocker = client.start("x")
    chain = client.start("a")
    instant = datetime(2099, 1, 1, tzinfo=UTC)
    with client.settle(chain.id) as current:
        successor = current.continue_with("b", at=instant, blocked_by=[blocker.id])
    assert (successor.status, successor.scheduled_at) == (Status.BLOCKED, instant)
    assert successor.blocker_ids == (blocker.id,)
    run(store, blocker.id)
    assert client.get(chain.id).status is Status.SCHEDULED


def test_several_steps_in_one_block(client):
    """A chain can be taken several steps on in one block, all or nothing."""
    chain = client.start("a")
    with client.settle(chain.id) as current:
        current.continue_with("b", 1)
        current.continue_with("c", 2)
        current.complete(3)
    detail = client.show(chain.id)
    assert [(job.type_name, job.status.value, job.chain_index) for job in detail.jobs] == [
        ("a", "continued", 0),
        ("b", "continued", 1),
        ("c", "completed", 2),
    ]
    assert [act.action for act in detail.history] == ["continue", "continue", "complete"]
    assert (detail.chain.output, detail.chain.length) == (3, 3)


def test_leaving_changes_nothing(client):
    """Leaving the block without settling changes nothing, not even the history."""
    chain = client.start("a", after="1h")
    before = client.show(chain.id)
    with client.settle(chain.id) as current:
        assert current.job == before.jobs[0]
    assert client.show(chain.id) == before


@pytest.mark.parametrize("error", [ValueError("mine"), KeyboardInterrupt()], ids=["error", "interrupt"])
def test_error_in_the_block_rolls_all_back(client, error):
    """Whatever is raised in the block comes out as it was, and nothing of the block remains."""
    chain = client.start("a")
    before = client.show(chain.id)

    def fail():
        with client.settle(chain.id) as current:
            current.continue_with("b")
            current.complete(1)
            raise error

    with pytest.raises(type(error)) as raised:
        fail()
    assert raised.value is error
    assert client.show(chain.id) == before


def test_settled_twice_in_one_block(client):
    """What was completed in the block cannot be settled once more in it, and the refusal undoes the block."""
    chain = client.start("a")

    def twice(second):
        with client.settle(chain.id) as current:
            current.complete(1)
            second(current)

    for second in (lambda current: current.complete(2), lambda current: current.continue_with("b")):
        with pytest.raises(ConflictError, match="is closed: there is nothing left to settle"):
            twice(second)
    assert client.get(chain.id).status is Status.READY


# --- guards ----------------------------------------------------------------------------------------------------------


def settle_by_hand(client, id_, **options):
    with client.settle(id_, **options) as current:
        current.complete("second")


def test_closed_chain(client):
    """A closed chain is refused, saying by whom it was closed and how, and stays as it is."""
    chain = client.start("a")
    settle_by_hand(client, chain.id)
    before = client.show(chain.id)
    with pytest.raises(
        AlreadySettledError, match=rf"the chain {chain.id} is closed: .*'a' was completed by hand"
    ) as no:
        settle_by_hand(client, chain.id)
    assert no.value.details == {"id": chain.id, "chain_id": chain.id, "status": "completed"}
    assert no.value.exit_code == 4
    assert client.show(chain.id) == before


def test_chain_closed_by_a_worker(client, store):
    """The refusal of a chain that a worker closed names the worker."""
    chain = client.start("a")
    (row,) = claim(store, "a", worker="host:7")
    settle(store, completed(row, '"first"'))
    with pytest.raises(AlreadySettledError, match="was completed by host:7"):
        settle_by_hand(client, chain.id)
    assert client.get(chain.id).output == "first"


def test_job_is_the_guard(client):
    """A job's id settles the chain only while that job is the current one."""
    chain = client.start("a")
    with client.settle(chain.id) as current:
        second = current.continue_with("b")
    with client.settle(second.id) as current:
        assert current.job.id == second.id
        third = current.continue_with("c")
    with pytest.raises(
        AlreadySettledError, match=rf"the job {second.id} was settled before: .* is at 'c' \(ready\)"
    ) as no:
        settle_by_hand(client, second.id)
    assert no.value.details == {"id": second.id, "chain_id": chain.id, "status": "ready"}
    settle_by_hand(client, third.id)
    with pytest.raises(AlreadySettledError, match="was settled before"):
        settle_by_hand(client, second.id)
    assert client.get(chain.id).output == "second"


def test_first_jobs_id_is_the_chains(client):
    """The first job's id means the chain, wherever it is by now."""
    chain = client.start("a")
    with client.settle(chain.id) as current:
        current.continue_with("b")
    with client.settle(chain.id) as current:
        assert current.job.type_name == "b"


def test_expected_type_is_the_guard(client):
    """A chain that is not at the expected step is refused, saying where it is, and nothing changes."""
    chain = client.start("a")
    with client.settle(chain.id, expect="a") as current:
        current.continue_with("b")
    before = client.show(chain.id)
    with pytest.raises(GuardError, match=rf"the chain is not at 'a': the chain {chain.id} is at 'b' \(ready\)") as no:
        settle_by_hand(client, chain.id, expect="a")
    assert no.value.details == {"chain_id": chain.id, "expected": "a", "current": "b"}
    assert client.show(chain.id) == before


def test_expected_type_by_processor(client):
    """The expected step can be named by its processor."""

    @processor("a")
    def handle(job): ...

    chain = client.start(handle)
    settle_by_hand(client, chain.id, expect=handle)


def test_unknown_id(client):
    """An unknown id is not found; what is no id is an error of the call."""
    missing = new_id()
    with pytest.raises(NotFoundError, match=f"there is no chain or job {missing}") as no:
        settle_by_hand(client, missing)
    assert no.value.details == {"id": missing}
    with pytest.raises(UsageError, match="is not an id"):
        settle_by_hand(client, "nonsense")


def test_blocked_job_needs_force(client, store):
    """A job that waits for others is settled by hand only with force, and the blockers do not free it again."""
    blockers = [client.start("x"), client.start("x")]
    chain = client.start("a", blocked_by=[each.id for each in blockers])
    with pytest.raises(BlockedError, match="settle it anyway with force") as no:
        settle_by_hand(client, chain.id)
    assert no.value.details == {"id": chain.id, "waits_for": [each.id for each in blockers]}
    assert client.get(chain.id).status is Status.BLOCKED
    settle_by_hand(client, chain.id, force=True)
    for each in blockers:
        run(store, each.id)
    after = client.get(chain.id)
    assert (after.status, after.output) == (Status.COMPLETED, "second")


def test_blocked_refusal_names_the_open_chains_alone(client, store):
    """The refusal says what is still waited for, not what is complete already."""
    done, open_ = client.start("x"), client.start("y")
    chain = client.start("a", blocked_by=[done.id, open_.id])
    run(store, done.id)
    with pytest.raises(BlockedError) as no:
        settle_by_hand(client, chain.id)
    assert no.value.waits_for == [open_.id]


def test_settling_by_hand_frees_who_waits(client):
    """A chain completed by hand frees who waits for it; one continued by hand does not."""
    chain = client.start("a")
    waiting = client.start("w", blocked_by=[chain.id])
    with client.settle(chain.id) as current:
        current.continue_with("b")
    assert client.get(waiting.id).status is Status.BLOCKED
    settle_by_hand(client, chain.id)
    assert client.get(waiting.id).status is Status.READY


def test_worker_loses_what_was_settled_by_hand(client, store):
    """A worker whose job was settled by hand settles nothing."""
    chain = client.start("a")
    (row,) = claim(store, "a")
    settle_by_hand(client, chain.id)
    assert settle(store, completed(row, '"worker"')).won == frozenset()
    assert client.get(chain.id).output == "second"


# --- checks ----------------------------------------------------------------------------------------------------------


@processor("a", continues=("b",))
def handle_a(job: Job[dict]) -> dict: ...


@processor("b", entry=False)
def handle_b(job: Job[int]) -> list: ...


@processor("c")
def handle_c(job): ...


@pytest.mark.parametrize(
    ("step", "about"),
    [
        (lambda current: current.complete([1]), "the output of 'a' must be an object, not an array"),
        (lambda current: current.continue_with("b", "x"), "the input of 'b' must be a whole number, not a string"),
        (lambda current: current.continue_with("c", 1), "'a' continues with 'b', not with 'c'"),
        (lambda current: current.continue_with("d", 1), "'a' continues with 'b', not with 'd'"),
    ],
)
def test_known_processors_check(store, step, about):
    """With the processors known, outputs, successors and their inputs are checked, and a refusal changes nothing."""
    client = Client(store, processors=Registry([handle_a, handle_b, handle_c]))
    chain = client.start("a", {})
    before = client.show(chain.id)

    def try_it():
        with client.settle(chain.id) as current:
            step(current)

    with pytest.raises(InvalidDataError, match=about):
        try_it()
    assert client.show(chain.id) == before


def test_refused_step_can_be_corrected_in_the_block(store):
    """A step that is refused changes nothing: another can follow in the same block."""
    client = Client(store, processors=Registry([handle_a, handle_b]))
    chain = client.start("a", {})
    with client.settle(chain.id) as current:
        with pytest.raises(InvalidDataError):
            current.continue_with("b", "x")
        assert current.continue_with(handle_b, 5).input == 5
        with pytest.raises(NotFoundError):
            current.continue_with("b", 5, blocked_by=[new_id()])
    detail = client.show(chain.id)
    assert [job.status.value for job in detail.jobs] == ["continued", "ready"]
    assert len(detail.history) == 1


@pytest.mark.parametrize(
    "step",
    [
        lambda current: current.complete(float("nan")),
        lambda current: current.continue_with("b", object()),
        lambda current: current.continue_with("not a name"),
        lambda current: current.continue_with("b", after="soon"),
        lambda current: current.continue_with("b", blocked_by=["nonsense"]),
    ],
)
def test_wrong_step_changes_nothing(client, step):
    """A step with wrong arguments is refused before anything is written."""
    chain = client.start("a")
    before = client.show(chain.id)
    with client.settle(chain.id) as current, pytest.raises((InvalidDataError, UsageError)):
        step(current)
    assert client.show(chain.id) == before


# --- history ---------------------------------------------------------------------------------------------------------


def test_history_tells_who_and_why(client):
    """What was done by hand is kept: what, by whom, from where, why, when, and what changed."""
    chain = client.start("a", after="1h")
    with client.settle(chain.id, actor="ann", note='it\'s "fine" – 日本') as current:
        successor = current.continue_with("b")
    with client.settle(chain.id) as current:
        current.complete(1)
    first, second = client.show(chain.id).history
    assert (first.action, first.actor, first.note, first.job_id) == ("continue", "ann", 'it\'s "fine" – 日本', chain.id)
    before, after = first.details["before"], first.details["after"]
    assert first.details["type"] == "a"
    assert (before.pop("due"), after.pop("due")) == tuple(
        each.isoformat().replace("+00:00", "Z") for each in (chain.scheduled_at, successor.scheduled_at)
    )
    assert before == {"status": "scheduled", "job_id": chain.id, "type": "a"}
    assert after == {"status": "ready", "job_id": successor.id, "type": "b"}
    assert first.chain_id == second.chain_id == chain.id
    assert first.origin == socket.gethostname()
    assert abs(first.at - datetime.now(UTC)) < timedelta(seconds=30)
    assert (second.action, second.actor, second.note, second.job_id) == (
        "complete",
        default_actor(),
        None,
        successor.id,
    )
    assert second.details == {"type": "b", "before": {"status": "ready"}, "after": {"status": "completed"}}


def test_workers_are_not_in_the_history_of_acts(client, store):
    """What a worker does is no act by hand."""
    chain = client.start("a")
    run(store, chain.id)
    assert client.show(chain.id).history == ()


def test_default_actor_names_user_and_host():
    """Whoever acts without saying who is user@host."""
    user, _, host = default_actor().partition("@")
    assert user
    assert host == socket.gethostname()


def test_acts_are_kept_as_json(client, store):
    """The details of an act are stored as plain JSON."""
    chain = client.start("a")
    settle_by_hand(client, chain.id)
    with store.transaction(read_only=True) as conn:
        (row,) = conn.execute(ACTS_OF, {"chain_id": chain.id})
    changed = {"type": "a", "before": {"status": "ready"}, "after": {"status": "completed"}}
    assert json.loads(row[-1]) == changed
