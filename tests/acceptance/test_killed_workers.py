"""``kill -9`` of a worker anywhere in a handler: the job is taken again, and its transactional effect is there once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from acceptance.observing import appear, effects, make_effects
from support import Running, wait_until_blocked

from jobctl import Client, Status

HANDLERS = """
import os
import time
from pathlib import Path

import sqlalchemy as sa
from jobctl import Attempt, Job, continue_with, processor

EFFECT = sa.table("effect", sa.column("chain_id"), sa.column("note"))

def effect(job, note):
    return sa.insert(EFFECT).values(chain_id=job.chain_id, note=note)

if "WAITS_FOR" in os.environ:
    while not Path(os.environ["WAITS_FOR"]).exists():
        time.sleep(0.005)

def stop(job, place):
    "Stay here in the first attempt: its worker is about to be killed."
    if job.type_name.endswith(place) and job.attempt == 1:
        Path(f"{job.type_name}.reached").touch()
        time.sleep(600)

@processor("last", entry=False)
def last(job: Job, conn):
    conn.execute(effect(job, "last"))
    return job.input

def plain(job: Job):
    stop(job, "between")
    return continue_with(last, "done")

def atomic(job: Job, conn):
    conn.execute(effect(job, "step"))
    stop(job, "complete")
    return continue_with(last, "done")

def staged(job: Job, attempt: Attempt):
    with attempt.prepare() as conn:
        conn.execute(effect(job, "prepared"))
        stop(job, "prepare")
    stop(job, "between")
    with attempt.complete() as conn:
        conn.execute(effect(job, "step"))
        stop(job, "complete")
    stop(job, "after")
    return continue_with(last, "done")

async def async_plain(job: Job):
    stop(job, "between")
    return continue_with(last, "done")

async def async_staged(job: Job, attempt: Attempt):
    async with attempt.prepare() as conn:
        await conn.execute(effect(job, "prepared"))
        await conn.run(lambda _: stop(job, "prepare"))
    stop(job, "between")
    async with attempt.complete() as conn:
        await conn.execute(effect(job, "step"))
        await conn.run(lambda _: stop(job, "complete"))
    stop(job, "after")
    return continue_with(last, "done")

for handler in (plain, async_plain):
    name = f"{handler.__name__}-between"
    globals()[name] = processor(name)(handler)
for handler in (staged, async_staged):
    for place in ("prepare", "between", "complete", "after"):
        name = f"{handler.__name__}-{place}"
        globals()[name] = processor(name)(handler)
atomic_complete = processor("atomic-complete")(atomic)

@processor("plain")
def returns(job: Job):
    return "done"

@processor("atomic")
def returns_too(job: Job, conn):
    conn.execute(effect(job, "step"))
    return "done"
"""

STAGES = ("prepare", "between", "complete", "after")
PLACES = (
    "plain-between",
    "async_plain-between",
    "atomic-complete",
    *(f"{mode}-{stage}" for mode in ("staged", "async_staged") for stage in STAGES),
)


@pytest.fixture
def handlers(workplace: Path) -> Path:
    """The module, where the command runs."""
    file = workplace / "handlers.py"
    file.write_text(HANDLERS)
    return file


def expected_effects(place: str) -> Counter[str]:
    """Once what was done in the completing transaction; what prepare committed, as often as it was committed."""
    wanted = Counter(last=1)
    mode, _, stage = place.partition("-")
    if "plain" not in mode:
        wanted["step"] = 1
    if "staged" in mode:
        wanted["prepared"] = 1 if stage == "prepare" else 2
    return wanted


@pytest.mark.usefixtures("handlers")
def test_kill_anywhere(client: Client, spawn: Callable[..., Running], workplace: Path):
    """Wherever in its handler a worker is killed, another one takes the job, and the effect happens exactly once."""
    make_effects(client)
    chains = {place: client.start(place).id for place in PLACES}
    # started at once and let go one by one: on SQLite one of them may hold the file, and nobody else's lease is renewed
    victims = {
        place: spawn(
            *("worker", "--processors", "handlers", "--types", place, "--name", place, "--lease", "500ms"),
            env={"WAITS_FOR": f"{place}.go"},
        )
        for place in PLACES
    }
    for place, victim in victims.items():
        (workplace / f"{place}.go").touch()
        appear([workplace / f"{place}.reached"], victim)
        victim.kill()

    survivor = spawn("worker", "--processors", "handlers", "--name", "survivor")
    closed = client.wait(chains.values(), timeout="30s")
    assert survivor.stop().code == 143

    found = effects(client)
    for place, chain in chains.items():
        assert (closed[chain].status, closed[chain].output, closed[chain].length) == (Status.COMPLETED, "done", 2)
        detail = client.show(chain)
        step, last = detail.jobs
        assert (step.status, step.attempt, step.completed_by) == (Status.CONTINUED, 2, "survivor")
        assert (last.attempt, last.completed_by) == (1, "survivor")
        (error,) = detail.errors
        assert (error.job_id, error.attempt, error.worker) == (step.id, 1, place)
        assert error.error == f"the lease ran out: nothing was heard of worker {place}"
        assert Counter({note: n for (id_, note), n in found.items() if id_ == chain}) == expected_effects(place)


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("mode", ["plain", "atomic"])
def test_kill_while_settling(
    postgres_url: str, open_client: Callable[[str], Client], spawn: Callable[..., Running], mode: str
):
    """A worker that is killed after its handler returned, in the transaction that settles, has settled nothing."""
    client = open_client(postgres_url)
    make_effects(client)
    chain = client.start(mode).id
    waiting = client.start("other", blocked_by=[chain]).id
    with psycopg.connect(postgres_url) as holder:
        # the job is settled already when the worker comes to what waits for its chain
        holder.execute("SELECT 1 FROM jobctl_current WHERE chain_id = %s FOR UPDATE", [waiting])
        victim = spawn("worker", "--processors", "handlers", "--lease", "500ms", "--name", "victim")
        wait_until_blocked(postgres_url, by=holder.info.backend_pid)
        victim.kill()
    spawn("worker", "--processors", "handlers", "--name", "survivor")
    closed = client.wait([chain], timeout="30s")[chain]
    assert (closed.status, closed.output, closed.attempt) == (Status.COMPLETED, "done", 2)
    assert client.get_job(chain).completed_by == "survivor"
    assert [error.worker for error in client.show(chain).errors] == ["victim"]
    assert client.get(waiting).status is Status.READY
    assert effects(client) == ({(chain, "step"): 1} if mode == "atomic" else {})
