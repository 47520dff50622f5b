"""What the peers' scripts share. Each runs in an environment of its own, where nothing of ours is installed.

``python PEER.py ACT URL COUNT`` does one act and prints figures by name, as JSON:

* ``start``: installs the schema, and measures COUNT single starts, then ten times as many in batches of 1,000.
* ``fill``: installs the schema and starts COUNT jobs.
* ``process``: works COUNT jobs that wait, and ends. Who called it reads from the database how long that took.
* ``pick-up``: installs the schema, starts an idle worker in another process, and measures COUNT starts.
* ``work``: is that worker; it prints the time when a job begins.
"""

import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

BATCH = 1000
PAUSE = 0.03


@dataclass(frozen=True)
class Producer:
    """How jobs are started.

    Attributes:
        one: Starts a job with this n, and commits.
        many: Starts jobs with these n in one call, and commits.
    """

    one: Callable[[int], Awaitable[Any]]
    many: Callable[[Sequence[int]], Awaitable[Any]]


@dataclass(frozen=True)
class Peer:
    """How one peer is used, with the settings that are its fastest.

    Attributes:
        install: Makes its schema in the database of this URL.
        produce: Calls back with a producer for the database of this URL, and closes it afterwards.
        process: Works so many jobs, then ends.
        work: Works jobs until it is killed, and calls back as each begins.
        run: Runs a coroutine; on uvloop, where the peer does so itself.
    """

    install: Callable[[str], Awaitable[None]]
    produce: Callable[[str, Callable[[Producer], Awaitable[None]]], Awaitable[None]]
    process: Callable[[str, int], Awaitable[None]]
    work: Callable[[str, Callable[[], None]], Awaitable[None]]
    run: Callable[[Any], Any] = asyncio.run


def batches(count: int) -> list[range]:
    """The numbers below count, in batches."""
    return [range(begin, min(begin + BATCH, count)) for begin in range(0, count, BATCH)]


async def start(peer: Peer, url: str, count: int) -> dict[str, float]:
    """Rates of starting: one by one, and in batches."""
    figures = {}

    async def measure(producer: Producer) -> None:
        await producer.one(0)
        await producer.many(range(BATCH))
        begin = time.perf_counter()
        for n in range(count):
            await producer.one(n)
        figures["one by one"] = count / (time.perf_counter() - begin)
        parts = batches(count * 10)
        begin = time.perf_counter()
        for part in parts:
            await producer.many(part)
        figures["in batches"] = count * 10 / (time.perf_counter() - begin)

    await peer.install(url)
    await peer.produce(url, measure)
    return figures


async def fill(peer: Peer, url: str, count: int) -> dict[str, float]:
    """Start jobs; measures nothing."""

    async def all_(producer: Producer) -> None:
        for part in batches(count):
            await producer.many(part)

    await peer.install(url)
    await peer.produce(url, all_)
    return {}


async def pick_up(peer: Peer, url: str, count: int) -> dict[str, float]:
    """Milliseconds from the call that starts a job to the first line of its handler, in another process."""
    took = []

    async def measure(producer: Producer) -> None:
        command = [sys.executable, sys.argv[0], "work", url, "0"]
        # blocking is fine: nothing else runs on this loop, and it adds no latency of its own
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as worker:  # noqa: ASYNC220
            try:
                assert worker.stdout is not None
                await producer.one(0)
                worker.stdout.readline()
                for n in range(count):
                    await asyncio.sleep(PAUSE)  # the worker is idle again
                    begin = time.time()
                    await producer.one(n)
                    took.append((float(worker.stdout.readline()) - begin) * 1000)
            finally:
                worker.kill()

    await peer.install(url)
    await peer.produce(url, measure)
    took.sort()
    return {"pick-up, p50": statistics.median(took), "pick-up, p99": took[min(int(count * 0.99), count - 1)]}


def main(peer: Peer) -> None:
    """Do what the arguments say."""
    act, url, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    if act == "work":
        peer.run(peer.work(url, lambda: print(time.time(), flush=True)))
        return
    if act == "process":
        peer.run(peer.process(url, count))
        figures = {}
    else:
        figures = peer.run({"start": start, "fill": fill, "pick-up": pick_up}[act](peer, url, count))
    json.dump(figures, sys.stdout)
