"""PgQueuer: asyncpg on uvloop, as its own command line runs; batches of 100, at most 200 at once: its fastest."""

import asyncpg
import uvloop
from common import Peer, Producer, main
from pgqueuer import AsyncpgDriver, PgQueuer, Queries
from pgqueuer.types import QueueExecutionMode


async def install(url):
    connection = await asyncpg.connect(url)
    await Queries(AsyncpgDriver(connection)).install()
    await connection.close()


async def produce(url, use):
    connection = await asyncpg.connect(url)
    queries = Queries(AsyncpgDriver(connection))

    async def one(n):
        await queries.enqueue("noop", b'{"n": %d}' % n)

    async def many(numbers):
        payloads = [b'{"n": %d}' % n for n in numbers]
        await queries.enqueue(["noop"] * len(payloads), payloads, [0] * len(payloads))

    await use(Producer(one, many))
    await connection.close()


async def process(url, count):
    await run(url, QueueExecutionMode.drain, lambda: None)


async def work(url, began):
    await run(url, QueueExecutionMode.continuous, began)


async def run(url, mode, began):
    connection = await asyncpg.connect(url)
    queuer = PgQueuer(AsyncpgDriver(connection))

    @queuer.entrypoint("noop")
    async def noop(_job):
        began()

    await queuer.run(mode=mode, batch_size=100, max_concurrent_tasks=200)
    await connection.close()


main(Peer(install, produce, process, work, uvloop.run))
