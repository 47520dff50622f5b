"""Latency: how soon an idle worker begins, and what single calls cost as the work grows."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

from benchmarks.databases import Database, Databases
from benchmarks.measuring import Benchmark, Figure, Measure, Sizes, fresh, percentile
from benchmarks.working import drain, fill, worker
from jobctl import ListFilter, Status
from jobctl.ids import new_id

MS = "ms"
PAUSE = 0.03

MANY_TYPES = 50
CLAIMED = 10


def pick_up(database: Database, sizes: Sizes) -> list[Figure]:
    """From the call that starts a chain to the first line of its handler, in an idle worker in another process."""
    client = database.client
    begun = {}
    with worker(database, "--types", "stamp", "--quiet"):
        client.wait([client.start("stamp").id], timeout="30s")
        for n in range(sizes.samples):
            time.sleep(PAUSE)  # the worker is idle again
            begin = time.time()
            begun[client.start("stamp", {"n": n}).id] = begin
        chains = client.wait(begun, timeout="30s")
    took = [(chain.output - begun[id_]) * 1000 for id_, chain in chains.items()]
    return [Figure("pick-up, p50", MS, percentile(took, 0.5)), Figure("pick-up, p99", MS, percentile(took, 0.99))]


# --- as the work grows -----------------------------------------------------------------------------------------------


def type_names(count: int) -> list[str]:
    """The names of so many types."""
    return [f"type-{number}" for number in range(count)]


def claim_milliseconds(database: Database, types: Mapping[str, float]) -> float:
    """What a claim takes, in a worker's transaction that is rolled back: the one call here that is not the user's."""
    store = database.client.store
    with store.work(forgettable=True) as conn:
        begin = time.perf_counter()
        claimed = store.claim(conn, types, CLAIMED, worker="benchmark", lease=new_id())
        took = (time.perf_counter() - begin) * 1000
        conn.rollback()
    if len(claimed) != CLAIMED:
        raise RuntimeError(f"{len(claimed)} jobs were claimed instead of {CLAIMED}")
    return took


@contextmanager
def claims(databases: Databases, kind: str, sizes: Sizes) -> Iterator[Measure]:
    """Claims of ten jobs on databases where more and more wait, in turns: what differs is how many wait."""
    with ExitStack() as stack:
        places: dict[str, tuple[Database, list[str]]] = {}
        for types in (1, MANY_TYPES):
            names = type_names(types)
            for waiting in sizes.backlogs:
                database = stack.enter_context(databases.fresh(kind))
                fill(database, names, waiting)
                places[f"{waiting:,} waiting, {types} type{'s' * (types > 1)}"] = database, names
        database = stack.enter_context(databases.fresh(kind))
        fill(database, "type-0", sizes.backlogs[0])
        fill(database, "type-0", sizes.backlogs[-1], after="30d")
        places[f"{sizes.backlogs[0]:,} waiting, {sizes.backlogs[-1]:,} scheduled"] = database, type_names(1)
        for database, _ in places.values():
            database.settle_down()

        def once() -> list[Figure]:
            took: dict[str, list[float]] = {place: [] for place in places}
            for sample in range(sizes.samples + 1):
                for place, (database, names) in places.items():
                    milliseconds = claim_milliseconds(database, dict.fromkeys(names, 30.0))
                    if sample:  # the first one opens the connection
                        took[place].append(milliseconds)
            return [Figure(f"claim, {place}", MS, percentile(each, 0.5)) for place, each in took.items()]

        yield once


@contextmanager
def lists(databases: Databases, kind: str, sizes: Sizes) -> Iterator[Measure]:
    """A page of lists, and one chain, out of many of which half are completed."""
    count = sizes.backlogs[-1]
    with databases.fresh(kind) as database:
        fill(database, "plain", count // 2)
        drain(database, count // 2, "--types", "plain", "--quiet")
        fill(database, "plain", count - count // 2)
        database.settle_down()
        client = database.client
        completed = client.list_chains(ListFilter(newest_first=False, limit=1)).items[0].id
        calls: dict[str, Callable[[], object]] = {
            "list": client.list_chains,
            "list --type": lambda: client.list_chains(ListFilter(type_name="plain")),
            "list --status completed": lambda: client.list_chains(ListFilter(statuses=(Status.COMPLETED,))),
            "list --status failed": lambda: client.list_chains(ListFilter(statuses=(Status.FAILED,))),
            "jobs --order oldest": lambda: client.list_jobs(ListFilter(newest_first=False)),
            "show": lambda: client.show(completed),
        }

        def once() -> list[Figure]:
            took: dict[str, list[float]] = {name: [] for name in calls}
            for _ in range(max(sizes.samples // 10, 1)):
                for name, call in calls.items():
                    begin = time.perf_counter()
                    call()
                    took[name].append((time.perf_counter() - begin) * 1000)
            return [Figure(f"{name}, {count:,} chains", MS, percentile(each, 0.5)) for name, each in took.items()]

        yield once


BENCHMARKS = [
    Benchmark("pick-up", "pick-up", fresh(pick_up)),
    Benchmark("claim", "claim", claims),
    Benchmark("lists", "lists", lists),
]
