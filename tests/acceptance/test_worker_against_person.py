"""A worker and a person who settle one job at once, in two processes, hundreds of times."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Listener
from pathlib import Path

import pytest
from acceptance.observing import check_settled, effects, events, make_effects
from acceptance.racing import WAYS
from support import Running, eventually

from jobctl import Client
from jobctl.errors import ConflictError

ROUNDS = 200

HANDLERS = """
import os
from multiprocessing.connection import Client

import sqlalchemy as sa
from jobctl import Attempt, Job, continue_with, processor

EFFECT = sa.table("effect", sa.column("chain_id"), sa.column("note"))

def gate(job):
    with Client(("localhost", int(os.environ["GATE"]))) as person:
        person.send(job.id)
        person.recv()

def answer(job):
    return continue_with("next", "worker") if job.input else "worker"

@processor("plain")
def plain(job: Job):
    gate(job)
    return answer(job)

@processor("atomic")
def atomic(job: Job, conn):
    conn.execute(sa.insert(EFFECT).values(chain_id=job.chain_id, note="worker"))
    gate(job)
    return answer(job)

@processor("staged")
def staged(job: Job, attempt: Attempt):
    with attempt.prepare():
        pass
    gate(job)
    with attempt.complete() as conn:
        conn.execute(sa.insert(EFFECT).values(chain_id=job.chain_id, note="worker"))
    return answer(job)

@processor("async")
async def coroutine(job: Job):
    gate(job)
    return answer(job)
"""

MODES = ("plain", "staged", "async")
"""Modes whose handlers hold nothing while the person comes."""

OFFSETS = (0.0, 0.0, 0.0005, 0.001, 0.002, 0.004)
"""Seconds by which the person comes after the handler is let go: the worker has some way to its transaction."""


def nothing() -> None:
    """Nobody waits for this person."""


def settle(client: Client, chain: str, *, expect: str, continues: bool, inside: Callable[[], object]) -> bool:
    """Settle by hand; returns whether that was not too late."""
    try:
        with client.settle(chain, expect=expect, actor="person") as current:
            inside()
            if continues:
                current.continue_with("next", "person")
            else:
                current.complete("person")
    except ConflictError:
        return False
    return True


@pytest.fixture
def gate():
    """Where handlers ask to be let go."""
    with Listener(("localhost", 0)) as listener:
        yield listener


def test_worker_against_person(client: Client, spawn: Callable[..., Running], workplace: Path, gate: Listener):
    """Of a worker and a person who settle one job at the same moment exactly one does; the other one notices."""
    make_effects(client)
    (workplace / "handlers.py").write_text(HANDLERS)
    worker = spawn(
        *("worker", "--processors", "handlers", "--name", "worker", "--log-format", "json"),
        env={"GATE": str(gate.address[1])},
    )
    told: dict[str, set[str]] = {}
    expected_effects: Counter[tuple[str, str]] = Counter()
    won = Counter()
    for n in range(ROUNDS):
        # two rounds at once, one in which the person holds the job, one in which the worker holds it
        kind = ("level", "level", "person", "worker")[n % 4]
        mode = "atomic" if kind == "worker" else MODES[n // 2 % len(MODES)]
        person_continues, worker_continues = WAYS[n // 4 % len(WAYS)]
        chain = client.start(mode, worker_continues).id
        with gate.accept() as handler:
            assert handler.recv() == chain
            let_go = partial(handler.send, "go")
            if kind != "person":
                let_go()
                time.sleep(OFFSETS[n // 4 % len(OFFSETS)] if kind == "level" else 0)
            by_hand = settle(
                client,
                chain,
                expect=mode,
                continues=person_continues,
                inside=let_go if kind == "person" else nothing,
            )
        winner = "person" if by_hand else "worker"
        won[winner] += 1
        assert kind in {"level", winner}
        continued = person_continues if by_hand else worker_continues
        check_settled(client.show(chain), winner, continued=continued, by_hand=by_hand)
        told[chain] = {"job_lost"} if by_hand else {"job_continued" if continued else "job_completed"}
        if not by_hand and mode in {"atomic", "staged"}:
            expected_effects[chain, "worker"] = 1

    assert min(won["person"], won["worker"]) >= ROUNDS // 4
    assert effects(client) == expected_effects
    ends = ("job_lost", "job_continued", "job_completed", "job_retried", "job_failed")
    eventually(lambda: len(events(worker, *ends)) >= ROUNDS, what="the worker tells the end of every attempt")
    found: dict[str, set[str]] = {}
    for line in events(worker, *ends):
        found.setdefault(line["chain_id"], set()).add(line["event"])
    assert found == told
    assert worker.stop().code == 143
