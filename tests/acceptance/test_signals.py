"""Signals: what a worker does with its jobs, and what commands that wait leave on stdout."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from acceptance.observing import appear, effects, events, log, make_effects
from support import Running, eventually, jobctl_command

from jobctl import Client, ListFilter, Status

SIGNALS = [(signal.SIGTERM, 143), (signal.SIGINT, 130)]

HANDLERS = """
import asyncio
import os
import signal
import threading
import time
from pathlib import Path

import sqlalchemy as sa
from jobctl import Attempt, Client, Job, ListFilter, Status, processor

EFFECT = sa.table("effect", sa.column("chain_id"), sa.column("note"))
RUNNING = ListFilter(statuses=(Status.RUNNING,), limit=100)
BEGUN = set()

def gate(name):
    Path(f"{name}.reached").touch()
    while not Path(f"{name}.open").exists():
        time.sleep(0.005)

@processor("quick")
def quick(job: Job):
    "Ends at once, so that the worker claims ahead; one that sees several of them taken has the worker stopped."
    BEGUN.add(job.id)
    if job.input % 20:
        return
    with Client(os.environ["JOBCTL_DATABASE"]) as client:
        waiting = {each.id for each in client.list_jobs(RUNNING).items} - BEGUN
    if len(waiting) > 3:
        Path("waiting").write_text(" ".join(waiting))
        os.kill(os.getpid(), int(os.environ["STOP_BY"]))
        gate("quick")

@processor("plain")
def plain(job: Job):
    gate("plain")

@processor("between")
def between(job: Job, attempt: Attempt):
    with attempt.prepare():
        pass
    gate("between")
    with attempt.complete() as conn:
        conn.execute(sa.insert(EFFECT).values(chain_id=job.chain_id, note="between"))

@processor("coroutine")
async def coroutine(job: Job):
    Path("coroutine.reached").touch()
    await asyncio.sleep(600)

@processor("signalled")
def signalled(job: Job):
    "The signals come on its own thread, so that none of them interrupts the main thread in what it waits for."
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
    gate("signalled")
    signal.pthread_kill(threading.get_ident(), signal.SIGINT)
    gate("never")

@processor("atomic")
def atomic(job: Job, conn):
    conn.execute(sa.insert(EFFECT).values(chain_id=job.chain_id, note="atomic"))
    gate("atomic")
"""


@pytest.fixture
def handlers(workplace: Path) -> Path:
    """The module, where the command runs."""
    file = workplace / "handlers.py"
    file.write_text(HANDLERS)
    return file


# --- the worker ------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_worker_stops(
    client: Client, spawn: Callable[..., Running], workplace: Path, number: signal.Signals, code: int
):
    """What is claimed and has not begun is given back at once and without an attempt; what runs may end."""
    with client.store.transaction() as conn:
        for n in range(400):
            client.start("quick", n, conn=conn)
    worker = spawn(
        *("worker", "--processors", "handlers", "--types", "quick", "--concurrency", "1", "--log-format", "json"),
        env={"STOP_BY": str(int(number))},
    )
    appear([workplace / "quick.reached"], worker)

    def still_taken() -> list[str]:
        return [job.id for job in client.list_jobs(ListFilter(statuses=(Status.RUNNING,))).items]

    eventually(lambda: len(still_taken()) == 1, what="nothing is taken but what runs")
    (running,) = still_taken()
    assert worker.code is None
    (workplace / "quick.open").touch()
    result = worker.wait()
    assert (result.code, result.out) == (code, "")
    assert client.get_job(running).status is Status.COMPLETED

    told = [(line["event"], line["job_id"]) for line in log(worker)]
    released = {job for event, job in told if event == "job_released"}
    assert released >= set((workplace / "waiting").read_text().split())
    after = told[told.index(("worker_stopping", None)) :]
    assert after[-2:] == [("job_completed", running), ("worker_stopped", None)]
    for each in released:
        found = client.get_job(each)
        assert (found.status, found.attempt, found.worker, found.last_error) == (Status.READY, 0, None, None)


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("ending", ["timeout", "second signal"])
def test_worker_gives_up(
    client: Client, database_url: str, spawn: Callable[..., Running], workplace: Path, ending: str
):
    """After the shutdown timeout, or at a second signal, what still runs is given back at once, nothing of it kept."""
    make_effects(client)
    # on SQLite an open transaction of the handler's has the whole file, until the process ends
    types = ["plain", "between", "coroutine", *(["atomic"] if client.store.dialect == "postgresql" else [])]
    chains = [client.start(each).id for each in types]
    timeout = "300ms" if ending == "timeout" else "10m"
    worker = spawn(
        *("worker", "--processors", "handlers", "--lease", "10m", "--shutdown-timeout", timeout),
        *("--log-format", "json"),
    )
    appear([workplace / f"{each}.reached" for each in types], worker)
    worker.send(signal.SIGTERM)
    if ending == "second signal":
        eventually(lambda: events(worker, "worker_stopping"), what="the worker says that it stops")
        assert worker.code is None
        worker.send(signal.SIGINT)
    result = worker.wait()
    assert (result.code, result.out) == (143, "")
    assert {line["job_id"] for line in events(worker, "job_released")} == set(chains)
    assert events(worker, "job_completed", "job_failed", "job_retried") == []
    for each in chains:
        job = client.get_job(each)
        assert (job.status, job.attempt, job.last_error) == (Status.READY, 0, None)
    assert effects(client) == {}


@pytest.mark.usefixtures("handlers")
def test_signals_on_another_thread(client: Client, spawn: Callable[..., Running], workplace: Path):
    """A worker heeds each signal at once, whatever its main thread waits for and whichever thread it comes on."""
    client.start("signalled")
    worker = spawn("worker", "--processors", "handlers", "--shutdown-timeout", "10m", "--log-format", "json")
    eventually(lambda: events(worker, "worker_stopping"), what="the worker says that it stops")
    (workplace / "signalled.open").touch()
    assert worker.wait(within=10).code == 143


@pytest.mark.usefixtures("handlers")
def test_worker_stops_while_the_file_is_held(
    sqlite_url: str, open_client: Callable[[str], Client], spawn: Callable[..., Running], workplace: Path
):
    """On SQLite a handler's transaction has the whole file: a worker heeds its signals all the same, and at once."""
    client = open_client(sqlite_url)
    make_effects(client)
    chain = client.start("atomic").id
    client.start("plain")
    worker = spawn("worker", "--processors", "handlers", "--lease", "500ms", "--log-format", "json", "--poll", "50ms")
    appear([workplace / "atomic.reached"], worker)
    worker.send(signal.SIGTERM)
    eventually(lambda: events(worker, "worker_stopping"), within=4, what="the worker says that it stops")
    assert worker.send(signal.SIGTERM).wait(within=8).code == 143
    assert effects(client) == {}
    assert events(worker, "database_lost") == []
    (workplace / "atomic.open").touch()
    spawn("worker", "--processors", "handlers", "--types", "atomic")
    assert client.wait([chain], timeout="30s")[chain].status is Status.COMPLETED
    assert effects(client) == {(chain, "atomic"): 1}


# --- who waits -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_waiting_commands(client: Client, spawn: Callable[..., Running], number: signal.Signals, code: int):
    """Commands that wait end at a signal with its code, and all that they wrote to stdout is whole."""
    closed, open_ = client.start("a").id, client.start("a").id
    with client.settle(closed) as current:
        current.complete("done")
    waiting = spawn("wait", closed, open_)
    only = spawn("wait", open_)
    watching = spawn("show", open_, "--watch", "--json")
    starting = spawn("start", "a", "--wait")
    eventually(lambda: waiting.out and watching.out and "started" in starting.err, what="all are past their beginnings")
    for each in (waiting, watching, starting):
        assert each.send(number).wait().code == code
    assert [json.loads(line)["id"] for line in waiting.out.splitlines()] == [closed]
    assert waiting.out.endswith("\n")
    (document,) = watching.out.splitlines()
    assert json.loads(document)["chain"]["id"] == open_
    assert starting.out == ""
    started = starting.wait().err.removeprefix("started ").rstrip("\n")
    assert client.get(started).status is Status.READY
    assert (waiting.err, watching.err) == ("", "")
    with client.settle(open_) as current:
        current.complete({"of": "the one that nobody stopped"})
    assert only.wait().out == '{"of": "the one that nobody stopped"}\n'


def test_broken_pipe(sqlite_url: str, open_client: Callable[[str], Client], environment: Mapping[str, str]):
    """Who reads only the beginning of a long list gets that, and nobody complains."""
    client = open_client(sqlite_url)
    with client.store.transaction() as conn:
        started = [client.start("a", "x" * 1000, conn=conn).id for _ in range(200)]
    listing = shlex.join(jobctl_command("list", "--limit", 200, "--jsonl", "--order", "oldest"))
    done = subprocess.run(
        ["sh", "-c", f"{listing} | head -n 1"],
        capture_output=True,
        text=True,
        env={**environment, "JOBCTL_DATABASE": sqlite_url},
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["id"] == started[0]
