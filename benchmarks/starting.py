"""Starting chains: chains per second."""

from __future__ import annotations

import time
from functools import partial

from benchmarks.databases import Database
from benchmarks.measuring import Benchmark, Figure, Sizes, fresh
from jobctl.asking import NewChain

TOPIC = "start"


def one_by_one(database: Database, sizes: Sizes) -> list[Figure]:
    """Chains started one by one on one connection, a commit each."""
    client = database.client
    for n in range(10):
        client.start("plain", {"n": n})
    begin = time.perf_counter()
    for n in range(sizes.single):
        client.start("plain", {"n": n})
    return [Figure("one by one", "chains/s", sizes.single / (time.perf_counter() - begin))]


def in_batches(database: Database, sizes: Sizes, size: int) -> list[Figure]:
    """Chains started in batches on one connection, a commit each."""
    client = database.client
    batches = max(sizes.jobs // size, 1)
    client.start_many(NewChain("plain", {"n": n}) for n in range(size))
    begin = time.perf_counter()
    for batch in range(batches):
        client.start_many(NewChain("plain", {"n": n}) for n in range(batch * size, (batch + 1) * size))
    return [Figure(f"in batches of {size:,}", "chains/s", batches * size / (time.perf_counter() - begin))]


BENCHMARKS = [
    Benchmark("start-single", TOPIC, fresh(one_by_one)),
    Benchmark("start-100", TOPIC, fresh(partial(in_batches, size=100))),
    Benchmark("start-1000", TOPIC, fresh(partial(in_batches, size=1000))),
]
