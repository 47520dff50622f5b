"""PgQueuer, in an environment of its own: prints figures as JSON. Arguments: a database's URL, jobs, single starts."""

import asyncio
import json
import sys
import time

import asyncpg
from pgqueuer import AsyncpgDriver, PgQueuer, Queries
from pgqueuer.types import QueueExecutionMode

PAYLOAD = b'{"n": 1}'


async def measure(url: str, jobs: int, single: int) -> dict[str, float]:
    """Start and process no-op jobs, with the settings that are its fastest."""
    connection = await asyncpg.connect(url)
    driver = AsyncpgDriver(connection)
    queries = Queries(driver)
    await queries.install()
    figures: dict[str, float] = {}
    begin = time.perf_counter()
    for _ in range(single):
        await queries.enqueue("other", PAYLOAD)
    figures["start one by one"] = single / (time.perf_counter() - begin)
    begin = time.perf_counter()
    for _ in range(0, jobs, 1000):
        await queries.enqueue(["noop"] * 1000, [PAYLOAD] * 1000, [0] * 1000)
    figures["start in batches of 1000"] = jobs / (time.perf_counter() - begin)

    done = 0
    times: list[float] = []
    queuer = PgQueuer(driver)

    @queuer.entrypoint("noop")
    async def noop(_job: object) -> None:
        nonlocal done
        done += 1
        if done in {1, jobs}:
            times.append(time.perf_counter())

    await queuer.run(mode=QueueExecutionMode.drain, batch_size=100, max_concurrent_tasks=200)
    figures["process no-op jobs"] = jobs / (times[-1] - times[0])
    await connection.close()
    return figures


json.dump(asyncio.run(measure(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))), sys.stdout)
