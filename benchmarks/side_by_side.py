"""Peers on the same server, with the same payload: each in an environment of its own, installed for it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psycopg

from benchmarks.databases import Database
from benchmarks.measuring import Benchmark, Figure, Sizes, fresh

SCRIPTS = Path(__file__).parent / "peers"


@dataclass(frozen=True)
class Peer:
    """Another library.

    Attributes:
        name: Its name; its script does what peers/common.py says.
        packages: What its environment needs.
        span: Asks how many jobs were done, and in how many seconds from the first claim to the last completion.
    """

    name: str
    packages: tuple[str, ...]
    span: str


PEERS = (
    Peer(
        "pgqueuer",
        ("pgqueuer==1.6.0", "asyncpg", "uvloop"),
        """
        SELECT count(*) FILTER (WHERE status = 'successful'),
            extract(epoch FROM max(created) FILTER (WHERE status = 'successful')
                - min(created) FILTER (WHERE status = 'picked'))
        FROM pgqueuer_log
        """,
    ),
    Peer(
        "awa",
        ("awa-pg==0.6.9",),
        """
        SELECT (SELECT count(*) FROM awa.terminal_jobs),
            extract(epoch FROM (SELECT max(finalized_at) FROM awa.terminal_jobs)
                - (SELECT min(claimed_at) FROM awa.ready_claim_attempt_batches))
        """,
    ),
    Peer(
        "procrastinate",
        ("procrastinate==3.10.0",),
        """
        SELECT count(*) FILTER (WHERE type = 'succeeded'),
            extract(epoch FROM max(at) FILTER (WHERE type = 'succeeded') - min(at) FILTER (WHERE type = 'started'))
        FROM procrastinate_events
        """,
    ),
    Peer(
        "chancy",
        ("chancy==0.26.0",),
        # its own clock, when a handler ended: up to a second before that is committed
        """
        SELECT count(*), extract(epoch FROM max(completed_at) - min(started_at))
        FROM chancy_jobs WHERE state = 'succeeded'
        """,
    ),
)


class Environments:
    """Virtual environments of the peers, each made when it is first used."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def interpreter(self, peer: Peer) -> Path:
        """The interpreter of a peer's environment."""
        environment = self._folder / f"environment-{peer.name}"
        interpreter = environment / "bin" / "python"
        if not interpreter.exists():
            _run(sys.executable, "-m", "venv", str(environment))
            _run(str(interpreter), "-m", "pip", "install", "--disable-pip-version-check", *peer.packages)
        return interpreter

    def call(self, peer: Peer, act: str, database: Database, count: int) -> dict[str, float]:
        """Have a peer's script do something; returns the figures that it prints."""
        script = SCRIPTS / f"{peer.name}_peer.py"
        found: dict[str, float] = json.loads(
            _run(str(self.interpreter(peer)), str(script), act, database.url, str(count))
        )
        return found


def _run(*command: str) -> str:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return done.stdout


def start(database: Database, sizes: Sizes, peer: Peer, environments: Environments) -> list[Figure]:
    """Jobs started, one by one and in batches of 1,000."""
    found = environments.call(peer, "start", database, sizes.single)
    return [Figure(name, "jobs/s", value) for name, value in found.items()]


def process(database: Database, sizes: Sizes, peer: Peer, environments: Environments) -> list[Figure]:
    """No-op jobs, in one process."""
    environments.call(peer, "fill", database, sizes.jobs)
    database.settle_down()
    environments.call(peer, "process", database, sizes.jobs)
    with psycopg.connect(database.url) as conn:
        count, seconds = conn.execute(peer.span.encode()).fetchone() or (0, 0)
    if count != sizes.jobs:
        raise RuntimeError(f"{peer.name} did {count} of {sizes.jobs} jobs")
    return [Figure("processed", "jobs/s", count / float(seconds))]


def pick_up(database: Database, sizes: Sizes, peer: Peer, environments: Environments) -> list[Figure]:
    """From the call that starts a job to the first line of its handler, in an idle worker in another process."""
    found = environments.call(peer, "pick-up", database, sizes.samples)
    return [Figure(name, "ms", value) for name, value in found.items()]


MEASURES: dict[str, Callable[[Database, Sizes, Peer, Environments], list[Figure]]] = {
    "start": start,
    "process": process,
    "pick-up": pick_up,
}


def benchmarks(folder: Path) -> list[Benchmark]:
    """Those of the peers, whose environments are made in this folder."""
    environments = Environments(folder)

    def one(topic: str, peer: Peer) -> Benchmark:
        measure = MEASURES[topic]
        opened = fresh(lambda database, sizes: measure(database, sizes, peer, environments))
        return Benchmark(f"{peer.name}-{topic}", topic, opened, kinds=("postgresql",))

    return [one(topic, peer) for topic in MEASURES for peer in PEERS]
