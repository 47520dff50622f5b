"""Handlers that fail: what they did is undone, recorded and tried again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from worker.bench import INSERT, STAGED, TRANSACTIONAL, Bench, Hook, last_place, make

from jobctl import Backoff, Job, Processor, Status, continue_with, processor
from jobctl.events import Event, Told
from jobctl.registry import load_modules

PLACES = [
    *((mode, "between") for mode in ("plain", "async_plain")),
    ("atomic", "complete"),
    *((mode, place) for mode in STAGED for place in ("prepare", "between", "complete", "after")),
]


def fail(_conn: Any, _job: Job[Any]) -> None:
    raise ValueError("no luck: ü\x00\ud800")


def the_end(events: list[Event]) -> list[Told]:
    """What was told of jobs, except that they began."""
    return [each.told for each in events if each.job_id and each.told is not Told.JOB_STARTED]


def assert_failed_once(bench: Bench, chain: str, text: str) -> None:
    """One failed attempt: recorded with its traceback, due again in ten seconds, and no effect."""
    found = bench.client.show(chain)
    assert (found.chain.status, found.chain.attempt, found.chain.output) == (Status.SCHEDULED, 1, None)
    assert (found.jobs[0].worker, found.jobs[0].leased_until, found.jobs[0].completed_by) == (None, None, None)
    assert text in str(found.chain.last_error)
    (error,) = found.errors
    assert (error.job_id, error.attempt, error.worker, error.error) == (chain, 1, "w1", found.chain.last_error)
    assert 8 < bench.delay(chain) <= 10
    assert bench.effects() == []


@pytest.mark.parametrize(("mode", "place"), PLACES)
def test_an_error_anywhere(bench: Bench, mode: str, place: str):
    """An error in prepare, between, in complete or after it undoes the SQL, is recorded, and the job is due again."""
    chain = bench.start("step", "in")
    events = bench.run(make(mode, hooks={place: fail}))
    assert_failed_once(bench, chain, "ValueError: no luck: ü\N{REPLACEMENT CHARACTER}\\ud800")
    assert "in fail\n" in str(bench.client.get(chain).last_error)  # the traceback shows where
    assert the_end(events) == [Told.JOB_RETRIED]
    assert events[-2].detail == bench.client.get(chain).last_error

    bench.make_due(chain)
    bench.run(make(mode))
    found = bench.client.show(chain)
    assert (found.chain.status, found.chain.output, found.chain.last_error) == (Status.COMPLETED, "in", None)
    assert (found.jobs[0].attempt, len(found.errors)) == (2, 1)
    assert bench.effects() == (["worker"] if mode in TRANSACTIONAL else [])


def poison(conn: sa.Connection, _job: Job[Any]) -> None:
    with pytest.raises(sa.exc.DBAPIError):
        conn.execute(sa.text("INSERT INTO no_such_table VALUES (1)"))


@pytest.mark.parametrize(("mode", "place"), [each for each in PLACES if each[1] in {"prepare", "complete"}])
def test_poisoned_transaction(postgres_bench: Bench, mode: str, place: str):
    """A handler that catches the error of its failing SQL has no transaction left to commit: the attempt failed."""
    chain = postgres_bench.start()
    postgres_bench.run(make(mode, hooks={place: poison}))
    assert_failed_once(postgres_bench, chain, "current transaction is aborted")


@pytest.mark.parametrize("mode", TRANSACTIONAL)
def test_failing_statement_alone(sqlite_bench: Bench, mode: str):
    """On SQLite failing SQL undoes itself alone: a handler that catches its error may go on and complete."""
    chain = sqlite_bench.start()
    sqlite_bench.run(make(mode, hooks={"complete": poison}))
    assert sqlite_bench.client.get(chain).status is Status.COMPLETED
    assert sqlite_bench.effects() == ["worker"]


def in_a_savepoint(conn: sa.Connection, job: Job[Any]) -> None:
    with conn.begin_nested():
        conn.execute(INSERT, {"job": job.id, "why": "kept"})
    with pytest.raises(sa.exc.DBAPIError), conn.begin_nested():
        conn.execute(INSERT, {"job": job.id, "why": "undone"})
        conn.execute(sa.text("INSERT INTO no_such_table VALUES (1)"))


def test_savepoints_of_a_handler(bench: Bench, transactional: str):
    """A handler's own savepoints work inside the completing transaction."""
    chain = bench.start()
    bench.run(make(transactional, hooks={"complete": in_a_savepoint}))
    assert bench.client.get(chain).status is Status.COMPLETED
    assert bench.effects() == ["kept", "worker"]


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


@pytest.mark.parametrize("place", ["prepare", "complete"])
@pytest.mark.parametrize("ending", [commit, commit_caught, roll_back, roll_back_and_write, begin_anew])
def test_ending_the_transaction(bench: Bench, transactional: str, place: str, ending: Hook):
    """A handler that commits or rolls back by itself has failed, and nothing that it wrote is kept."""
    if transactional == "atomic" and place == "prepare":
        pytest.skip("an atomic handler has one transaction")
    chain = bench.start()
    bench.run(make(transactional, hooks={place: ending}))
    assert_failed_once(bench, chain, "not its own")


@pytest.mark.parametrize(
    "error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), asyncio.CancelledError(), StopIteration()]
)
def test_errors_that_end_programs(bench: Bench, mode: str, error: BaseException):
    """Whatever a handler raises ends its attempt, not the worker."""

    def end(_conn: Any, job: Job[Any]) -> None:
        if job.input == "bad":
            raise error

    bad = bench.start("step", "bad", priority=1)
    good = bench.start("step", "good")
    bench.run(make(mode, hooks={last_place(mode): end}), concurrency=1)
    assert bench.client.get(good).status is Status.COMPLETED
    found = bench.client.get(bad)
    assert (found.status, found.attempt) == (Status.SCHEDULED, 1)
    assert type(error).__name__ in str(found.last_error)


def test_a_task_that_ends_programs(bench: Bench):
    """A task that an async handler made may raise SystemExit: the other handlers and later ones run on."""

    async def leave() -> None:
        raise SystemExit(3)

    @processor("step")
    async def step(job: Job) -> Any:
        if job.input == "bad":
            await asyncio.create_task(leave())
        await asyncio.sleep(0.05)
        return "done"

    bad = bench.start("step", "bad")
    others = [bench.start("step", "good") for _ in range(3)]
    bench.run(step)
    assert {bench.client.get(each).status for each in others} == {Status.COMPLETED}
    assert "SystemExit" in str(bench.client.get(bad).last_error)


def test_a_lost_connection_after_complete(postgres_bench: Bench):
    """An error after the complete block is recorded even if the connection is gone by then: the worker goes on."""
    backend: list[int] = []

    def remember(conn: sa.Connection, _job: Job[Any]) -> None:
        backend.append(conn.scalar(sa.text("SELECT pg_backend_pid()")))

    def cut_and_fail(_conn: Any, _job: Job[Any]) -> None:
        with postgres_bench.store.transaction() as conn:
            conn.execute(sa.text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": backend[0]})
        raise ValueError("no luck")

    for mode in STAGED:
        backend.clear()
        chain = postgres_bench.start()
        postgres_bench.run(make(mode, hooks={"complete": remember, "after": cut_and_fail}))
        assert_failed_once(postgres_bench, chain, "ValueError: no luck")


# --- backoff ---------------------------------------------------------------------------------------------------------


def delays(bench: Bench, step: Processor[Any, Any], attempts: int, **options: Any) -> list[int]:
    """After each failed attempt, how many seconds later the next is due."""
    chain = bench.start()
    found: list[int] = []
    for number in range(1, attempts + 1):
        bench.run(step, **options)
        assert bench.client.get(chain).attempt == number
        found.append(round(bench.delay(chain) + 0.4))
        bench.make_due(chain)
    assert [attempt for attempt, _, _ in bench.errors(chain)] == list(range(1, attempts + 1))
    return found


def test_backoff(bench: Bench):
    """Attempts wait 10 s, then twice as long each time, at most 300 s; there is no last one."""
    step = make("plain", hooks={"between": fail})
    assert delays(bench, step, 8) == [10, 20, 40, 80, 160, 300, 300, 300]


def test_own_backoff(bench: Bench):
    """A processor's backoff goes before the worker's."""
    own = make("atomic", hooks={"complete": fail}, backoff=Backoff(initial=100, factor=3, maximum=500))
    assert delays(bench, own, 3, backoff=Backoff(initial=7)) == [100, 300, 500]
    others = make("atomic", hooks={"complete": fail})
    assert delays(bench, others, 2, backoff=Backoff(initial=7)) == [7, 14]


def test_defaults_of_a_module(bench: Bench, tmp_path: Path):
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
    one, two = bench.start("shop.one"), bench.start("shop.two")
    bench.run(*processors)
    assert 48 < bench.delay(one) <= 50
    assert bench.client.get(two).status is Status.FAILED
    bench.make_due(one)
    bench.run(*processors)
    assert bench.client.get(one).status is Status.FAILED


def test_max_attempts(bench: Bench, mode: str):
    """After max_attempts the job is failed: no worker takes it again, and it waits for a person."""
    chain = bench.start()
    step = make(mode, hooks={last_place(mode): fail}, max_attempts=2)
    assert the_end(bench.run(step)) == [Told.JOB_RETRIED]
    bench.make_due(chain)
    assert the_end(bench.run(step)) == [Told.JOB_FAILED]
    found = bench.client.show(chain)
    assert (found.chain.status, found.chain.attempt, len(found.errors)) == (Status.FAILED, 2, 2)
    assert "no luck" in str(found.chain.last_error)
    assert the_end(bench.run(step)) == []

    with bench.client.settle(chain) as current:
        current.complete("by hand")
    assert bench.client.get(chain).output == "by hand"


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
def test_answers_that_do_not_fit(bench: Bench, answer: Any, text: str):
    """A wrong output, an undeclared continuation or one that cannot be written down fails the attempt."""
    chain = bench.start("step", 1)
    bench.run(typed(answer))
    assert_failed_once(bench, chain, text)


def test_wrong_output_undoes_the_effect(bench: Bench, transactional: str):
    """A wrong output is found before anything is committed."""
    chain = bench.start()
    bench.run(make(transactional, answer=lambda _: object()))
    assert_failed_once(bench, chain, "the output of 'step' is not JSON")


NOBODY = "01890000-0000-7000-8000-00000000dead"


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (lambda _: continue_with("next", blocked_by=[NOBODY]), f"there is no chain {NOBODY} to wait for"),
        (lambda job: continue_with("next", blocked_by=[job.chain_id]), "itself"),
    ],
    ids=["missing", "itself"],
)
def test_blockers_that_cannot_be(bench: Bench, mode: str, answer: Callable[[Job[Any]], Any], text: str):
    """A continuation behind a chain that cannot complete first fails its attempt; the others of its batch settle."""
    gate = bench.gate()
    chains = [bench.start("step", number) for number in range(4)]

    def step(job: Job[Any]) -> Any:
        return answer(job) if job.input == 2 else job.input

    at = {"between": gate} if mode in {"plain", "staged"} else {}
    working = bench.work(make(mode, answer=step, hooks=at))
    if at:
        gate.reached(4).open()  # they end together
    retried = working.until(Told.JOB_RETRIED, within=5)
    working.until(Told.JOB_COMPLETED, times=3, within=5)
    assert retried.job_id == chains[2]
    assert [bench.client.get(each).output for each in chains] == [0, 1, None, 3]
    found = bench.client.show(chains[2])
    assert (found.chain.status, found.chain.attempt, found.chain.length) == (Status.SCHEDULED, 1, 1)
    assert text in str(found.chain.last_error)
    assert bench.effects(chains[2]) == []


def test_outcomes_that_the_database_refuses(postgres_bench: Bench, mode: str):
    """An outcome that the database cannot write down fails its attempt, not the worker."""
    bench = postgres_bench
    good, bad = bench.start("step", "good"), bench.start("step", "bad")

    def answer(job: Job[Any]) -> Any:
        return continue_with("next", after=timedelta.max) if job.input == "bad" else "done"

    bench.run(make(mode, answer=answer))
    assert bench.client.get(good).output == "done"
    found = bench.client.get(bad)
    assert (found.status, found.attempt) == (Status.SCHEDULED, 1)
    assert len(bench.errors(bad)) == 1


def test_wrong_input(bench: Bench):
    """With an input that does not fit, the handler is not called: the attempt failed."""
    called: list[Any] = []

    @processor("step")
    def step(job: Job[int]) -> None:
        called.append(job.input)

    chain = bench.start("step", {"not": "a number"})
    bench.run(step)
    assert called == []
    assert_failed_once(bench, chain, "the input of 'step'")


def test_strange_texts(bench: Bench, mode: str):
    """Outputs come back as they were given, whatever characters are in them."""
    strange = {"nul": "\x00", "half": "\ud800", "all": "ü\u2028😀\\u0041\"'", "\x7f": [1e300, -0.0, 2**70]}
    chain = bench.start()
    bench.run(make(mode, answer=lambda _: strange))
    assert bench.client.get(chain).output == strange
