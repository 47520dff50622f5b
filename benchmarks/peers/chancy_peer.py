"""Chancy: coroutine jobs on the event loop, a thousand at once, and looking for more after each: its fastest.

It completes jobs once a second: a crash runs again what was done since.
"""

import asyncio
import logging

from chancy import Chancy, Queue, Worker, job
from common import Peer, Producer, main

QUEUE = Queue("default", concurrency=1000, executor=Chancy.Executor.Async, eager_polling=True)
QUIET = logging.getLogger("quiet")
QUIET.setLevel(logging.ERROR)

on_began = []


@job()
async def noop(*, n):
    for call in on_began:
        call()


def connect(url):
    return Chancy(url, log=QUIET)


async def install(url):
    async with connect(url) as chancy:
        await chancy.migrate()
        await chancy.declare(QUEUE)


async def produce(url, use):
    async with connect(url) as chancy:

        async def one(n):
            await chancy.push(noop.job.with_kwargs(n=n))

        async def many(numbers):
            async for _ in chancy.push_many([noop.job.with_kwargs(n=n) for n in numbers]):
                pass

        await use(Producer(one, many))


async def process(url, count):
    all_ = asyncio.Event()
    left = count

    def began():
        nonlocal left
        left -= 1
        if left == 0:
            all_.set()

    on_began.append(began)
    async with connect(url) as chancy, Worker(chancy, shutdown_timeout=5):
        await all_.wait()


async def work(url, began):
    on_began.append(began)
    async with connect(url) as chancy, Worker(chancy) as worker:
        await worker.wait_for_shutdown()


main(Peer(install, produce, process, work))
