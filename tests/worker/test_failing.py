"""Handlers that fail: what they did is undone, recorded and tried again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from unreliable import break_connection
from worker.workshop import INSERT, STAGED, TRANSACTIONAL, Hook, Workshop, last_place, make, the_end

from jobctl import Backoff, Job, Processor, Status, continue_with, handling, processor
from jobctl import fail as give_up
from jobctl.errors import UnsuccessfulError
from jobctl.events import Told
from jobctl.model import Schedule
from jobctl.registry import load_modules
from jobctl.waiting import require_completed
from jobctl.wording import said

PLACES = [
    *((mode, "between") for mode in ("plain", "async_plain")),
    ("atomic", "complete"),
    *((mode, place) for mode in STAGED for place in ("prepare", "between", "complete", "after")),
]

IN_TRANSACTION = [(mode, place) for mode, place in PLACES if place in {"prepare", "complete"}]


def fail(_conn: Any, _job: Job[Any]) -> None:
    raise ValueError("no luck: ü\x00\ud800")


def assert_failed_once(shop: Workshop, chain: str, text: str) -> None:
    """One failed attempt: recorded with its traceback, due again in ten seconds, and no effect."""
    found = shop.client.show(chain)
    assert (found.chain.status, found.chain.attempt, found.chain.output) == (Status.SCHEDULED, 1, None)
    assert (found.jobs[0].worker, found.jobs[0].leased_until, found.jobs[0].completed_by) == (None, None, None)
    assert text in str(found.chain.last_error)
    (error,) = found.errors
    assert (error.job_id, error.attempt, error.worker, error.error) == (chain, 1, "w1", found.chain.last_error)
    assert 8 < shop.delay(chain) <= 10
    assert shop.effects() == []


@pytest.mark.parametrize(("mode", "place"), PLACES)
def test_an_error_anywhere(shop: Workshop, mode: str, place: str):
    """An error in prepare, between, in complete or after it undoes the SQL, is recorded, and the job is due again."""
    chain = shop.start("step", "in")
    events = shop.run(make(mode, hooks={place: fail}))
    assert_failed_once(shop, chain, "ValueError: no luck: ü\N{REPLACEMENT CHARACTER}\\ud800")
    assert "in fail\n" in str(shop.client.get(chain).last_error)  # the traceback shows where
    assert the_end(events) == [Told.JOB_RETRIED]
    assert events[-2].detail == shop.client.get(chain).last_error

    shop.make_due(chain)
    shop.run(make(mode))
    found = shop.client.show(chain)
    assert (found.chain.status, found.chain.output, found.chain.last_error) == (Status.COMPLETED, "in", None)
    assert (found.jobs[0].attempt, len(found.errors)) == (2, 1)
    assert shop.effects() == (["worker"] if mode in TRANSACTIONAL else [])


def poison(conn: sa.Connection, _job: Job[Any]) -> None:
    with pytest.raises(sa.exc.DBAPIError):
        conn.execute(sa.text("INSERT INTO no_such_table VALUES (1)"))


@pytest.mark.parametrize(("mode", "place"), IN_TRANSACTION)
def test_poisoned_transaction(postgres_shop: Workshop, mode: str, place: str):
    """A handler that catches the error of its failing SQL has no transaction left to commit: the attempt failed."""
    chain = postgres_shop.start()
    postgres_shop.run(make(mode, hooks={place: poison}))
    assert_failed_once(postgres_shop, chain, "current transaction is aborted")


@pytest.mark.parametrize("mode", TRANSACTIONAL)
def test_failing_statement_alone(sqlite_shop: Workshop, mode: str):
    """On SQLite failing SQL undoes itself alone: a handler that catches its error may go on and complete."""
    chain = sqlite_shop.start()
    sqlite_shop.run(make(mode, hooks={"complete": poison}))
    assert sqlite_shop.client.get(chain).status is Status.COMPLETED
    assert sqlite_shop.effects() == ["worker"]


def in_a_savepoint(conn: sa.Connection, job: Job[Any]) -> None:
    with conn.begin_nested():
        conn.execute(INSERT, {"job": job.id, "why": "kept"})
    with pytest.raises(sa.exc.DBAPIError), conn.begin_nested():
        conn.execute(INSERT, {"job": job.id, "why": "undone"})
        conn.execute(sa.text("INSERT INTO no_such_table VALUES (1)"))


def test_savepoints_of_a_handler(shop: Workshop, transactional: str):
    """A handler's own savepoints work inside the completing transaction."""
    chain = shop.start()
    shop.run(make(transactional, hooks={"complete": in_a_savepoint}))
    assert shop.client.get(chain).status is Status.COMPLETED
    assert shop.effects() == ["kept", "worker"]


def commit(conn: sa.Connection, _job: Job[Any]) -> None:
    conn.commit()


def commit_caught(conn: sa.Connection, job: Job[Any]) -> None:
    with pytest.raises(Exception, match="not its own"):
        conn.commit()
    with pytest.raises(sa.exc.SQLAlchemyError):
        conn.execute(INSERT, {"job": job.id, "why": "more"})


def roll_back(conn: sa.Connection, _job: Job[Any]) -> None:
    conn.rollback()


def roll_back_and_write(conn: sa.Connection, job: Job[Any]) -> None:
    conn.rollback()
    conn.execute(INSERT, {"job": job.id, "why": "more"})


def begin_anew(conn: sa.Connection, job: Job[Any]) -> None:
    conn.rollback()
    with conn.begin():
        conn.execute(INSERT, {"job": job.id, "why": "more"})


@pytest.mark.parametrize(("mode", "place"), IN_TRANSACTION)
@pytest.mark.parametrize("ending", [commit, commit_caught, roll_back, roll_back_and_write, begin_anew])
def test_ending_the_transaction(shop: Workshop, mode: str, place: str, ending: Hook):
    """A handler that commits or rolls back by itself has failed, and nothing that it wrote is kept."""
    chain = shop.start()
    shop.run(make(mode, hooks={place: ending}))
    assert_failed_once(shop, chain, "not its own")


@pytest.mark.parametrize(
    "error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), asyncio.CancelledError(), StopIteration()]
)
def test_errors_that_end_programs(shop: Workshop, mode: str, error: BaseException):
    """Whatever a handler raises ends its attempt, not the worker."""

    def end(_conn: Any, job: Job[Any]) -> None:
        if job.input == "bad":
            raise error

    bad = shop.start("step", "bad", priority=1)
    good = shop.start("step", "good")
    shop.run(make(mode, hooks={last_place(mode): end}), concurrency=1)
    assert shop.client.get(good).status is Status.COMPLETED
    found = shop.client.get(bad)
    assert (found.status, found.attempt) == (Status.SCHEDULED, 1)
    assert type(error).__name__ in str(found.last_error)


def test_a_task_that_ends_programs(shop: Workshop):
    """A task that an async handler made may raise SystemExit: the other handlers and later ones run on."""

    async def leave() -> None:
        raise SystemExit(3)

    @processor("step")
    async def step(job: Job) -> Any:
        if job.input == "bad":
            await asyncio.create_task(leave())
        await asyncio.sleep(0.05)
        return "done"

    bad = shop.start("step", "bad")
    others = [shop.start("step", "good") for _ in range(3)]
    shop.run(step)
    assert {shop.client.get(each).status for each in others} == {Status.COMPLETED}
    assert "SystemExit" in str(shop.client.get(bad).last_error)


@pytest.mark.parametrize(("mode", "place"), IN_TRANSACTION)
def test_a_lost_connection_under_sql(shop: Workshop, mode: str, place: str, monkeypatch: pytest.MonkeyPatch):
    """A connection that breaks under a handler's SQL is not the handler's error: no attempt, no backoff, no effect."""
    monkeypatch.setattr(handling, "SOON", Schedule.of("20ms"))
    breaks = iter([True])

    def break_once(conn: sa.Connection, _job: Job[Any]) -> None:
        if next(breaks, False):
            break_connection(conn)

    chain = shop.start("step", "in")
    working = shop.work(make(mode, hooks={place: break_once}, max_attempts=1))
    assert working.until(Told.JOB_RESCHEDULED, chain).attempt == 1
    working.until(Told.JOB_COMPLETED, chain)
    assert shop.client.get_job(chain).attempt == 1
    assert (shop.errors(chain), shop.effects()) == ([], ["worker"])


def test_a_lost_connection_after_complete(postgres_shop: Workshop):
    """An error after the complete block is recorded even if the connection is gone by then: the worker goes on."""
    backend: list[int] = []

    def remember(conn: sa.Connection, _job: Job[Any]) -> None:
        backend.append(conn.scalar(sa.text("SELECT pg_backend_pid()")))

    def cut_and_fail(_conn: Any, _job: Job[Any]) -> None:
        with postgres_shop.store.transaction() as conn:
            conn.execute(sa.text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": backend[0]})
        raise ValueError("no luck")

    for mode in STAGED:
        backend.clear()
        chain = postgres_shop.start()
        postgres_shop.run(make(mode, hooks={"complete": remember, "after": cut_and_fail}))
        assert_failed_once(postgres_shop, chain, "ValueError: no luck")


# --- backoff ---------------------------------------------------------------------------------------------------------


def delays(shop: Workshop, step: Processor[Any, Any], attempts: int, **options: Any) -> list[int]:
    """After each failed attempt, how many seconds later the next is due."""
    chain = shop.start()
    found: list[int] = []
    for number in range(1, attempts + 1):
        shop.run(step, **options)
        assert shop.client.get(chain).attempt == number
        found.append(round(shop.delay(chain) + 0.4))
        shop.make_due(chain)
    assert [attempt for attempt, _, _ in shop.errors(chain)] == list(range(1, attempts + 1))
    return found


def test_backoff(shop: Workshop):
    """Attempts wait 10 s, then twice as long each time, at most 300 s; there is no last one."""
    step = make("plain", hooks={"between": fail})
    assert delays(shop, step, 8) == [10, 20, 40, 80, 160, 300, 300, 300]


def test_own_backoff(shop: Workshop):
    """A processor's backoff goes before the worker's."""
    own = make("atomic", hooks={"complete": fail}, backoff=Backoff(initial=100, factor=3, maximum=500))
    assert delays(shop, own, 3, backoff=Backoff(initial=7)) == [100, 300, 500]
    others = make("atomic", hooks={"complete": fail})
    assert delays(shop, others, 2, backoff=Backoff(initial=7)) == [7, 14]


def test_defaults_of_a_module(shop: Workshop, tmp_path: Path):
    """A module's defaults hold for its processors that say nothing themselves."""
    module = tmp_path / "shop.py"
    module.write_text(
        "from jobctl import Backoff, Defaults, processor\n"
        "defaults = Defaults(backoff=Backoff(initial=50), max_attempts=2, lease='7s')\n"
        "@processor('shop.one')\n"
        "def one(job): raise ValueError\n"
        "@processor('shop.two', max_attempts=1)\n"
        "def two(job): raise ValueError\n"
    )
    processors = load_modules([str(module)]).values()
    one, two = shop.start("shop.one"), shop.start("shop.two")
    shop.run(*processors)
    assert 48 < shop.delay(one) <= 50
    assert shop.client.get(two).status is Status.FAILED
    shop.make_due(one)
    shop.run(*processors)
    assert shop.client.get(one).status is Status.FAILED


def test_max_attempts(shop: Workshop, mode: str):
    """After max_attempts the job is failed: no worker takes it again, and it waits for a person."""
    chain = shop.start()
    step = make(mode, hooks={last_place(mode): fail}, max_attempts=2)
    assert the_end(shop.run(step)) == [Told.JOB_RETRIED]
    shop.make_due(chain)
    assert the_end(shop.run(step)) == [Told.JOB_FAILED]
    found = shop.client.show(chain)
    assert (found.chain.status, found.chain.attempt, len(found.errors)) == (Status.FAILED, 2, 2)
    assert "no luck" in str(found.chain.last_error)
    assert the_end(shop.run(step)) == []

    with shop.client.settle(chain) as current:
        current.complete("by hand")
    assert shop.client.get(chain).output == "by hand"


def test_max_attempts_of_the_worker(shop: Workshop):
    """A worker's own number holds for processors that say nothing; without one attempts are unlimited."""
    chain, own = shop.start(), shop.start("own")
    step = make("plain", hooks={"between": fail})
    other = make("plain", "own", hooks={"between": fail}, max_attempts=3)
    shop.run(step, other, max_attempts=1)
    assert shop.client.get(chain).status is Status.FAILED
    assert shop.client.get(own).status is Status.SCHEDULED
    shop.client.retry([chain])
    shop.run(step)
    assert (shop.client.get(chain).status, shop.client.get(chain).attempt) == (Status.SCHEDULED, 1)


def test_attempts_that_are_lost_count(shop: Workshop):
    """A job whose attempts all ended with their workers is failed without another one, and says so."""
    chain = shop.start()
    for _ in range(2):
        shop.claim()
        shop.expire(chain)
        with shop.store.transaction() as conn:
            shop.store.reap(conn, [])
    assert the_end(shop.run(make("plain", max_attempts=3))) == [Told.JOB_COMPLETED]

    chain = shop.start()
    for _ in range(2):
        shop.claim()
        shop.expire(chain)
        with shop.store.transaction() as conn:
            shop.store.reap(conn, [])
    called: list[str] = []
    step = make("plain", hooks={"between": lambda _, job: called.append(job.id)}, max_attempts=2)
    assert the_end(shop.run(step)) == [Told.JOB_FAILED]
    assert called == []
    assert shop.client.get(chain).status is Status.FAILED
    assert "2 of 2; the last: the lease ran out" in str(shop.client.get(chain).last_error)


# --- giving up -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mode", "place"), PLACES)
def test_giving_up(shop: Workshop, mode: str, place: str):
    """A handler that gives up is failed at once, with what it says as the error; what it wrote is undone."""
    chain = shop.start()
    step = make(mode, hooks={place: lambda _conn, _job: give_up("the card is stolen")}, max_attempts=5)
    assert the_end(shop.run(step)) == [Told.JOB_FAILED]
    found = shop.client.show(chain)
    assert (found.chain.status, found.chain.attempt) == (Status.FAILED, 1)
    assert found.chain.last_error == "the card is stolen"
    assert shop.errors(chain) == [(1, "w1", "the card is stolen")]
    assert shop.effects() == []
    shop.client.retry([chain])
    assert the_end(shop.run(make(mode))) == [Told.JOB_COMPLETED]


def test_giving_up_because_of_an_error(shop: Workshop):
    """The error that makes a handler give up is kept before what it says; except Exception does not stop it."""

    @processor("step")
    def step(job: Job) -> None:
        try:
            try:
                int("code 7")
            except ValueError:
                give_up("the bank says no")
        except Exception:  # noqa: BLE001 - what a handler may do
            pytest.fail("caught")

    chain = shop.start()
    shop.run(step)
    error = str(shop.client.get(chain).last_error)
    assert error.splitlines()[-1] == "the bank says no"
    assert "ValueError: invalid literal for int()" in error
    assert "GivenUp" not in error


# --- answers that cannot be kept -------------------------------------------------------------------------------------


def typed(answer: Any) -> Processor[Any, Any]:
    @processor("step", continues=("next",))
    def step(job: Job[int]) -> dict[str, int]:
        return answer  # type: ignore[no-any-return]

    return step


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (["a"], "the output of 'step'"),
        (None, "the output of 'step'"),
        (object(), "the output of 'step'"),
        (continue_with("elsewhere"), "'step' continues with 'next', not with 'elsewhere'"),
        (continue_with("next", object()), "the input of 'next'"),
        (continue_with("next", {"a": float("nan")}), "the input of 'next'"),
        (continue_with("no name"), "'no name' is not a type name"),
        (continue_with("next", blocked_by=["not an id"]), "not an id"),
    ],
)
def test_answers_that_do_not_fit(shop: Workshop, answer: Any, text: str):
    """A wrong output, an undeclared continuation or one that cannot be written down fails the attempt."""
    chain = shop.start("step", 1)
    shop.run(typed(answer))
    assert_failed_once(shop, chain, text)


def test_wrong_output_undoes_the_effect(shop: Workshop, transactional: str):
    """A wrong output is found before anything is committed."""
    chain = shop.start()
    shop.run(make(transactional, answer=lambda _: object()))
    assert_failed_once(shop, chain, "the output of 'step' is not JSON")


NOBODY = "01890000-0000-7000-8000-00000000dead"


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (lambda _: continue_with("next", blocked_by=[NOBODY]), f"there is no chain {NOBODY} to wait for"),
        (lambda job: continue_with("next", blocked_by=[job.chain_id]), "itself"),
    ],
    ids=["missing", "itself"],
)
def test_blockers_that_cannot_be(shop: Workshop, mode: str, answer: Callable[[Job[Any]], Any], text: str):
    """A continuation behind a chain that cannot complete first fails its attempt; the others of its batch settle."""
    gate = shop.gate()
    chains = [shop.start("step", number) for number in range(4)]

    def step(job: Job[Any]) -> Any:
        return answer(job) if job.input == 2 else job.input

    at = {"between": gate} if mode in {"plain", "staged"} else {}
    working = shop.work(make(mode, answer=step, hooks=at))
    if at:
        gate.reached(4).open()  # they end together
    retried = working.until(Told.JOB_RETRIED, within=5)
    working.until(Told.JOB_COMPLETED, times=3, within=5)
    assert retried.job_id == chains[2]
    assert [shop.client.get(each).output for each in chains] == [0, 1, None, 3]
    found = shop.client.show(chains[2])
    assert (found.chain.status, found.chain.attempt, found.chain.length) == (Status.SCHEDULED, 1, 1)
    assert text in str(found.chain.last_error)
    assert shop.effects(chains[2]) == []


def test_outcomes_that_the_database_refuses(postgres_shop: Workshop, mode: str):
    """An outcome that the database cannot write down fails its attempt, not the worker."""
    shop = postgres_shop
    good, bad = shop.start("step", "good"), shop.start("step", "bad")

    def answer(job: Job[Any]) -> Any:
        return continue_with("next", after=timedelta.max) if job.input == "bad" else "done"

    shop.run(make(mode, answer=answer))
    assert shop.client.get(good).output == "done"
    found = shop.client.get(bad)
    assert (found.status, found.attempt) == (Status.SCHEDULED, 1)
    assert len(shop.errors(bad)) == 1


def test_wrong_input(shop: Workshop):
    """With an input that does not fit, the handler is not called: the attempt failed."""
    called: list[Any] = []

    @processor("step")
    def step(job: Job[int]) -> None:
        called.append(job.input)

    chain = shop.start("step", {"not": "a number"})
    shop.run(step)
    assert called == []
    assert_failed_once(shop, chain, "the input of 'step'")


def test_strange_texts(shop: Workshop, mode: str):
    """Outputs come back as they were given, whatever characters are in them."""
    strange = {"nul": "\x00", "half": "\ud800", "all": "ü\u2028😀\\u0041\"'", "\x7f": [1e300, -0.0, 2**70]}
    chain = shop.start()
    shop.run(make(mode, answer=lambda _: strange))
    assert shop.client.get(chain).output == strange


def test_what_an_error_of_the_database_says(shop: Workshop):
    """Of an error of a handler's SQL, people are told what the database said, and not the link that it ends in."""

    @processor("step", max_attempts=1)
    def step(job: Job, conn: sa.Connection) -> None:
        conn.execute(sa.text("INSERT INTO nowhere\nVALUES (:id)"), {"id": job.id})

    chain = shop.start()
    (failed,) = [each for each in shop.run(step) if each.told is Told.JOB_FAILED]
    with pytest.raises(UnsuccessfulError, match=r"is failed: sqlalchemy\.exc\.\w+Error: .*nowhere") as raised:
        require_completed(shop.client.get(chain))
    line = said(failed.detail or "")
    assert str(raised.value).endswith(line)
    assert "[SQL: INSERT INTO nowhere" in (failed.detail or "")
