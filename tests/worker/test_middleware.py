"""Middleware around attempts, prepare blocks and completing blocks."""

from __future__ import annotations

import pytest
from worker.workshop import INSERT, STAGED, TRANSACTIONAL, make

from jobctl import Defaults, Status, WorkerOptions, middleware
from jobctl.errors import ProcessorError
from jobctl.registry import Registry, load_modules


def noting(name, notes):
    """A middleware that notes when it begins and ends, everywhere."""

    def around(job):
        notes.append(f"{name} begins")
        yield {name: job.type_name}
        notes.append(f"{name} ends")

    around.__name__ = name
    made = middleware(around)

    @made.prepare
    def prepare(job, conn):
        notes.append(f"{name} prepares")
        yield {f"{name} prepared": job.id}
        notes.append(f"{name} prepared")

    @made.complete
    def complete(job, conn):
        notes.append(f"{name} completes")
        yield
        notes.append(f"{name} completed")

    return made


def test_onion(shop, mode):
    """The first is outermost, around the attempt and around each block; what they add is there for the handler."""
    notes, seen = [], []
    hooks = dict.fromkeys(("prepare", "between", "complete", "after"), lambda *_: notes.append("handler"))
    chain = [noting("outer", notes), noting("inner", notes)]
    step = make(mode, middleware=chain, hooks=hooks, answer=lambda job: seen.append(dict(job.context)))
    id_ = shop.start()
    shop.run(step)
    assert shop.client.get(id_).status is Status.COMPLETED
    prepare = ["outer prepares", "inner prepares", "handler", "inner prepared", "outer prepared"]
    complete = ["outer completes", "inner completes", "handler", "inner completed", "outer completed"]
    inside = {
        "plain": ["handler"],
        "async_plain": ["handler"],
        "atomic": complete,
        "staged": [*prepare, "handler", *complete, "handler"],
        "async_staged": [*prepare, "handler", *complete, "handler"],
    }[mode]
    assert notes == ["outer begins", "inner begins", *inside, "inner ends", "outer ends"]
    added = {"outer": "step", "inner": "step"}
    if mode in STAGED:
        added |= {"outer prepared": id_, "inner prepared": id_}
    assert seen == [added]


@pytest.mark.parametrize("mode", TRANSACTIONAL)
def test_writes_with_the_job(shop, mode):
    """What a middleware writes in the completing block is kept with the job's output, and undone with its failure."""

    @middleware
    def audit(job):
        yield

    @audit.complete
    def write(job, conn):
        yield
        conn.execute(INSERT, {"job": job.id, "why": "audit"})

    def fail(conn, job):
        if job.input == "fail":
            raise ZeroDivisionError

    step = make(mode, middleware=[audit], hooks={"complete": fail})
    fine, failed = shop.start(), shop.start(input="fail")
    shop.run(step)
    assert shop.effects(fine) == ["audit", "worker"]
    assert shop.effects(failed) == []
    assert shop.client.get(failed).status is Status.SCHEDULED


def test_error_of_the_handler(shop, mode):
    """A middleware sees the handler's error, and may raise another in its place."""
    seen = []

    @middleware
    def translating(job):
        try:
            yield
        except ZeroDivisionError as error:
            seen.append(error)
            raise LookupError("told otherwise") from error

    def fail(job):
        raise ZeroDivisionError

    id_ = shop.start()
    shop.run(make(mode, middleware=[translating], answer=fail))
    assert len(seen) == 1
    assert "LookupError: told otherwise" in shop.client.get(id_).last_error
    assert shop.effects() == []


@pytest.mark.parametrize("place", ["attempt", "prepare", "complete"])
def test_swallowed_error(shop, mode, place):
    """A middleware that swallows an error fails the attempt: there is nothing to keep."""

    @middleware
    def careless(job):
        if place == "attempt":
            try:
                yield
            except ZeroDivisionError:
                return
        else:
            yield

    def swallow(job, conn):
        try:
            yield
        except ZeroDivisionError:
            return

    if place != "attempt":
        getattr(careless, place)(swallow)

    def fail(conn=None, job=None):
        raise ZeroDivisionError

    hooks = {place: fail} if place != "attempt" else {"between": fail, "complete": fail}
    happens = place == "attempt" or mode in (STAGED if place == "prepare" else TRANSACTIONAL)
    id_ = shop.start()
    shop.run(make(mode, middleware=[careless], hooks=hooks))
    chain = shop.client.get(id_)
    if happens:
        assert chain.status is Status.SCHEDULED
        assert "swallowed" in chain.last_error
        assert shop.effects() == []
    else:
        assert chain.status is Status.COMPLETED


@pytest.mark.parametrize("place", ["attempt", "prepare", "complete"])
def test_error_of_the_middleware(shop, mode, place):
    """An error before the yield fails the attempt, and what is inside does not run."""
    ran = []

    @middleware
    def broken(job):
        if place == "attempt":
            raise LookupError("not today")
        yield

    def refuse(job, conn):
        raise LookupError("not today")
        yield

    if place != "attempt":
        getattr(broken, place)(refuse)
    happens = place == "attempt" or mode in (STAGED if place == "prepare" else TRANSACTIONAL)
    hooks = {place: lambda *_: ran.append(place)} if place != "attempt" else {}
    id_ = shop.start()
    shop.run(make(mode, middleware=[broken], hooks=hooks))
    chain = shop.client.get(id_)
    assert chain.status is (Status.SCHEDULED if happens else Status.COMPLETED)
    assert ran == []
    if happens:
        assert "not today" in chain.last_error


def test_what_is_added_must_be_a_mapping(shop):
    """A middleware that yields something else fails the attempt, saying which."""

    @middleware
    def wrong(job):
        yield 5

    id_ = shop.start()
    shop.run(make("plain", middleware=[wrong]))
    assert "the middleware 'wrong' yielded 5" in shop.client.get(id_).last_error


MODULE = """
from jobctl import Defaults, middleware, processor

@middleware
def outer(job):
    yield {"order": ["outer"]}

@middleware
def inner(job):
    job.context["order"].append("inner")
    yield

defaults = Defaults(middleware=[outer])

@processor("step", middleware=[inner])
def step(job):
    return job.context["order"]
"""


def test_of_a_module(shop, tmp_path):
    """A module's middleware is around that of its processors."""
    (tmp_path / "layered.py").write_text(MODULE)
    id_ = shop.start()
    shop.run(*load_modules([str(tmp_path / "layered.py")]).values())
    assert shop.client.get(id_).output == ["outer", "inner"]


def test_required(shop):
    """A worker that requires a middleware refuses processors without it, naming them; of other types it does not."""
    audit = noting("audit", [])
    registry = Registry([make("plain", "with", middleware=[audit]), make("plain", "without")])
    with pytest.raises(
        ProcessorError, match=r"'without' \(.*\) lacks the middleware 'audit', which this worker requires"
    ):
        WorkerOptions(require_middleware=["audit"]).leases(registry)
    assert WorkerOptions(require_middleware=["audit"], types=["with"]).leases(registry) == {"with": 30.0}


@pytest.mark.parametrize("wrong", [lambda: Defaults(middleware=[len]), lambda: make("plain", middleware=[len])])
def test_no_middleware(wrong):
    """What is no middleware is refused when it is declared."""
    with pytest.raises(ProcessorError, match="is no middleware"):
        wrong()
